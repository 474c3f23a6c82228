//! What a subscription has unfinished, by key: which of it may be given out next.
//!
//! Invariants: (O1) every message below `next` that is neither done nor set aside is in `messages` or within `unread`.
//! (O2) `order` has the messages with a key, `leased` those of them that somebody holds. (O3) `givable` are those that
//! are ready and have no key, or are the first of a key of which nothing is leased. What is not read may come before
//! them, so that only those before it are given out.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use corelane_wire::Offset;

use crate::state::{Standing, StateHasher, Subscription};

/// The unfinished messages of one subscription up to some offset.
#[derive(Debug)]
pub(super) struct View {
    /// Its number, under which its records are asked for.
    pub(super) number: u64,
    /// How many messages it holds at most.
    max: usize,
    /// Nothing from here on is in it.
    next: Offset,
    /// What was not read below `next`, as first offset and end: apart, and not empty.
    unread: BTreeMap<Offset, Offset>,
    /// Messages in it.
    unread_count: u64,
    /// What has been under lease since it began, in order, as ranges, ends exclusive. Until all of it is read nobody
    /// knows whose keys are held.
    leased_before: Vec<(Offset, Offset)>,
    messages: BTreeMap<Offset, Key>,
    order: BTreeSet<(Key, Offset)>,
    leased: BTreeSet<(Key, Offset)>,
    givable: BTreeSet<Offset>,
    /// How many records are being read for it.
    pub(super) asked: usize,
}

/// A hash of a key: two with the same wait for each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key(u64);

impl Key {
    /// Of a message without a key, or whose key cannot be read.
    pub(super) const NONE: Self = Self(0);

    /// Of the key of a message, if it has one.
    pub(super) fn of(key: Option<&[u8]>) -> Self {
        let Some(key) = key else {
            return Self::NONE;
        };
        let mut hasher = StateHasher::new();
        hasher.write(key);
        hasher.write_u64(key.len() as u64);
        Self(hasher.finish().max(1))
    }
}

impl View {
    /// A view of what there is from `done` on, of which nothing is read; what is `leased` is in order.
    pub(super) const fn from(
        (number, max): (u64, usize),
        done: Offset,
        leased: Vec<(Offset, Offset)>,
    ) -> Self {
        Self {
            number,
            max,
            next: done,
            unread: BTreeMap::new(),
            unread_count: 0,
            leased_before: leased,
            messages: BTreeMap::new(),
            order: BTreeSet::new(),
            leased: BTreeSet::new(),
            givable: BTreeSet::new(),
            asked: 0,
        }
    }

    /// Where what is not read begins.
    fn read_end(&self) -> Offset {
        let unread = self.unread.first_key_value();
        unread.map_or(self.next, |(first, _)| *first)
    }

    /// Where what may not be given out yet begins.
    fn known_end(&self) -> Offset {
        let read_end = self.read_end();
        let leased = self.leased_before.last();
        let is_known = leased.is_none_or(|(_, end)| *end <= read_end);
        if is_known { read_end } else { Offset(0) }
    }

    /// What may be given out below `end`, in order.
    pub(super) fn givable(&self, end: Offset) -> impl Iterator<Item = Offset> {
        self.givable.range(..end.min(self.known_end())).copied()
    }

    /// How many messages that are.
    pub(super) fn givable_count(&self, end: Offset) -> usize {
        // Mostly it is nearly all.
        let beyond = self.givable.range(end.min(self.known_end())..);
        self.givable.len() - beyond.count()
    }

    /// The first message below `end` that is to be read next, if there is room for it, and where the stretch ends.
    pub(super) fn wanted(&mut self, of: &Subscription, end: Offset) -> Option<(Offset, Offset)> {
        while let Some((&first, &to)) = self.unread.first_key_value() {
            let from = of.unfinished_from(first, to);
            if first < from {
                self.set_read(first, from);
                continue;
            }
            return (first < end).then_some((first, to));
        }
        self.next = self.next.max(of.unfinished_from(self.next, end));
        (self.next < end && self.room() > 0).then_some((self.next, end))
    }

    /// Whether something below `end` is to be read.
    pub(super) fn is_behind(&self, of: &Subscription, end: Offset) -> bool {
        self.read_end() < self.next.min(end)
            || self.room() > 0 && of.unfinished_from(self.next, end) < end
    }

    /// How many messages more it may hold.
    fn room(&self) -> u64 {
        let taken = self.messages.len() as u64 + self.unread_count;
        (self.max as u64).saturating_sub(taken)
    }

    /// Takes in the keys of messages from `first` on that were read: those that were wanted and are unfinished.
    pub(super) fn read(
        &mut self,
        of: &Subscription,
        first: Offset,
        keys: impl Iterator<Item = Key>,
    ) {
        if self.next < first {
            self.next = of.unfinished_from(self.next, first);
        }
        let mut end = first;
        for (offset, key) in (first.0..).map(Offset).zip(keys) {
            end = Offset(offset.0 + 1);
            if offset >= self.next {
                if offset > self.next || self.room() == 0 {
                    // It is not the next one, or not any more.
                    end = offset;
                    break;
                }
                self.next = end;
            } else if !self.is_unread(offset) {
                continue;
            }
            self.put(of, offset, key);
        }
        self.set_read(first, end);
    }

    /// Takes in messages that were just enqueued, if what is not read before them is not too much.
    pub(super) fn follow(&mut self, of: &Subscription, first: Offset, keys: &[Key]) {
        self.next = self.next.max(of.unfinished_from(self.next, first));
        let gap = first.0 - self.next.0;
        if gap.saturating_add(keys.len() as u64) > self.room() {
            return;
        }
        if gap > 0 {
            self.set_unread(self.next, first);
        }
        for (offset, key) in (first.0..).map(Offset).zip(keys) {
            self.next = Offset(offset.0 + 1);
            self.put(of, offset, *key);
        }
    }

    /// Messages that were over are not: their keys are read again. False if there is no room for them.
    pub(super) fn come_back(&mut self, first: Offset, end: Offset) -> bool {
        let end = end.min(self.next);
        let count = end.0.saturating_sub(first.0);
        if count > self.room() {
            return false;
        }
        if first < end {
            self.set_unread(first, end);
        }
        true
    }

    /// Messages were given out.
    pub(super) fn give(&mut self, first: Offset, end: Offset) {
        for (&offset, &key) in self.messages.range(first..end) {
            self.givable.remove(&offset);
            if key != Key::NONE {
                self.leased.insert((key, offset));
            }
        }
    }

    /// Messages are in another state, and not leased.
    pub(super) fn change(&mut self, of: &Subscription, first: Offset, end: Offset) {
        self.forget_leased(first, end);
        let seen = self.messages.range(first..end);
        let seen: Vec<_> = seen.map(|(offset, key)| (*offset, *key)).collect();
        for (offset, key) in seen {
            self.leased.remove(&(key, offset));
            if of.standing(offset) == Standing::Over {
                self.messages.remove(&offset);
                self.order.remove(&(key, offset));
                self.givable.remove(&offset);
            }
            self.settle(of, key, offset);
        }
    }

    /// Messages are not under lease any more that may have been since it began.
    fn forget_leased(&mut self, first: Offset, end: Offset) {
        let leased = &mut self.leased_before;
        let from = leased.partition_point(|(_, to)| *to <= first);
        let to = leased.partition_point(|(from, _)| *from < end);
        if from < to {
            let (before, behind) = ((leased[from].0, first), (end, leased[to - 1].1));
            let rest = [before, behind].into_iter().filter(|(from, to)| from < to);
            leased.splice(from..to, rest);
        }
    }

    fn put(&mut self, of: &Subscription, offset: Offset, key: Key) {
        let standing = of.standing(offset);
        if standing == Standing::Over {
            return;
        }
        self.messages.insert(offset, key);
        if key != Key::NONE {
            if standing == Standing::Held && self.was_leased(offset) {
                self.leased.insert((key, offset));
            }
            if let Some(before) = self.first_of(key) {
                self.givable.remove(&before);
            }
            self.order.insert((key, offset));
        }
        self.settle(of, key, offset);
    }

    /// A message of a key, or this one without a key, stands otherwise now: what may be given out of them.
    fn settle(&mut self, of: &Subscription, key: Key, offset: Offset) {
        let next = match key {
            Key::NONE => self.messages.contains_key(&offset).then_some(offset),
            _ => self.first_of(key),
        };
        let Some(next) = next else {
            return;
        };
        let is_ready = of.standing(next).is_ready();
        if is_ready && !self.is_leased(key) {
            self.givable.insert(next);
        } else {
            self.givable.remove(&next);
        }
    }

    fn is_leased(&self, key: Key) -> bool {
        let from = self.leased.range((key, Offset(0))..).next();
        from.is_some_and(|first| first.0 == key)
    }

    fn was_leased(&self, offset: Offset) -> bool {
        let at = self
            .leased_before
            .partition_point(|(_, end)| *end <= offset);
        self.leased_before
            .get(at)
            .is_some_and(|(first, _)| *first <= offset)
    }

    fn first_of(&self, key: Key) -> Option<Offset> {
        let from = self.order.range((key, Offset(0))..).next();
        from.filter(|first| first.0 == key).map(|first| first.1)
    }

    fn is_unread(&self, offset: Offset) -> bool {
        let before = self.unread.range(..=offset).next_back();
        before.is_some_and(|(_, end)| offset < *end)
    }

    fn set_unread(&mut self, mut first: Offset, mut end: Offset) {
        // What it touches becomes one with it.
        while let Some((&from, &to)) = self.unread.range(..=end).next_back()
            && to >= first
        {
            self.unread.remove(&from);
            self.unread_count -= to.0 - from.0;
            first = first.min(from);
            end = end.max(to);
        }
        self.unread.insert(first, end);
        self.unread_count += end.0 - first.0;
    }

    fn set_read(&mut self, first: Offset, end: Offset) {
        while let Some((&from, &to)) = self.unread.range(..end).next_back()
            && to > first
        {
            self.unread.remove(&from);
            self.unread_count -= to.min(end).0 - from.max(first).0;
            if from < first {
                self.unread.insert(from, first);
            }
            if end < to {
                self.unread.insert(end, to);
            }
        }
    }

    /// O1 to O3, of a queue that ends at `end`, where what is leased `is_leased`; O(n).
    #[cfg(test)]
    pub(super) fn assert_consistent(
        &self,
        of: &Subscription,
        end: Offset,
        is_leased: impl Fn(Offset) -> bool,
    ) {
        let taken = self.messages.len() as u64 + self.unread_count;
        assert!(taken <= self.max as u64 && self.next <= end);
        let unread = self.unread.iter().map(|(first, end)| end.0 - first.0);
        assert_eq!(unread.sum::<u64>(), self.unread_count);
        for offset in (of.done.0..self.next.0).map(Offset) {
            let is_known = self.messages.contains_key(&offset);
            let is_over = of.standing(offset) == Standing::Over;
            let is_missed = !is_known && !is_over && !self.is_unread(offset);
            assert!(!(is_missed || is_known && is_over), "O1: {offset}");
        }
        let keyed = self.messages.iter().filter(|(_, key)| **key != Key::NONE);
        let order = keyed.map(|(offset, key)| (*key, *offset)).collect();
        assert_eq!(self.order, order, "O2");
        let leased = order.iter().filter(|(_, offset)| is_leased(*offset));
        for leased in leased {
            assert!(self.leased.contains(leased), "O2: {leased:?} is leased");
        }
        let may = |offset: Offset, key: Key| {
            let is_first = key == Key::NONE || self.first_of(key) == Some(offset);
            let is_ready = of.standing(offset).is_ready();
            is_first && is_ready && !self.is_leased(key)
        };
        let givable = self
            .messages
            .iter()
            .filter(|(offset, key)| may(**offset, **key));
        let givable = givable.map(|(offset, _)| *offset).collect();
        assert_eq!(self.givable, givable, "O3");
    }
}

#[cfg(test)]
mod tests;
