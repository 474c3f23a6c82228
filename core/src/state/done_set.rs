//! The messages of a subscription that are done out of order: one bit for each, in pages.
//!
//! Invariants: (D1) a page without a bit does not exist, one with all bits is [`DonePage::Full`]: so equal sets are
//! equal, bit by bit. (D2) `count` is the number of bits.

use corelane_wire::Offset;

use super::pages::Pages;

/// Offsets as bits.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct DoneSet {
    pages: Pages<u64, DonePage>,
    count: u64,
}

/// The bits of [`PAGE_BITS`] offsets.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum DonePage {
    /// All of them.
    Full,
    /// Some of them.
    Bits(Box<Words>),
}

/// Bit `i % 64` of word `i / 64` is offset `i` of the page.
pub(crate) type Words = [u64; WORDS];

impl DoneSet {
    /// The empty set.
    pub(crate) const fn new() -> Self {
        Self {
            pages: Pages::new(),
            count: 0,
        }
    }

    /// Adds offsets that are not in the set.
    pub(crate) fn insert(&mut self, first: Offset, end: Offset) {
        assert!(first < end, "{first}..{end} is empty");
        self.count += end.0 - first.0;
        for (page, from, to) in pages_of(first.0, end.0) {
            self.insert_in_page(page, from, to);
        }
    }

    /// How far the set reaches from `offset` on without a gap, if it holds `offset`.
    pub(crate) fn end_of(&self, offset: Offset) -> Option<Offset> {
        if self.count == 0 || !self.contains(offset.0) {
            return None;
        }
        let mut page = offset.0 / PAGE_BITS;
        let mut from = bit(offset.0);
        loop {
            let gap = match self.pages.get(&page) {
                Some(DonePage::Full) => None,
                Some(DonePage::Bits(words)) => next_bit(words, from, false),
                None => Some(from),
            };
            if let Some(gap) = gap {
                return Some(Offset(page * PAGE_BITS + gap as u64));
            }
            page += 1;
            from = 0;
        }
    }

    /// The first offset of the set after `offset`.
    pub(crate) fn next_after(&self, offset: Offset) -> Option<Offset> {
        let from = offset.0.checked_add(1).filter(|_| self.count > 0)?;
        for (&page, bits) in self.pages.from(from / PAGE_BITS) {
            let first = if page == from / PAGE_BITS {
                bit(from)
            } else {
                0
            };
            let found = match bits {
                DonePage::Full => Some(first),
                DonePage::Bits(words) => next_bit(words, first, true),
            };
            if let Some(found) = found {
                return Some(Offset(page * PAGE_BITS + found as u64));
            }
        }
        None
    }

    /// Takes out what lies from `first` on without a gap, if anything does; returns its end.
    pub(crate) fn take_first(&mut self, first: Offset) -> Option<Offset> {
        let end = self.end_of(first)?;
        self.count -= end.0 - first.0;
        for (page, from, to) in pages_of(first.0, end.0) {
            self.remove_in_page(page, from, to);
        }
        Some(end)
    }

    /// The parts of the set within `first..end`, ends exclusive.
    pub(crate) fn between(
        &self,
        first: Offset,
        end: Offset,
    ) -> impl Iterator<Item = (Offset, Offset)> {
        let mut next = first;
        std::iter::from_fn(move || {
            let from = match self.end_of(next) {
                Some(_) => next,
                None => self.next_after(next)?,
            };
            let to = self.end_of(from).filter(|_| from < end)?.min(end);
            next = to;
            (from < to).then_some((from, to))
        })
    }

    /// Takes out the pages that end before `offset`.
    pub(crate) fn drop_before(&mut self, offset: Offset) {
        while let Some((&page, bits)) = self.pages.first()
            && page < offset.0 / PAGE_BITS
        {
            self.count -= match bits {
                DonePage::Full => PAGE_BITS,
                DonePage::Bits(words) => ones(words),
            };
            self.pages.remove(&page);
        }
    }

    /// How many pages there are: what the set costs.
    pub(crate) const fn pages(&self) -> usize {
        self.pages.len()
    }

    /// How many offsets there are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The pages, for a checkpoint.
    pub(crate) const fn map(&self) -> &Pages<u64, DonePage> {
        &self.pages
    }

    /// The pages, to be frozen.
    pub(crate) const fn map_mut(&mut self) -> &mut Pages<u64, DonePage> {
        &mut self.pages
    }

    /// A set of pages that were read from a checkpoint; `None` if one of them cannot be.
    pub(crate) fn of(pages: Pages<u64, DonePage>) -> Option<Self> {
        let mut count = 0;
        for (&page, bits) in pages.iter() {
            if page > u64::MAX / PAGE_BITS {
                return None;
            }
            count += match bits {
                DonePage::Full => PAGE_BITS,
                DonePage::Bits(words) => match ones(words) {
                    0 | PAGE_BITS => return None,
                    some => some,
                },
            };
        }
        Some(Self { pages, count })
    }

    /// The stretches in order, ends exclusive.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, Offset)> {
        let mut next = if self.contains(0) {
            Some(Offset(0))
        } else {
            self.next_after(Offset(0))
        };
        std::iter::from_fn(move || {
            let first = next?;
            let end = self.end_of(first)?;
            next = self.next_after(end);
            Some((first, end))
        })
    }

    fn contains(&self, offset: u64) -> bool {
        match self.pages.get(&(offset / PAGE_BITS)) {
            None => false,
            Some(DonePage::Full) => true,
            Some(DonePage::Bits(words)) => {
                let bit = bit(offset);
                words[bit / 64] & (1 << (bit % 64)) != 0
            }
        }
    }

    fn insert_in_page(&mut self, page: u64, from: usize, to: usize) {
        if to - from == WORDS * 64 {
            let before = self.pages.insert(page, DonePage::Full);
            assert!(before.is_none(), "page {page} is in the set already");
            return;
        }
        let Some(bits) = self.pages.get_mut(&page) else {
            let mut words = Box::new([0; WORDS]);
            set(&mut words, from, to);
            self.pages.insert(page, DonePage::Bits(words));
            return;
        };
        let DonePage::Bits(words) = bits else {
            panic!("page {page} is in the set already");
        };
        set(words, from, to);
        if words.iter().all(|word| *word == u64::MAX) {
            *bits = DonePage::Full;
        }
    }

    fn remove_in_page(&mut self, page: u64, from: usize, to: usize) {
        if to - from == WORDS * 64 {
            self.pages.remove(&page);
            return;
        }
        let Some(bits) = self.pages.get_mut(&page) else {
            return;
        };
        if *bits == DonePage::Full {
            *bits = DonePage::Bits(Box::new([u64::MAX; WORDS]));
        }
        if let DonePage::Bits(words) = bits {
            for (word, mask) in masks(from, to) {
                words[word] &= !mask;
            }
            if words.iter().all(|word| *word == 0) {
                self.pages.remove(&page);
            }
        }
    }
}

/// The pages of `first..end`, each with its first and last bit (exclusive).
fn pages_of(first: u64, end: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    (first / PAGE_BITS..=(end - 1) / PAGE_BITS).map(move |page| {
        let start = page * PAGE_BITS;
        let from = first.max(start) - start;
        let to = (end - start).min(PAGE_BITS);
        (page, small(from), small(to))
    })
}

/// The words of the bits `from..to`, each with the mask of those bits.
fn masks(from: usize, to: usize) -> impl Iterator<Item = (usize, u64)> {
    (from / 64..=(to - 1) / 64).map(move |word| {
        let first = from.max(word * 64) - word * 64;
        let count = to.min(word * 64 + 64) - word * 64 - first;
        (word, (u64::MAX >> (64 - count)) << first)
    })
}

fn set(words: &mut Words, from: usize, to: usize) {
    for (word, mask) in masks(from, to) {
        assert_eq!(words[word] & mask, 0, "an offset is in the set already");
        words[word] |= mask;
    }
}

/// The first bit from `from` on that is `wanted`.
fn next_bit(words: &Words, from: usize, wanted: bool) -> Option<usize> {
    (from / 64..WORDS).find_map(|word| {
        let bits = if wanted { words[word] } else { !words[word] };
        let bits = if word == from / 64 {
            bits & (u64::MAX << (from % 64))
        } else {
            bits
        };
        (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
    })
}

fn ones(words: &Words) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

fn bit(offset: u64) -> usize {
    small(offset % PAGE_BITS)
}

fn small(bits: u64) -> usize {
    usize::try_from(bits).expect("a page has few bits")
}

/// Words of a page: 512 bytes, cheap to copy and to find empty.
pub(crate) const WORDS: usize = 64;
const PAGE_BITS: u64 = 64 * WORDS as u64;

#[cfg(test)]
mod tests;
