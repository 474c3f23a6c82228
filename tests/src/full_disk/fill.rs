//! Enqueues until the broker takes nothing more in any queue.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use corelane_wire::{
    Enqueue, ErrorCode, Lane, Offset, OffsetRange, Receipt, Request, Response, SessionId,
};

use crate::backlog::book::Book;
use crate::backlog::fill::encode;
use crate::raw::{RawConnection, Refused};

/// Messages of a batch.
const BATCH_MESSAGES: u32 = 100;
/// A disk is full when every queue was refused and none was served for so long; the broker looks for room every
/// second.
const FULL_FOR: Duration = Duration::from_secs(2);
/// The broker does not tell when there is room.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// One producer for all queues of a book.
pub(super) struct Producer {
    connection: RawConnection,
    /// Of each queue the offset that its next message has.
    next: Vec<u64>,
}

impl Producer {
    pub(super) fn connect(address: SocketAddr, book: &Book) -> anyhow::Result<Self> {
        Ok(Self {
            connection: RawConnection::connect(address, SessionId::default())?,
            next: vec![0; usize::try_from(book.layout.queues)?],
        })
    }

    /// Goes on with another broker, behind what was confirmed.
    pub(super) fn reconnect(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.connection = RawConnection::connect(address, SessionId::default())?;
        Ok(())
    }

    /// How many messages were confirmed.
    pub(super) fn confirmed(&self) -> u64 {
        self.next.iter().sum()
    }

    /// Enqueues until the disk is full.
    pub(super) fn fill(&mut self, book: &mut Book) -> anyhow::Result<()> {
        self.fill_until(u64::MAX, FULL_FOR, book)
    }

    /// Enqueues until `count` messages are confirmed, and says how long that took; `None` if nothing more is taken
    /// for as long as `patience` before.
    pub(super) fn reach(
        &mut self,
        count: u64,
        patience: Duration,
        book: &mut Book,
    ) -> anyhow::Result<Option<Duration>> {
        let begin = Instant::now();
        self.fill_until(count, patience, book)?;
        Ok((self.confirmed() >= count).then(|| begin.elapsed()))
    }

    /// Enqueues until `count` messages are confirmed, or no queue took any for as long as `patience`.
    fn fill_until(
        &mut self,
        count: u64,
        patience: Duration,
        book: &mut Book,
    ) -> anyhow::Result<()> {
        let mut refused = BTreeSet::new();
        let mut taken = Instant::now();
        while self.confirmed() < count {
            if refused.len() == self.next.len() {
                if taken.elapsed() > patience {
                    break;
                }
                std::thread::sleep(ASK_AGAIN);
            }
            for queue in 0..book.layout.queues {
                if self.is_taken(queue, book)? {
                    refused.remove(&queue);
                    taken = Instant::now();
                } else {
                    refused.insert(queue);
                }
            }
        }
        Ok(())
    }

    /// Whether the broker takes the next batch of a queue; the only refusal that is allowed is that the disk is full.
    fn is_taken(&mut self, queue: u64, book: &mut Book) -> anyhow::Result<bool> {
        let next = &mut self.next[usize::try_from(queue)?];
        let range = OffsetRange {
            first: Offset(*next),
            count: BATCH_MESSAGES,
        };
        ensure!(
            range.end().0 <= book.layout.count(queue),
            "the disk is larger than it should be"
        );
        let batch = encode(book, queue, range)?;
        let request = Request::Enqueue(Enqueue {
            queue: &book.layout.queue_name(queue),
            lane: Lane::default(),
            batch: &batch,
        });
        match enqueued(&mut self.connection, &request)? {
            Some(receipt) => {
                ensure!(
                    receipt.range == range,
                    "messages {range} of queue {queue} were sent, the receipt says {}",
                    receipt.range
                );
                book.confirmed(queue, range)?;
                *next = range.end().0;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The receipt, or `None` if the disk is full.
fn enqueued(
    connection: &mut RawConnection,
    request: &Request<'_>,
) -> anyhow::Result<Option<Receipt>> {
    let answer = connection.call(request, |response| {
        let Response::Enqueued(receipt) = response else {
            bail!("an enqueue was answered with {response:?}");
        };
        Ok(*receipt)
    });
    match answer {
        Ok(receipt) => Ok(Some(receipt)),
        Err(error) => match error.downcast::<Refused>() {
            Ok(refused) if refused.code == ErrorCode::DiskFull => Ok(None),
            Ok(refused) => Err(refused.into()),
            Err(error) => Err(error),
        },
    }
}
