//! How many messages of a queue wait, and what becomes of the oldest when there are too many.

use corelane_wire::{AsideCause, Contract, Offset, PurgeStates, SessionId, Timestamp};

use super::aside::SetAside;
use super::queue::Queue;
use super::subscription::{Fragment, Subscription};
use super::waiting::Undelivered;
use super::{Effects, Misfit, State, SubscriptionKey};

impl Subscription {
    /// Messages that are ready, delayed or leased, out of a queue that ends at `queue_end`.
    pub(crate) const fn waiting(&self, queue_end: Offset) -> u64 {
        self.ready(queue_end) + self.delayed_count + self.leased
    }

    /// Where the first so many messages end that are ready, or also delayed.
    pub(crate) fn end_of_first(
        &self,
        mut count: u64,
        with_delayed: bool,
        queue_end: Offset,
    ) -> Offset {
        let returned = self.returned.iter();
        let returned = returned.map(|(first, of)| (*first, of.count));
        let behind = self.behind.rows().iter();
        let behind = behind.map(|(first, row)| (*first, row.fragment.count));
        let delayed = self.delayed.iter().filter(|_| with_delayed);
        let delayed = delayed.map(|((_, first), of)| (*first, of.count));
        let unread = self.unread(queue_end);
        let unread = unread.map(|(first, end)| (first, end.0 - first.0));
        let mut pieces: Vec<_> = returned.chain(behind).chain(delayed).collect();
        pieces.extend(unread);
        pieces.sort_unstable();
        let mut end = Offset(0);
        for (first, of) in pieces {
            if count == 0 {
                break;
            }
            end = Offset(first.0 + of.min(count));
            count -= of.min(count);
        }
        end
    }

    /// What is ready before `end` is dead; returns it.
    fn bury_before(&mut self, end: Offset, now: Timestamp) -> Vec<(Offset, Offset)> {
        let taken = self.take_ready(end);
        let buried = taken
            .into_iter()
            .map(|(first, Fragment { count, attempts })| {
                let row = SetAside {
                    count,
                    attempts,
                    cause: AsideCause::Overflow,
                    since: now,
                    leased: Timestamp(0),
                    session: SessionId::default(),
                    text: "".into(),
                };
                self.dead.put(first, row);
                (first, Offset(first.0 + count))
            });
        buried.collect()
    }
}

impl Queue {
    /// How many messages wait or are leased: those of the subscription that has the most. Without one, everything waits
    /// for the first.
    pub(crate) fn waiting(&self) -> u64 {
        let subscriptions = self.subscriptions.iter();
        let waiting = subscriptions.map(|of| of.waiting(self.end)).max();
        waiting.unwrap_or(self.end.0 - self.start.0)
    }

    /// Whether so many wait that producers are to slow down.
    pub(crate) fn slows_down(&self) -> bool {
        let at = self.config.slow_down_at;
        at > 0 && self.waiting() >= at
    }
}

impl State {
    /// What is ready in a subscription before an offset is dead; in a reader, where nothing can be, it is done.
    pub(super) fn bury_in(
        &mut self,
        key: SubscriptionKey,
        end: Offset,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let now = self.clock.log;
        let subscription = self.subscription_mut(key)?;
        if subscription.config.contract == Contract::Reader {
            return self.finish_in(key, (end, WAITING, Undelivered::Expired), effects);
        }
        let buried = subscription.bury_before(end, now);
        subscription.assert_counts();
        for &(first, end) in &buried {
            effects.change(key, subscription, first, end);
        }
        let count: u64 = buried.iter().map(|(first, end)| end.0 - first.0).sum();
        self.counts.ready -= count;
        self.counts.dead += count;
        effects.ready.push(key);
        Ok(())
    }
}

const WAITING: PurgeStates = PurgeStates {
    waiting: true,
    parked: false,
    dead: false,
};
