//! What a turn collects: acks, nacks, rejects and extends become records only at its end, in this order.
//!
//! Requests of one kind for one subscription share a record. Each is judged against the state and against what the
//! record takes already, so that the record is applied once, whole.

use std::collections::VecDeque;
use std::ops::Range;

use corelane_wire::{
    ErrorCode, Fate, LeaseId, Offset, OffsetRange, SettleEntry, SettleOutcome, Settled, Timestamp,
};

use super::range_set::RangeSet;
use super::{Engine, Output, Reply, Requester};
use crate::limits::RECORD_ENTRIES_MAX;
use crate::record::Record;
use crate::state::{State, SubscriptionKey};

/// Everything collected since the last turn's end.
#[derive(Debug, Default)]
pub(super) struct Turn {
    requests: Vec<Collected>,
    entries: Vec<SettleEntry>,
    /// Texts of rejects.
    texts: Vec<Box<str>>,
}

/// One ack, nack, reject or extend.
#[derive(Clone, Debug)]
struct Collected {
    from: Requester,
    key: SubscriptionKey,
    kind: SettleKind,
    entries: Range<usize>,
}

/// What becomes of the messages; the order of the variants is the order of the records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum SettleKind {
    Ack,
    Nack {
        delay_ms: u64,
        count_attempt: bool,
    },
    /// The text is a place in the turn's texts.
    Reject {
        fate: Fate,
        text: usize,
    },
    Extend {
        lease_ms: u32,
    },
}

/// What a group of requests takes out of the state before its record is applied.
#[derive(Debug)]
struct Decision {
    key: SubscriptionKey,
    kind: SettleKind,
    /// Offsets that the record takes.
    taken: RangeSet,
    /// The record's entries.
    entries: Vec<SettleEntry>,
}

impl Turn {
    /// Collects one request.
    pub(super) fn collect(
        &mut self,
        from: Requester,
        key: SubscriptionKey,
        kind: SettleKind,
        entries: impl Iterator<Item = SettleEntry>,
    ) {
        let first = self.entries.len();
        self.entries.extend(entries);
        self.requests.push(Collected {
            from,
            key,
            kind,
            entries: first..self.entries.len(),
        });
    }

    /// What a reject becomes; those with the same text in a row share it.
    pub(super) fn reject(&mut self, fate: Fate, text: &str) -> SettleKind {
        if self.texts.last().is_none_or(|last| **last != *text) {
            self.texts.push(text.into());
        }
        let text = self.texts.len() - 1;
        SettleKind::Reject { fate, text }
    }

    /// Drops everything; returns who waits for an answer.
    pub(super) fn drain(&mut self) -> Vec<Requester> {
        self.entries.clear();
        self.texts.clear();
        self.requests.drain(..).map(|each| each.from).collect()
    }

    /// How many requests are collected.
    pub(super) const fn len(&self) -> usize {
        self.requests.len()
    }

    /// How many bytes they hold.
    pub(super) const fn bytes(&self) -> usize {
        self.entries.len() * size_of::<SettleEntry>()
    }
}

impl Engine {
    /// Turns what was collected into records, gives messages out, and answers the dequeues that did not wait.
    pub(super) fn on_turn_end(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        if self.status != super::Status::Serving {
            return;
        }
        self.settle(now, outputs);
        self.end_retention(now, outputs);
        self.forward_dead(now, outputs);
        self.give_out(now, outputs);
        self.end_waits(now, outputs);
        let runs_max = self.limits.runs_loaded_max;
        self.state.loaded.shrink(&mut self.state.queues, runs_max);
    }

    fn settle(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        let mut turn = std::mem::take(&mut self.turn);
        // Entries were collected in order of arrival, so their position keeps that order within a group.
        turn.requests
            .sort_unstable_by_key(|each| (each.kind, each.key, each.entries.start));
        for group in turn
            .requests
            .chunk_by(|left, right| (left.kind, left.key) == (right.kind, right.key))
        {
            self.settle_group(now, group, &turn, outputs);
        }
        turn.requests.clear();
        turn.entries.clear();
        turn.texts.clear();
        // The memory serves the next turn.
        self.turn = turn;
    }

    fn settle_group(
        &mut self,
        now: Timestamp,
        group: &[Collected],
        Turn { entries, texts, .. }: &Turn,
        outputs: &mut VecDeque<Output>,
    ) {
        let Some(&Collected { key, kind, .. }) = group.first() else {
            return;
        };
        if self.subscription(key).is_none() {
            for each in group {
                let text = "the queue or subscription was deleted in the same turn".to_owned();
                let code = match self.state.queues.get(key.0) {
                    Some(_) => ErrorCode::SubscriptionNotFound,
                    None => ErrorCode::QueueNotFound,
                };
                self.reply(each.from, Reply::Refused { code, text }, outputs);
            }
            return;
        }
        let mut decision = Decision {
            key,
            kind,
            taken: RangeSet::new(),
            entries: Vec::new(),
        };
        let mut answers = Vec::with_capacity(group.len());
        for each in group {
            let mut settled = Vec::new();
            for entry in &entries[each.entries.clone()] {
                decision.judge(self.state_of(key), *entry, &mut settled);
                if decision.entries.len() >= RECORD_ENTRIES_MAX {
                    self.append_settle(now, &mut decision, texts, outputs);
                }
            }
            answers.push((each.from, settled));
        }
        self.append_settle(now, &mut decision, texts, outputs);
        for (from, settled) in answers {
            let reply = Reply::Settled(settled);
            if key.1.is_ephemeral() {
                // It follows from nothing that is written.
                outputs.push_back(Output::Reply { to: from, reply });
            } else {
                self.reply(from, reply, outputs);
            }
        }
    }

    fn append_settle(
        &mut self,
        now: Timestamp,
        decision: &mut Decision,
        texts: &[Box<str>],
        outputs: &mut VecDeque<Output>,
    ) {
        let entries = std::mem::take(&mut decision.entries);
        decision.taken.clear();
        if entries.is_empty() {
            return;
        }
        let (queue, subscription) = decision.key;
        let record = match decision.kind {
            SettleKind::Ack => Record::Ack {
                queue,
                subscription,
                entries,
            },
            SettleKind::Nack {
                delay_ms,
                count_attempt,
            } => Record::Nack {
                queue,
                subscription,
                delay_ms,
                count_attempt,
                entries,
            },
            SettleKind::Reject { fate, text } => Record::Reject {
                queue,
                subscription,
                fate,
                text: texts[text].clone(),
                entries,
            },
            SettleKind::Extend { lease_ms } => Record::Extend {
                queue,
                subscription,
                lease_ms,
                entries,
            },
        };
        self.append(now, record, outputs);
    }
}

impl Decision {
    /// Judges one entry, piece by piece: done, taken by this record already, held under its lease, or stale.
    fn judge(&mut self, state: &State, entry: SettleEntry, settled: &mut Vec<Settled>) {
        let mut next = entry.range.first;
        let end = entry.range.end();
        while next < end {
            let (outcome, piece_end) = self.piece(state, entry.lease, next);
            let piece_end = piece_end.min(end);
            let piece = range(next, piece_end);
            note(settled, piece, outcome);
            if outcome == SettleOutcome::Done {
                self.add(entry.lease, piece);
            }
            next = piece_end;
        }
    }

    /// The outcome for one offset, and how far it reaches at most.
    fn piece(&self, state: &State, lease: LeaseId, offset: Offset) -> (SettleOutcome, Offset) {
        let Some(subscription) = state.subscription(self.key) else {
            return (SettleOutcome::Stale, END);
        };
        if let Some(end) = subscription.done_end(offset) {
            return (SettleOutcome::AlreadyDone, end);
        }
        if let Some(end) = self.taken.end_of(offset) {
            let outcome = match self.kind {
                SettleKind::Ack => SettleOutcome::AlreadyDone,
                SettleKind::Nack { .. } | SettleKind::Reject { .. } | SettleKind::Extend { .. } => {
                    SettleOutcome::Stale
                }
            };
            return (outcome, end);
        }
        let next_taken = self.taken.next_after(offset).unwrap_or(END);
        let lease = state
            .leases
            .get(lease)
            .filter(|lease| lease.key == self.key);
        if let Some(run) = lease.and_then(|lease| lease.run_at(offset)) {
            return (SettleOutcome::Done, run.end().min(next_taken));
        }
        let next_held = lease.and_then(|lease| lease.next_after(offset));
        let next_done = subscription.next_done_after(offset);
        let end = next_held.into_iter().chain(next_done).min();
        (SettleOutcome::Stale, end.unwrap_or(END).min(next_taken))
    }

    fn add(&mut self, lease: LeaseId, piece: OffsetRange) {
        // An extend takes nothing away: the same message may be extended twice.
        if !matches!(self.kind, SettleKind::Extend { .. }) {
            self.taken.insert(piece.first, piece.end());
        }
        match self.entries.last_mut() {
            Some(last) if last.lease == lease && last.range.end() == piece.first => {
                last.range.count += piece.count;
            }
            Some(_) | None => self.entries.push(SettleEntry {
                lease,
                range: piece,
            }),
        }
    }
}

/// Adds an outcome to an answer, run-length.
fn note(settled: &mut Vec<Settled>, piece: OffsetRange, outcome: SettleOutcome) {
    match settled.last_mut() {
        Some(last) if last.outcome == outcome && last.range.end() == piece.first => {
            last.range.count += piece.count;
        }
        Some(_) | None => settled.push(Settled {
            range: piece,
            outcome,
        }),
    }
}

fn range(first: Offset, end: Offset) -> OffsetRange {
    OffsetRange {
        first,
        count: u32::try_from(end.0 - first.0).expect("a piece is not larger than its entry"),
    }
}

const END: Offset = Offset(u64::MAX);
