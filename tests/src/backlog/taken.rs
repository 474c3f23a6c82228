//! What one dequeue brought.

use anyhow::Context;
use corelane_wire::{
    Deliveries, Dequeue, Lane, LeaseId, OffsetRange, Request, Settle, SettleEntries, SettleEntry,
};

use super::book::Book;

/// Much longer than a run takes, so that no lease ends by itself.
const LEASE_MS: u32 = 3_600_000;

/// Messages under one lease.
pub(crate) struct Taken {
    pub lease: LeaseId,
    pub ranges: Vec<OffsetRange>,
}

impl Taken {
    /// Notes every body in the book.
    pub(crate) fn new(
        deliveries: &Deliveries<'_>,
        queue: u64,
        book: &mut Book,
    ) -> anyhow::Result<Self> {
        for delivered in deliveries {
            let delivered = delivered.context("a delivery that is not intact")?;
            book.came(queue, delivered.offset, delivered.message.body)?;
        }
        let range = |run: &corelane_wire::DeliveryRun| OffsetRange {
            first: run.first,
            count: run.count,
        };
        Ok(Self {
            lease: deliveries.lease,
            ranges: deliveries.runs.iter().map(range).collect(),
        })
    }

    /// How many messages.
    pub(crate) fn count(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.count)).sum()
    }

    /// The entries that settle these messages.
    pub(crate) fn entries(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        for range in &self.ranges {
            SettleEntry {
                lease: self.lease,
                range: *range,
            }
            .put(&mut entries);
        }
        entries
    }
}

/// Asks for up to `count` messages, waiting up to `wait_ms` for the first.
pub(crate) fn dequeue(name: &str, count: u32, wait_ms: u32) -> Request<'_> {
    Request::Dequeue(Dequeue {
        queue: name,
        lane: Lane::default(),
        subscription: "",
        count,
        lease_ms: LEASE_MS,
        wait_ms,
    })
}

/// Names messages to be settled.
pub(crate) fn settle<'a>(name: &'a str, entries: &'a [u8]) -> anyhow::Result<Settle<'a>> {
    Ok(Settle {
        queue: name,
        lane: Lane::default(),
        subscription: "",
        entries: SettleEntries::read(entries)?,
    })
}
