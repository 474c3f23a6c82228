//! What records do to a subscription as a whole: its beginning and end, its configuration, and what is brought back or
//! finished without a delivery.

use corelane_wire::{Aside, Lsn, Offset, OffsetRange, PurgeStates};

use super::behind::Comeback;
use super::waiting::Undelivered;
use super::{
    Counts, Effects, Misfit, NO_QUEUE, NO_SUBSCRIPTION, Pause, State, Subscription, SubscriptionKey,
};
use crate::ids::QueueId;
use crate::record::Change;

impl State {
    pub(super) fn apply_change(
        &mut self,
        lsn: Lsn,
        key: SubscriptionKey,
        change: &Change,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        match change {
            Change::Configure(config) => self.apply_configure(key, *config),
            Change::Pause { reason } => self.apply_pause(key, reason.as_deref(), effects),
            Change::Return { aside, ranges } => {
                self.apply_return(lsn, key, (*aside, ranges), effects)
            }
            Change::Purge(states) => self.apply_purge(key, *states, effects),
            Change::Seek { from } => self.apply_seek(key, *from, effects),
            Change::Unsubscribe => self.apply_unsubscribe(key, effects),
            Change::DeadLetters { to } => self.apply_dead_letters(key, to.as_deref()),
            Change::Forward { range } => self.apply_forward(key, *range),
            Change::Forwarded { arrived } => self.apply_forwarded(key, *arrived, effects),
        }
    }

    pub(super) fn subscription_mut(
        &mut self,
        key: SubscriptionKey,
    ) -> Result<&mut Subscription, Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)
    }

    pub(super) fn apply_subscribe(
        &mut self,
        (queue, subscription): SubscriptionKey,
        name: &str,
        from: Offset,
    ) -> Result<(), Misfit> {
        let now = self.clock.log;
        let key = (queue, subscription);
        let queue = self.queues.get_mut(queue).ok_or(NO_QUEUE)?;
        if queue.next_subscription != subscription {
            return Err("the number of the subscription is not the next one");
        }
        if queue.find(name).is_some() {
            return Err("a subscription of that name exists");
        }
        if from < queue.start || from > queue.end {
            return Err(OUTSIDE);
        }
        let end = queue.end;
        if queue.subscriptions.is_empty() {
            // It may begin behind messages that nobody needs any more.
            queue.begin_first(from);
        }
        let new = queue.subscribe(now, name, from);
        let due = new.next_due();
        self.counts.enter(new, end);
        self.counts.messages -= queue.advance_start();
        queue.forget_scheduled(now);
        self.move_due(key, None, due);
        Ok(())
    }

    fn apply_pause(
        &mut self,
        key: SubscriptionKey,
        reason: Option<&str>,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let since = self.clock.log;
        let pause = reason.map(|reason| Pause {
            reason: reason.to_owned(),
            since,
        });
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let subscription = queue.any_subscription_mut(key.1);
        subscription.ok_or(NO_SUBSCRIPTION)?.pause = pause;
        effects.ready.push(key);
        Ok(())
    }

    fn apply_return(
        &mut self,
        lsn: Lsn,
        key: SubscriptionKey,
        (aside, ranges): (Aside, &[OffsetRange]),
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let queue_end = self.queues.get(key.0).ok_or(NO_QUEUE)?.end;
        let back = Comeback { lsn, queue_end };
        for range in ranges {
            if !self.subscription_mut(key)?.bring_back(aside, *range, back) {
                return Err("a message was not set aside");
            }
            *self.counts.aside_mut(aside) -= u64::from(range.count);
            self.counts.ready += u64::from(range.count);
            self.expire_lapsed(key, *range, effects)?;
        }
        self.subscription_mut(key)?.assert_counts();
        effects.ready.push(key);
        Ok(())
    }

    fn apply_purge(
        &mut self,
        key: SubscriptionKey,
        states: PurgeStates,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let end = self.queues.get(key.0).ok_or(NO_QUEUE)?.end;
        self.finish_in(key, (end, states, Undelivered::Purged), effects)?;
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        self.counts.messages -= queue.advance_start();
        queue.forget_scheduled(self.clock.log);
        Ok(())
    }

    fn apply_seek(
        &mut self,
        key: SubscriptionKey,
        from: Offset,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        self.end_leases_of(key, effects);
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        if from < queue.start || from > queue.end {
            return Err(OUTSIDE);
        }
        let end = queue.end;
        let subscription = queue.subscription(key.1).ok_or(NO_SUBSCRIPTION)?;
        let due = subscription.next_due();
        self.counts.leave(subscription, end);
        queue
            .seek(self.clock.log, key.1, from)
            .ok_or(NO_SUBSCRIPTION)?;
        let subscription = queue.subscription(key.1).ok_or(NO_SUBSCRIPTION)?;
        let due_after = subscription.next_due();
        self.counts.enter(subscription, end);
        self.counts.messages -= queue.advance_start();
        queue.forget_scheduled(self.clock.log);
        self.move_due(key, due, due_after);
        effects.ready.push(key);
        Ok(())
    }

    fn apply_unsubscribe(
        &mut self,
        key: SubscriptionKey,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        self.end_leases_of(key, effects);
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        if queue.end_broadcast(key.1).is_some() {
            self.counts.subscriptions -= 1;
            return Ok(());
        }
        let (gone, moved) = queue.unsubscribe(key.1).ok_or(NO_SUBSCRIPTION)?;
        self.counts.leave(&gone, queue.end);
        self.counts.messages -= moved;
        queue.forget_scheduled(self.clock.log);
        self.move_due(key, gone.next_due(), None);
        Ok(())
    }

    /// The leases of a subscription end, whatever they hold.
    fn end_leases_of(&mut self, key: SubscriptionKey, effects: &mut Effects) {
        let dropped = self.leases.drop_where(|of| of == key);
        effects
            .ended
            .extend(dropped.iter().map(|(lease, _)| *lease));
        effects.freed.extend(dropped);
    }

    pub(super) fn apply_delete(
        &mut self,
        id: QueueId,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let queue = self.queues.delete(id).ok_or(NO_QUEUE)?;
        self.move_queue_expiry(id, queue.next_expiry(), None);
        let dropped = self.leases.drop_where(|key| key.0 == id);
        effects
            .ended
            .extend(dropped.into_iter().map(|(lease, _)| lease));
        self.producers.forget(id);
        for subscription in &queue.subscriptions {
            let key = (id, subscription.id);
            self.move_due(key, subscription.next_due(), None);
            self.counts.leave(subscription, queue.end);
        }
        self.counts.subscriptions -= queue.broadcasts.len();
        self.counts.messages -= queue.end.0 - queue.start.0;
        Ok(())
    }
}

impl Counts {
    /// A subscription of a queue that ends at `end` counts from now on.
    pub(crate) fn enter(&mut self, subscription: &Subscription, end: Offset) {
        self.subscriptions += 1;
        self.enqueued += subscription.enqueued(end);
        self.ready += subscription.ready(end);
        self.leased += subscription.leased;
        self.delayed += subscription.delayed_count;
        self.dead += subscription.dead_count();
        self.parked += subscription.parked.count();
        self.acked += subscription.finished.acked;
        self.expired += subscription.finished.expired;
        self.purged += subscription.finished.purged;
    }

    /// It counts no more.
    pub(super) fn leave(&mut self, subscription: &Subscription, end: Offset) {
        self.subscriptions -= 1;
        self.enqueued -= subscription.enqueued(end);
        self.ready -= subscription.ready(end);
        self.leased -= subscription.leased;
        self.delayed -= subscription.delayed_count;
        self.dead -= subscription.dead_count();
        self.parked -= subscription.parked.count();
        self.acked -= subscription.finished.acked;
        self.expired -= subscription.finished.expired;
        self.purged -= subscription.finished.purged;
    }
}

const OUTSIDE: Misfit = "the subscription begins outside the queue";
