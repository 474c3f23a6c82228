//! What the producers of one connection do.
//!
//! A batch goes from its schedule into a slot of the window, is encoded under the slot's number as correlation, and
//! leaves the slot when its answer comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::{Context, Result};

use super::book::Book;
use super::connection::Connection;
use super::ledger::Mark;
use super::payload::{Payload, Stamp};
use super::plan::Plan;
use super::protocol::{Answer, Batch, Producers};
use super::schedule::Schedule;

/// One producer: its schedule, and how far it is.
#[derive(Debug)]
struct Producer {
    index: u32,
    schedule: Schedule,
    /// Messages so far; their numbers in the ledger.
    messages: u64,
    unanswered: u32,
    /// A batch was refused, so the broker refuses those behind it: no more until all are answered.
    is_halted: bool,
}

/// A batch in the window.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Index in `Sender::producers`.
    producer: usize,
    first: u64,
    intended_ns: u64,
    sent_ns: u64,
}

/// The producers of one connection.
#[derive(Debug)]
pub(super) struct Sender<P> {
    protocol: P,
    producers: Vec<Producer>,
    /// Producers that may send, by the ordinals of their next batches.
    turns: BinaryHeap<Reverse<(u64, usize)>>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Slots encoded in this turn, not yet handed to the kernel; with the own lateness of each.
    encoded: Vec<(u32, u64)>,
    /// When the window last got room, after it had been full.
    opened_ns: u64,
    is_full: bool,
    bodies: Vec<u8>,
    answers: Vec<Answer>,
}

/// What all senders of a generator need.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) plan: &'a Plan,
    pub(super) payload: &'a Payload,
    /// When the schedules begin, by the run's clock.
    pub(super) start_ns: u64,
}

impl<P: Producers> Sender<P> {
    /// A sender for the producers with these numbers.
    pub(super) fn new(plan: &Plan, indices: &[u32], protocol: P) -> Self {
        let producers: Vec<Producer> = indices.iter().map(|&index| producer(plan, index)).collect();
        let turns = producers
            .iter()
            .enumerate()
            .map(|(place, producer)| Reverse((producer.schedule.ordinal(), place)))
            .collect();
        Self {
            protocol,
            producers,
            turns,
            slots: vec![None; plan.window as usize],
            free: (0..plan.window).rev().collect(),
            encoded: Vec::new(),
            opened_ns: 0,
            is_full: false,
            bodies: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// The next instant at which there is something to send, from the start; `None` if that waits for an answer, or
    /// the schedules are over.
    pub(super) fn next_due(&self) -> Option<u64> {
        let Reverse((_, place)) = *self.turns.peek()?;
        if self.free.is_empty() {
            return None;
        }
        self.producers[place].schedule.due()
    }

    /// Whether every batch that was sent has been answered and, while it may still send, none is left to be sent.
    pub(super) fn is_settled(&self, is_emitting: bool) -> bool {
        self.free.len() == self.slots.len() && !(is_emitting && self.next_due().is_some())
    }

    /// Encodes what is due by `now_ns`, as far as the window has room and one turn may take; true if anything.
    pub(super) fn emit(
        &mut self,
        now_ns: u64,
        terms: &Terms<'_>,
        connection: &mut Connection,
        book: &mut Book,
    ) -> bool {
        while self.encoded.len() < TURN_BATCHES_MAX && connection.outbox.waiting() < TURN_BYTES_MAX
        {
            let Some(due_ns) = self.next_due() else {
                break;
            };
            let due_ns = terms.start_ns + due_ns;
            if due_ns > now_ns {
                break;
            }
            let intended_ns = if terms.plan.is_open() { due_ns } else { now_ns };
            self.encode(intended_ns, terms, connection, book);
        }
        if self.free.is_empty() {
            self.is_full = true;
        }
        !self.encoded.is_empty()
    }

    /// The kernel has what was encoded.
    pub(super) fn on_handed_over(&mut self, now_ns: u64, terms: &Terms<'_>, book: &mut Book) {
        for (number, ready_ns) in self.encoded.drain(..) {
            let Some(slot) = &mut self.slots[number as usize] else {
                continue;
            };
            slot.sent_ns = now_ns;
            if terms.is_measured(slot.intended_ns) {
                let count = u64::from(terms.plan.batch);
                let lag_ns = now_ns.saturating_sub(slot.intended_ns);
                book.series.send_lag.record_ns(lag_ns, count);
                let own_ns = now_ns.saturating_sub(ready_ns);
                book.series.own_lag.record_ns(own_ns, count);
            }
        }
    }

    /// Takes the answers in `bytes`, which came at `now_ns`; returns how many bytes were whole.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        terms: &Terms<'_>,
        (book, out): (&mut Book, &mut Vec<u8>),
    ) -> Result<usize> {
        let mut answers = std::mem::take(&mut self.answers);
        let used = self.protocol.read(bytes, out, &mut answers)?;
        for answer in answers.drain(..) {
            self.on_answer(answer, now_ns, terms, book)?;
        }
        self.answers = answers;
        Ok(used)
    }

    fn on_answer(
        &mut self,
        answer: Answer,
        now_ns: u64,
        terms: &Terms<'_>,
        book: &mut Book,
    ) -> Result<()> {
        let (Answer::Confirmed(number) | Answer::Refused(number, _)) = answer;
        let slot = self
            .slots
            .get_mut(number as usize)
            .and_then(Option::take)
            .with_context(|| format!("an answer to enqueue {number}, asked by nobody"))?;
        self.free.push(number);
        if self.is_full {
            self.is_full = false;
            self.opened_ns = now_ns;
        }
        let producer = &mut self.producers[slot.producer];
        producer.unanswered -= 1;
        let count = terms.plan.batch;
        let mark = match answer {
            Answer::Confirmed(_) => {
                book.on_confirmed(&slot_times(slot), now_ns, terms);
                Mark::CONFIRMED
            }
            Answer::Refused(_, text) => {
                book.on_refused(text, count);
                producer.is_halted = terms.plan.is_idempotent;
                Mark::REFUSED
            }
        };
        book.ledger.mark(producer.index, slot.first, count, mark);
        self.resume(slot.producer);
        Ok(())
    }

    /// Ages of what was sent and is unanswered, and of what was due and never sent; (G2).
    pub(super) fn censor(&mut self, now_ns: u64, terms: &Terms<'_>, book: &mut Book) {
        let count = u64::from(terms.plan.batch);
        for slot in self.slots.iter_mut().filter_map(Option::take) {
            book.on_censored(slot.intended_ns, now_ns, count, terms);
        }
        for producer in &mut self.producers {
            while terms.plan.is_open()
                && let Some(due_ns) = producer.schedule.due()
            {
                book.unsent += count;
                book.on_censored(terms.start_ns + due_ns, now_ns, count, terms);
                producer.schedule.advance();
            }
        }
    }

    fn encode(
        &mut self,
        intended_ns: u64,
        terms: &Terms<'_>,
        connection: &mut Connection,
        book: &mut Book,
    ) {
        let (Some(Reverse((_, place))), Some(number)) = (self.turns.pop(), self.free.pop()) else {
            return;
        };
        let producer = &mut self.producers[place];
        let plan = terms.plan;
        let first = producer.messages;
        self.bodies.clear();
        for index in 0..u64::from(plan.batch) {
            let stamp = Stamp {
                producer: producer.index,
                sequence: first + index,
                intended_ns,
            };
            terms.payload.write(stamp, &mut self.bodies);
        }
        book.ledger
            .mark(producer.index, first, plan.batch, Mark::SENT);
        let batch = Batch {
            slot: number,
            producer: place,
            bodies: &self.bodies,
            body_bytes: plan.body_bytes,
        };
        self.protocol.enqueue(&batch, &mut connection.outbox.bytes);
        self.slots[number as usize] = Some(Slot {
            producer: place,
            first,
            intended_ns,
            sent_ns: intended_ns,
        });
        self.encoded.push((number, intended_ns.max(self.opened_ns)));
        producer.messages += u64::from(plan.batch);
        producer.unanswered += 1;
        producer.schedule.advance();
        self.turns
            .push(Reverse((producer.schedule.ordinal(), place)));
        self.halt(place);
    }

    /// Takes a halted producer's turn away.
    fn halt(&mut self, place: usize) {
        if self.producers[place].is_halted {
            self.turns.retain(|Reverse((_, other))| *other != place);
        }
    }

    /// Lets a halted producer go on once nothing of it is unanswered.
    fn resume(&mut self, place: usize) {
        self.halt(place);
        let producer = &mut self.producers[place];
        if producer.is_halted && producer.unanswered == 0 {
            producer.is_halted = false;
            self.protocol.renew(place);
            self.turns
                .push(Reverse((producer.schedule.ordinal(), place)));
        }
    }
}

impl Terms<'_> {
    /// Whether what was meant for this instant of the run's clock is measured.
    pub(super) fn is_measured(&self, instant_ns: u64) -> bool {
        instant_ns
            .checked_sub(self.start_ns)
            .is_some_and(|from_start| self.plan.is_measured(from_start))
    }
}

/// When a batch was meant to leave, and when it left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
}

const fn slot_times(slot: Slot) -> Times {
    Times {
        intended_ns: slot.intended_ns,
        sent_ns: slot.sent_ns,
    }
}

fn producer(plan: &Plan, index: u32) -> Producer {
    Producer {
        index,
        schedule: Schedule::new(plan, index),
        messages: 0,
        unanswered: 0,
        is_halted: false,
    }
}

/// Beyond these the turn goes on with flushing, so that a backlog is not encoded before its first byte leaves.
const TURN_BATCHES_MAX: usize = 64;
const TURN_BYTES_MAX: usize = 256 * 1_024;
