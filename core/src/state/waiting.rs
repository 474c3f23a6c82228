//! Messages that wait in a subscription, in whatever way, are taken out of it and finished without a delivery.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use corelane_wire::{Offset, OffsetRange, Timestamp};

use super::pages::Pages;
use super::subscription::{Finished, Subscription};
use super::{Counts, Effects, State, SubscriptionKey};

/// How messages are finished that nobody was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Undelivered {
    /// Their time to live is over.
    Expired,
    /// Somebody said so.
    Purged,
}

/// When messages that failed are due again, by first offset: kept where messages may expire meanwhile. It follows from
/// what is delayed, of which it may have more than it must.
#[derive(Clone, Debug)]
pub(crate) struct Failed(BTreeMap<Offset, Timestamp>);

/// What was taken out of where it waited, as ranges, ends exclusive.
#[derive(Debug, Default)]
struct Taken {
    ready: Vec<(Offset, Offset)>,
    delayed: Vec<(Offset, Offset)>,
}

impl Failed {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Messages that begin at `first` are due again.
    pub(super) fn put(&mut self, first: Offset, due: Timestamp) {
        self.0.insert(first, due);
    }

    /// They are not delayed any more.
    pub(super) fn remove(&mut self, first: Offset) {
        self.0.remove(&first);
    }

    /// Of those that begin at `first` only these parts are delayed any more.
    pub(super) fn cut(&mut self, (due, first): (Timestamp, Offset), rest: [(Offset, Offset); 2]) {
        if self.0.remove(&first).is_some() {
            let rest = rest.into_iter().filter(|(from, to)| from < to);
            self.0.extend(rest.map(|(from, _)| (from, due)));
        }
    }

    /// The rows that may hold messages of a range.
    fn near(&self, first: Offset, end: Offset) -> Vec<Timestamp> {
        let before = self.0.range(..first).next_back();
        let within = self.0.range(first..end);
        before.into_iter().chain(within).map(|row| *row.1).collect()
    }

    /// Whether every row is of something delayed.
    #[cfg(test)]
    pub(super) fn is_of(&self, delayed: &Pages<(Timestamp, Offset), super::Fragment>) -> bool {
        let mut rows = self.0.iter();
        rows.all(|(first, due)| delayed.get(&(*due, *first)).is_some())
    }
}

impl Hash for Failed {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Finished {
    const fn undelivered_mut(&mut self, how: Undelivered) -> &mut u64 {
        match how {
            Undelivered::Expired => &mut self.expired,
            Undelivered::Purged => &mut self.purged,
        }
    }
}

impl Counts {
    pub(super) const fn undelivered_mut(&mut self, how: Undelivered) -> &mut u64 {
        match how {
            Undelivered::Expired => &mut self.expired,
            Undelivered::Purged => &mut self.purged,
        }
    }
}

impl Subscription {
    /// Messages that were taken out of where they waited, or were set aside, are done without a delivery.
    pub(super) fn end_undelivered(&mut self, how: Undelivered, ranges: &[(Offset, Offset)]) {
        for &(first, end) in ranges {
            *self.finished.undelivered_mut(how) += end.0 - first.0;
            self.mark_done(first, end);
        }
    }

    /// Takes what waits of a range out of where it waits; to be finished at once.
    fn take_waiting(&mut self, first: Offset, end: Offset) -> Taken {
        let mut taken = Taken::default();
        let returned = within(&self.returned, (first, end), |of| of.count);
        let behind = within(self.behind.rows(), (first, end), |row| row.fragment.count);
        for (from, to) in returned.into_iter().chain(behind) {
            self.cut_returned(range(from, to))
                .expect("a part of what is returned");
            taken.ready.push((from, to));
        }
        for due in self.failed.near(first, end) {
            for (from, fragment) in self.cut_delayed(due, range(first, end)) {
                taken.delayed.push((from, Offset(from.0 + fragment.count)));
            }
        }
        taken.ready.extend(self.take_unread(first, end));
        taken
    }

    /// Takes what was never given out of a range out of what is ready by its place.
    fn take_unread(&mut self, first: Offset, end: Offset) -> Vec<(Offset, Offset)> {
        let first = first.max(self.cursor);
        if first >= end {
            return Vec::new();
        }
        if !self.delays() {
            // Nothing of a reader is ahead.
            self.pass_over(first);
            self.cursor = end;
            return vec![(first, end)];
        }
        let unread = self.unread_within(first, end);
        for &(from, to) in &unread {
            self.put_ahead(range(from, to));
        }
        self.pass_by_ahead();
        unread
    }
}

impl State {
    /// What waits of a range in a subscription is done without a delivery; how many pieces it came in.
    pub(super) fn end_waiting(
        &mut self,
        key: SubscriptionKey,
        how: Undelivered,
        (first, end): (Offset, Offset),
        effects: &mut Effects,
    ) -> usize {
        let queue = self.queues.get_mut(key.0).expect(THERE);
        let subscription = queue.subscription_mut(key.1).expect(THERE);
        let due_before = subscription.next_due();
        let taken = subscription.take_waiting(first, end);
        self.counts.ready -= total(&taken.ready);
        self.counts.delayed -= total(&taken.delayed);
        let all = [taken.ready, taken.delayed].concat();
        if all.is_empty() {
            return 0;
        }
        *self.counts.undelivered_mut(how) += total(&all);
        subscription.end_undelivered(how, &all);
        subscription.assert_counts();
        for &(first, end) in &all {
            effects.change(key, subscription, first, end);
        }
        effects.ready.push(key);
        let due_after = subscription.next_due();
        for &(first, end) in &all {
            queue.done_in(key.1, first, end);
        }
        self.move_due(key, due_before, due_after);
        all.len()
    }
}

/// The parts of rows within a range.
fn within<V: Clone>(
    rows: &Pages<Offset, V>,
    (first, end): (Offset, Offset),
    count: impl Fn(&V) -> u64,
) -> Vec<(Offset, Offset)> {
    let before = rows.at_or_before(&first);
    let from = before.map_or(first, |(from, _)| *from);
    let rows = rows.from(from).take_while(|(from, _)| **from < end);
    let parts = rows.map(|(&from, of)| (from.max(first), Offset(from.0 + count(of)).min(end)));
    parts.filter(|(from, to)| from < to).collect()
}

/// A part of a range that has at most 2^32 messages.
fn range(first: Offset, end: Offset) -> OffsetRange {
    let count = u32::try_from(end.0 - first.0).expect("a part of a range of 32 bits");
    OffsetRange { first, count }
}

fn total(ranges: &[(Offset, Offset)]) -> u64 {
    ranges.iter().map(|(first, end)| end.0 - first.0).sum()
}

const THERE: &str = "a subscription of the queue that expires";
