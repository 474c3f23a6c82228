//! Consumers of messages with keys, some of which always fail, and a book that says whether the order of each key held.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use corelane_wire::{
    BatchBuilder, Lane, Nack, OffsetRange, OutgoingMessage, ProducerId, Request, Sequence, Settle,
    SettleEntries, SettleEntry,
};

use crate::raw::{RawConnection, Taken};

/// What every key has been given and done.
#[derive(Debug)]
pub struct Book {
    keys: Vec<Mutex<Line>>,
    shape: Shape,
    acked: Mutex<u64>,
    /// Something was done.
    moved: Condvar,
}

/// Which messages there are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Keys.
    pub keys: usize,
    /// How many of them always fail: the first ones.
    pub failing: usize,
    /// Messages of each key.
    pub per_key: u64,
    /// Whether each key must keep its order.
    pub is_ordered: bool,
}

/// The messages of one key.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// The first one that nobody has said to be done.
    next: u64,
    /// Whether that was said without an answer.
    is_unsure: bool,
    /// Whether one is held.
    is_held: bool,
}

impl Book {
    /// A book of messages of which nothing is given out.
    pub fn new(shape: Shape) -> Self {
        Self {
            keys: (0..shape.keys).map(|_| Mutex::default()).collect(),
            shape,
            acked: Mutex::new(0),
            moved: Condvar::new(),
        }
    }

    /// How many messages are done.
    pub fn acked(&self) -> u64 {
        *self.acked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many are done.
    pub fn wait_for(&self, acked: u64) {
        let count = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moved.wait_while(count, |count| *count < acked);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether these are the first messages of failing keys, and there are some.
    pub fn are_failing(&self, messages: &[Taken]) -> bool {
        let is_failing = |message: &Taken| {
            let key = message.body.strip_suffix(" 0").map(str::parse::<usize>);
            matches!(key, Some(Ok(key)) if key < self.shape.failing)
        };
        !messages.is_empty() && messages.iter().all(is_failing)
    }

    /// How many messages can be done at all.
    pub const fn total(&self) -> u64 {
        (self.keys.len() - self.shape.failing) as u64 * self.shape.per_key
    }

    /// Enqueues the messages of all keys by turns.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn fill(&self, connection: &mut RawConnection, queue: &str) -> anyhow::Result<()> {
        for from in (0..self.shape.per_key).step_by(ROUNDS_PER_BATCH) {
            let mut builder = BatchBuilder::new();
            for number in from..self.shape.per_key.min(from + ROUNDS_PER_BATCH as u64) {
                for key in 0..self.keys.len() {
                    builder.push(&OutgoingMessage {
                        key: Some(key.to_string().as_bytes()),
                        body: format!("{key} {number}").as_bytes(),
                        ..OutgoingMessage::default()
                    })?;
                }
            }
            let batch = builder.finish(ProducerId::default(), Sequence(0));
            connection.enqueue_batch(queue, &batch)?;
        }
        Ok(())
    }

    /// Takes `count` messages at a time, gives those of failing keys back and finishes the others, until all is done.
    ///
    /// # Errors
    /// If the connection fails, or a message comes out of its order.
    pub fn work(
        &self,
        connection: &mut RawConnection,
        queue: &str,
        count: u32,
    ) -> anyhow::Result<()> {
        let mut is_over = false;
        while !is_over {
            let (mut done, mut failed) = (Vec::new(), Vec::new());
            for message in connection.dequeue(queue, count, LEASE_MS, WAIT_MS)? {
                let (key, number) = self.begin(&message)?;
                if key < self.shape.failing {
                    self.line(key).is_held = false;
                    put(&message, &mut failed);
                } else {
                    done.push((key, number, message));
                }
            }
            if !failed.is_empty() {
                connection.call(&give_back(queue, &failed)?, |_| Ok(()))?;
            }
            is_over = done.is_empty() && self.is_over();
            self.finish(connection, queue, &done)?;
        }
        Ok(())
    }

    /// Whether all is done that can be; where an answer was lost that says so, it is believed.
    fn is_over(&self) -> bool {
        let is_done = |key| {
            let line = self.line(key);
            line.next + u64::from(line.is_unsure) >= self.shape.per_key
        };
        let others = || (self.shape.failing..self.keys.len()).all(is_done);
        self.acked() >= self.total() || self.shape.is_ordered && others()
    }

    /// A message was given out: none of its key may be held, and all before it must be done.
    fn begin(&self, message: &Taken) -> anyhow::Result<(usize, u64)> {
        let (key, number) = message.body.split_once(' ').context("a message of ours")?;
        let (key, number) = (key.parse()?, number.parse()?);
        if !self.shape.is_ordered {
            return Ok((key, number));
        }
        let mut line = self.line(key);
        ensure!(!line.is_held, "two of key {key} are held: {line:?}");
        let is_next = number == line.next || line.is_unsure && number == line.next + 1;
        ensure!(is_next, "{number} of key {key} is out of order: {line:?}");
        *line = Line {
            next: number,
            is_unsure: false,
            is_held: true,
        };
        Ok((key, number))
    }

    /// Finishes messages; when the answer comes the next ones may be on their way already.
    fn finish(
        &self,
        connection: &mut RawConnection,
        queue: &str,
        done: &[(usize, u64, Taken)],
    ) -> anyhow::Result<()> {
        if done.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for (key, _, message) in done {
            let mut line = self.line(*key);
            (line.is_held, line.is_unsure) = (false, true);
            put(message, &mut bytes);
        }
        connection.call(&Request::Ack(settle(queue, &bytes)?), |_| Ok(()))?;
        for (key, number, _) in done {
            let mut line = self.line(*key);
            if line.next == *number && !line.is_held {
                (line.next, line.is_unsure) = (number + 1, false);
            }
        }
        *self.acked.lock().unwrap_or_else(PoisonError::into_inner) += done.len() as u64;
        self.moved.notify_all();
        Ok(())
    }

    fn line(&self, key: usize) -> MutexGuard<'_, Line> {
        let line = self.keys[key].lock();
        line.unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(message: &Taken, out: &mut Vec<u8>) {
    let range = OffsetRange {
        first: message.offset,
        count: 1,
    };
    let lease = message.lease;
    SettleEntry { lease, range }.put(out);
}

fn settle<'a>(queue: &'a str, entries: &'a [u8]) -> anyhow::Result<Settle<'a>> {
    Ok(Settle {
        queue,
        lane: Lane::default(),
        subscription: "",
        entries: SettleEntries::read(entries)?,
    })
}

fn give_back<'a>(queue: &'a str, entries: &'a [u8]) -> anyhow::Result<Request<'a>> {
    Ok(Request::Nack(Nack {
        settle: settle(queue, entries)?,
        delay_ms: FAILING_DELAY_MS,
        count_attempt: true,
    }))
}

/// Messages of each key in one batch.
const ROUNDS_PER_BATCH: usize = 4;
const LEASE_MS: u32 = 30_000;
const WAIT_MS: u32 = 1_000;
/// A message of a failing key comes again after this.
const FAILING_DELAY_MS: u64 = 100;
