//! Messages of a subscription that are not ready by their place, although the cursor has not come to them.

use corelane_wire::{Offset, OffsetRange, Timestamp};

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

    fn put_ahead(&mut self, range: OffsetRange) {
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

    /// Moves the cursor behind what is ahead and touches it.
    pub(super) fn pass_by_ahead(&mut self) {
        while let Some((&first, &count)) = self.ahead.first()
            && first == self.cursor
        {
            self.ahead.remove(&first);
            self.ahead_count -= count;
            self.cursor = Offset(first.0 + count);
        }
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
