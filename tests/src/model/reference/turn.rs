//! The end of a turn, and what happens because time passes.

use corelane_core::Requester;
use corelane_wire::{ErrorCode, SettleOutcome, record_kind};

use super::state::{Fact, Key, Settling};
use super::{Answer, Collected, Model, Status};

impl Model {
    /// Settlements of a turn: acks, then nacks, rejects and extends, each by subscription and in the order of arrival; those
    /// of one kind for one subscription share a record.
    pub(crate) fn settle(&mut self, now: u64) {
        let mut turn = std::mem::take(&mut self.turn);
        self.texts.clear();
        turn.sort_by_cached_key(|each| (each.how.clone(), each.key));
        for group in turn.chunk_by(|left, right| (&left.how, left.key) == (&right.how, right.key)) {
            let mut is_written = false;
            let mut answers = Vec::new();
            for each in group {
                if let Some(code) = self.missing(each.key) {
                    answers.push((each.from, Answer::Refused(code)));
                    continue;
                }
                let settled = self.settle_each(now, each, &mut is_written);
                answers.push((each.from, Answer::Settled(settled)));
            }
            for (from, answer) in answers {
                self.answer(from, answer);
            }
        }
    }

    /// Why a subscription that there was is there no more.
    fn missing(&self, key: Key) -> Option<ErrorCode> {
        if self.state.queues[key.0].is_deleted {
            return Some(ErrorCode::QueueNotFound);
        }
        let is_deleted = self.state.subscription(key).is_deleted;
        is_deleted.then_some(ErrorCode::SubscriptionNotFound)
    }

    fn settle_each(
        &mut self,
        now: u64,
        each: &Collected,
        is_written: &mut bool,
    ) -> Vec<(u64, SettleOutcome)> {
        let mut settled = Vec::new();
        let (key, how) = (each.key, &each.how);
        for entry in &each.entries {
            for at in entry.range.first.0..entry.range.end().0 {
                let outcome = self.state.judge(key, at, entry.lease);
                settled.push((at, outcome));
                self.observe_settled(key, outcome);
                if outcome != SettleOutcome::Done {
                    continue;
                }
                if !*is_written {
                    self.write(now, kind(how));
                    *is_written = true;
                }
                let offset = usize::try_from(at).expect("the message exists");
                let how = how.clone();
                self.note(Fact::Settle(key, offset, how));
            }
        }
        settled
    }

    /// The first part of what a deadline brings: waits end, and sessions do.
    pub(crate) fn end_of_time(&mut self, now: u64) {
        if self.status != Status::Serving {
            return;
        }
        self.end_waits(now, |model, key| model.ready(key).is_empty());
        let log_now = self.log_now(now);
        let mut over: Vec<(u64, u128)> = self
            .lost
            .iter()
            .map(|(&session, &due)| (due, session))
            .collect();
        over.retain(|(due, _)| *due <= log_now);
        over.sort_unstable();
        for (_, session) in over {
            self.lost.remove(&session);
            if self.keys_held_by(session).is_empty() {
                continue;
            }
            self.write(now, record_kind::RELEASE);
            self.note(Fact::Release(session));
        }
    }

    /// A Tick was appended.
    pub(crate) fn tick(&mut self, now: u64) {
        self.write(now, record_kind::TICK);
        self.note(Fact::Tick);
    }

    /// The last part of a turn: dequeues whose time is over are told so, unless there is something for them that only
    /// cannot be given out now.
    pub(crate) fn end_empty(&mut self, now: u64) {
        self.end_waits(now, |model, key| {
            let is_held_up = model.is_withheld || model.loading.contains(&key.0);
            !is_held_up || model.ready(key).is_empty()
        });
        for waiter in &mut self.waiters {
            waiter.has_waited = true;
        }
    }

    fn end_waits(&mut self, now: u64, ends: impl Fn(&Self, Key) -> bool) {
        let mut over: Vec<(u64, usize)> = (0..self.waiters.len())
            .map(|at| (self.waiters[at].until, at))
            .filter(|(until, _)| *until <= now)
            .collect();
        over.sort_unstable();
        over.retain(|(_, at)| ends(self, self.waiters[*at].key));
        let mut ended: Vec<Requester> = Vec::new();
        for (_, at) in over {
            let waiter = self.waiters[at];
            self.observe_empty(waiter.key);
            self.answer(waiter.from, Answer::Empty);
            ended.push(waiter.from);
        }
        self.waiters.retain(|waiter| !ended.contains(&waiter.from));
    }
}

/// The kind of the record that says it.
const fn kind(how: &Settling) -> u8 {
    match how {
        Settling::Ack => record_kind::ACK,
        Settling::Nack { .. } => record_kind::NACK,
        Settling::Reject(..) => record_kind::REJECT,
        Settling::Extend { .. } => record_kind::EXTEND,
    }
}
