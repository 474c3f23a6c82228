//! Dead messages go to dead-letter queues.
//!
//! One letter of a subscription at a time: a Forward record says which messages it holds; once that is committed they
//! are read, and the shell enqueues them; a Forwarded record says that they have arrived. A letter that is sent again
//! after a crash has the same producer id, so that its messages are there once. Invariant: (X1) no letter leaves
//! before its Forward record is committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use corelane_wire::{
    Batch, BatchBuilder, DeadLetters, ErrorCode, Header, Lsn, Message, Offset, OffsetRange,
    OutgoingMessage, PartitionId, ProducerId, Sequence, SubscriptionAnswer, Timestamp,
};
use tracing::warn;

use super::output::FetchFor;
use super::request::Refusal;
use super::{Engine, Output, Run};
use crate::record::Change;
use crate::state::letter::Letter;
use crate::state::runs::RunsAt;
use crate::state::{EnqueueRun, SubscriptionKey};

/// Letters and their state.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Subscriptions whose dead messages go somewhere, or did.
    keys: BTreeSet<SubscriptionKey>,
    /// Letters that are being read, or are with the shell, by the number of their record.
    under_way: BTreeSet<Lsn>,
    /// Those that are being read, and where the first message of each is in its batch.
    reading: VecDeque<(SubscriptionKey, Lsn, u32)>,
    /// When a subscription's letter that was refused for now is tried again.
    again: BTreeMap<SubscriptionKey, Timestamp>,
    /// Subscriptions whose dead messages cannot be read, or are refused for good.
    stuck: BTreeSet<SubscriptionKey>,
}

/// A letter for the shell to enqueue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Whose dead messages they are.
    pub from: SubscriptionKey,
    /// Names the letter.
    pub lsn: Lsn,
    /// The queue that it goes to.
    pub to: Box<str>,
    /// A batch of class durable.
    pub batch: Vec<u8>,
}

impl Outbox {
    /// When a letter is tried again.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.again.values().min().copied()
    }
}

impl Engine {
    /// Looks for letters that an earlier start left, and for subscriptions that may have some.
    pub(super) fn open_outbox(&mut self) {
        for (id, queue) in self.state.queues.iter() {
            let sending = queue.subscriptions.iter();
            let sending = sending.filter(|of| of.dead_letters.is_some() || of.letter.is_some());
            self.outbox.keys.extend(sending.map(|of| (id, of.id)));
        }
    }

    /// Where dead messages of a subscription go, or shall go from now on.
    pub(super) fn dead_letters(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        change: Option<DeadLetters<'_>>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<SubscriptionAnswer, Refusal> {
        let to = match change {
            None => None,
            Some(DeadLetters::Stay) => Some(None),
            Some(DeadLetters::To(to)) => {
                let queue = self.state.queues.get(key.0);
                if queue.is_some_and(|queue| queue.name == to) {
                    let text = format!("queue {to} cannot be its own dead-letter queue");
                    return Err((ErrorCode::OutOfRange, text));
                }
                Some(Some(to.into()))
            }
        };
        if let Some(to) = to {
            self.change(now, key, Change::DeadLetters { to }, outputs);
            self.outbox.keys.insert(key);
            self.outbox.stuck.remove(&key);
        }
        let of = self.state.subscription(key);
        let to = of.and_then(|of| Some(of.dead_letters.as_deref()?.to_owned()));
        Ok(SubscriptionAnswer::DeadLetters { to })
    }

    /// Goes on with what is to be forwarded.
    pub(super) fn forward_dead(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        self.outbox.again.retain(|_, at| *at > now);
        if self.outbox.keys.is_empty() || self.state.counts.dead == 0 {
            return;
        }
        let keys: Vec<SubscriptionKey> = self.outbox.keys.iter().copied().collect();
        for key in keys {
            self.forward_of(now, key, outputs);
        }
    }

    fn forward_of(&mut self, now: Timestamp, key: SubscriptionKey, outputs: &mut VecDeque<Output>) {
        let of = self.state.subscription(key);
        let of = of.filter(|of| of.dead_letters.is_some() || of.letter.is_some());
        let Some(of) = of else {
            self.outbox.keys.remove(&key);
            self.outbox.again.remove(&key);
            self.outbox.stuck.remove(&key);
            return;
        };
        match &of.letter {
            Some(letter) => {
                let is_committed = letter.lsn < self.committed;
                let is_under_way = self.outbox.under_way.contains(&letter.lsn);
                if is_committed && !is_under_way && !self.outbox.again.contains_key(&key) {
                    self.read_letter(now, key, outputs);
                }
            }
            None if self.outbox.stuck.contains(&key) => {}
            None => self.write_letter(now, key, outputs),
        }
    }

    /// Puts the first dead messages that fit into a letter.
    fn write_letter(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        outputs: &mut VecDeque<Output>,
    ) {
        let of = self.state.subscription(key);
        let row = of.and_then(|of| of.dead.rows().first());
        let Some((first, count)) = row.map(|(first, row)| (*first, row.count)) else {
            return;
        };
        let Some(run) = self.run_of(now, key, first, outputs) else {
            return;
        };
        let fitting = u64::from(LETTER_BYTES_MAX / run.largest.max(1)).max(1);
        let count = count.min(run.end().0 - first.0).min(fitting);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let count = count.min(LETTER_MESSAGES_MAX);
        let range = OffsetRange { first, count };
        self.change(now, key, Change::Forward { range }, outputs);
        self.flush.wanted = true;
    }

    /// Has the messages of a subscription's letter read.
    fn read_letter(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        outputs: &mut VecDeque<Output>,
    ) {
        let of = self.state.subscription(key);
        let letter = of.and_then(|of| of.letter.as_ref());
        let Some((lsn, first, end)) = letter.map(|it| (it.lsn, it.first, it.end())) else {
            return;
        };
        let Some(run) = self.run_of(now, key, first, outputs) else {
            return;
        };
        if run.end() < end {
            // Relocation has put them apart: shorter letters follow.
            return self.end_letter(now, key, false, outputs);
        }
        let mut runs = [Run {
            lsn: run.lsn,
            index: u32::try_from(first.0 - run.first.0).unwrap_or(u32::MAX),
            first,
            count: u32::try_from(end.0 - first.0).unwrap_or(u32::MAX),
            attempt: 0,
            enqueued: run.time,
        }];
        self.moves.resolve(&mut runs);
        let [run] = runs;
        self.outbox.under_way.insert(lsn);
        self.outbox.reading.push_back((key, lsn, run.index));
        outputs.push_back(Output::Fetch {
            whose: FetchFor::DeadLetters,
            lsn: run.lsn,
            first: Offset(first.0 - u64::from(run.index)),
        });
    }

    /// The record that a dead message came with; `None` if its place has to be read first, or is lost.
    fn run_of(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        first: Offset,
        outputs: &mut VecDeque<Output>,
    ) -> Option<EnqueueRun> {
        let queue = self.state.queues.get(key.0)?;
        match queue.runs.at(first) {
            RunsAt::Here(runs, _) => return runs.first().copied(),
            RunsAt::Away(first, place) => self.load(key.0, (first, place), outputs),
            RunsAt::Nothing => self.give_up_letters(now, key, "they are not kept", outputs),
        }
        None
    }

    /// A letter's batch was read, or cannot be.
    pub(super) fn on_letter_read(
        &mut self,
        now: Timestamp,
        batch: Option<&[u8]>,
        outputs: &mut VecDeque<Output>,
    ) {
        let Some((key, lsn, index)) = self.outbox.reading.pop_front() else {
            return;
        };
        let queue = self.state.queues.get(key.0);
        let found = queue.and_then(|queue| Some((queue, queue.subscription(key.1)?)));
        let letter = found.and_then(|(queue, of)| {
            let letter = of.letter.as_ref().filter(|letter| letter.lsn == lsn)?;
            Some((letter, [&*queue.name, &*of.name]))
        });
        let Some((letter, names)) = letter.filter(|_| self.status == super::Status::Serving) else {
            self.outbox.under_way.remove(&lsn);
            return;
        };
        let batch = batch.and_then(|bytes| Batch::trusted(bytes).ok());
        let composed =
            batch.and_then(|batch| compose(self.partition, letter, names, (&batch, index)));
        let Some(batch) = composed else {
            self.outbox.under_way.remove(&lsn);
            return self.give_up_letters(now, key, "their record cannot be read", outputs);
        };
        let to = letter.to.clone();
        let from = key;
        outputs.push_back(Output::Letter(Box::new(Outgoing {
            from,
            lsn,
            to,
            batch,
        })));
    }

    /// The dead-letter queue has answered.
    pub(super) fn on_letter_answered(
        &mut self,
        now: Timestamp,
        (key, lsn): (SubscriptionKey, Lsn),
        code: ErrorCode,
        outputs: &mut VecDeque<Output>,
    ) {
        self.outbox.under_way.remove(&lsn);
        let of = self.state.subscription(key);
        let letter = of.and_then(|of| of.letter.as_ref());
        if letter.is_none_or(|letter| letter.lsn != lsn) || self.status != super::Status::Serving {
            return;
        }
        if code == ErrorCode::Ok {
            self.end_letter(now, key, true, outputs);
        } else if code.is_retry() {
            self.outbox.again.insert(key, now.add(AGAIN));
        } else {
            self.give_up_letters(now, key, code.name(), outputs);
        }
    }

    fn end_letter(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        arrived: bool,
        outputs: &mut VecDeque<Output>,
    ) {
        self.change(now, key, Change::Forwarded { arrived }, outputs);
    }

    /// Dead messages of a subscription stay where they are until the next start, or until it is said anew where they go.
    fn give_up_letters(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        reason: &str,
        outputs: &mut VecDeque<Output>,
    ) {
        let queue = self.state.queues.get(key.0);
        let found = queue.and_then(|queue| Some((queue, queue.subscription(key.1)?)));
        let Some((queue, of)) = found else {
            return;
        };
        warn!(
            queue = queue.name,
            subscription = of.name,
            reason,
            "dead messages cannot be forwarded and stay where they are; say their dead-letter queue again to retry"
        );
        self.outbox.stuck.insert(key);
        if of.letter.is_some() {
            self.end_letter(now, key, false, outputs);
        }
    }
}

/// The batch of a letter: its messages, each with how it died; `None` if the batch they came with is another one.
fn compose(
    partition: PartitionId,
    letter: &Letter,
    [queue, subscription]: [&str; 2],
    (batch, index): (&Batch<'_>, u32),
) -> Option<Vec<u8>> {
    let row = &letter.row;
    let count = usize::try_from(row.count).ok()?;
    let attempts = row.attempts.to_string();
    let mut builder = BatchBuilder::new();
    let mut messages = batch.iter().skip(index as usize).take(count);
    for offset in letter.first.0..letter.end().0 {
        let message = messages.next()?.ok()?;
        let offset = offset.to_string();
        let about = [
            ("corelane-dead-queue", queue),
            ("corelane-dead-subscription", subscription),
            ("corelane-dead-offset", &offset),
            ("corelane-dead-cause", row.cause.name()),
            ("corelane-dead-attempts", &attempts),
            ("corelane-dead-text", &row.text),
        ];
        push(&mut builder, &message, &about)?;
    }
    Some(builder.finish(letter.producer(partition), Sequence(0)))
}

/// Adds a message with these headers behind its own, or, where there is no room for them, as it is.
fn push(builder: &mut BatchBuilder, message: &Message<'_>, about: &[(&str, &str)]) -> Option<()> {
    let mut headers: Vec<Header<'_>> = message.headers().collect();
    let own = headers.len();
    headers.extend(about.iter().map(|(name, value)| Header {
        name,
        value: value.as_bytes(),
    }));
    let outgoing = OutgoingMessage {
        key: message.key,
        headers: &headers,
        body: message.body,
        ..OutgoingMessage::default()
    };
    let as_it_is = OutgoingMessage {
        headers: &headers[..own],
        ..outgoing
    };
    let pushed = builder.push(&outgoing);
    pushed.or_else(|_| builder.push(&as_it_is)).ok()
}

impl Letter {
    /// The producer of its only batch: the same however often it is sent, and of no other letter.
    fn producer(&self, partition: PartitionId) -> ProducerId {
        let start = u32::try_from(self.epoch.0 & u64::from(u32::MAX)).unwrap_or(0) ^ TAG;
        let who = u128::from(start) << 96 | u128::from(partition.0) << 64;
        ProducerId(who | u128::from(self.lsn.0))
    }
}

/// Messages of one letter at most.
const LETTER_MESSAGES_MAX: u32 = 256;
/// About their bytes.
const LETTER_BYTES_MAX: u32 = 512 << 10;
/// How soon a letter that was refused for now is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// In the producer ids of letters.
const TAG: u32 = 0xdead_1e77;
