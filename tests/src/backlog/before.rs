//! What consumers do before the kill: acks, leases that are kept, and delays.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{bail, ensure};
use corelane_wire::limits::DEQUEUE_MESSAGES_MAX;
use corelane_wire::{
    Nack, Offset, OffsetRange, Request, Response, SessionId, SettleOutcome, Settled,
};

use super::book::Book;
use super::taken::{Taken, dequeue, settle};
use crate::raw::RawConnection;

/// What a consumer that is gone held is ready again well within this.
const WAIT_MS: u32 = 15_000;

/// A consumer; what it holds is kept as long as it lives.
pub(super) struct Consumer {
    connection: RawConnection,
}

impl Consumer {
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let connection = RawConnection::connect(address, SessionId::default())?;
        Ok(Self { connection })
    }

    /// Takes every message once and acks those whose number is a multiple of `every`.
    ///
    /// The others come back when this consumer is gone.
    pub(super) fn ack_every(mut self, every: u64, book: &mut Book) -> anyhow::Result<()> {
        self.take_share(
            book.layout.messages,
            book,
            |consumer, queue, taken, book| {
                let acked = Taken {
                    lease: taken.lease,
                    ranges: multiples(every, queue, taken, book),
                };
                if acked.ranges.is_empty() {
                    return Ok(());
                }
                let (name, entries) = (book.layout.queue_name(queue), acked.entries());
                let settled = consumer.settled(&Request::Ack(settle(&name, &entries)?))?;
                for settled in settled {
                    book.acked(queue, settled.range)?;
                }
                Ok(())
            },
        )
    }

    /// Takes `messages` of them and keeps them.
    pub(super) fn hold(&mut self, messages: u64, book: &mut Book) -> anyhow::Result<()> {
        self.take_share(messages, book, |_, _, _, _| Ok(()))
    }

    /// Takes `messages` of them and gives them back, ready after `delay`.
    pub(super) fn delay(
        &mut self,
        messages: u64,
        delay: Duration,
        book: &mut Book,
    ) -> anyhow::Result<()> {
        let delay_ms = u64::try_from(delay.as_millis())?;
        self.take_share(messages, book, |consumer, queue, taken, book| {
            let (name, entries) = (book.layout.queue_name(queue), taken.entries());
            let settle = settle(&name, &entries)?;
            let nack = Nack {
                settle,
                delay_ms,
                count_attempt: true,
            };
            consumer.settled(&Request::Nack(nack)).map(drop)
        })
    }

    /// Takes `messages` of them, spread evenly over the queues, and hands what each dequeue brings to `then`.
    fn take_share(
        &mut self,
        messages: u64,
        book: &mut Book,
        mut then: impl FnMut(&mut Self, u64, &Taken, &mut Book) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for queue in 0..book.layout.queues {
            let mut left = book.layout.share(queue, messages);
            while left > 0 {
                let taken = self.take(queue, left, book)?;
                ensure!(taken.count() > 0, "{left} messages of queue {queue} wanted");
                left -= taken.count();
                then(self, queue, &taken, book)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, queue: u64, count_max: u64, book: &mut Book) -> anyhow::Result<Taken> {
        let name = book.layout.queue_name(queue);
        let count = u32::try_from(count_max.min(DEQUEUE_MESSAGES_MAX.into()))?;
        let request = dequeue(&name, count, WAIT_MS);
        self.connection.call(&request, |response| {
            let Response::Dequeued(deliveries) = response else {
                bail!("a dequeue was answered with {response:?}");
            };
            Taken::new(deliveries, queue, book)
        })
    }

    /// Settles; all of it must take effect.
    fn settled(&mut self, request: &Request<'_>) -> anyhow::Result<Vec<Settled>> {
        self.connection.call(request, |response| {
            let Response::Settled(settled) = response else {
                bail!("a settlement was answered with {response:?}");
            };
            for settled in settled {
                let is_done = settled.outcome == SettleOutcome::Done;
                ensure!(is_done, "under its lease: {settled:?}");
            }
            Ok(settled.clone())
        })
    }
}

/// Of what was taken, the messages whose number is a multiple of `every`.
fn multiples(every: u64, queue: u64, taken: &Taken, book: &Book) -> Vec<OffsetRange> {
    let offsets = taken
        .ranges
        .iter()
        .flat_map(|range| (range.first.0..range.end().0).map(Offset));
    offsets
        .filter(|offset| book.layout.number(queue, *offset).is_multiple_of(every))
        .map(|first| OffsetRange { first, count: 1 })
        .collect()
}
