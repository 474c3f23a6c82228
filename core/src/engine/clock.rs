//! Starts, time and sessions: everything that happens because time passes.
//!
//! Node time comes in with every step; log time is node time, but never goes back, and stays behind where a long jump
//! was refused. Leases and delays end only by the Tick and Release records that are decided here (E6).

use std::collections::VecDeque;

use corelane_wire::{Epoch, SessionId, Timestamp};
use tracing::warn;

use super::ephemeral::Ephemerals;
use super::{Engine, Output, Reply, Status};
use crate::limits::{JUMP_MAX, RIDER_DELAY, SESSION_GRACE, TICK_INTERVAL};
use crate::record::Record;
use crate::state::SubscriptionKey;
use crate::time::nanos;

impl Engine {
    /// The log was replayed: begins the epoch.
    pub(super) fn on_start(
        &mut self,
        now: Timestamp,
        epoch: Epoch,
        outputs: &mut VecDeque<Output>,
    ) {
        assert_eq!(self.status, Status::Replaying, "a partition starts once");
        self.open_outbox();
        assert!(
            epoch > self.state.epoch,
            "epoch {epoch} is not above the log's {}",
            self.state.epoch
        );
        self.epoch = epoch;
        self.ephemerals = Ephemerals::new(epoch);
        if self.state.end.0 == 0 {
            self.epoch_pending = true;
            self.status = Status::Serving;
            return;
        }
        let mut jump_ns = now.0.saturating_sub(self.state.clock.log.0);
        if jump_ns > nanos(JUMP_MAX) {
            warn!(
                partition = self.partition.0,
                epoch = epoch.0,
                jump_ns,
                "the wall clock is more than 24 h ahead of the log: the jump is not applied, delays are late by it"
            );
            self.held_back = jump_ns;
            jump_ns = 0;
        }
        self.append_one(now, Record::Epoch { epoch, jump_ns }, outputs);
        let due = self.state.clock.log.add(SESSION_GRACE);
        for session in self.state.leases.sessions() {
            self.lost.insert(session, due);
        }
        self.open_retention();
        self.flush.wanted = true;
        self.status = Status::Starting {
            end: self.state.end,
        };
    }

    /// Everything that was replayed is on the disk, and nothing will ever be appended.
    pub(super) fn on_read_only(&mut self) {
        assert_eq!(self.status, Status::Replaying, "a partition starts once");
        self.status = Status::ReadOnly;
        self.durable = self.state.end;
        self.committed = self.state.end;
    }

    /// The last connection of a session is gone; without leases there is nothing to give back.
    pub(super) fn on_session_lost(&mut self, now: Timestamp, session: SessionId) {
        if self.holds_leases(session) && self.status != Status::Poisoned {
            let due = self.log_now(now).add(SESSION_GRACE);
            self.lost.insert(session, due);
        }
    }

    /// Does what is due.
    pub(super) fn on_deadline(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        if self.status != Status::Serving {
            return;
        }
        self.end_empty_waits(now, outputs);
        self.tend_ephemerals(now, outputs);
        self.release_sessions(now, outputs);
        if self.is_tick_due(now) {
            self.append(now, Record::Tick, outputs);
        }
        if let Some(since) = self.flush.unflushed_since
            && since.add(RIDER_DELAY) <= now
        {
            self.flush.wanted = true;
        }
    }

    /// Answers the dequeues whose wait is over and for which there is nothing. The others may get something at the end of
    /// this turn.
    fn end_empty_waits(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        let mut last = None;
        while let Some((serial, waiter)) = self.demand.due_wait(now, last) {
            last = Some((waiter.deadline, serial));
            if !self.may_give(now, waiter.key) {
                self.demand.end_wait(serial);
                self.reply(waiter.from, Reply::Empty, outputs);
            }
        }
    }

    /// Answers the dequeues whose wait is over, but not those for which there are messages that are only withheld, being
    /// read, or left for the next turn.
    pub(super) fn end_waits(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        let (mut last, mut over) = (None, Vec::new());
        while let Some((serial, waiter)) = self.demand.due_wait(now, last) {
            last = Some((waiter.deadline, serial));
            let is_loading = self.loads.concern(waiter.key.0) || self.keys.is_reading(waiter.key);
            let is_left = self.more && self.demand.active.contains(&waiter.key);
            let is_held = self.withholds || is_loading || is_left;
            if is_held && self.may_give(now, waiter.key) {
                self.loads.holds_waits |= is_loading;
            } else {
                over.push((serial, waiter));
            }
        }
        for (serial, _) in &over {
            self.demand.end_wait(*serial);
        }
        for (_, waiter) in over {
            // There may be something for whoever stood behind, if only when the rate lets it out.
            let is_wanted = self.demand.active.contains(&waiter.key);
            self.more |= is_wanted && self.has_ready(waiter.key);
            self.reply(waiter.from, Reply::Empty, outputs);
        }
    }

    /// The least node time at which something is due.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        if self.status != Status::Serving {
            return None;
        }
        if self.more {
            return Some(Timestamp(0));
        }
        let wait = (!self.withholds && !self.loads.holds_waits)
            .then(|| self.demand.next_deadline())
            .flatten();
        let throttle = self.throttle.next_due().filter(|_| !self.withholds);
        let rider = self
            .flush
            .unflushed_since
            .map(|since| since.add(RIDER_DELAY));
        let in_log_time = [
            self.state.next_tick(),
            self.ephemerals.next_tick(),
            self.heartbeat(),
            self.lost.next_due(),
            self.retention.next_due(),
        ];
        let in_log_time = in_log_time.into_iter().flatten().min();
        let log = in_log_time.map(|time| self.node_time_of(time));
        let letter = self.outbox.next_due();
        let unused = self.ephemerals.next_end();
        [wait, throttle, rider, log, letter, unused]
            .into_iter()
            .flatten()
            .min()
    }

    /// What a record appended now gets as log time: never less than the last one's.
    pub(super) fn log_now(&self, now: Timestamp) -> Timestamp {
        let behind = Timestamp(now.0.saturating_sub(self.held_back));
        self.state.clock.log.max(behind)
    }

    const fn node_time_of(&self, log_time: Timestamp) -> Timestamp {
        Timestamp(log_time.0.saturating_add(self.held_back))
    }

    /// When the log must learn the time although nothing is due.
    fn heartbeat(&self) -> Option<Timestamp> {
        let state = &self.state;
        let lives = state.leases.len() > 0 || !state.due.is_empty() || !state.expiries.is_empty();
        lives.then(|| self.state.clock.log.add(TICK_INTERVAL))
    }

    /// Whether a time to live is over that no Tick has ended yet.
    pub(super) fn must_expire(&self, now: Timestamp, key: SubscriptionKey) -> bool {
        let first = self.state_of(key).expiries.first();
        first.is_some_and(|&(at, _)| at <= self.log_now(now))
    }

    fn is_tick_due(&self, now: Timestamp) -> bool {
        let due = self.state.next_tick().into_iter().chain(self.heartbeat());
        due.min().is_some_and(|due| due <= self.log_now(now))
    }

    fn holds_leases(&self, session: SessionId) -> bool {
        let states = [&self.state, &self.ephemerals.state];
        states.iter().any(|it| it.leases.has_session(session))
    }

    /// Gives the leases of sessions back whose time is over.
    fn release_sessions(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        let log_now = self.log_now(now);
        while let Some(session) = self.lost.first_due(log_now) {
            let record = Record::Release { session };
            if self.ephemerals.state.leases.has_session(session) {
                self.apply_beside(now, &record);
            }
            if self.state.leases.has_session(session) {
                self.append(now, record, outputs);
            }
            if self.holds_leases(session) {
                // A Release handles a bounded number of leases; the next step goes on.
                return;
            }
            self.lost.remove(session);
        }
    }
}
