//! Takes and acks everything, with many requests on the way at a time.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use corelane_wire::limits::DEQUEUE_MESSAGES_MAX;
use corelane_wire::{Class, Correlation, Request, Response, SessionId, SettleOutcome, Settled};

use super::book::Book;
use super::taken::{Taken, dequeue, settle};
use crate::raw::RawConnection;

/// Dequeues without an answer at most.
const WINDOW_DEQUEUES: usize = 16;
/// How long a dequeue waits for messages.
const WAIT_MS: u32 = 200;
/// How long the first one does.
const FIRST_WAIT_MS: u32 = 15_000;
/// If nothing comes for so long, the rest never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was asked of the broker.
enum Asked {
    Dequeue(u64),
    /// With its entries, to be sent again if the broker is busy.
    Ack(u64, Vec<u8>),
}

/// What the broker said.
enum Said {
    Dequeued(Taken),
    Settled(Vec<Settled>),
    Busy,
}

/// A consumer that takes whatever the book is owed.
pub(crate) struct Drain<'a> {
    connection: RawConnection,
    book: &'a mut Book,
    asked: HashMap<Correlation, Asked>,
    dequeues: usize,
    /// Whose turn is next.
    queues: VecDeque<u64>,
    /// When something came last.
    came: Instant,
    start: Instant,
    acked: u64,
    /// Acked messages, and the time it took, until a queue had nothing ready for the first time.
    pace: (u64, Duration),
    was_empty: bool,
}

impl<'a> Drain<'a> {
    pub(crate) fn connect(address: SocketAddr, book: &'a mut Book) -> anyhow::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            connection: RawConnection::connect(address, SessionId::default())?,
            queues: (0..book.layout.queues).collect(),
            book,
            asked: HashMap::new(),
            dequeues: 0,
            came: now,
            start: now,
            acked: 0,
            pace: (0, Duration::ZERO),
            was_empty: false,
        })
    }

    /// Takes one message of the last queue, whose messages were touched last.
    pub(crate) fn take_first(&mut self) -> anyhow::Result<()> {
        let before = self.came;
        self.ask(self.book.layout.queues - 1, 1, FIRST_WAIT_MS);
        self.take_answer()?;
        if self.came == before || self.book.wrong > 0 {
            bail!("the first dequeue brought no message, or a wrong one");
        }
        Ok(())
    }

    /// Takes and acks everything and returns the rate; what has not come long after `due` is left.
    pub(crate) fn run(mut self, due: Instant) -> anyhow::Result<f64> {
        self.start = Instant::now();
        while self.book.unsettled > 0 && Instant::now() < self.came.max(due) + PATIENCE {
            self.fill_window()?;
            if self.asked.is_empty() {
                break;
            }
            self.take_answer()?;
        }
        let (acked, took) = self.pace;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(acked as f64 / took.as_secs_f64().max(1e-9))
    }

    fn fill_window(&mut self) -> anyhow::Result<()> {
        while self.dequeues < WINDOW_DEQUEUES {
            let Some(queue) = self.queues.pop_front() else {
                return Ok(());
            };
            if self.book.is_owed(queue)? {
                self.ask(queue, DEQUEUE_MESSAGES_MAX, WAIT_MS);
                self.queues.push_back(queue);
            }
        }
        Ok(())
    }

    fn ask(&mut self, queue: u64, count: u32, wait_ms: u32) {
        let name = self.book.layout.queue_name(queue);
        let correlation = self.connection.queue(&dequeue(&name, count, wait_ms));
        self.asked.insert(correlation, Asked::Dequeue(queue));
        self.dequeues += 1;
    }

    fn take_answer(&mut self) -> anyhow::Result<()> {
        self.connection.flush()?;
        let (asked, book) = (&mut self.asked, &mut *self.book);
        let (asked, said) = self.connection.receive(|frame, response| {
            let asked = asked.remove(&frame.correlation);
            let asked = asked.context("an answer nobody asked for")?;
            let said = match (&response, &asked) {
                (Response::Dequeued(deliveries), Asked::Dequeue(queue)) => {
                    Said::Dequeued(Taken::new(deliveries, *queue, book)?)
                }
                (Response::Settled(settled), Asked::Ack(..)) => Said::Settled(settled.clone()),
                (Response::Error { code, .. }, _) if code.class() == Some(Class::Retry) => {
                    Said::Busy
                }
                _ => bail!("unexpected {response:?}"),
            };
            Ok((asked, said))
        })?;
        self.dequeues -= usize::from(matches!(asked, Asked::Dequeue(_)));
        match (asked, said) {
            (Asked::Dequeue(queue), Said::Dequeued(taken)) => self.on_dequeued(queue, &taken),
            (Asked::Ack(queue, _), Said::Settled(settled)) => self.on_settled(queue, &settled),
            (Asked::Ack(queue, entries), _) => self.ack(queue, entries),
            // Its queue has its turn again while messages are owed.
            (Asked::Dequeue(_), _) => Ok(()),
        }
    }

    fn on_dequeued(&mut self, queue: u64, taken: &Taken) -> anyhow::Result<()> {
        if taken.ranges.is_empty() {
            self.was_empty = true;
            return Ok(());
        }
        self.came = Instant::now();
        self.ack(queue, taken.entries())
    }

    fn ack(&mut self, queue: u64, entries: Vec<u8>) -> anyhow::Result<()> {
        let name = self.book.layout.queue_name(queue);
        let request = Request::Ack(settle(&name, &entries)?);
        let correlation = self.connection.queue(&request);
        self.asked.insert(correlation, Asked::Ack(queue, entries));
        Ok(())
    }

    fn on_settled(&mut self, queue: u64, settled: &[Settled]) -> anyhow::Result<()> {
        for settled in settled {
            if settled.outcome == SettleOutcome::Stale {
                self.book.ack_refused(queue, settled.range)?;
                self.queues.push_back(queue);
            } else {
                self.book.acked(queue, settled.range)?;
                self.acked += u64::from(settled.range.count);
            }
        }
        if !self.was_empty {
            self.pace = (self.acked, self.start.elapsed());
        }
        Ok(())
    }
}
