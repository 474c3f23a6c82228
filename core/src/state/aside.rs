//! Messages of a subscription that were set aside: dead or parked, with what is known of why.

use std::hash::Hash;
use std::sync::Arc;

use corelane_wire::{AsideCause, Offset, SessionId, Timestamp};

use super::pages::Pages;

/// Messages set aside, by first offset.
#[derive(Clone, Hash, Debug)]
pub(crate) struct AsideSet {
    rows: Pages<Offset, SetAside>,
    count: u64,
}

/// Consecutive messages that were set aside alike.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SetAside {
    /// How many.
    pub(crate) count: u64,
    /// How often they were given out.
    pub(crate) attempts: u32,
    /// Why they are here.
    pub(crate) cause: AsideCause,
    /// Since when, in log time.
    pub(crate) since: Timestamp,
    /// When they were given out last, in log time.
    pub(crate) leased: Timestamp,
    /// Who had them last.
    pub(crate) session: SessionId,
    /// What it said.
    pub(crate) text: Arc<str>,
}

impl AsideSet {
    /// The empty set.
    pub(crate) const fn new() -> Self {
        Self {
            rows: Pages::new(),
            count: 0,
        }
    }

    /// A set as it was read from a checkpoint; `None` if the sum is out of range.
    pub(crate) fn of(rows: Pages<Offset, SetAside>) -> Option<Self> {
        let count = rows
            .iter()
            .try_fold(0_u64, |sum, (_, row)| sum.checked_add(row.count))?;
        Some(Self { rows, count })
    }

    /// How many messages.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The rows in order.
    pub(crate) const fn rows(&self) -> &Pages<Offset, SetAside> {
        &self.rows
    }

    /// The rows, to freeze them.
    pub(crate) const fn rows_mut(&mut self) -> &mut Pages<Offset, SetAside> {
        &mut self.rows
    }

    /// Adds messages; those behind others with the same history join them.
    pub(crate) fn put(&mut self, first: Offset, row: SetAside) {
        self.count += row.count;
        if let Some((&before, other)) = self.rows.at_or_before(&first)
            && before.0 + other.count == first.0
            && (SetAside {
                count: row.count,
                ..other.clone()
            }) == row
            && let Some(other) = self.rows.get_mut(&before)
        {
            other.count += row.count;
            return;
        }
        self.rows.insert(first, row);
    }

    /// Takes messages out that one row holds; their history, or `None` without effect.
    pub(crate) fn take(&mut self, first: Offset, count: u64) -> Option<SetAside> {
        let (&start, row) = self.rows.at_or_before(&first)?;
        let (row, end) = (row.clone(), Offset(first.0 + count));
        let row_end = Offset(start.0 + row.count);
        if end > row_end {
            return None;
        }
        self.count -= count;
        self.rows.remove(&start);
        let mut keep = |from: Offset, to: Offset| {
            if from < to {
                let count = to.0 - from.0;
                let row = row.clone();
                self.rows.insert(from, SetAside { count, ..row });
            }
        };
        keep(start, first);
        keep(end, row_end);
        Some(SetAside { count, ..row })
    }

    /// The parts of rows within `first..end`, by offset.
    pub(crate) fn within(
        &self,
        first: Offset,
        end: Offset,
    ) -> impl Iterator<Item = (Offset, Offset, &SetAside)> {
        let before = self.rows.at_or_before(&first);
        let from = before.map_or(first, |(&start, _)| start);
        let rows = self.rows.from(from);
        let rows = rows.take_while(move |(start, _)| **start < end);
        let parts = rows.map(move |(&start, row)| {
            let row_end = Offset(start.0 + row.count);
            (start.max(first), row_end.min(end), row)
        });
        parts.filter(|(from, to, _)| from < to)
    }
}

#[cfg(test)]
mod tests;
