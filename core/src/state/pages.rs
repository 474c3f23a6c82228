//! A sorted map in pages that are copied when they are written to.
//!
//! Invariants: (G1) the key of a page in the spine is not above its first entry and above all of the page before.
//! (G2) no page is empty or holds more than [`PAGE_MAX`] entries.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use super::chunk::{Chunk, Frozen};

/// Entries of one page.
pub(crate) type Page<K, V> = Vec<(K, V)>;

/// A page as of a cut.
pub(crate) type FrozenPage<K, V> = Arc<Frozen<Page<K, V>>>;

/// A sorted map.
#[derive(Clone, Debug)]
pub(crate) struct Pages<K, V> {
    spine: BTreeMap<K, Chunk<Page<K, V>>>,
    len: usize,
}

impl<K, V> Default for Pages<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Pages<K, V> {
    /// The empty map.
    pub(crate) const fn new() -> Self {
        Self {
            spine: BTreeMap::new(),
            len: 0,
        }
    }

    /// How many entries there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

impl<K: Ord + Copy, V: Clone> Pages<K, V> {
    /// The page that holds the key if one does. Mostly it is the last one, which is found without a search.
    fn page_of(&self, key: &K) -> Option<&Chunk<Page<K, V>>> {
        match self.spine.last_key_value() {
            Some((bound, page)) if bound <= key => Some(page),
            Some(_) => self.spine.range(..=key).next_back().map(|(_, page)| page),
            None => None,
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let page = self.page_of(key)?.get();
        let at = page.binary_search_by_key(key, |entry| entry.0).ok()?;
        Some(&page[at].1)
    }

    /// The value of a key, to change it.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (_, page) = page_mut(&mut self.spine, key)?;
        let at = page.get().binary_search_by_key(key, |entry| entry.0).ok()?;
        Some(&mut page.get_mut()[at].1)
    }

    /// Sets the value of a key; returns the one before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some((bound, page)) = page_mut(&mut self.spine, &key) else {
            self.insert_before_all(key, value);
            return None;
        };
        let at = match page.get().binary_search_by_key(&key, |entry| entry.0) {
            Ok(at) => return Some(std::mem::replace(&mut page.get_mut()[at].1, value)),
            Err(at) => at,
        };
        self.len += 1;
        let entries = page.get().len();
        if entries < PAGE_MAX {
            page.get_mut().insert(at, (key, value));
        } else if at == entries {
            // Keys mostly come in order: full pages are left full.
            self.spine.insert(key, Chunk::Own(vec![(key, value)]));
        } else {
            self.split(bound);
            self.insert_into(key, value);
        }
        None
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (bound, page) = page_mut(&mut self.spine, key)?;
        let at = page.get().binary_search_by_key(key, |entry| entry.0).ok()?;
        self.len -= 1;
        if page.get().len() == 1 {
            let mut page = self.spine.remove(&bound)?;
            return page.get_mut().pop().map(|entry| entry.1);
        }
        Some(page.get_mut().remove(at).1)
    }

    /// The first entry.
    pub(crate) fn first(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// The last entry whose key is `key` or less.
    pub(crate) fn at_or_before(&self, key: &K) -> Option<(&K, &V)> {
        // The page may begin above the key; then the entry is the last of the page before.
        for (_, page) in self.spine.range(..=key).rev() {
            let page = page.get();
            let after = page.partition_point(|entry| entry.0 <= *key);
            if let Some(at) = after.checked_sub(1) {
                return Some(entry(&page[at]));
            }
        }
        None
    }

    /// The entries from `key` on.
    pub(crate) fn from(&self, key: K) -> impl Iterator<Item = (&K, &V)> {
        let first = self.spine.range(..=key).next_back();
        let in_first = first.map_or(&[][..], |(_, page)| {
            let page = page.get();
            &page[page.partition_point(|entry| entry.0 < key)..]
        });
        let behind = (Bound::Excluded(key), Bound::Unbounded);
        let pages = self.spine.range(behind);
        let rest = pages.flat_map(|(_, page)| page.get().iter());
        in_first.iter().chain(rest).map(entry)
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.spine
            .values()
            .flat_map(|page| page.get().iter().map(entry))
    }

    /// The pages as of now; `inside` freezes the chunks in each value that changed.
    pub(crate) fn freeze(&mut self, mut inside: impl FnMut(&mut V)) -> Vec<FrozenPage<K, V>> {
        self.spine
            .values_mut()
            .map(|page| {
                page.freeze(|entries| entries.iter_mut().for_each(|entry| inside(&mut entry.1)))
            })
            .collect()
    }

    /// The pages of a map that was frozen.
    pub(crate) fn frozen(&self) -> impl Iterator<Item = &FrozenPage<K, V>> {
        self.spine.values().map(|page| match page {
            Chunk::Frozen(frozen) => frozen,
            Chunk::Own(_) => unreachable!("C1: the map is part of a cut"),
        })
    }

    /// Takes in a page that was read from a checkpoint; false if it does not follow those before.
    pub(crate) fn push_page(&mut self, page: Chunk<Page<K, V>>) -> bool {
        let entries = page.get();
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return false;
        };
        let (first, last) = (first.0, last.0);
        let is_sorted = entries.is_sorted_by(|left, right| left.0 < right.0);
        let behind = self.spine.last_key_value();
        let follows = behind.is_none_or(|(_, before)| {
            let before = before.get().last();
            before.is_none_or(|entry| entry.0 < first)
        });
        if !is_sorted || !follows || entries.len() > PAGE_MAX || last < first {
            return false;
        }
        self.len += entries.len();
        self.spine.insert(first, page);
        true
    }

    fn insert_before_all(&mut self, key: K, value: V) {
        self.len += 1;
        let room = self
            .spine
            .first_entry()
            .filter(|first| first.get().get().len() < PAGE_MAX);
        let mut page = room.map_or_else(Chunk::default, OccupiedEntry::remove);
        page.get_mut().insert(0, (key, value));
        self.spine.insert(key, page);
    }

    fn insert_into(&mut self, key: K, value: V) {
        let (_, page) =
            page_mut(&mut self.spine, &key).expect("a page that was split stands before the key");
        let page = page.get_mut();
        let at = page.partition_point(|entry| entry.0 < key);
        page.insert(at, (key, value));
    }

    fn split(&mut self, bound: K) {
        if let Some(page) = self.spine.get_mut(&bound) {
            let upper = page.get_mut().split_off(PAGE_MAX / 2);
            self.spine.insert(upper[0].0, Chunk::Own(upper));
        }
    }
}

impl<K: Hash + Ord + Copy, V: Hash + Clone> Hash for Pages<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        for entry in self.iter() {
            entry.hash(state);
        }
    }
}

fn entry<K, V>(entry: &(K, V)) -> (&K, &V) {
    (&entry.0, &entry.1)
}

/// The page that holds the key if one does, to change it, and its bound.
fn page_mut<'a, K: Ord + Copy, V>(
    spine: &'a mut BTreeMap<K, Chunk<Page<K, V>>>,
    key: &K,
) -> Option<(K, &'a mut Chunk<Page<K, V>>)> {
    if matches!(spine.last_key_value(), Some((bound, _)) if bound <= key) {
        let last = spine.last_entry()?;
        return Some((*last.key(), last.into_mut()));
    }
    let (&bound, page) = spine.range_mut(..=key).next_back()?;
    Some((bound, page))
}

/// Large enough that the spine stays short, small enough that a copy costs little.
pub(crate) const PAGE_MAX: usize = 64;

#[cfg(test)]
mod tests;
