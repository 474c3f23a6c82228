//! Subscriptions that nothing is kept for: they stand beside those that messages are kept for, and have no message in
//! any state.

use corelane_wire::{Contract, Offset, SubscriptionConfig};

use super::queue::Queue;
use super::subscription::Subscription;
use super::{Misfit, NO_QUEUE, NO_SUBSCRIPTION, State, SubscriptionKey};
use crate::ids::SubscriptionId;

impl Subscription {
    /// Whether messages are kept for it.
    pub(crate) fn is_kept_for(&self) -> bool {
        self.config.contract != Contract::Broadcast
    }

    /// The end of what it is there for.
    pub(crate) fn end_of(&self, queue: &Queue) -> Offset {
        if self.is_kept_for() {
            queue.end
        } else {
            self.begin
        }
    }
}

impl Queue {
    /// The subscription with this number, whatever is kept for it, to change what it is but not what it has.
    pub(super) fn any_subscription_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        let broadcast = self.broadcasts.iter().position(|it| it.id == id);
        match broadcast {
            Some(at) => self.broadcasts.get_mut(at),
            None => self.subscription_mut(id),
        }
    }

    /// Nothing is kept for a subscription any more. Where it was the only one, what was kept for it still is, for the
    /// next first one.
    fn cease_to_keep(&mut self, id: SubscriptionId) -> Option<Subscription> {
        if self.subscriptions.len() > 1 {
            self.pass_by(id, self.end)?;
        }
        let at = self.subscriptions.iter().position(|it| it.id == id)?;
        Some(self.subscriptions.remove(at))
    }

    /// Takes out a subscription that nothing was kept for.
    pub(super) fn end_broadcast(&mut self, id: SubscriptionId) -> Option<Subscription> {
        let at = self.broadcasts.iter().position(|it| it.id == id)?;
        Some(self.broadcasts.remove(at))
    }
}

impl State {
    /// A subscription that is as it began becomes a broadcast.
    pub(super) fn apply_broadcast(
        &mut self,
        key: SubscriptionKey,
        config: SubscriptionConfig,
    ) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let end = queue.end;
        let before = queue.cease_to_keep(key.1).ok_or(NO_SUBSCRIPTION)?;
        self.counts.leave(&before, end);
        self.counts.subscriptions += 1;
        let due = before.next_due();
        queue.broadcasts.push(Subscription {
            config,
            pause: before.pause,
            ..Subscription::new(before.id, before.name, end)
        });
        queue.broadcasts.sort_unstable_by_key(|it| it.id);
        self.counts.messages -= queue.advance_start();
        queue.forget_scheduled(self.clock.log);
        self.move_due(key, due, None);
        Ok(())
    }
}
