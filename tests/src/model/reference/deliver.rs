//! What may be delivered, to whom, and in which order.

use std::collections::BTreeSet;

use corelane_wire::{Contract, Epoch, LeaseId, Lsn, record_kind};

use super::state::{Is, Key, Lease, count, millis};
use super::{Expected, Given, Model, Status, Taker};

impl Model {
    /// Messages of a subscription that can be given out now, in the order in which they have to be.
    pub(crate) fn ready(&self, key: Key) -> Vec<usize> {
        let mut ready = self.waiting(key);
        ready.truncate(usize::try_from(self.allowed(key)).unwrap_or(usize::MAX));
        ready
    }

    /// Messages that are ready and committed, by offset; those that came back, or were due later, before those that never
    /// were given out, or between those that stood there then and those that did not. Where keys are in order, by offset
    /// only, and without those whose key waits for another.
    fn waiting(&self, key: Key) -> Vec<usize> {
        let of = self.state.subscription(key);
        let is_ordered = of.is(Contract::KeyOrdered);
        let enqueued = self.state.queues[key.0].messages.iter();
        let visible = enqueued.filter(|of| of.lsn < self.committed).count();
        let turn = |at: usize| match of.messages[at].is {
            Is::New | Is::Back(_) if is_ordered => (!self.is_blocked(key, at)).then_some((0, 0)),
            Is::Back(None) => Some((0, 0)),
            Is::Back(Some((end, lsn))) => (end <= visible).then_some((end, lsn)),
            Is::New => Some((at, u64::MAX)),
            Is::Leased(_) | Is::Delayed(_) | Is::SetAside(..) => None,
            Is::Acked | Is::Purged | Is::Gone => None,
        };
        let ready = (0..visible).filter_map(|at| Some((turn(at)?, at)));
        let in_turn: BTreeSet<_> = ready.collect();
        in_turn.into_iter().map(|(_, at)| at).collect()
    }

    /// Whether a message has a key of which an earlier one is not over yet, or any is held.
    pub(crate) fn is_blocked(&self, key: Key, offset: usize) -> bool {
        let enqueued = &self.state.queues[key.0].messages;
        let messages = self.state.subscription(key).messages.iter().enumerate();
        let alike = |at: usize| at != offset && enqueued[at].key == enqueued[offset].key;
        let mut alike = messages.filter(|(at, _)| !enqueued[offset].key.is_empty() && alike(*at));
        alike.any(|(at, message)| match message.is {
            Is::Leased(_) => true,
            Is::New | Is::Back(_) | Is::Delayed(_) => at < offset,
            Is::SetAside(..) | Is::Acked | Is::Purged | Is::Gone => false,
        })
    }

    /// How many messages may be given out: none while it is paused, never more than its bound in flight, nor than its rate.
    pub(super) fn allowed(&self, key: Key) -> u64 {
        let of = self.state.subscription(key);
        let in_flight = match of.about.config.in_flight_max {
            _ if of.about.paused => 0,
            0 => u64::MAX,
            max => u64::from(max).saturating_sub(of.leases().count() as u64),
        };
        in_flight.min(match of.about.config.rate_max {
            0 => u64::MAX,
            rate => burst(rate).saturating_sub(self.ahead(key)) / interval(rate),
        })
    }

    /// By how much a subscription is ahead of its rate: each message takes an interval, and time catches up.
    fn ahead(&self, key: Key) -> u64 {
        let (ahead, at) = self.ahead.get(&key).copied().unwrap_or((0, self.now));
        ahead.saturating_sub(self.now - at)
    }

    /// When the rate lets something out again.
    fn rate_due(&self, key: Key) -> Option<u64> {
        let rate = self.state.subscription(key).about.config.rate_max;
        let wait = (self.ahead(key) + interval(rate)).saturating_sub(burst(rate));
        (rate > 0 && wait > 0).then_some(self.now + wait)
    }

    /// Who may get the next messages: the dequeue that came first, else any consumer that wants some. Of a single active
    /// consumer only the one that came first; and nobody while others hold messages.
    pub(crate) fn wanting(&self, key: Key) -> Vec<Taker> {
        let of = self.state.subscription(key);
        let is_single = of.is(Contract::SingleActive);
        let mut consumers = self.consumers().filter(|taker| taker.key == key).peekable();
        let mut waiters = self.waiters().filter(|taker| taker.key == key);
        let first = match consumers.peek().copied().filter(|_| is_single) {
            Some(consumer) => Some(consumer),
            None => waiters.next(),
        };
        let mut wanting: Vec<Taker> = match first {
            Some(first) => vec![first.clone()],
            None => consumers.cloned().collect(),
        };
        let is_other = |session| of.leases().any(|lease| lease.session != session);
        wanting.retain(|taker| self.room(taker) > 0 && !(is_single && is_other(taker.session)));
        wanting
    }

    /// How many messages it takes now.
    pub(crate) fn room(&self, taker: &Taker) -> u32 {
        let leases = self.state.subscription(taker.key).leases();
        let held = leases.filter(|lease| taker.leases.contains(&lease.id));
        let is_blocked = taker.until.is_none() && self.unwritable.contains(&taker.connection());
        let room = taker.count.saturating_sub(count(held.count()));
        if is_blocked { 0 } else { room }
    }

    /// Messages of these ranges are given out in this order, `under` a lease for so many milliseconds, to one of the takers.
    pub(crate) fn give(
        &mut self,
        key: Key,
        (ranges, order): (&[Vec<usize>], Vec<usize>),
        under: Option<(u128, u32)>,
        takers: &[Taker],
    ) {
        let of = self.state.subscription(key);
        let waits = !of.is(Contract::Competing);
        let enqueued = &self.state.queues[key.0].messages;
        let message = |at: usize| (at as u64, of.messages[at].attempts + 1, enqueued[at].time);
        let messages = order.into_iter().map(message).collect();
        self.observe_given(key, takers);
        let kind = under.map_or(record_kind::TAKE, |_| record_kind::LEASE);
        let state = self.record(kind);
        let (epoch, lsn) = (Epoch(state.epoch), Lsn(state.lsn));
        let id = LeaseId { epoch, lsn };
        self.take(key, ranges.iter().map(Vec::len).sum());
        let (given, from) = (self.state.log_time, self.state.lease_time());
        let lease = under.map(|(session, lease_ms)| Lease {
            id,
            session,
            given,
            until: from + millis(lease_ms.into()),
            is_joined: false,
        });
        for range in ranges {
            self.hand_over(key, range, lease);
        }
        let given = Given {
            key,
            to: takers.iter().map(|taker| taker.to).collect(),
            is_sure: true,
            lease: under.map_or_else(Default::default, |(_, lease_ms)| (id, lease_ms)),
            messages,
        };
        self.takers
            .retain(|taker| taker.until.is_none() || taker.to != given.to[0]);
        let mut takers = self.takers.iter_mut();
        if let Some(taker) = takers.find(|taker| taker.to == given.to[0]) {
            taker.leases.push(given.lease.0);
        }
        // What a crash undoes is given to nobody then.
        if waits {
            self.leave(Expected::Given(given));
        } else {
            self.expected.push_back(Expected::Given(given));
        }
    }

    /// Messages of one run are held, or done where nobody holds any.
    fn hand_over(&mut self, key: Key, range: &[usize], lease: Option<Lease>) {
        for at in range {
            let is_joined = *at > range[0];
            match lease.map(|lease| Lease { is_joined, ..lease }) {
                Some(lease) => self.state.lease(key, *at, lease),
                None => self.state.finish(key, *at),
            }
        }
    }

    fn take(&mut self, key: Key, count: usize) {
        let rate = self.state.subscription(key).about.config.rate_max;
        if rate > 0 {
            let ahead = self.ahead(key) + interval(rate) * count as u64;
            self.ahead.insert(key, (ahead, self.now));
        }
    }

    pub(crate) fn is_wanted(&self, key: Key) -> bool {
        self.is_free(key) && !self.wanting(key).is_empty()
    }

    /// Whether nothing but the messages themselves keeps them from being given out.
    pub(super) fn is_free(&self, key: Key) -> bool {
        !self.is_withheld && !self.loading.contains(&key.0) && !self.is_reading(key)
    }

    /// Whether keys are being read that it may depend on.
    fn is_reading(&self, key: Key) -> bool {
        self.reading.contains(&key.0) && self.state.subscription(key).is(Contract::KeyOrdered)
    }

    /// When the engine must be woken at the latest, in node time.
    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.status != Status::Serving {
            return None;
        }
        let can_end = !self.is_withheld && self.loading.is_empty() && self.reading.is_empty();
        let waits = self.waiters().filter_map(|it| it.until.filter(|_| can_end));
        let lost = self.lost.values().copied();
        let in_log_time = self.state.due().into_iter().chain(lost);
        let in_node_time = in_log_time.map(|time| time + self.held_back);
        let is_held_up = |key: &Key| {
            let is_paused = self.state.subscription(*key).about.paused;
            !is_paused && self.is_wanted(*key) && !self.waiting(*key).is_empty()
        };
        let held_up = self.state.keys().into_iter().filter(is_held_up);
        let rates = held_up.filter_map(|key| self.rate_due(key));
        waits.chain(in_node_time).chain(rates).min()
    }
}

/// The time between two messages, in nanoseconds.
fn interval(rate: u32) -> u64 {
    (millis(1_000) / u64::from(rate.max(1))).max(1)
}

/// A tenth of a second's messages, or one, may go at once.
fn burst(rate: u32) -> u64 {
    millis(100).max(interval(rate))
}
