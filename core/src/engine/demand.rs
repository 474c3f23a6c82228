//! Who wants messages: waiting dequeues and subscribed consumers. Nothing of it is replicated.
//!
//! Invariants: (D1) a taker stands in its subscription's audience exactly while it may be given messages: a waiter
//! always, a consumer while its connection is writable, its credit exceeds what it holds, and it is not level.
//! (D2) a consumer holds what the leases given to it hold, or what it got of a reader and has not read for good. (D3) `active` contains every subscription that has a taker
//! and may have messages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use corelane_wire::{ConsumerId, LeaseId, Offset, Timestamp};

use super::Requester;
use super::takers::Audience;
pub(super) use super::takers::{Consumer, Serial, Taker, Waiter};
use crate::ids::{ConnectionId, QueueId, SubscriptionId};
use crate::state::{Effects, SubscriptionKey};

/// All takers of a partition.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Subscriptions that may have a message for a taker.
    pub(super) active: BTreeSet<SubscriptionKey>,
    /// The subscription that was served last; the next one goes first.
    pub(super) last_served: SubscriptionKey,
    waiters: BTreeMap<Serial, Waiter>,
    wait_ends: BTreeSet<(Timestamp, Serial)>,
    waiters_of: BTreeSet<(ConnectionId, Serial)>,
    consumers: BTreeMap<Serial, Consumer>,
    consumers_of: BTreeMap<(ConnectionId, ConsumerId), Serial>,
    audiences: BTreeMap<SubscriptionKey, Audience>,
    blocked: BTreeSet<ConnectionId>,
    holders: BTreeMap<LeaseId, Serial>,
    next: Serial,
}

impl Demand {
    /// Adds a dequeue behind those that wait already.
    pub(super) fn wait(&mut self, waiter: Waiter) {
        let serial = self.serial();
        self.waiters.insert(serial, waiter);
        self.wait_ends.insert((waiter.deadline, serial));
        self.waiters_of.insert((waiter.from.connection, serial));
        self.audience(waiter.key).waiters.insert(serial);
        self.active.insert(waiter.key);
    }

    /// The first dequeue behind `last` whose deadline has come.
    pub(super) fn due_wait(
        &self,
        now: Timestamp,
        last: Option<(Timestamp, Serial)>,
    ) -> Option<(Serial, Waiter)> {
        let begin = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.wait_ends.range((begin, Bound::Unbounded));
        let &(_, serial) = behind.next().filter(|(deadline, _)| *deadline <= now)?;
        let waiter = self.waiters.get(&serial)?;
        Some((serial, *waiter))
    }

    /// When the first wait ends.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.wait_ends.first().map(|&(deadline, _)| deadline)
    }

    /// Adds a consumer; its connection must not have one of that number.
    pub(super) fn listen(&mut self, consumer: Consumer) {
        let serial = self.serial();
        let before = self
            .consumers_of
            .insert((consumer.connection, consumer.id), serial);
        assert!(before.is_none(), "two consumers with one number");
        self.audience(consumer.key).consumers.insert(serial);
        self.consumers.insert(serial, consumer);
        self.refresh(serial);
    }

    /// Whether the connection has a consumer of that number.
    pub(super) fn listens(&self, connection: ConnectionId, id: ConsumerId) -> bool {
        self.consumers_of.contains_key(&(connection, id))
    }

    /// Where a consumer takes from.
    pub(super) fn key_of(
        &self,
        connection: ConnectionId,
        id: ConsumerId,
    ) -> Option<SubscriptionKey> {
        let serial = self.consumers_of.get(&(connection, id))?;
        Some(self.consumers.get(serial)?.key)
    }

    /// Whether the connection has a consumer of a subscription.
    pub(super) fn has_consumer_of(&self, connection: ConnectionId, key: SubscriptionKey) -> bool {
        let serials = self.consumers_on(connection).into_iter();
        let mut consumers = serials.filter_map(|serial| self.consumers.get(&serial));
        consumers.any(|consumer| consumer.key == key)
    }

    /// Sets a consumer's credit; false if there is none.
    pub(super) fn set_credit(
        &mut self,
        connection: ConnectionId,
        id: ConsumerId,
        credit: u32,
    ) -> bool {
        let Some(&serial) = self.consumers_of.get(&(connection, id)) else {
            return false;
        };
        if let Some(consumer) = self.consumers.get_mut(&serial) {
            consumer.credit = credit;
        }
        self.refresh(serial);
        true
    }

    /// Ends a consumer; false if there is none. Its leases stay.
    pub(super) fn unsubscribe(&mut self, connection: ConnectionId, id: ConsumerId) -> bool {
        let serial = self.consumers_of.get(&(connection, id)).copied();
        serial.is_some_and(|serial| self.remove_consumer(serial))
    }

    /// Ends everything of a connection.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        self.blocked.remove(&connection);
        for serial in self.waiters_on(connection) {
            self.remove_waiter(serial);
        }
        for serial in self.consumers_on(connection) {
            self.remove_consumer(serial);
        }
    }

    /// Lets pushes to a connection go, or withholds them.
    pub(super) fn set_writable(&mut self, connection: ConnectionId, writable: bool) {
        let changed = if writable {
            self.blocked.remove(&connection)
        } else {
            self.blocked.insert(connection)
        };
        if !changed {
            return;
        }
        for serial in self.consumers_on(connection) {
            self.refresh(serial);
        }
    }

    /// Ends everything that concerns a queue; returns the dequeues that waited.
    pub(super) fn forget_queue(&mut self, queue: QueueId) -> Vec<Requester> {
        self.forget(|key| key.0 == queue)
    }

    /// Ends everything that concerns a subscription; returns the dequeues that waited.
    pub(super) fn forget_subscription(&mut self, key: SubscriptionKey) -> Vec<Requester> {
        self.forget(|of| of == key)
    }

    fn forget(&mut self, is_gone: impl Fn(SubscriptionKey) -> bool) -> Vec<Requester> {
        let consumers = self.consumers.iter();
        let listening = consumers.filter(|(_, consumer)| is_gone(consumer.key));
        let listening: Vec<Serial> = listening.map(|(&serial, _)| serial).collect();
        for serial in listening {
            self.remove_consumer(serial);
        }
        self.end_waits(is_gone)
    }

    /// Ends the dequeues that wait for messages of a subscription; returns whose they were.
    pub(super) fn end_waits_for(&mut self, key: SubscriptionKey) -> Vec<Requester> {
        self.end_waits(|of| of == key)
    }

    /// Ends the dequeues that wait for messages of a queue; returns whose they were.
    pub(super) fn end_waits_in(&mut self, queue: QueueId) -> Vec<Requester> {
        self.end_waits(|key| key.0 == queue)
    }

    fn end_waits(&mut self, is_gone: impl Fn(SubscriptionKey) -> bool) -> Vec<Requester> {
        let waiting = self.waiters.iter();
        let waiting: Vec<Serial> = waiting
            .filter(|(_, waiter)| is_gone(waiter.key))
            .map(|(&serial, _)| serial)
            .collect();
        let ended = waiting.into_iter();
        let ended = ended.filter_map(|serial| self.remove_waiter(serial));
        ended.map(|waiter| waiter.from).collect()
    }

    /// Ends everything; returns the dequeues that waited.
    pub(super) fn clear(&mut self) -> Vec<Requester> {
        let all = std::mem::take(self);
        all.waiters
            .into_values()
            .map(|waiter| waiter.from)
            .collect()
    }

    /// Learns what a record did.
    pub(super) fn absorb(&mut self, effects: &Effects) {
        for &(lease, count) in &effects.freed {
            let Some(&serial) = self.holders.get(&lease) else {
                continue;
            };
            self.release(serial, count);
        }
        for lease in &effects.ended {
            self.holders.remove(lease);
        }
        for &key in &effects.ready {
            self.activate(key);
        }
    }

    /// A queue has messages that it had not before.
    pub(super) fn activate_queue(&mut self, queue: QueueId) {
        for serial in self.level_in(queue) {
            if let Some(consumer) = self.consumers.get_mut(&serial) {
                consumer.is_level = false;
            }
            self.refresh(serial);
        }
        for (&key, audience) in self.audiences.range(subscriptions_of(queue)) {
            if audience.is_wanting() {
                self.active.insert(key);
            }
        }
    }

    /// Whether somebody wants messages of a queue.
    pub(super) fn wants_queue(&self, queue: QueueId) -> bool {
        let mut audiences = self.audiences.range(subscriptions_of(queue));
        audiences.any(|(_, audience)| audience.would_want())
    }

    /// Takes out the consumers of broadcasts that had all there was.
    fn level_in(&mut self, queue: QueueId) -> Vec<Serial> {
        let audiences = self.audiences.range_mut(subscriptions_of(queue));
        let level = audiences.flat_map(|(_, audience)| std::mem::take(&mut audience.level));
        level.collect()
    }

    /// A consumer of a broadcast got what is before `next`; it goes behind the others, or has all there is.
    pub(super) fn hear(&mut self, serial: Serial, next: Offset, is_level: bool) {
        if let Some(consumer) = self.consumers.get_mut(&serial) {
            consumer.next = next;
            consumer.is_level = is_level;
            if is_level {
                let key = consumer.key;
                self.audience(key).level.insert(serial);
            }
        }
        self.pass(serial);
    }

    /// The next taker of a subscription: waiters in the order of arrival, then the consumer that waits longest, unless
    /// it got something since `mark`.
    pub(super) fn next_taker(&self, key: SubscriptionKey, mark: Serial) -> Option<Taker> {
        let audience = self.audiences.get(&key)?;
        if let Some(&serial) = audience.waiters.first() {
            return Some(Taker::Waiter(serial, *self.waiters.get(&serial)?));
        }
        let (&rank, &serial) = audience.ranks.first_key_value()?;
        if rank > mark {
            return None;
        }
        let consumer = *self.consumers.get(&serial)?;
        let wanted = consumer.credit.saturating_sub(consumer.held);
        Some(Taker::Consumer(serial, consumer, wanted))
    }

    /// The same where only the consumer that came first gets messages, and dequeues do if there is none.
    pub(super) fn only_taker(&self, key: SubscriptionKey, mark: Serial) -> Option<Taker> {
        let audience = self.audiences.get(&key)?;
        let Some(&serial) = audience.consumers.first() else {
            return self.next_taker(key, mark);
        };
        let consumer = *self.consumers.get(&serial)?;
        consumer.rank.filter(|rank| *rank <= mark)?;
        let wanted = consumer.credit.saturating_sub(consumer.held);
        Some(Taker::Consumer(serial, consumer, wanted))
    }

    /// Whether somebody wants messages of a subscription.
    fn is_wanted(&self, key: SubscriptionKey) -> bool {
        self.audiences.get(&key).is_some_and(Audience::is_wanting)
    }

    /// How many consumers want messages of a subscription.
    pub(super) fn wanting_consumers(&self, key: SubscriptionKey) -> u64 {
        let audience = self.audiences.get(&key);
        audience.map_or(0, |audience| audience.ranks.len() as u64)
    }

    /// How many consumers a subscription has.
    pub(super) fn consumers_in(&self, key: SubscriptionKey) -> u32 {
        let audience = self.audiences.get(&key);
        let count = audience.map_or(0, |each| each.consumers.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A mark between what was served before and what is served after.
    pub(super) const fn mark(&self) -> Serial {
        self.next
    }

    /// A waiter got its messages, or its time is over.
    pub(super) fn end_wait(&mut self, serial: Serial) {
        self.remove_waiter(serial);
    }

    /// A consumer got messages under a lease; it goes behind the others.
    pub(super) fn serve_consumer(&mut self, serial: Serial, lease: LeaseId, count: u32) {
        self.holders.insert(lease, serial);
        self.hold(serial, count);
    }

    /// A consumer got messages that it holds; it goes behind the others.
    pub(super) fn hold(&mut self, serial: Serial, count: u32) {
        if let Some(consumer) = self.consumers.get_mut(&serial) {
            consumer.held += count;
        }
        self.pass(serial);
    }

    /// A consumer holds so many messages less, if it is still there.
    pub(super) fn release(&mut self, serial: Serial, count: u32) {
        if let Some(consumer) = self.consumers.get_mut(&serial) {
            consumer.held = consumer
                .held
                .checked_sub(count)
                .expect("D2: more was freed than the consumer holds");
            self.refresh(serial);
        }
    }

    /// A consumer got messages that it does not hold; it goes behind the others.
    pub(super) fn pass(&mut self, serial: Serial) {
        let Some(consumer) = self.consumers.get_mut(&serial) else {
            return;
        };
        let (key, rank) = (consumer.key, consumer.rank.take());
        if let Some(rank) = rank {
            self.audience(key).ranks.remove(&rank);
        }
        self.refresh(serial);
    }

    /// How many dequeues wait.
    pub(super) fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// How many consumers there are.
    pub(super) fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// How many consumers a connection has.
    pub(super) fn consumers_on_count(&self, connection: ConnectionId) -> usize {
        self.consumers_of.range(of_connection(connection)).count()
    }

    /// O(1) part of the invariants.
    pub(super) fn assert_counts(&self) {
        assert_eq!(self.waiters.len(), self.wait_ends.len(), "waits by end");
        assert_eq!(
            self.waiters.len(),
            self.waiters_of.len(),
            "waits by connection"
        );
        assert_eq!(
            self.consumers.len(),
            self.consumers_of.len(),
            "consumers by connection"
        );
    }

    /// A subscription may have a message for a taker.
    pub(super) fn activate(&mut self, key: SubscriptionKey) {
        if self.is_wanted(key) {
            self.active.insert(key);
        }
    }

    const fn serial(&mut self) -> Serial {
        self.next += 1;
        self.next
    }

    fn audience(&mut self, key: SubscriptionKey) -> &mut Audience {
        self.audiences.entry(key).or_default()
    }

    fn drop_if_empty(&mut self, key: SubscriptionKey) {
        if self.audiences.get(&key).is_some_and(Audience::is_empty) {
            self.audiences.remove(&key);
        }
        if !self.is_wanted(key) {
            self.active.remove(&key);
        }
    }

    /// Brings a consumer's place in line with its credit, what it holds and its connection (D1).
    fn refresh(&mut self, serial: Serial) {
        let next = self.serial();
        let Some(consumer) = self.consumers.get_mut(&serial) else {
            return;
        };
        let wants = consumer.held < consumer.credit
            && !consumer.is_level
            && !self.blocked.contains(&consumer.connection);
        let key = consumer.key;
        match (wants, consumer.rank) {
            (true, None) => {
                consumer.rank = Some(next);
                self.audience(key).ranks.insert(next, serial);
                self.active.insert(key);
            }
            (false, Some(rank)) => {
                consumer.rank = None;
                self.audience(key).ranks.remove(&rank);
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn remove_waiter(&mut self, serial: Serial) -> Option<Waiter> {
        let waiter = self.waiters.remove(&serial)?;
        self.wait_ends.remove(&(waiter.deadline, serial));
        self.waiters_of.remove(&(waiter.from.connection, serial));
        self.audience(waiter.key).waiters.remove(&serial);
        // Somebody may have stood behind.
        self.activate(waiter.key);
        self.drop_if_empty(waiter.key);
        Some(waiter)
    }

    fn remove_consumer(&mut self, serial: Serial) -> bool {
        let Some(consumer) = self.consumers.remove(&serial) else {
            return false;
        };
        self.consumers_of
            .remove(&(consumer.connection, consumer.id));
        let audience = self.audience(consumer.key);
        audience.consumers.remove(&serial);
        audience.level.remove(&serial);
        if let Some(rank) = consumer.rank {
            audience.ranks.remove(&rank);
        }
        // Somebody may have stood by.
        self.activate(consumer.key);
        self.drop_if_empty(consumer.key);
        true
    }

    fn waiters_on(&self, connection: ConnectionId) -> Vec<Serial> {
        self.waiters_of
            .range((connection, 0)..=(connection, Serial::MAX))
            .map(|&(_, serial)| serial)
            .collect()
    }

    fn consumers_on(&self, connection: ConnectionId) -> Vec<Serial> {
        self.consumers_of
            .range(of_connection(connection))
            .map(|(_, &serial)| serial)
            .collect()
    }
}

const fn subscriptions_of(queue: QueueId) -> std::ops::RangeInclusive<SubscriptionKey> {
    (queue, SubscriptionId(0))..=(queue, SubscriptionId(u32::MAX))
}

const fn of_connection(
    connection: ConnectionId,
) -> std::ops::RangeInclusive<(ConnectionId, ConsumerId)> {
    (connection, ConsumerId(0))..=(connection, ConsumerId(u32::MAX))
}
