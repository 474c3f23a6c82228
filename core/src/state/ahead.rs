//! Messages of a subscription that are not ready by their place, although the cursor has not come to them.

use corelane_wire::{Offset, OffsetRange, Timestamp};

use super::pages::Pages;
use super::subscription::{Fragment, Subscription};

impl Subscription {
    /// Messages that were never given out are due later.
    pub(crate) fn schedule(&mut self, due: Timestamp, range: OffsetRange) {
        let fragment = Fragment {
            count: range.count.into(),
            attempts: 0,
        };
        if range.first < self.cursor {
            self.cut_returned(range);
        } else {
            self.put_ahead(range);
        }
        self.delayed_count += fragment.count;
        self.delayed.insert((due, range.first), fragment);
        self.pass_by_ahead();
    }

    pub(super) fn put_ahead(&mut self, range: OffsetRange) {
        self.ahead_count += u64::from(range.count);
        let (mut first, mut end) = (range.first, range.end());
        if let Some((&before, &count)) = self.ahead.at_or_before(&first)
            && before.0 + count == first.0
        {
            first = before;
        }
        if let Some(count) = self.ahead.remove(&end) {
            end = Offset(end.0 + count);
        }
        self.ahead.insert(first, end.0 - first.0);
    }

    /// What is ready of a range by its place, and was never given out; the range begins at the cursor or behind it.
    pub(super) fn unread_within(&self, first: Offset, end: Offset) -> Vec<(Offset, Offset)> {
        let before = self.ahead.at_or_before(&first);
        let before = before.map_or(first, |(from, count)| Offset(from.0 + count));
        let mut next = first.max(before);
        let mut unread = Vec::new();
        let ahead = self.ahead.from(next).take_while(|(from, _)| **from < end);
        let ahead = ahead.map(|(from, count)| (*from, Offset(from.0 + count)));
        for (from, to) in ahead.chain([(end, end)]) {
            if next < from {
                unread.push((next, from));
            }
            next = to;
        }
        unread
    }

    /// Whether a message behind the cursor is ahead.
    pub(super) fn is_ahead(&self, offset: Offset) -> bool {
        self.is_ahead_within(OffsetRange {
            first: offset,
            count: 1,
        })
    }

    /// Whether one of the messages behind the cursor is ahead.
    pub(super) fn is_ahead_within(&self, range: OffsetRange) -> bool {
        let last = Offset(range.end().0 - 1);
        let before = self.ahead.at_or_before(&last);
        before.is_some_and(|(&first, &count)| first.0 + count > range.first.0)
    }

    /// Moves the cursor to `to`: what is ready before it is ready as if it had come back.
    pub(super) fn pass_over(&mut self, to: Offset) {
        let passed: Vec<_> = self.unread(to).collect();
        for (first, end) in passed {
            let count = end.0 - first.0;
            let attempts = 0;
            self.put_returned(first, Fragment { count, attempts });
        }
        self.move_cursor(to);
    }

    /// Moves the cursor to `to`, or behind what is ahead there.
    pub(super) fn move_cursor(&mut self, to: Offset) {
        self.cursor = to;
        while let Some((&first, &count)) = self.ahead.first()
            && first <= self.cursor
        {
            self.ahead.remove(&first);
            self.ahead_count -= count;
            self.cursor = self.cursor.max(Offset(first.0 + count));
        }
    }

    /// How many messages before `end` are returned, and how many are new: what is visible, if `end` is its end.
    pub(crate) fn ready_before(&self, end: Offset) -> (u64, u64) {
        let returned = self.returned_count - self.behind.waiting(end);
        let returned = returned - behind(&self.returned, end, |of| of.count);
        let ahead = self.ahead_count - behind(&self.ahead, end, |count| *count);
        let unread = end.0.saturating_sub(self.cursor.0);
        (returned, unread.saturating_sub(ahead))
    }

    /// Moves the cursor behind what is ahead and touches it.
    pub(super) fn pass_by_ahead(&mut self) {
        self.move_cursor(self.cursor);
    }

    /// What is ready from the cursor to `end`, as ranges, ends exclusive.
    pub(crate) fn unread(&self, end: Offset) -> impl Iterator<Item = (Offset, Offset)> {
        let ahead = self.ahead.iter().map(|(&first, &count)| (first, count));
        let mut next = self.cursor;
        let behind = ahead.chain([(end, 0)]).map(move |(first, count)| {
            let range = (next, first.min(end));
            next = Offset(first.0 + count);
            range
        });
        behind
            .take_while(move |(first, _)| *first < end)
            .filter(|(first, to)| first < to)
    }
}

/// How many messages stand from `end` on; those are few where they only wait for a commit.
fn behind<V: Clone>(pages: &Pages<Offset, V>, end: Offset, count: impl Fn(&V) -> u64) -> u64 {
    let behind: u64 = pages.from(end).map(|(_, of)| count(of)).sum();
    let last = end.0.checked_sub(1).map(Offset);
    let across = last.and_then(|last| pages.at_or_before(&last));
    let across = across.map_or(0, |(first, of)| first.0 + count(of));
    behind + across.saturating_sub(end.0)
}
