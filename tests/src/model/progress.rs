//! What the engine must do by itself, and when.

use super::reference::state::Key;
use super::reference::{Model, Status};

impl Model {
    /// What the last answer that waits for a commit waits for.
    pub(super) fn last_gated(&self) -> Option<u64> {
        self.gate.back().map(|(end, ..)| *end)
    }

    /// When the engine must be woken at the latest, in node time.
    pub(super) fn deadline(&self) -> Option<u64> {
        if self.status != Status::Serving {
            return None;
        }
        let can_end = !self.is_withheld && self.loading.is_empty();
        let waits = self.waiters.iter().filter(|_| can_end).map(|it| it.until);
        let lost = self.lost.values().copied();
        let in_log_time = self.state.due().into_iter().chain(lost);
        let in_node_time = in_log_time.map(|time| time + self.held_back);
        waits.chain(in_node_time).min()
    }

    /// Subscriptions of which something must be given out in a turn that ends now.
    pub(super) fn must_be_served(&self) -> Vec<Key> {
        let mut keys = self.keys();
        let is_held_up = |key: &Key| self.is_withheld || self.loading.contains(&key.0);
        keys.retain(|key| !is_held_up(key) && self.is_wanted(*key) && !self.ready(*key).is_empty());
        keys
    }

    fn is_wanted(&self, key: Key) -> bool {
        let waits = self.waiters.iter().any(|waiter| waiter.key == key);
        let mut consumers = self.consumers.iter().filter(|it| it.key == key);
        waits
            || consumers.any(|consumer| {
                !self.unwritable.contains(&consumer.connection)
                    && self.held(consumer) < consumer.credit
            })
    }
}
