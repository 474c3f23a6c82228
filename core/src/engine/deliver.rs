//! The last part of a turn: messages are given out under lease.
//!
//! Only what is committed is given out (E3), waiters first in the order of their arrival, then consumers in turn.
//! Deliveries do not wait for their Lease records, but stop while too many of those are not committed.

use std::collections::VecDeque;
use std::ops::Bound;

use corelane_wire::limits::DELIVERY_BYTES_MAX;
use corelane_wire::{Contract, Correlation, LeaseId, SessionId, SubscriptionConfig, Timestamp};

use super::demand::Taker;
use super::gate::Answer;
use super::pack::Pack;
use super::{DeliverTo, Delivery, Engine, Output, Requester};
use crate::limits::{LEASE_MESSAGES_MAX, PUSH_BYTES_MAX};
use crate::record::Record;
use crate::state::SubscriptionKey;

/// How the service of a subscription ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Served {
    /// Nothing is ready, or nobody wants it.
    All,
    /// There is more for the next turn.
    More,
    /// A bound is reached; when a commit or a settlement lowers it, the next turn goes on.
    Stopped,
}

impl Engine {
    /// Gives out what is ready and wanted, up to the bounds of a turn.
    pub(super) fn give_out(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        self.more = false;
        if self.withholds {
            return;
        }
        while let Some(key) = self.throttle.pop_due(now) {
            self.demand.activate(key);
        }
        let mut budget = self.limits.turn_deliveries_max;
        for _ in 0..self.demand.active.len() {
            let Some(key) = self.next_active() else {
                break;
            };
            match self.serve(now, key, &mut budget, outputs) {
                Served::All => {
                    self.demand.active.remove(&key);
                }
                Served::More => self.more = true,
                Served::Stopped => break,
            }
            // A stopped subscription comes first next time; so nobody starves behind the bounds.
            self.demand.last_served = key;
        }
        if 2 * self.uncommitted_leases_count >= self.limits.uncommitted_leases_max {
            self.flush.wanted = true;
        }
    }

    /// The active subscription behind the one served last, going round.
    fn next_active(&self) -> Option<SubscriptionKey> {
        let behind = (Bound::Excluded(self.demand.last_served), Bound::Unbounded);
        let active = &self.demand.active;
        active
            .range(behind)
            .next()
            .or_else(|| active.first())
            .copied()
    }

    /// Serves every taker of a subscription at most once.
    fn serve(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        budget: &mut usize,
        outputs: &mut VecDeque<Output>,
    ) -> Served {
        let Some(config) = self.terms(key) else {
            return Served::All;
        };
        if self.must_expire(now, key) {
            // The next step begins with a Tick, and nothing whose time is over is given out before.
            return Served::More;
        }
        if config.contract == Contract::KeyOrdered {
            self.read_keys(key, outputs);
        }
        if config.contract == Contract::Reader {
            return self.serve_reader(now, (key, &config), budget, outputs);
        }
        if config.contract == Contract::Broadcast {
            return self.serve_broadcast(key, budget, outputs);
        }
        let mark = self.demand.mark();
        let share = self.share(now, key, &config);
        while let Some(taker) = self.taker(key, config.contract, mark) {
            if *budget == 0 {
                return Served::More;
            }
            let room = self.lease_room();
            if room == 0 {
                return Served::Stopped;
            }
            let allowed = self.allowed(now, key, &config);
            if allowed == 0 {
                self.wait_for_rate(now, key, &config);
                return Served::All;
            }
            let (wanted, bytes_max) = match taker {
                Taker::Waiter(_, waiter) => (waiter.count, DELIVERY_BYTES_MAX),
                Taker::Consumer(_, _, wanted) => (wanted.min(share), PUSH_BYTES_MAX),
            };
            let count_max = wanted.min(room).min(allowed).min(LEASE_MESSAGES_MAX);
            let mut pack = Pack::new(count_max, bytes_max);
            self.fill(key, config.contract, &mut pack);
            if let Some(away) = pack.away {
                self.load(key.0, away, outputs);
            }
            if pack.runs.is_empty() {
                return Served::All;
            }
            *budget -= 1;
            self.give(now, (taker, config), pack, outputs);
        }
        self.load_ahead(key, outputs);
        // Consumers that were served and want more stand behind the mark.
        let next = self.taker(key, config.contract, self.demand.mark());
        if next.is_none() || self.ready_in(key) == 0 {
            return Served::All;
        }
        if self.allowed(now, key, &config) == 0 {
            self.wait_for_rate(now, key, &config);
            return Served::All;
        }
        Served::More
    }

    /// How a subscription gives messages out; `None` if it gives nothing out.
    fn terms(&self, key: SubscriptionKey) -> Option<SubscriptionConfig> {
        let subscription = self.subscription(key)?;
        subscription.pause.is_none().then_some(subscription.config)
    }

    /// Who gets the next messages of a subscription.
    fn taker(&self, key: SubscriptionKey, contract: Contract, mark: u64) -> Option<Taker> {
        if contract != Contract::SingleActive {
            return self.demand.next_taker(key, mark);
        }
        let taker = self.demand.only_taker(key, mark)?;
        let state = self.state_of(key);
        let subscription = state.subscription(key)?;
        let (_, session, _, _) = describe(taker);
        // Whoever stood by waits until the one before holds nothing any more.
        let is_free =
            subscription.leased == 0 || subscription.leased == state.leases.held_by(session, key);
        is_free.then_some(taker)
    }

    /// How many messages a subscription may give out now, whoever wants them.
    pub(super) fn allowed(
        &self,
        now: Timestamp,
        key: SubscriptionKey,
        config: &SubscriptionConfig,
    ) -> u32 {
        let leased = || match config.contract {
            Contract::Reader => self.readers.given(key),
            Contract::Competing
            | Contract::AtMostOnce
            | Contract::SingleActive
            | Contract::KeyOrdered
            | Contract::Broadcast => self.subscription(key).map_or(0, |it| it.leased),
        };
        let in_flight = match config.in_flight_max {
            0 => u64::MAX,
            max => u64::from(max).saturating_sub(leased()),
        };
        let rate = match config.rate_max {
            0 => u64::MAX,
            max => self.throttle.allowance(key, max, now),
        };
        u32::try_from(in_flight.min(rate)).unwrap_or(u32::MAX)
    }

    /// A subscription that may give nothing out for its rate does so when it may again.
    pub(super) fn wait_for_rate(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        config: &SubscriptionConfig,
    ) {
        if config.rate_max > 0 && self.throttle.allowance(key, config.rate_max, now) == 0 {
            self.throttle.wait(key, config.rate_max, now);
        }
    }

    /// Has the stretch read that a subscription will need next.
    fn load_ahead(&mut self, key: SubscriptionKey, outputs: &mut VecDeque<Output>) {
        let ahead = self.state.queues.get(key.0).and_then(|queue| {
            let cursor = self.subscription(key)?.cursor;
            queue.runs.away_behind(cursor)
        });
        if let Some(ahead) = ahead {
            self.load(key.0, ahead, outputs);
        }
    }

    /// Leases the messages of `pack` to `taker`, or takes them for it for good, and sends them.
    fn give(
        &mut self,
        now: Timestamp,
        (taker, config): (Taker, SubscriptionConfig),
        pack: Pack,
        outputs: &mut VecDeque<Output>,
    ) {
        let (key, session, lease_ms, to) = describe(taker);
        let (queue, subscription) = key;
        let SubscriptionConfig {
            contract, rate_max, ..
        } = config;
        let count = pack.count();
        if rate_max > 0 {
            self.throttle.take(key, rate_max, now, count);
        }
        let ranges = pack.ranges;
        let given = (contract == Contract::KeyOrdered).then(|| ranges.clone());
        let is_leased = contract != Contract::AtMostOnce;
        let record = if is_leased {
            Record::Lease {
                queue,
                subscription,
                session,
                lease_ms,
                ranges,
            }
        } else {
            Record::Take {
                queue,
                subscription,
                ranges,
            }
        };
        let lsn = self.append(now, record, outputs);
        if let Some(ranges) = given {
            self.keys.give(key, &ranges);
        }
        if !key.1.is_ephemeral() {
            self.uncommitted_leases.push_back((lsn, count));
            self.uncommitted_leases_count += u64::from(count);
        }
        let lease = if is_leased {
            let epoch = self.state_of(key).epoch;
            LeaseId { epoch, lsn }
        } else {
            LeaseId::default()
        };
        match taker {
            Taker::Waiter(serial, _) => self.demand.end_wait(serial),
            Taker::Consumer(serial, _, _) if is_leased => {
                self.demand.serve_consumer(serial, lease, count);
            }
            Taker::Consumer(serial, _, _) => self.demand.pass(serial),
        }
        let delivery = Delivery {
            to,
            lease,
            lease_ms: if is_leased { lease_ms } else { 0 },
            runs: pack.runs,
        };
        if contract == Contract::Competing || key.1.is_ephemeral() {
            outputs.push_back(Output::Deliver(delivery));
        } else {
            // What a crash undoes was not given to anybody.
            let delivery = Answer::Delivery(Box::new(delivery));
            self.answer(requester(taker), delivery, outputs);
        }
    }

    /// How many messages may be leased before a commit or a settlement must come.
    fn lease_room(&self) -> u32 {
        let leases = self.state.leases.len() + self.ephemerals.state.leases.len();
        if leases >= self.limits.leases_max {
            return 0;
        }
        let room = self
            .limits
            .uncommitted_leases_max
            .saturating_sub(self.uncommitted_leases_count);
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    /// An even share of what is ready for the consumers that want it, so that one does not take all of a little.
    fn share(&self, now: Timestamp, key: SubscriptionKey, config: &SubscriptionConfig) -> u32 {
        let consumers = match config.contract {
            Contract::SingleActive | Contract::Reader | Contract::Broadcast => 1,
            Contract::Competing | Contract::AtMostOnce | Contract::KeyOrdered => {
                self.demand.wanting_consumers(key).max(1)
            }
        };
        let ready = self
            .ready_in(key)
            .min(self.allowed(now, key, config).into());
        let share = ready.div_ceil(consumers).max(1);
        u32::try_from(share).unwrap_or(u32::MAX)
    }

    /// Whether messages can be given out now, or as soon as something was read.
    pub(super) fn may_give(&self, now: Timestamp, key: SubscriptionKey) -> bool {
        let allowed = self.terms(key).map(|it| self.allowed(now, key, &it));
        allowed.unwrap_or(0) > 0 && self.has_ready(key)
    }

    /// Whether messages are ready, or as soon as something was read.
    pub(super) fn has_ready(&self, key: SubscriptionKey) -> bool {
        self.ready_in(key) > 0 || self.lacks_keys(key)
    }

    /// How many messages are ready, and visible.
    fn ready_in(&self, key: SubscriptionKey) -> u64 {
        let Some(queue) = self.state.queues.get(key.0) else {
            return 0;
        };
        let Some(subscription) = self.subscription(key) else {
            return 0;
        };
        let visible = queue.visible_end(self.committed);
        if subscription.config.contract == Contract::KeyOrdered {
            return self.keys.givable_count(key, visible);
        }
        let (returned, new) = subscription.ready_before(visible);
        if subscription.fragments() < self.limits.ranges_max {
            returned + new
        } else {
            returned
        }
    }

    /// Chooses what a subscription gives out next.
    fn fill(&mut self, key: SubscriptionKey, contract: Contract, pack: &mut Pack) {
        self.choose(key, contract, pack);
        if key.1.is_ephemeral() && pack.is_stuck() {
            self.unscatter(key);
            self.pass_by_gone(key);
            self.choose(key, contract, pack);
        }
    }

    fn choose(&self, key: SubscriptionKey, contract: Contract, pack: &mut Pack) {
        if let Some(queue) = self.state.queues.get(key.0)
            && let Some(subscription) = self.subscription(key)
        {
            let returned_only = subscription.fragments() >= self.limits.ranges_max;
            if contract == Contract::KeyOrdered {
                let visible = queue.visible_end(self.committed);
                let givable = self.keys.givable(key, visible);
                pack.fill_with(queue, subscription, givable, returned_only);
            } else {
                pack.fill(queue, subscription, self.committed, returned_only);
            }
            self.moves.resolve(&mut pack.runs);
        }
    }
}

/// Whose answer it is, should it wait; a pushed delivery answers nothing.
const fn requester(taker: Taker) -> Requester {
    match taker {
        Taker::Waiter(_, waiter) => waiter.from,
        Taker::Consumer(_, consumer, _) => Requester {
            connection: consumer.connection,
            session: consumer.session,
            correlation: Correlation(0),
        },
    }
}

/// Whose messages, for whom, for how long, and where to.
const fn describe(taker: Taker) -> (SubscriptionKey, SessionId, u32, DeliverTo) {
    match taker {
        Taker::Waiter(_, waiter) => (
            waiter.key,
            waiter.from.session,
            waiter.lease_ms,
            DeliverTo::Dequeue(waiter.from),
        ),
        Taker::Consumer(_, consumer, _) => (
            consumer.key,
            consumer.session,
            consumer.lease_ms,
            DeliverTo::Consumer {
                connection: consumer.connection,
                consumer: consumer.id,
            },
        ),
    }
}
