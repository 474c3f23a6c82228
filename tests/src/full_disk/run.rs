//! The whole run on one disk.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use corelane_wire::{ErrorCode, Request, Response, SessionId};

use super::fill::Producer;
use super::meanwhile::{self, DOOMED};
use super::report::Report;
use super::small::SmallDisk;
use crate::backlog::book::Book;
use crate::backlog::drain::Drain;
use crate::backlog::layout::Layout;
use crate::backlog::taken::dequeue;
use crate::process::{Broker, BrokerOptions};
use crate::raw::{RawConnection, Refused};

/// Over so many queues the messages are spread, and so over partitions of both shards.
const QUEUES: u64 = 4;
/// Bytes of a body.
const BODY_BYTES: usize = 1_000;
/// How long a drained broker that takes nothing may look for room.
const HEALED_WITHIN: Duration = Duration::from_mins(1);

/// Fills the disk twice, with a kill each time that it is full.
///
/// # Errors
/// If the broker answers what it must not answer, or ends by itself.
pub fn run(disk: &SmallDisk, broker: &BrokerOptions) -> anyhow::Result<Report> {
    let options = BrokerOptions {
        data: disk.folder.join("data"),
        ..broker.clone()
    };
    let mut book = Book::new(layout(disk))?;
    let broker = Broker::start(&options)?;
    RawConnection::connect(broker.address, SessionId::default())?
        .enqueue(DOOMED, &["gone", "gone too"])?;
    let mut producer = Producer::connect(broker.address, &book)?;
    producer.fill(&mut book)?;
    meanwhile::serve(&broker, &mut book)?;
    broker.kill()?;

    let broker = Broker::start(&options).context("a start on a full disk")?;
    book.restart();
    producer.reconnect(broker.address)?;
    producer.fill(&mut book)?;
    let until_full = producer.confirmed();
    drain(&broker, &mut book)?;
    let healed_after = producer.reach(until_full + until_full / 2, HEALED_WITHIN, &mut book)?;
    producer.fill(&mut book)?;
    broker.kill()?;

    let broker = Broker::start(&options).context("the second start on a full disk")?;
    drain(&broker, &mut book)?;
    is_empty(&broker, &book)?;
    ensure!(broker.terminate()?.success(), "SIGTERM ends it well");
    Ok(Report {
        disk_bytes: disk.bytes,
        confirmed: [until_full, producer.confirmed() - until_full],
        healed_after,
        lost: book.lost(),
        unsettled: book.unsettled,
        wrong: book.wrong,
        duplicates: book.duplicates,
        resurrected: book.resurrected,
    })
}

/// Room for more messages than the disk takes, drained once in between.
fn layout(disk: &SmallDisk) -> Layout {
    Layout {
        name: "full".to_owned(),
        messages: 2 * QUEUES * disk.bytes / BODY_BYTES as u64,
        queues: QUEUES,
        bytes: BODY_BYTES,
    }
}

/// Takes and acks all that is owed.
fn drain(broker: &Broker, book: &mut Book) -> anyhow::Result<()> {
    Drain::connect(broker.address, book)?.run(Instant::now())?;
    Ok(())
}

/// Nothing that was acked comes again, and the queue that was deleted is not there.
fn is_empty(broker: &Broker, book: &Book) -> anyhow::Result<()> {
    let mut connection = RawConnection::connect(broker.address, SessionId::default())?;
    for queue in 0..book.layout.queues {
        let name = book.layout.queue_name(queue);
        connection.call(&dequeue(&name, 1, 0), |response| {
            let Response::Dequeued(deliveries) = response else {
                bail!("a dequeue was answered with {response:?}");
            };
            ensure!(deliveries.runs.is_empty(), "{name} was drained");
            Ok(())
        })?;
    }
    let refused: Refused = connection.refusal(&Request::QueueShow { queue: DOOMED })?;
    ensure!(refused.code == ErrorCode::QueueNotFound, "{refused}");
    Ok(())
}
