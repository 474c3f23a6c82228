//! Enqueues every message, in large batches, one of each queue on the way at a time: so a batch that was refused as
//! busy is sent again and no other overtakes it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use corelane_wire::{
    BatchBuilder, Class, Correlation, Enqueue, Lane, Offset, OffsetRange, OutgoingMessage,
    ProducerId, Request, Response, Sequence, SessionId,
};

use super::book::Book;
use crate::raw::RawConnection;

/// Batches without an answer at most.
const WINDOW_BATCHES: usize = 32;
/// Bytes of a batch at most, unless there is only one message.
const BATCH_BYTES: usize = 1 << 20;
/// More than a batch has for a message beside its body.
const MESSAGE_BYTES: usize = 64;

/// Batches on their way.
type Window = HashMap<Correlation, (u64, OffsetRange)>;
/// Queues with their next offsets.
type Waiting = VecDeque<(u64, u64)>;

/// Enqueues the messages of the book's layout and returns when all are confirmed.
pub(super) fn fill(address: SocketAddr, book: &mut Book) -> anyhow::Result<()> {
    let mut connection = RawConnection::connect(address, SessionId::default())?;
    let mut window = Window::new();
    let mut waiting: Waiting = (0..book.layout.queues).map(|queue| (queue, 0)).collect();
    let batch = (BATCH_BYTES / (book.layout.bytes + MESSAGE_BYTES)).max(1) as u64;
    while !(waiting.is_empty() && window.is_empty()) {
        while window.len() < WINDOW_BATCHES
            && let Some((queue, next)) = waiting.pop_front()
        {
            let range = OffsetRange {
                first: Offset(next),
                count: u32::try_from(batch.min(book.layout.count(queue) - next))?,
            };
            let bytes = encode(book, queue, range)?;
            let correlation = connection.queue(&Request::Enqueue(Enqueue {
                queue: &book.layout.queue_name(queue),
                lane: Lane::default(),
                batch: &bytes,
            }));
            window.insert(correlation, (queue, range));
        }
        connection.flush()?;
        take_receipt(&mut connection, &mut window, &mut waiting, book)?;
    }
    Ok(())
}

/// The batch that these messages of a queue are sent in.
pub(crate) fn encode(book: &Book, queue: u64, range: OffsetRange) -> anyhow::Result<Vec<u8>> {
    let (mut builder, mut body) = (BatchBuilder::new(), Vec::new());
    for offset in range.first.0..range.end().0 {
        let number = book.layout.number(queue, Offset(offset));
        book.layout.put_body(number, &mut body);
        builder.push(&OutgoingMessage {
            key: None,
            headers: &[],
            due_ms: None,
            ttl_ms: None,
            body: &body,
        })?;
    }
    Ok(builder.finish(ProducerId::default(), Sequence(0)))
}

/// Takes one answer; the queue waits again if it has more messages, or the same if it was busy.
fn take_receipt(
    connection: &mut RawConnection,
    window: &mut Window,
    waiting: &mut Waiting,
    book: &mut Book,
) -> anyhow::Result<()> {
    connection.receive(|frame, response| {
        let sent = window.remove(&frame.correlation);
        let (queue, range) = sent.context("a receipt nobody asked for")?;
        if let Response::Error { code, .. } = &response
            && code.class() == Some(Class::Retry)
        {
            waiting.push_back((queue, range.first.0));
            return Ok(());
        }
        let Response::Enqueued(receipt) = &response else {
            bail!("an enqueue was answered with {response:?}");
        };
        ensure!(
            receipt.range == range,
            "messages {range} of queue {queue} were sent, the receipt says {}",
            receipt.range
        );
        book.confirmed(queue, range)?;
        if range.end().0 < book.layout.count(queue) {
            waiting.push_back((queue, range.end().0));
        }
        Ok(())
    })
}
