//! What a broker must go on doing while its disk is full.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use corelane_wire::{
    Class, Dequeue, ErrorCode, Extend, Lane, Nack, OffsetRange, Request, Response, SessionId,
    SettleOutcome, Settled,
};

use crate::backlog::book::Book;
use crate::backlog::taken::{Taken, settle};
use crate::control;
use crate::process::Broker;
use crate::raw::RawConnection;

/// The queue that is deleted.
pub(super) const DOOMED: &str = "doomed";

/// Messages taken at a time.
const TAKEN: u32 = 90;
/// They come back well within a run if they are not settled.
const LEASE_MS: u32 = 60_000;
/// Checkpoints come every second while the disk is full.
const CHECKPOINT_WITHIN: Duration = Duration::from_mins(1);

/// Asks for everything that needs little room or none, and fails if anything of it is refused; some messages are
/// acked by it.
pub(super) fn serve(broker: &Broker, book: &mut Book) -> anyhow::Result<()> {
    let (status, ready) = control::get(broker.control, "/readyz")?;
    ensure!(status == 200 && ready.contains("disk_full"), "{ready}");
    let before = checkpoints(broker)?;
    let mut connection = RawConnection::connect(broker.address, SessionId::default())?;
    refuses_a_new_queue(&mut connection)?;
    connection
        .call(&Request::QueueDelete { queue: DOOMED }, |response| {
            ensure!(matches!(response, Response::QueueDeleted), "{response:?}");
            Ok(())
        })
        .context("a queue is deleted while the disk is full")?;
    for queue in 0..book.layout.queues {
        settle_some(&mut connection, queue, book)
            .with_context(|| format!("queue {queue} while the disk is full"))?;
    }
    let begin = Instant::now();
    while checkpoints(broker)? == before {
        if begin.elapsed() > CHECKPOINT_WITHIN {
            bail!("no checkpoint within {CHECKPOINT_WITHIN:?} while the disk is full");
        }
        // The broker tells only when it is asked.
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// It needs room too, and the client is told that it may ask again.
fn refuses_a_new_queue(connection: &mut RawConnection) -> anyhow::Result<()> {
    // One of them lies in a partition that has no room left.
    for number in 0..64 {
        let name = format!("new-{number}");
        let create = Request::QueueCreate {
            queue: &name,
            lanes: 1,
        };
        let answer = connection.call(&create, |_| Ok(()));
        let Err(error) = answer else { continue };
        let refused: crate::raw::Refused = error.downcast()?;
        ensure!(refused.code == ErrorCode::DiskFull, "{refused}");
        ensure!(refused.code.class() == Some(Class::Retry), "{refused}");
        return Ok(());
    }
    bail!("64 queues were made on a full disk")
}

/// Takes some messages, extends their lease, acks a third, gives a third back and keeps the rest.
fn settle_some(connection: &mut RawConnection, queue: u64, book: &mut Book) -> anyhow::Result<()> {
    let name = book.layout.queue_name(queue);
    let request = Request::Dequeue(Dequeue {
        queue: &name,
        lane: Lane::default(),
        subscription: "",
        count: TAKEN,
        lease_ms: LEASE_MS,
        wait_ms: 0,
    });
    let taken = connection.call(&request, |response| {
        let Response::Dequeued(deliveries) = response else {
            bail!("a dequeue was answered with {response:?}");
        };
        Taken::new(deliveries, queue, book)
    })?;
    ensure!(taken.count() > 0, "nothing came");
    let all = taken.entries();
    let extend = Request::Extend(Extend {
        settle: settle(&name, &all)?,
        lease_ms: 2 * LEASE_MS,
    });
    settled(connection, &extend)?;
    let thirds = thirds(&taken);
    let [acked, returned] = thirds.each_ref().map(Taken::entries);
    for settled in settled(connection, &Request::Ack(settle(&name, &acked)?))? {
        book.acked(queue, settled.range)?;
    }
    let nack = Request::Nack(Nack {
        settle: settle(&name, &returned)?,
        delay_ms: 0,
        count_attempt: true,
    });
    settled(connection, &nack).map(drop)
}

/// The first and the second third of what was taken.
fn thirds(taken: &Taken) -> [Taken; 2] {
    let third = |part: u32| Taken {
        lease: taken.lease,
        ranges: taken
            .ranges
            .iter()
            .filter(|range| range.count >= 3)
            .map(|range| OffsetRange {
                first: corelane_wire::Offset(range.first.0 + u64::from(part * (range.count / 3))),
                count: range.count / 3,
            })
            .collect(),
    };
    [third(0), third(1)]
}

/// Settles; all of it must take effect.
fn settled(connection: &mut RawConnection, request: &Request<'_>) -> anyhow::Result<Vec<Settled>> {
    connection.call(request, |response| {
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

fn checkpoints(broker: &Broker) -> anyhow::Result<u64> {
    let (_, metrics) = control::get(broker.control, "/metrics")?;
    control::counter(&metrics, "corelane_checkpoints_total")
}
