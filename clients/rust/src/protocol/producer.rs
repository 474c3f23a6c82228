//! The producer without a socket: numbers batches, sends them in order, sends again what is not answered.
//!
//! Owns: the messages that are not settled yet, the producer id and the next sequence number.
//! Called by: the link task of the tokio face, and by simulated clients; both pass the time in.
//!
//! Use: [`ProducerCore::push`] a message; call [`ProducerCore::drive`] whenever something has changed or
//! [`ProducerCore::next_deadline`] has come; hand answers to [`ProducerCore::on_answer`]; take what is settled from
//! [`ProducerCore::poll_resolved`].
//!
//! Invariants:
//! (N1) A pair of producer id and sequence stands for one batch only, as long as any copy of another could arrive.
//! (N2) Batches leave in the order of their messages, and none leaves before all copies of a refused one behind
//!      which it stood are answered (go-back-N). Outside of such a rewind the batches that are out form a prefix.
//! (N3) `Refused` and `NotSent` are said only when no copy was or can be taken; `Confirmed` only with a receipt.
//! (N4) Messages and bytes in flight are bounded; the byte bound may be passed by one message.

mod config;
mod pace;
mod rewind;

use std::collections::VecDeque;
use std::time::Duration;

use corelane_wire::{
    BatchBuilder, BatchError, Correlation, Enqueue, Epoch, ErrorCode, OutgoingMessage, ProducerId,
    Request, Response, Sequence, Timestamp,
};

pub use config::{
    GIVE_UP_AFTER_MAX, ProducerConfig, PushError, Resolution, Resolved, UnknownReason,
};

use super::backoff::Backoff;
use super::batch::{PendingBatch, Standing};
use super::connection::Protocol;
use super::random::Random;
use pace::Pace;

/// The state of one producer of one lane.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags are independent of each other: every combination can occur"
)]
pub struct ProducerCore {
    config: ProducerConfig,
    random: Random,
    backoff: Backoff,
    pace: Pace,
    connected: bool,
    /// Closed batches, oldest first.
    batches: VecDeque<PendingBatch>,
    /// How many of them are out.
    out: usize,
    open: Option<OpenBatch>,
    ticket_next: u64,
    messages: usize,
    bytes: usize,
    producer: ProducerId,
    sequence_next: Sequence,
    /// The next batch without a number must begin a new producer id.
    fresh_needed: bool,
    /// A batch under the current producer id was given up while its fate was unknown.
    abandoned: bool,
    /// Sending rests until all that is out is answered.
    rewinding: bool,
    /// At the end of the rewind, batches from this number on lose their numbers.
    renumber_from: Option<Sequence>,
    pause_until: Option<Timestamp>,
    last_refusal: Option<(ErrorCode, String)>,
    reroute: bool,
    epoch: Epoch,
    resolved: VecDeque<Resolved>,
}

#[derive(Debug)]
struct OpenBatch {
    builder: BatchBuilder,
    ticket_first: u64,
    created: Timestamp,
}

impl ProducerCore {
    /// A producer that is not connected; `seed` decides its producer ids and pauses.
    pub fn new(config: ProducerConfig, seed: u128) -> Self {
        let mut random = Random::new(seed);
        let pauses = Random::new(random.u128());
        Self {
            config,
            backoff: Backoff::new(REFUSED_PAUSE_MIN, REFUSED_PAUSE_MAX, pauses),
            pace: Pace::default(),
            connected: false,
            batches: VecDeque::new(),
            out: 0,
            open: None,
            ticket_next: 0,
            messages: 0,
            bytes: 0,
            producer: draw(&mut random),
            random,
            sequence_next: Sequence(0),
            fresh_needed: false,
            abandoned: false,
            rewinding: false,
            renumber_from: None,
            pause_until: None,
            last_refusal: None,
            reroute: false,
            epoch: Epoch(0),
            resolved: VecDeque::new(),
        }
    }

    /// Takes a message and returns its ticket: tickets count up from 0 and name messages in [`Resolved`].
    ///
    /// # Errors
    /// [`PushError::Full`] while too much is in flight; [`PushError::Message`] if no broker would take the message.
    pub fn push(
        &mut self,
        now: Timestamp,
        message: &OutgoingMessage<'_>,
    ) -> Result<u64, PushError> {
        if self.is_full() {
            return Err(PushError::Full);
        }
        let bytes = match self.push_open(now, message) {
            Err(BatchError::Full) => {
                self.close_open();
                self.push_open(now, message)
            }
            other => other,
        }
        .map_err(PushError::from)?;
        let ticket = self.ticket_next;
        self.ticket_next += 1;
        self.messages += 1;
        self.bytes += bytes;
        if let Some(open) = &self.open
            && (open.builder.count() >= self.config.batch_messages_max
                || open.builder.bytes() >= self.config.batch_bytes_max)
        {
            self.close_open();
        }
        Ok(ticket)
    }

    /// The connection is greeted; what is not answered will be sent (again) by [`ProducerCore::drive`].
    pub fn on_connected(&mut self) {
        assert_eq!(
            self.out, 0,
            "N2: batches are out before the connection is open"
        );
        self.connected = true;
        self.pause_until = None;
    }

    /// The connection is gone, with all answers that had not come.
    pub fn on_disconnected(&mut self) {
        self.connected = false;
        for batch in self.batches.iter_mut().filter(|batch| batch.is_out()) {
            batch.standing = Standing::Waiting;
            batch.is_uncertain = true;
        }
        self.out = 0;
        self.end_rewind();
    }

    /// Gives up what is too old, and sends what may be sent.
    pub fn drive(&mut self, now: Timestamp, protocol: &mut Protocol) {
        self.on_deadline(now);
        if !self.connected || self.rewinding || self.pause_until.is_some() {
            return;
        }
        let batches_max = self.pace.batches_max(self.config.batches_max);
        while self.out < batches_max && protocol.has_room() {
            if self.out == self.batches.len() && !self.close_open() {
                break;
            }
            let index = self.out;
            if !self.number(index) {
                break;
            }
            self.send(index, protocol);
        }
    }

    /// Gives up what is too old; also needed while there is no connection to drive.
    pub fn on_deadline(&mut self, now: Timestamp) {
        if self.pause_until.is_some_and(|until| until <= now) {
            self.pause_until = None;
        }
        let give_up_after = self.config.give_up_after;
        if let Some(open) = &self.open
            && open.created.add(give_up_after) <= now
        {
            self.close_open();
        }
        while let Some(batch) = self.batches.front()
            && batch.created.add(give_up_after) <= now
        {
            self.give_up_first();
        }
    }

    /// When [`ProducerCore::drive`] must be called next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let oldest = self
            .batches
            .front()
            .map(|batch| batch.created)
            .or_else(|| self.open.as_ref().map(|open| open.created))?;
        let give_up = oldest.add(self.config.give_up_after);
        Some(self.pause_until.map_or(give_up, |until| until.min(give_up)))
    }

    /// Takes the answer to one of the batches; false if the call is not of this producer, or given up.
    pub fn on_answer(
        &mut self,
        now: Timestamp,
        correlation: Correlation,
        epoch: Epoch,
        response: &Response<'_>,
    ) -> bool {
        let standing = Standing::Out(correlation);
        let Some(index) = self.batches.iter().position(|b| b.standing == standing) else {
            return false;
        };
        self.epoch = self.epoch.max(epoch);
        self.set_here(index);
        if let Response::Enqueued(receipt) = response {
            self.on_receipt(now, index, epoch, receipt);
        } else if let Response::Error { code, text } = response {
            self.on_refusal(now, index, *code, text);
        } else {
            self.abandon(index, UnknownReason::Contradiction);
        }
        self.end_rewind();
        true
    }

    /// Settles everything at once, because nobody will drive this producer any more.
    pub fn abandon_all(&mut self) {
        self.close_open();
        while !self.batches.is_empty() {
            if self.is_surely_not_taken(0) {
                self.resolve(0, Resolution::NotSent);
            } else {
                self.abandon(0, UnknownReason::Closed);
            }
        }
        self.rewinding = false;
        self.renumber_from = None;
        self.fresh_needed = true;
    }

    /// The next run of settled messages.
    pub fn poll_resolved(&mut self) -> Option<Resolved> {
        self.resolved.pop_front()
    }

    /// Whether the broker said since the last question that the partition lives elsewhere.
    pub const fn take_reroute(&mut self) -> bool {
        std::mem::replace(&mut self.reroute, false)
    }

    /// The queue and the bounds.
    pub const fn config(&self) -> &ProducerConfig {
        &self.config
    }

    /// How many messages are not settled yet.
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// How many bytes of batches are not settled yet.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether [`ProducerCore::push`] would say full.
    pub const fn is_full(&self) -> bool {
        self.messages >= self.config.messages_max || self.bytes >= self.config.bytes_max
    }

    /// The highest epoch in any answer.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn push_open(
        &mut self,
        now: Timestamp,
        message: &OutgoingMessage<'_>,
    ) -> Result<usize, BatchError> {
        let ticket_first = self.ticket_next;
        let class = self.config.class;
        let open = self.open.get_or_insert_with(|| {
            let mut builder = BatchBuilder::new();
            builder.class = class;
            OpenBatch {
                builder,
                ticket_first,
                created: now,
            }
        });
        let was_empty = open.builder.is_empty();
        let before = open.builder.bytes();
        match open.builder.push(message) {
            Ok(()) if was_empty => Ok(open.builder.bytes()),
            Ok(()) => Ok(open.builder.bytes() - before),
            Err(error) => {
                if was_empty {
                    self.open = None;
                }
                Err(error)
            }
        }
    }

    /// Moves the open batch to the closed ones; false if there is none.
    fn close_open(&mut self) -> bool {
        let Some(open) = self.open.take() else {
            return false;
        };
        let count = open.builder.count();
        let bytes = open.builder.finish(ProducerId::NONE, Sequence(0));
        self.batches.push_back(PendingBatch::new(
            open.ticket_first,
            count,
            open.created,
            bytes,
        ));
        true
    }

    /// Makes sure that a batch has a number; false if it has to wait for those before it.
    fn number(&mut self, index: usize) -> bool {
        let batch = &mut self.batches[index];
        if batch.number.is_some() {
            return true;
        }
        if self.fresh_needed {
            // Under two producer ids the broker could not keep the order, so the old one is finished first.
            if index > 0 {
                return false;
            }
            self.producer = draw(&mut self.random);
            self.sequence_next = Sequence(0);
            self.fresh_needed = false;
            self.abandoned = false;
        }
        batch.assign(self.producer, self.sequence_next);
        self.sequence_next = Sequence(self.sequence_next.0 + 1);
        true
    }

    fn send(&mut self, index: usize, protocol: &mut Protocol) {
        let batch = &mut self.batches[index];
        assert!(!batch.is_out(), "N2: batch {index} is out already");
        let request = Request::Enqueue(Enqueue {
            queue: &self.config.queue,
            lane: self.config.lane,
            batch: batch.bytes(),
        });
        // No deadline: only giving up ends the wait, since a copy that is out decides the fate of those behind it.
        let Ok(correlation) = protocol.request(&request, None) else {
            return;
        };
        batch.standing = Standing::Out(correlation);
        batch.was_sent = true;
        self.out += 1;
    }

    fn set_here(&mut self, index: usize) {
        let batch = &mut self.batches[index];
        if batch.is_out() {
            batch.standing = Standing::Waiting;
            self.out -= 1;
        }
    }

    fn resolve(&mut self, index: usize, resolution: Resolution) {
        let batch = self
            .batches
            .remove(index)
            .expect("callers pass the index of a batch");
        assert!(
            !batch.is_out(),
            "N2: a batch that is out is settled by its answer"
        );
        self.messages -= batch.count as usize;
        self.bytes -= batch.bytes().len();
        self.resolved.push_back(Resolved {
            ticket_first: batch.ticket_first,
            count: batch.count,
            resolution,
        });
    }
}

/// Draws a producer id; 0 would stand for none.
fn draw(random: &mut Random) -> ProducerId {
    ProducerId(random.u128().max(1))
}

/// The first pause after a refusal that asks for a retry.
const REFUSED_PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest one.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
