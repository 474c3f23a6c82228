//! What the producers of one connection do.
//!
//! A batch goes from its schedule into a slot of the window, is encoded under the slot's number as correlation, and
//! leaves the slot when its answer comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::{Context, Result, bail};
use corelane_wire::{
    BatchBuilder, Correlation, Enqueue, Lane, OutgoingMessage, ProducerId, Request, Response,
    Sequence,
};

use super::connection::Connection;
use super::generator::Book;
use super::ledger::Mark;
use super::payload::{Payload, Stamp};
use super::plan::Plan;
use super::schedule::Schedule;

/// One producer: its schedule, and its place in the two sequences.
#[derive(Debug)]
struct Producer {
    index: u32,
    queue: String,
    schedule: Schedule,
    id: ProducerId,
    /// Of batches, for the broker.
    sequence: u64,
    /// Of messages, for the ledger.
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
pub(super) struct Sender {
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
    body: Vec<u8>,
}

/// What all senders of a generator need.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) plan: &'a Plan,
    pub(super) payload: &'a Payload,
    /// When the schedules begin, by the run's clock.
    pub(super) start_ns: u64,
}

impl Sender {
    /// A sender for the producers with these numbers.
    pub(super) fn new(plan: &Plan, indices: &[u32]) -> Self {
        let producers: Vec<Producer> = indices.iter().map(|&index| producer(plan, index)).collect();
        let turns = producers
            .iter()
            .enumerate()
            .map(|(place, producer)| Reverse((producer.schedule.ordinal(), place)))
            .collect();
        Self {
            producers,
            turns,
            slots: vec![None; plan.window as usize],
            free: (0..plan.window).rev().collect(),
            encoded: Vec::new(),
            opened_ns: 0,
            is_full: false,
            body: Vec::new(),
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

    /// An answer came at `now_ns`.
    pub(super) fn on_answer(
        &mut self,
        (correlation, answer): (Correlation, &Response<'_>),
        now_ns: u64,
        terms: &Terms<'_>,
        book: &mut Book,
    ) -> Result<()> {
        let number = u32::try_from(correlation.0).unwrap_or(u32::MAX);
        let slot = self
            .slots
            .get_mut(number as usize)
            .and_then(Option::take)
            .with_context(|| {
                format!("an answer with correlation {correlation}, asked by nobody")
            })?;
        self.free.push(number);
        if self.is_full {
            self.is_full = false;
            self.opened_ns = now_ns;
        }
        let producer = &mut self.producers[slot.producer];
        producer.unanswered -= 1;
        let count = terms.plan.batch;
        if let Response::Error { code, text } = answer {
            book.ledger
                .mark(producer.index, slot.first, count, Mark::REFUSED);
            book.on_refused(*code, text, count);
            producer.is_halted = terms.plan.is_idempotent;
        } else if let Response::Enqueued(receipt) = answer
            && receipt.range.count == count
        {
            book.ledger
                .mark(producer.index, slot.first, count, Mark::CONFIRMED);
            book.on_confirmed(&slot_times(slot), now_ns, terms);
        } else {
            bail!("an enqueue of {count} messages is answered by {answer:?}");
        }
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
        let mut batch = BatchBuilder::new();
        batch.class = plan.class;
        for index in 0..u64::from(plan.batch) {
            let stamp = Stamp {
                producer: producer.index,
                sequence: first + index,
                intended_ns,
            };
            terms.payload.write(stamp, &mut self.body);
            let message = OutgoingMessage {
                key: None,
                headers: &[],
                body: &self.body,
            };
            batch.push(&message).expect("the plan's batches fit");
        }
        let batch = batch.finish(producer.id, Sequence(producer.sequence));
        let enqueue = Enqueue {
            queue: &producer.queue,
            lane: Lane(0),
            batch: &batch,
        };
        book.ledger
            .mark(producer.index, first, plan.batch, Mark::SENT);
        Request::Enqueue(enqueue).encode(Correlation(number.into()), &mut connection.outbox.bytes);
        self.slots[number as usize] = Some(Slot {
            producer: place,
            first,
            intended_ns,
            sent_ns: intended_ns,
        });
        self.encoded.push((number, intended_ns.max(self.opened_ns)));
        producer.sequence += u64::from(plan.is_idempotent);
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

    /// Gives a halted producer a new id once nothing of the old one is unanswered.
    fn resume(&mut self, place: usize) {
        self.halt(place);
        let producer = &mut self.producers[place];
        if producer.is_halted && producer.unanswered == 0 {
            producer.is_halted = false;
            producer.id = ProducerId(producer.id.0 + (1 << 64));
            producer.sequence = 0;
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
    // The low half tells producers apart, and the high half what they go on under after a refusal.
    let id = (plan.run.rotate_left(32) << 20) | u64::from(index) | 1 << 63;
    Producer {
        index,
        queue: plan.queue(index % plan.queues),
        schedule: Schedule::new(plan, index),
        id: if plan.is_idempotent {
            ProducerId(id.into())
        } else {
            ProducerId::NONE
        },
        sequence: 0,
        messages: 0,
        unanswered: 0,
        is_halted: false,
    }
}

/// Beyond these the turn goes on with flushing, so that a backlog is not encoded before its first byte leaves.
const TURN_BATCHES_MAX: usize = 64;
const TURN_BYTES_MAX: usize = 256 * 1_024;
