//! Messages that are finished without a delivery: purged in one subscription, or trimmed from the beginning of a queue.

use corelane_wire::{Aside, Offset, OffsetRange, PurgeStates};

use super::queue::Queue;
use super::subscription::{Fragment, Subscription};
use super::waiting::Undelivered;
use super::{Effects, Misfit, NO_QUEUE, NO_SUBSCRIPTION, State, SubscriptionKey};
use crate::ids::QueueId;
use crate::record::Trimmed;

impl Subscription {
    /// Takes the messages before `end` out that are ready, by offset.
    pub(super) fn take_ready(&mut self, end: Offset) -> Vec<(Offset, Fragment)> {
        let mut taken = Vec::new();
        while let Some((first, fragment)) = self.first_returned().filter(|(it, _)| *it < end) {
            let left = fragment.count.min(end.0 - first.0);
            let count = u32::try_from(left).unwrap_or(u32::MAX);
            self.cut_returned(OffsetRange { first, count });
            let count = count.into();
            taken.push((first, Fragment { count, ..fragment }));
        }
        let unread = self.unread(end).map(|(first, to)| {
            let count = to.0 - first.0;
            (first, Fragment { count, attempts: 0 })
        });
        taken.extend(unread);
        if self.cursor < end {
            self.move_cursor(end);
        }
        taken
    }

    /// The first messages that were given out before and are ready again.
    fn first_returned(&self) -> Option<(Offset, Fragment)> {
        let returned = self.returned.first();
        let returned = returned.map(|(first, fragment)| (*first, *fragment));
        let behind = self.behind.rows().first();
        let behind = behind.map(|(first, row)| (*first, row.fragment));
        let both = returned.into_iter().chain(behind);
        both.min_by_key(|(first, _)| *first)
    }

    /// Takes the messages before `end` out that are delayed.
    fn take_delayed(&mut self, end: Offset) -> Vec<(Offset, Offset)> {
        let before = self.delayed.iter();
        let before = before.filter(|((_, first), _)| *first < end);
        let before: Vec<_> = before.map(|(key, fragment)| (*key, *fragment)).collect();
        let mut taken = Vec::with_capacity(before.len());
        for ((due, first), fragment) in before {
            self.delayed.remove(&(due, first));
            let to = Offset(first.0 + fragment.count);
            self.failed.cut((due, first), [(end, to), (to, to)]);
            if end < to {
                let count = to.0 - end.0;
                let rest = Fragment { count, ..fragment };
                self.delayed.insert((due, end), rest);
            }
            let to = to.min(end);
            self.delayed_count -= to.0 - first.0;
            taken.push((first, to));
        }
        taken
    }

    /// Takes the messages before `end` out that were set aside.
    fn take_aside(&mut self, aside: Aside, end: Offset) -> Vec<(Offset, Offset)> {
        let set = self.aside_mut(aside);
        let within = set.within(Offset(0), end);
        let within: Vec<_> = within.map(|(first, to, _)| (first, to)).collect();
        for (first, to) in &within {
            set.take(*first, to.0 - first.0);
        }
        within
    }

    /// Messages before `end` that are in these states are done without a delivery; returns them. What is leased, or under
    /// way to a dead-letter queue, stays.
    pub(super) fn finish_before(
        &mut self,
        end: Offset,
        states: PurgeStates,
        how: Undelivered,
    ) -> Vec<(Offset, Offset)> {
        let mut ranges = Vec::new();
        if states.waiting {
            let ready = self.take_ready(end).into_iter();
            ranges.extend(ready.map(|(first, of)| (first, Offset(first.0 + of.count))));
            ranges.extend(self.take_delayed(end));
        }
        for (aside, is_meant) in [(Aside::Parked, states.parked), (Aside::Dead, states.dead)] {
            if is_meant {
                ranges.extend(self.take_aside(aside, end));
            }
        }
        self.end_undelivered(how, &ranges);
        ranges
    }

    /// Whether a message before `end` could be finished without a delivery.
    pub(crate) fn has_before(&self, end: Offset) -> bool {
        let aside = [&self.dead, &self.parked];
        let aside = aside
            .into_iter()
            .filter_map(|set| Some(*set.rows().first()?.0));
        let returned = self.first_returned().map(|(first, _)| first);
        let mut firsts = aside.chain(returned).chain([self.cursor]);
        let mut delayed = self.delayed.iter();
        self.done < end
            && (firsts.any(|first| first < end) || delayed.any(|((_, first), _)| *first < end))
    }
}

impl Queue {
    /// Messages before `end` are not kept any more but for those that some subscription is not done with; returns how far
    /// `start` moved.
    fn trim(&mut self, end: Offset) -> u64 {
        if let Some(from) = self.retained_from {
            self.retain_from(Some(from.max(end)));
        }
        if !self.subscriptions.is_empty() {
            return self.advance_start();
        }
        let before = self.start;
        self.kill_all(self.live_between(before, end));
        self.start = before.max(end);
        self.forget_lapsed();
        self.start.0 - before.0
    }
}

impl State {
    /// The oldest messages of a queue make way, but for what is leased or under way to a dead-letter queue.
    pub(super) fn apply_trim(
        &mut self,
        id: QueueId,
        (end, how): (Offset, Trimmed),
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let now = self.clock.log;
        let queue = self.queues.get(id).ok_or(NO_QUEUE)?;
        if end > queue.end {
            return Err("the queue ends before");
        }
        let subscriptions: Vec<_> = queue.subscriptions.iter().map(|of| of.id).collect();
        for subscription in subscriptions {
            let key = (id, subscription);
            match how {
                Trimmed::Gone => self.finish_in(key, (end, ALL, Undelivered::Expired), effects)?,
                Trimmed::Dead => self.bury_in(key, end, effects)?,
            }
        }
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        self.counts.messages -= match how {
            Trimmed::Gone => queue.trim(end),
            Trimmed::Dead => queue.advance_start(),
        };
        queue.forget_scheduled_before(now, end);
        Ok(())
    }

    /// Messages of a subscription before an offset that are in these states are done without a delivery.
    pub(super) fn finish_in(
        &mut self,
        key: SubscriptionKey,
        (end, states, how): (Offset, PurgeStates, Undelivered),
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let queue_end = queue.end;
        let subscription = queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
        let due = subscription.next_due();
        self.counts.leave(subscription, queue_end);
        let finished = subscription.finish_before(end, states, how);
        subscription.assert_counts();
        self.counts.enter(subscription, queue_end);
        let due_after = subscription.next_due();
        for &(first, end) in &finished {
            effects.change(key, subscription, first, end);
        }
        for (first, end) in finished {
            queue.done_in(key.1, first, end);
        }
        self.move_due(key, due, due_after);
        // It may not be too scattered for new messages any more.
        effects.ready.push(key);
        Ok(())
    }
}

const ALL: PurgeStates = PurgeStates {
    waiting: true,
    parked: true,
    dead: true,
};
