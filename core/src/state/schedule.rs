//! Messages of a queue that are due later: for subscriptions that begin meanwhile, and to be cancelled or moved.
//!
//! Invariant: (N1) a message that is listed with an instant that is not over waits for it, in every subscription that
//! delays, and that it is for and not purged in: nobody was given it there.

use corelane_wire::{Offset, OffsetRange, Timestamp};

use super::expiry::expiry;
use super::pages::Pages;
use super::queue::Queue;
use super::subscription::{Fragment, Subscription};
use super::waiting::Undelivered;
use super::{Effects, Misfit, NO_QUEUE, NO_SUBSCRIPTION, State, SubscriptionKey};
use crate::ids::QueueId;

/// Neighbours that are due at the same instant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Group {
    /// When, in log time.
    pub(crate) due: Timestamp,
    /// How many.
    pub(crate) count: u64,
    /// How long they live from then on, in milliseconds; 0 if for ever.
    pub(crate) ttl_ms: u64,
}

impl Queue {
    /// Messages at the end are due later, in every subscription.
    pub(crate) fn schedule(
        &mut self,
        now: Timestamp,
        (due, ttl_ms): (Timestamp, u64),
        range: OffsetRange,
    ) {
        let delays = |of: &Subscription| of.delays();
        if !self.subscriptions.iter().any(delays)
            && self.scheduled.len() % SWEEP_EVERY == SWEEP_EVERY - 1
        {
            // Nobody tells when they come due.
            self.forget_scheduled(now);
        }
        let count = range.count.into();
        let group = Group { due, count, ttl_ms };
        self.scheduled.insert(range.first, group);
        for subscription in self.subscriptions.iter_mut().filter(|it| it.delays()) {
            subscription.schedule(due, range);
        }
    }

    /// Messages have come due in a subscription: nobody will ask when they are.
    pub(super) fn forget_due(&mut self, now: Timestamp, first: Offset, end: Offset) {
        let groups = groups_within(&self.scheduled, first, end);
        let over = groups.filter(|(_, group)| group.due <= now);
        for first in over.map(|(first, _)| first).collect::<Vec<_>>() {
            self.scheduled.remove(&first);
        }
    }

    /// Forgets what is due, or needed by nobody any more.
    pub(crate) fn forget_scheduled(&mut self, now: Timestamp) {
        self.forget_scheduled_before(now, Offset(u64::MAX));
    }

    /// The same of what begins before an offset.
    pub(super) fn forget_scheduled_before(&mut self, now: Timestamp, end: Offset) {
        let before = self.scheduled.iter().take_while(|(first, _)| **first < end);
        let gone = before.filter(|(first, group)| {
            let end = Offset(first.0 + group.count);
            group.due <= now || !self.is_needed(**first, end)
        });
        for first in gone.map(|(first, _)| *first).collect::<Vec<_>>() {
            self.scheduled.remove(&first);
        }
    }

    /// What is not due yet from an offset on, less what is gone.
    pub(super) fn scheduled_from(
        &self,
        now: Timestamp,
        from: Offset,
        gone: &[(Offset, Offset)],
    ) -> Vec<(Timestamp, OffsetRange)> {
        let mut scheduled = Vec::new();
        let groups = groups_within(&self.scheduled, from, Offset(u64::MAX));
        for (first, Group { due, count, .. }) in groups.filter(|(_, group)| group.due > now) {
            let end = Offset(first.0 + count);
            let mut next = first.max(from);
            let after = gone.partition_point(|(_, end)| *end <= next);
            let holes = gone[after..].iter().copied();
            for (hole, after) in holes.chain([(end, end)]) {
                let piece = hole.min(end).0.saturating_sub(next.0);
                if let Ok(count @ 1..) = u32::try_from(piece) {
                    scheduled.push((due, OffsetRange { first: next, count }));
                }
                next = next.max(after);
                if next >= end {
                    break;
                }
            }
        }
        scheduled
    }

    /// The parts of `first..end` that are not due yet and kept, each with its due time.
    pub(crate) fn waiting_within(
        &self,
        now: Timestamp,
        first: Offset,
        end: Offset,
    ) -> impl Iterator<Item = (OffsetRange, Timestamp)> {
        let groups = self.groups_within(now, first, end);
        groups.map(|(range, group)| (range, group.due))
    }

    /// The same, each with its group.
    pub(super) fn groups_within(
        &self,
        now: Timestamp,
        first: Offset,
        end: Offset,
    ) -> impl Iterator<Item = (OffsetRange, Group)> {
        let groups = groups_within(&self.scheduled, first, end);
        let groups = groups.filter(move |(_, group)| group.due > now);
        groups.flat_map(move |(from, group)| {
            let end = Offset(from.0 + group.count).min(end);
            let kept = self.live_between(from.max(first), end);
            kept.into_iter().map(move |(first, end)| {
                let count = u32::try_from(end.0 - first.0).unwrap_or(u32::MAX);
                (OffsetRange { first, count }, group)
            })
        })
    }

    /// Takes messages out that one group holds and that are not due yet; the group.
    fn unschedule(&mut self, now: Timestamp, range: OffsetRange) -> Option<Group> {
        let (&first, &group) = self.scheduled.at_or_before(&range.first)?;
        let end = Offset(first.0 + group.count);
        if end < range.end() || group.due <= now {
            return None;
        }
        self.scheduled.remove(&first);
        for (from, to) in [(first, range.first), (range.end(), end)] {
            if from < to {
                let count = to.0 - from.0;
                self.scheduled.insert(from, Group { count, ..group });
            }
        }
        Some(group)
    }
}

impl Queue {
    /// Messages that were taken out are due at another time, and expire as much later or sooner.
    fn schedule_anew(
        &mut self,
        now: Timestamp,
        (before, due): (Group, Timestamp),
        range: OffsetRange,
    ) {
        let Group { ttl_ms, .. } = before;
        if due > now {
            let count = range.count.into();
            let group = Group { due, count, ttl_ms };
            self.scheduled.insert(range.first, group);
        }
        self.reschedule_expiry(now, (before, due), range);
    }

    /// Messages of a group that are due at another time expire as much later or sooner.
    pub(super) fn reschedule_expiry(
        &mut self,
        now: Timestamp,
        (before, due): (Group, Timestamp),
        range: OffsetRange,
    ) {
        let Group { ttl_ms, .. } = before;
        if ttl_ms > 0 {
            let after = expiry(due.max(now), ttl_ms);
            self.move_expiry(expiry(before.due, ttl_ms), after, range);
        }
    }
}

impl Subscription {
    /// Takes the messages of a range that are due at this instant out of what is delayed.
    pub(super) fn cut_delayed(
        &mut self,
        due: Timestamp,
        range: OffsetRange,
    ) -> Vec<(Offset, Fragment)> {
        let before = self.delayed.at_or_before(&(due, range.first));
        let from = before.map_or((due, range.first), |(key, _)| *key);
        let within = self.delayed.from(from.max((due, Offset(0))));
        let within = within.take_while(|((at, first), _)| *at == due && *first < range.end());
        let within: Vec<_> = within.map(|(key, fragment)| (*key, *fragment)).collect();
        let mut cut = Vec::new();
        for ((due, first), fragment) in within {
            let end = Offset(first.0 + fragment.count);
            let (from, to) = (first.max(range.first), end.min(range.end()));
            if from >= to {
                continue;
            }
            self.delayed.remove(&(due, first));
            self.failed.cut((due, first), [(first, from), (to, end)]);
            for (from, to) in [(first, from), (to, end)] {
                if from < to {
                    let count = to.0 - from.0;
                    let rest = Fragment { count, ..fragment };
                    self.delayed.insert((due, from), rest);
                }
            }
            let count = to.0 - from.0;
            self.delayed_count -= count;
            cut.push((from, Fragment { count, ..fragment }));
        }
        cut
    }
}

impl State {
    /// Scheduled messages are due at another time, or done without a delivery.
    pub(super) fn apply_reschedule(
        &mut self,
        id: QueueId,
        due: Option<Timestamp>,
        ranges: &[OffsetRange],
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let now = self.clock.log;
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        let expiry_before = queue.next_expiry();
        let mut pieces = Vec::with_capacity(ranges.len());
        for &range in ranges {
            let before = queue.unschedule(now, range).ok_or(NOT_SCHEDULED)?;
            if let Some(due) = due {
                queue.schedule_anew(now, (before, due), range);
            }
            pieces.push((before.due, range));
        }
        let expiry_after = queue.next_expiry();
        self.move_queue_expiry(id, expiry_before, expiry_after);
        self.reschedule_all(id, due, &pieces, effects)
    }

    /// The same in every subscription, for messages that were due at these instants.
    pub(super) fn reschedule_all(
        &mut self,
        id: QueueId,
        due: Option<Timestamp>,
        pieces: &[(Timestamp, OffsetRange)],
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let queue = self.queues.get(id).ok_or(NO_QUEUE)?;
        let subscriptions = queue.subscriptions.iter();
        let subscriptions: Vec<_> = subscriptions.map(|it| it.id).collect();
        for subscription in subscriptions {
            self.reschedule_in((id, subscription), due, pieces, effects)?;
        }
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        self.counts.messages -= queue.advance_start();
        Ok(())
    }

    fn reschedule_in(
        &mut self,
        key: SubscriptionKey,
        due: Option<Timestamp>,
        pieces: &[(Timestamp, OffsetRange)],
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let subscription = queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
        let due_before = subscription.next_due();
        let pieces = pieces.iter();
        let cut: Vec<_> = pieces
            .flat_map(|(before, range)| subscription.cut_delayed(*before, *range))
            .collect();
        let ranges = cut
            .iter()
            .map(|(first, of)| (*first, Offset(first.0 + of.count)));
        let ranges: Vec<_> = ranges.collect();
        if let Some(due) = due {
            for (first, fragment) in cut {
                subscription.delayed_count += fragment.count;
                subscription.delayed.insert((due, first), fragment);
            }
        } else {
            subscription.end_undelivered(Undelivered::Purged, &ranges);
            let count: u64 = cut.iter().map(|(_, of)| of.count).sum();
            self.counts.delayed -= count;
            self.counts.purged += count;
            for &(first, end) in &ranges {
                effects.change(key, subscription, first, end);
            }
            effects.ready.push(key);
        }
        subscription.assert_counts();
        let due_after = subscription.next_due();
        if due.is_none() {
            for (first, end) in ranges {
                queue.done_in(key.1, first, end);
            }
        }
        self.move_due(key, due_before, due_after);
        Ok(())
    }
}

/// The groups that hold something of `first..end`, by offset.
fn groups_within(
    scheduled: &Pages<Offset, Group>,
    first: Offset,
    end: Offset,
) -> impl Iterator<Item = (Offset, Group)> {
    let before = scheduled.at_or_before(&first);
    let from = before.map_or(first, |(from, _)| *from);
    let groups = scheduled
        .from(from)
        .take_while(move |(from, _)| **from < end);
    let groups = groups.map(|(from, group)| (*from, *group));
    groups.filter(move |(from, group)| first.0 < from.0 + group.count)
}

const NOT_SCHEDULED: Misfit = "a message does not wait for its due time";
/// While a queue has no subscription that delays, what is due is forgotten with each so many groups.
const SWEEP_EVERY: usize = 4_096;

#[cfg(test)]
mod tests;
