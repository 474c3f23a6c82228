//! The last part of a turn: messages are given out under lease.
//!
//! Only what is committed is given out (E3), waiters first in the order of their arrival, then consumers in turn.
//! Deliveries do not wait for their Lease records, but stop while too many of those are not committed.

use std::collections::VecDeque;
use std::ops::Bound;

use corelane_wire::limits::DELIVERY_BYTES_MAX;
use corelane_wire::{LeaseId, SessionId, Timestamp};

use super::demand::Taker;
use super::pack::Pack;
use super::{DeliverTo, Delivery, Engine, Output};
use crate::limits::{LEASE_MESSAGES_MAX, PUSH_BYTES_MAX};
use crate::record::Record;
use crate::state::SubscriptionKey;

/// How the service of a subscription ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Served {
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
        let mark = self.demand.mark();
        let share = self.share(key);
        while let Some(taker) = self.demand.next_taker(key, mark) {
            if *budget == 0 {
                return Served::More;
            }
            let room = self.lease_room();
            if room == 0 {
                return Served::Stopped;
            }
            let (wanted, bytes_max) = match taker {
                Taker::Waiter(_, waiter) => (waiter.count, DELIVERY_BYTES_MAX),
                Taker::Consumer(_, _, wanted) => (wanted.min(share), PUSH_BYTES_MAX),
            };
            let mut pack = Pack::new(wanted.min(room).min(LEASE_MESSAGES_MAX), bytes_max);
            self.fill(key, &mut pack);
            if let Some(away) = pack.away {
                self.load(key.0, away, outputs);
            }
            if pack.runs.is_empty() {
                return Served::All;
            }
            *budget -= 1;
            self.give(now, taker, pack, outputs);
        }
        self.load_ahead(key, outputs);
        // Consumers that were served and want more stand behind the mark.
        if self.demand.is_wanted(key) && self.ready_now(key) > 0 {
            Served::More
        } else {
            Served::All
        }
    }

    /// Has the stretch read that a subscription will need next.
    fn load_ahead(&mut self, key: SubscriptionKey, outputs: &mut VecDeque<Output>) {
        let ahead = self.state.queues.get(key.0).and_then(|queue| {
            let cursor = queue.subscription(key.1)?.cursor;
            queue.runs.away_behind(cursor)
        });
        if let Some(ahead) = ahead {
            self.load(key.0, ahead, outputs);
        }
    }

    /// Leases the messages of `pack` to `taker` and sends them.
    fn give(&mut self, now: Timestamp, taker: Taker, pack: Pack, outputs: &mut VecDeque<Output>) {
        let (key, session, lease_ms, to) = describe(taker);
        let count = pack.count();
        let record = Record::Lease {
            queue: key.0,
            subscription: key.1,
            session,
            lease_ms,
            ranges: pack.ranges,
        };
        let lsn = self.append(now, record, outputs);
        self.uncommitted_leases.push_back((lsn, count));
        self.uncommitted_leases_count += u64::from(count);
        let lease = LeaseId {
            epoch: self.state.epoch,
            lsn,
        };
        match taker {
            Taker::Waiter(serial, _) => self.demand.end_wait(serial),
            Taker::Consumer(serial, _, _) => self.demand.serve_consumer(serial, lease, count),
        }
        outputs.push_back(Output::Deliver(Delivery {
            to,
            lease,
            lease_ms,
            runs: pack.runs,
        }));
    }

    /// How many messages may be leased before a commit or a settlement must come.
    fn lease_room(&self) -> u32 {
        if self.state.leases.len() >= self.limits.leases_max {
            return 0;
        }
        let room = self
            .limits
            .uncommitted_leases_max
            .saturating_sub(self.uncommitted_leases_count);
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    /// An even share of what is ready for the consumers that want it, so that one does not take all of a little.
    fn share(&self, key: SubscriptionKey) -> u32 {
        let consumers = self.demand.wanting_consumers(key).max(1);
        let share = self.ready_now(key).div_ceil(consumers).max(1);
        u32::try_from(share).unwrap_or(u32::MAX)
    }

    /// How many messages can be given out now.
    pub(super) fn ready_now(&self, key: SubscriptionKey) -> u64 {
        let Some(queue) = self.state.queues.get(key.0) else {
            return 0;
        };
        let Some(subscription) = queue.subscription(key.1) else {
            return 0;
        };
        if subscription.pause.is_some() {
            return 0;
        }
        let new = if subscription.fragments() < self.limits.ranges_max {
            let visible = queue.visible_end(self.committed);
            visible.0.saturating_sub(subscription.cursor.0)
        } else {
            0
        };
        subscription.returned_count + new
    }

    fn fill(&self, key: SubscriptionKey, pack: &mut Pack) {
        if let Some(queue) = self.state.queues.get(key.0)
            && let Some(subscription) = queue.subscription(key.1)
            && subscription.pause.is_none()
        {
            let returned_only = subscription.fragments() >= self.limits.ranges_max;
            pack.fill(queue, subscription, self.committed, returned_only);
            self.moves.resolve(&mut pack.runs);
        }
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
