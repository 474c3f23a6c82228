//! The state of ephemeral subscriptions: a [`State`] of its own beside the replicated one, which records lead on that no
//! log has.
//!
//! Its queues have the numbers of the replicated ones and none of their messages: they exist while somebody is
//! subscribed, know where the queue ends, and say nothing about what is kept. All else is as with any subscription, and
//! the same `apply` does it.

use corelane_wire::{Epoch, Lsn, Offset, OffsetRange, Timestamp};

use super::behind::Comeback;
use super::pages::Pages;
use super::queue::Queue;
use super::schedule::Group;
use super::subscription::Subscription;
use super::{Effects, Misfit, NO_QUEUE, NO_SUBSCRIPTION, State, SubscriptionKey};
use crate::ids::QueueId;
use crate::record::{Record, Scheduled};

impl State {
    /// The state of ephemeral subscriptions in an epoch: no lease of the log has the same id.
    pub(crate) fn beside(epoch: Epoch) -> Self {
        assert!(epoch.0 < EPHEMERAL, "epoch {epoch} is used up");
        Self {
            epoch: Epoch(epoch.0 | EPHEMERAL),
            ..Self::default()
        }
    }

    /// A subscription begins at `from` in a queue of the replicated state; what nobody has any more is not for it.
    pub(crate) fn begin_beside(
        &mut self,
        now: Timestamp,
        replicated: &Queue,
        key: SubscriptionKey,
        (name, from): (&str, Offset),
    ) {
        self.clock.log = self.clock.log.max(now);
        self.queues.mirror(key.0, replicated);
        let queue = self.queues.get_mut(key.0).expect("it was just mirrored");
        let expiry_before = queue.next_expiry();
        queue.mirror_expiring(replicated);
        let expiry_after = queue.next_expiry();
        let mut new = Subscription::new(key.1, name.to_owned(), from);
        let gone = replicated.gone_from(from);
        new.begin_at(from, &gone, &replicated.scheduled_from(now, from, &gone));
        let due = new.next_due();
        self.counts.enter(&new, queue.end);
        // It may begin before, or with what was gone behind, the others.
        let start = queue.start.min(new.done);
        self.counts.messages += queue.start.0 - start.0;
        queue.start = start;
        queue.subscriptions.push(new);
        self.move_due(key, None, due);
        self.move_queue_expiry(key.0, expiry_before, expiry_after);
    }

    /// Applies a record that is not logged; returns its number, which no other one has.
    ///
    /// # Panics
    /// If the record does not fit.
    pub(crate) fn apply_beside(
        &mut self,
        time: Timestamp,
        record: &Record,
        effects: &mut Effects,
    ) -> Lsn {
        let lsn = self.end;
        if let Err(error) = self.apply(lsn, time, record, effects) {
            panic!("E2: the engine decided what does not fit: {error}; {record:?}");
        }
        lsn
    }

    /// A queue that nobody is subscribed to any more is not needed here.
    pub(crate) fn drop_if_unused(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get(id)
            && queue.subscriptions.is_empty()
        {
            let expiry = queue.next_expiry();
            self.queues.delete(id);
            self.move_queue_expiry(id, expiry, None);
        }
    }

    /// Learns what a record does to the queues of the replicated state, before it is applied there.
    pub(crate) fn follow(
        &mut self,
        time: Timestamp,
        replicated: &Self,
        record: &Record,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        self.clock.log = self.clock.log.max(time);
        if let Record::Enqueue {
            queue,
            first,
            count,
            schedule,
            ..
        } = record
            && self.has(*queue)
        {
            self.follow_enqueue((*queue, *first, *count), schedule.as_deref())
        } else if let Record::Reschedule { queue, due, ranges } = record
            && self.has(*queue)
        {
            let of = replicated.queues.get(*queue).ok_or(NO_QUEUE)?;
            let waiting = ranges
                .iter()
                .flat_map(|range| of.groups_within(time, range.first, range.end()));
            self.follow_reschedule(*queue, *due, waiting.collect(), effects)
        } else if let Record::Delete { queue } = record
            && self.has(*queue)
        {
            self.apply_delete(*queue, effects)
        } else {
            Ok(())
        }
    }

    fn has(&self, queue: QueueId) -> bool {
        self.queues.get(queue).is_some()
    }

    fn follow_enqueue(
        &mut self,
        (id, first, count): (QueueId, Offset, u32),
        schedule: Option<&[Scheduled]>,
    ) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        queue.end = Offset(first.0 + u64::from(count));
        let added = u64::from(count) * queue.subscriptions.len() as u64;
        self.counts.messages += u64::from(count);
        self.counts.ready += added;
        self.counts.enqueued += added;
        if let Some(schedule) = schedule {
            self.apply_schedule(id, first, schedule)?;
            // What is scheduled in a queue is said by the replicated one.
            let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
            queue.scheduled = Pages::new();
        }
        Ok(())
    }

    fn follow_reschedule(
        &mut self,
        id: QueueId,
        due: Option<Timestamp>,
        waiting: Vec<(OffsetRange, Group)>,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let now = self.clock.log;
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        let expiry_before = queue.next_expiry();
        if let Some(due) = due {
            for &(range, group) in &waiting {
                queue.reschedule_expiry(now, (group, due), range);
            }
        }
        let expiry_after = queue.next_expiry();
        self.move_queue_expiry(id, expiry_before, expiry_after);
        let waiting = waiting.into_iter();
        let waiting: Vec<_> = waiting.map(|(range, of)| (of.due, range)).collect();
        self.reschedule_all(id, due, &waiting, effects)
    }

    /// Messages that are ready are gone: they are not for the subscription any more.
    pub(crate) fn miss(
        &mut self,
        key: SubscriptionKey,
        ranges: &[OffsetRange],
    ) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let end = queue.end;
        let subscription = queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
        for range in ranges {
            let count = u64::from(range.count);
            subscription
                .take(*range, end)
                .ok_or("a message is not ready")?;
            subscription.leased -= count;
            subscription.gone += count;
            subscription.mark_done(range.first, range.end());
            self.counts.ready -= count;
            self.counts.enqueued -= count;
        }
        subscription.assert_counts();
        self.counts.messages -= queue.advance_start();
        Ok(())
    }

    /// The delayed messages that are due first are ready, whatever the time; returns which. `None` if there are none.
    pub(crate) fn hurry(&mut self, key: SubscriptionKey) -> Option<(Offset, Offset)> {
        let lsn = self.end;
        let queue = self.queues.get_mut(key.0)?;
        let queue_end = queue.end;
        let subscription = queue.subscription_mut(key.1)?;
        let before = subscription.next_due();
        let back = Comeback { lsn, queue_end };
        let (first, end) = subscription.come_due(Timestamp(u64::MAX), back)?;
        let after = subscription.next_due();
        self.counts.delayed -= end.0 - first.0;
        self.counts.ready += end.0 - first.0;
        self.move_due(key, before, after);
        Some((first, end))
    }
}

/// The bit of an epoch that no log's has.
const EPHEMERAL: u64 = 1 << 63;
