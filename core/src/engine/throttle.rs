//! How fast a subscription with a bound gives messages out. Nothing of it is replicated: a start begins anew.
//!
//! The generic cell rate algorithm (ITU-T I.371, virtual scheduling): each message moves the theoretical time of the next
//! one on by the interval between two, and that time may be ahead of now by the burst.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corelane_wire::Timestamp;

use crate::state::SubscriptionKey;

/// Subscriptions with a bound.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// The theoretical time of the next message.
    next: BTreeMap<SubscriptionKey, Timestamp>,
    /// Those that may give out again at an instant of node time.
    waiting: BTreeSet<(Timestamp, SubscriptionKey)>,
}

impl Throttle {
    /// How many messages a subscription may give out now.
    pub(super) fn allowance(&self, key: SubscriptionKey, rate: u32, now: Timestamp) -> u64 {
        let interval = interval(rate);
        let next = self.next.get(&key).map_or(now, |next| now.max(*next));
        let room = now.add(burst(rate)).since(next);
        // The first message of an interval may go at its beginning.
        u64::try_from(room.as_nanos() / interval.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Messages were given out.
    pub(super) fn take(&mut self, key: SubscriptionKey, rate: u32, now: Timestamp, count: u32) {
        let next = self.next.entry(key).or_insert(now);
        *next = now.max(*next).add(interval(rate) * count);
    }

    /// The subscription wants to give out more than it may: it is told when it may again.
    pub(super) fn wait(&mut self, key: SubscriptionKey, rate: u32, now: Timestamp) {
        let next = self.next.get(&key).map_or(now, |next| now.max(*next));
        let due = next.add(interval(rate)).sub(burst(rate));
        self.waiting.insert((due.max(now), key));
    }

    /// When the first may give out again.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The next subscription that may give out again by now.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<SubscriptionKey> {
        self.waiting.first().filter(|(due, _)| *due <= now)?;
        let (_, key) = self.waiting.pop_first()?;
        Some(key)
    }

    /// These subscriptions have gone.
    pub(super) fn forget(&mut self, is_gone: impl Fn(SubscriptionKey) -> bool) {
        self.next.retain(|key, _| !is_gone(*key));
        self.waiting.retain(|(_, key)| !is_gone(*key));
    }
}

/// The time between two messages; a rate beyond one a nanosecond is none.
fn interval(rate: u32) -> Duration {
    (Duration::from_secs(1) / rate.max(1)).max(Duration::from_nanos(1))
}

/// How far ahead of the rate a subscription may be: what it gives out at once after a pause.
fn burst(rate: u32) -> Duration {
    BURST.max(interval(rate))
}

/// A tenth of a second's messages, or one.
const BURST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
