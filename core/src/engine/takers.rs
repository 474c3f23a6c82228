//! Who takes messages: a dequeue that waits, or a consumer that is subscribed.

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::{ConsumerId, Offset, SessionId, Timestamp};

use super::Requester;
use crate::ids::ConnectionId;
use crate::state::SubscriptionKey;

/// A number that grows with every arrival: names waiters and consumers, and orders those that wait.
pub(super) type Serial = u64;

/// A dequeue that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    /// Whose answer it is.
    pub(super) from: Requester,
    /// Where from.
    pub(super) key: SubscriptionKey,
    /// How many messages at most.
    pub(super) count: u32,
    /// For how long.
    pub(super) lease_ms: u32,
    /// Until when it waits, in node time.
    pub(super) deadline: Timestamp,
}

/// A subscribed consumer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consumer {
    /// Its connection.
    pub(super) connection: ConnectionId,
    /// Its number on the connection.
    pub(super) id: ConsumerId,
    /// For whom its leases are held.
    pub(super) session: SessionId,
    /// Where from.
    pub(super) key: SubscriptionKey,
    /// How many messages it is willing to hold.
    pub(super) credit: u32,
    /// For how long.
    pub(super) lease_ms: u32,
    /// How many messages it holds.
    pub(super) held: u32,
    /// Of a broadcast: the next message that it gets.
    pub(super) next: Offset,
    /// Of a broadcast: it got all that there is, until there is more.
    pub(super) is_level: bool,
    /// Its place among those that want messages.
    pub(super) rank: Option<Serial>,
}

/// Who takes from one subscription.
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// Dequeues in the order of their arrival.
    pub(super) waiters: BTreeSet<Serial>,
    /// Those that want messages, by rank.
    pub(super) ranks: BTreeMap<Serial, Serial>,
    /// Those of a broadcast that got all that there is.
    pub(super) level: BTreeSet<Serial>,
    /// All, whether they want messages or not, in the order of their arrival.
    pub(super) consumers: BTreeSet<Serial>,
}

/// Who gets the next messages of a subscription.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taker {
    /// A waiting dequeue.
    Waiter(Serial, Waiter),
    /// A consumer, and how many messages it still wants.
    Consumer(Serial, Consumer, u32),
}

impl Consumer {
    /// A consumer that holds nothing.
    pub(super) const fn new(
        from: Requester,
        id: ConsumerId,
        key: SubscriptionKey,
        credit: u32,
        lease_ms: u32,
    ) -> Self {
        Self {
            connection: from.connection,
            id,
            session: from.session,
            key,
            credit,
            lease_ms,
            held: 0,
            next: Offset(0),
            is_level: false,
            rank: None,
        }
    }
}

impl Audience {
    /// Whether somebody wants messages.
    pub(super) fn is_wanting(&self) -> bool {
        !self.waiters.is_empty() || !self.ranks.is_empty()
    }

    /// Whether somebody would take what comes next.
    pub(super) fn would_want(&self) -> bool {
        self.is_wanting() || !self.level.is_empty()
    }

    /// Whether nobody is there.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.consumers.is_empty()
    }
}
