//! From the bytes of a delivery to messages in memory of their own.
//!
//! Owns the walk over entries that goes on after a damaged one: as long as its length can be believed, only that
//! message is lost to the consumer, not those behind it.

use std::time::Duration;

use corelane_wire::{Deliveries, LeaseId, Message, MessageError, Offset, Reader, Timestamp};

use super::error::ProtocolError;
use super::received::{Received, ReceivedHead};

/// What came of one message of a delivery.
#[derive(Debug)]
pub(crate) enum Unpacked {
    /// It is whole.
    Message(Received),
    /// Its bytes are not the ones that the producer sent, or this version does not understand them.
    Unreadable(Unreadable),
}

/// A message that came but cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// The lease under which it came.
    pub lease: LeaseId,
    /// Number of the message in its lane.
    pub offset: Offset,
    /// Why; `None` if it stands behind a message whose length is wrong.
    pub error: Option<MessageError>,
}

/// When the lease of a delivery ends that came now. One without a lease is the client's for good.
pub(crate) fn lease_end(now: Timestamp, deliveries: &Deliveries<'_>) -> Timestamp {
    if deliveries.lease == LeaseId::default() {
        return Timestamp(u64::MAX);
    }
    now.add(Duration::from_millis(u64::from(deliveries.lease_ms)))
}

/// Copies every message out of a delivery.
pub(crate) fn unpack(
    deliveries: &Deliveries<'_>,
    lease_until: Timestamp,
    incarnation: u64,
) -> Result<Vec<Unpacked>, ProtocolError> {
    let count = usize::try_from(deliveries.count()).unwrap_or(usize::MAX);
    // The decoder has checked that there are bytes for so many.
    let mut unpacked = Vec::with_capacity(count);
    let mut rest = Some(deliveries.messages);
    for run in &deliveries.runs {
        for index in 0..u64::from(run.count) {
            let head = ReceivedHead {
                lease: deliveries.lease,
                offset: Offset(run.first.0.saturating_add(index)),
                attempt: run.attempt,
                enqueued: run.enqueued,
                lease_until,
                incarnation,
            };
            let (entry, behind) = rest
                .and_then(split)
                .map_or((None, None), |(entry, rest)| (Some(entry), Some(rest)));
            rest = behind;
            unpacked.push(read(head, entry));
        }
    }
    match rest {
        Some(rest) if !rest.is_empty() => Err(ProtocolError::Contradiction {
            what: "bytes behind the last message",
            expected: 0,
            found: rest.len() as u64,
        }),
        _ => Ok(unpacked),
    }
}

fn read(head: ReceivedHead, entry: Option<&[u8]>) -> Unpacked {
    let error = match entry.map(Message::read) {
        Some(Ok((message, _))) => return Unpacked::Message(Received::new(head, &message)),
        Some(Err(error)) => Some(error),
        None => None,
    };
    Unpacked::Unreadable(Unreadable {
        lease: head.lease,
        offset: head.offset,
        error,
    })
}

/// Cuts one entry off the front by its length, if that is possible.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = Reader::new(bytes).u32().ok()?;
    bytes.split_at_checked(usize::try_from(length).ok()?)
}
