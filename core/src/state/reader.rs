//! What is read rather than leased: a reader's subscription knows up to where everything is read for good.
//!
//! ```text
//!      done            between              unread           (end of the queue)
//!  ------------|-------------------------|-------------------->
//!         the checkpoint   done · returned   cursor
//! ```
//! Nothing is leased, delayed or set aside, and what is returned was never given out: it stands between what was gone
//! when the subscription began.

use corelane_wire::{Contract, Offset, OffsetRange, SubscriptionConfig};

use super::subscription::Subscription;
use super::{Misfit, NO_QUEUE, NO_SUBSCRIPTION, State, SubscriptionKey};

impl Subscription {
    /// Whether messages that are due later are delayed: a log is read in its order.
    pub(crate) fn delays(&self) -> bool {
        self.config.contract != Contract::Reader
    }

    /// Whether it may promise this from now on: only what is as it began becomes a reader or a broadcast, or ceases to be
    /// a reader; a broadcast is one for ever.
    pub(crate) fn may_become(&self, contract: Contract) -> bool {
        let aside = self.dead_count() + self.parked.count();
        let is_untouched = self.leased + aside == 0 && self.finished.all() == 0;
        match (self.config.contract, contract) {
            (Contract::Broadcast, _) => contract == Contract::Broadcast,
            // What was gone when it began is so for the queue only while others say so.
            (_, Contract::Broadcast) => is_untouched && self.gone == 0,
            (before, after) => {
                let is_reader = |contract| contract == Contract::Reader;
                is_untouched || is_reader(before) == is_reader(after)
            }
        }
    }

    /// What is not finished from `from` to `end`, as ranges, ends exclusive.
    pub(crate) fn unfinished(
        &self,
        from: Offset,
        end: Offset,
    ) -> impl Iterator<Item = (Offset, Offset)> {
        let mut next = from;
        std::iter::from_fn(move || {
            next = self.done_end(next).unwrap_or(next);
            let to = self.next_done_after(next).unwrap_or(end).min(end);
            let first = std::mem::replace(&mut next, to);
            (first < to).then_some((first, to))
        })
    }

    /// Everything before `end` is read for good; returns what was not before.
    fn read_to(&mut self, end: Offset) -> Vec<(Offset, Offset)> {
        let mut read = Vec::new();
        while let Some((&first, fragment)) = self.returned.first()
            && first < end
        {
            let left = fragment.count.min(end.0 - first.0);
            let count = u32::try_from(left).unwrap_or(u32::MAX);
            let range = OffsetRange { first, count };
            self.cut_returned(range);
            read.push((first, range.end()));
        }
        if self.cursor < end {
            read.push((self.cursor, end));
            self.cursor = end;
        }
        for &(first, end) in &read {
            self.finished.acked += end.0 - first.0;
            self.mark_done(first, end);
        }
        self.assert_counts();
        read
    }
}

impl State {
    /// Moves the checkpoint of a reader.
    pub(super) fn apply_read(
        &mut self,
        key: SubscriptionKey,
        ranges: &[OffsetRange],
    ) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        for range in ranges {
            if range.end() > queue.end {
                return Err("a message is not there to be read");
            }
            let subscription = queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
            for (first, end) in subscription.read_to(range.end()) {
                self.counts.ready -= end.0 - first.0;
                self.counts.acked += end.0 - first.0;
                queue.done_in(key.1, first, end);
            }
        }
        self.counts.messages -= queue.advance_start();
        Ok(())
    }

    /// Replaces a subscription's configuration. One that becomes a reader, or ceases to be one, begins anew where it
    /// began: then nothing is delayed any more, or what is not due yet is.
    pub(super) fn apply_configure(
        &mut self,
        key: SubscriptionKey,
        config: SubscriptionConfig,
    ) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let end = queue.end;
        let subscription = queue.any_subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
        if !subscription.may_become(config.contract) {
            return Err("the subscription is not as it began");
        }
        if subscription.is_kept_for() && config.contract == Contract::Broadcast {
            return self.apply_broadcast(key, config);
        }
        let delayed = subscription.delays();
        subscription.config = config;
        if config.contract == Contract::KeyOrdered {
            subscription.bring_to_front();
        }
        if delayed == subscription.delays() {
            return Ok(());
        }
        let (from, due) = (subscription.begin, subscription.next_due());
        self.counts.leave(subscription, end);
        queue
            .seek(self.clock.log, key.1, from)
            .ok_or(NO_SUBSCRIPTION)?;
        let subscription = queue.subscription(key.1).ok_or(NO_SUBSCRIPTION)?;
        let due_after = subscription.next_due();
        self.counts.enter(subscription, end);
        self.move_due(key, due, due_after);
        Ok(())
    }
}
