//! A set of offsets, kept as disjoint ranges that do not touch.
//!
//! Invariant: (R1) ranges are not empty, and between two of them lies at least one offset.

use std::collections::BTreeMap;

use corelane_wire::Offset;

/// Offsets as few ranges.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct RangeSet {
    /// First offset to end (exclusive).
    ranges: BTreeMap<Offset, Offset>,
}

impl RangeSet {
    /// The empty set.
    pub(crate) const fn new() -> Self {
        Self {
            ranges: BTreeMap::new(),
        }
    }

    /// Adds offsets that are not in the set; joins them with their neighbours.
    pub(crate) fn insert(&mut self, first: Offset, end: Offset) {
        assert!(first < end, "R1: {first}..{end} is empty");
        // Offsets mostly come in order: then the last range only grows.
        if let Some(mut last) = self.ranges.last_entry()
            && *last.get() == first
        {
            last.insert(end);
            return;
        }
        let mut joined = (first, end);
        if let Some((&before, &before_end)) = self.ranges.range(..first).next_back() {
            assert!(
                before_end <= first,
                "R1: {first}..{end} is already in {before}..{before_end}"
            );
            if before_end == first {
                joined.0 = before;
            }
        }
        if let Some((&after, &after_end)) = self.ranges.range(first..).next() {
            assert!(
                end <= after,
                "R1: {first}..{end} is already in {after}..{after_end}"
            );
            if after == end {
                self.ranges.remove(&after);
                joined.1 = after_end;
            }
        }
        self.ranges.insert(joined.0, joined.1);
    }

    /// The end of the range that holds `offset`, if one does.
    pub(crate) fn end_of(&self, offset: Offset) -> Option<Offset> {
        if self.is_behind(offset) {
            return None;
        }
        let (_, &end) = self.ranges.range(..=offset).next_back()?;
        (offset < end).then_some(end)
    }

    /// The first offset of the set after `offset`.
    pub(crate) fn next_after(&self, offset: Offset) -> Option<Offset> {
        if self.is_behind(offset) {
            return None;
        }
        let after = Offset(offset.0.saturating_add(1));
        self.ranges.range(after..).next().map(|(&first, _)| first)
    }

    /// Makes the set empty.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Whether all of the set lies before `offset`; known without a search.
    fn is_behind(&self, offset: Offset) -> bool {
        self.ranges
            .last_key_value()
            .is_none_or(|(_, &end)| end <= offset)
    }

    /// The ranges in order, ends exclusive.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, Offset)> {
        self.ranges.iter().map(|(&first, &end)| (first, end))
    }
}

#[cfg(test)]
mod tests;
