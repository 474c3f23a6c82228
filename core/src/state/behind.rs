//! Messages of a subscription that came back and wait behind those that were enqueued before that.
//!
//! Invariants: (B1) rows are apart, and neighbours that came back alike are one row. (B2) `turns` has every row, in the
//! order in which they came back. (B3) A key-ordered subscription has none.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use corelane_wire::{Lsn, Offset, OffsetRange};

use super::pages::Pages;
use super::subscription::Fragment;

/// Messages behind others.
#[derive(Clone, Debug)]
pub(crate) struct Behind {
    rows: Pages<Offset, BehindRow>,
    turns: BTreeSet<(Lsn, Offset)>,
}

/// Consecutive messages that came back together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct BehindRow {
    /// How many, and how often they were given out.
    pub(crate) fragment: Fragment,
    /// When they came back.
    pub(crate) back: Comeback,
}

/// When messages came back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Comeback {
    /// By which record.
    pub(crate) lsn: Lsn,
    /// Where the queue ended then.
    pub(crate) queue_end: Offset,
}

impl Behind {
    /// None.
    pub(crate) const fn new() -> Self {
        Self {
            rows: Pages::new(),
            turns: BTreeSet::new(),
        }
    }

    /// Those that were read from a checkpoint.
    pub(crate) fn of(rows: Pages<Offset, BehindRow>) -> Self {
        let turns = rows.iter().map(|(first, row)| (row.back.lsn, *first));
        Self {
            turns: turns.collect(),
            rows,
        }
    }

    /// The rows by first offset.
    pub(crate) const fn rows(&self) -> &Pages<Offset, BehindRow> {
        &self.rows
    }

    /// The same, to freeze them.
    pub(crate) const fn rows_mut(&mut self) -> &mut Pages<Offset, BehindRow> {
        &mut self.rows
    }

    /// The rows in the order in which they came back.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = (Offset, BehindRow)> {
        let rows = self.turns.iter();
        rows.filter_map(|(_, first)| Some((*first, *self.rows.get(first)?)))
    }

    /// How many messages wait for what stands behind `visible`, which is not committed; those are few.
    pub(super) fn waiting(&self, visible: Offset) -> u64 {
        let rows = self.turns.iter().rev();
        let rows = rows.filter_map(|(_, first)| self.rows.get(first));
        let waiting = rows.take_while(|row| row.back.queue_end > visible);
        waiting.map(|row| row.fragment.count).sum()
    }

    /// The row that holds a message, and where it begins.
    pub(crate) fn row_of(&self, offset: Offset) -> Option<(Offset, BehindRow)> {
        let (first, row) = self.rows.at_or_before(&offset)?;
        (offset.0 < first.0 + row.fragment.count).then_some((*first, *row))
    }

    /// Messages come back.
    pub(super) fn put(&mut self, mut first: Offset, mut row: BehindRow) {
        if let Some((before, other)) = first
            .0
            .checked_sub(1)
            .and_then(|at| self.row_of(Offset(at)))
            && other.is_like(row)
        {
            self.remove(before);
            first = before;
            row.fragment.count += other.fragment.count;
        }
        let end = Offset(first.0 + row.fragment.count);
        if let Some(&other) = self.rows.get(&end)
            && other.is_like(row)
        {
            self.remove(end);
            row.fragment.count += other.fragment.count;
        }
        self.insert(first, row);
    }

    /// Takes messages out that one row holds; `None` without effect.
    pub(super) fn take(&mut self, range: OffsetRange) -> Option<Fragment> {
        let (first, row) = self.row_of(range.first)?;
        let end = Offset(first.0 + row.fragment.count);
        if end < range.end() {
            return None;
        }
        self.remove(first);
        for (from, to) in [(first, range.first), (range.end(), end)] {
            if from < to {
                let count = to.0 - from.0;
                let fragment = Fragment {
                    count,
                    ..row.fragment
                };
                self.insert(from, BehindRow { fragment, ..row });
            }
        }
        Some(row.fragment)
    }

    fn insert(&mut self, first: Offset, row: BehindRow) {
        self.rows.insert(first, row);
        self.turns.insert((row.back.lsn, first));
    }

    fn remove(&mut self, first: Offset) {
        if let Some(row) = self.rows.remove(&first) {
            self.turns.remove(&(row.back.lsn, first));
        }
    }
}

impl BehindRow {
    fn is_like(self, other: Self) -> bool {
        self.back == other.back && self.fragment.attempts == other.fragment.attempts
    }
}

impl Hash for Behind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rows.hash(state);
    }
}

#[cfg(test)]
mod tests;
