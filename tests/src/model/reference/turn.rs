//! The end of a turn, and what happens because time passes.

use corelane_core::Reply;
use corelane_wire::{Contract, ErrorCode, SettleEntry, SettleOutcome, Settled, record_kind};

use super::apply::{Settling, one};
use super::state::{Key, place};
use super::{Model, Status, Taker, refused};

impl Model {
    /// Settlements of a turn: acks, then nacks, rejects and extends, each by subscription and in the order of arrival; those
    /// of one kind for one subscription share a record.
    pub(crate) fn settle(&mut self) {
        let mut turn = std::mem::take(&mut self.turn);
        self.texts.clear();
        turn.sort_by_cached_key(|(_, key, how, _)| (how.clone(), *key));
        for group in turn.chunk_by(|left, right| (&left.2, left.1) == (&right.2, right.1)) {
            let before = self.end;
            let settle = |(from, key, how, entries): &(_, _, _, Vec<_>)| {
                (*from, self.settle_each((*key, how, entries), before))
            };
            let answers: Vec<_> = group.iter().map(settle).collect();
            for (from, answer) in answers {
                self.answer(from, answer);
            }
        }
    }

    /// One record says it for all of a group, before which the log ended so.
    fn settle_each(&mut self, (key, how, of): (Key, &Settling, &[SettleEntry]), end: u64) -> Reply {
        if self.state.queues[key.0].is_deleted {
            return refused(ErrorCode::QueueNotFound);
        }
        if self.state.subscription(key).is_deleted {
            return refused(ErrorCode::SubscriptionNotFound);
        }
        let mut settled = Vec::new();
        for entry in of {
            for at in entry.range.first.0..entry.range.end().0 {
                let outcome = self.state.judge(key, at, entry.lease);
                let range = one(place(at));
                settled.push(Settled { range, outcome });
                if outcome == SettleOutcome::Done && self.end == end {
                    self.record(kind(how));
                }
                if outcome == SettleOutcome::Done {
                    self.state.settle(key, place(at), how);
                }
            }
        }
        self.observe_settled(key, &settled);
        Reply::Settled(settled)
    }

    /// The first part of what a deadline brings: waits end, of which the engine has ended so many, and sessions do.
    pub(crate) fn end_of_time(&mut self, ended: usize) {
        if self.status != Status::Serving {
            return;
        }
        self.end_waits(ended, |model, key| match model.ready(key).is_empty() {
            // Its keys may not all be known.
            true if model.state.subscription(key).is(Contract::KeyOrdered) => None,
            is_empty => Some(is_empty),
        });
        let log_now = self.log_now();
        let lost = self.lost.iter().map(|(&session, &due)| (due, session));
        let mut over: Vec<(u64, u128)> = lost.filter(|(due, _)| *due <= log_now).collect();
        over.sort_unstable();
        for (_, session) in over {
            self.lost.remove(&session);
            if self.state.holders().any(|(_, holder)| holder == session) {
                self.record(record_kind::RELEASE).release(session);
            }
        }
    }

    /// A Tick was appended.
    pub(crate) fn tick(&mut self) {
        self.record(record_kind::TICK).tick();
    }

    /// The last part of a turn: dequeues whose time is over are told so, unless there is something for them that only
    /// cannot be given out now, or not in a turn that has given out as much as one may.
    pub(crate) fn end_empty(&mut self, ended: usize, is_full: bool) -> Vec<Key> {
        let ended = self.end_waits(ended, |model, key| {
            let is_ordered = model.state.subscription(key).is(Contract::KeyOrdered);
            let is_left = is_full && model.is_wanted(key);
            match model.ready(key).is_empty() {
                true if is_ordered && (is_left || !model.is_free(key)) => None,
                is_empty => Some(is_empty || (model.is_free(key) && !is_left)),
            }
        });
        let takers = self.takers.iter_mut();
        takers.for_each(|taker| taker.has_waited = true);
        ended
    }

    /// Of which subscriptions waits end: `None` stands for those of which only the engine knows.
    fn end_waits(&mut self, ended: usize, ends: impl Fn(&Self, Key) -> Option<bool>) -> Vec<Key> {
        let is_over = |it: &&Taker| it.until.is_some_and(|until| until <= self.now);
        let waits: Vec<&Taker> = self.takers.iter().filter(is_over).collect();
        let is_sure = |it: &&&Taker| ends(self, it.key) == Some(true);
        let sure = waits.iter().filter(is_sure).count();
        let ends = |it: &&Taker| ends(self, it.key).unwrap_or(sure < ended);
        let mut over: Vec<Taker> = waits.into_iter().filter(ends).cloned().collect();
        over.sort_by_key(|taker| taker.until);
        let is_over = |taker: &Taker| over.iter().any(|ended| ended.to == taker.to);
        self.takers.retain(|taker| !is_over(taker));
        for taker in &over {
            self.observe_empty(taker.key);
            taker
                .waiter()
                .into_iter()
                .for_each(|from| self.answer(from, Reply::Empty));
        }
        over.into_iter().map(|taker| taker.key).collect()
    }
}

/// The kind of the record that says it.
const fn kind(how: &Settling) -> u8 {
    match how {
        Settling::Ack => record_kind::ACK,
        Settling::Nack(..) => record_kind::NACK,
        Settling::Reject(..) => record_kind::REJECT,
        Settling::Extend(..) => record_kind::EXTEND,
    }
}
