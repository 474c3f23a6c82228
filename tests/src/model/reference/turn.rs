//! The end of a turn, and what happens because time passes.

use corelane_core::Reply;
use corelane_wire::{Contract, ErrorCode, SettleEntry, SettleOutcome, Settled, record_kind};

use super::apply::{Ended, Settling, one};
use super::state::Key;
use super::{Model, Status, Taker, refused};

impl Model {
    /// Settlements of a turn: acks, then nacks, rejects and extends, each by subscription and in the order of arrival; those
    /// of one kind for one subscription share a record.
    pub(crate) fn settle(&mut self) {
        let mut turn = std::mem::take(&mut self.turn);
        self.texts.clear();
        turn.sort_by_cached_key(|(_, key, how, _)| (how.clone(), *key));
        for group in turn.chunk_by(|left, right| (&left.2, left.1) == (&right.2, right.1)) {
            let mut record = None;
            let mut settle = |(from, key, how, entries): &(_, _, _, Vec<_>)| {
                (*from, self.settle_each((*key, how, entries), &mut record))
            };
            let answers: Vec<_> = group.iter().map(&mut settle).collect();
            for (from, answer) in answers {
                self.answer(from, answer);
            }
        }
    }

    fn settle_each(
        &mut self,
        (key, how, entries): (Key, &Settling, &[SettleEntry]),
        record: &mut Option<Ended>,
    ) -> Reply {
        if self.state.queues[key.0].is_deleted {
            return refused(ErrorCode::QueueNotFound);
        }
        if self.state.subscription(key).is_deleted {
            return refused(ErrorCode::SubscriptionNotFound);
        }
        let mut settled = Vec::new();
        for entry in entries {
            for at in entry.range.first.0..entry.range.end().0 {
                let outcome = self.state.judge(key, at, entry.lease);
                let offset = usize::try_from(at).expect("it is a small number");
                let range = one(offset);
                settled.push(Settled { range, outcome });
                if outcome == SettleOutcome::Done {
                    let write = || Ended(self.write(kind(how)), None);
                    let ended = record.get_or_insert_with(write);
                    self.state.settle(key, offset, how, ended);
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
                let lsn = self.write(record_kind::RELEASE);
                self.state.release(lsn, session);
            }
        }
    }

    /// A Tick was appended.
    pub(crate) fn tick(&mut self) {
        let lsn = self.write(record_kind::TICK);
        self.state.tick(lsn);
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
        self.takers
            .iter_mut()
            .for_each(|taker| taker.has_waited = true);
        ended
    }

    /// Of which subscriptions waits end: `None` stands for those of which only the engine knows.
    fn end_waits(&mut self, ended: usize, ends: impl Fn(&Self, Key) -> Option<bool>) -> Vec<Key> {
        let is_over = |it: &&Taker| it.until.is_some_and(|until| until <= self.now);
        let waits: Vec<&Taker> = self.takers.iter().filter(is_over).collect();
        let sure = waits
            .iter()
            .filter(|it| ends(self, it.key) == Some(true))
            .count();
        let ends = |it: &&Taker| ends(self, it.key).unwrap_or(sure < ended);
        let mut over: Vec<Taker> = waits.into_iter().filter(ends).cloned().collect();
        over.sort_by_key(|taker| taker.until);
        self.takers
            .retain(|taker| over.iter().all(|ended| ended.to != taker.to));
        for (key, from) in over
            .iter()
            .filter_map(|taker| Some((taker.key, taker.waiter()?)))
        {
            self.observe_empty(key);
            self.answer(from, Reply::Empty);
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
