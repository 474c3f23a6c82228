//! A message as it came from the broker, in memory of its own.
//!
//! Owns the copy of the entry's bytes: holding one message does not keep the frame that it came in.

use std::ops::Range;
use std::time::Duration;

use corelane_wire::{Header, LeaseId, Message, Offset, Timestamp};

/// One message with its lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// The lease under which it is held; zero for a message that was only looked at.
    pub lease: LeaseId,
    /// Number of the message in its lane.
    pub offset: Offset,
    /// How often it was delivered in its subscription, from 1; 0 for a message that was only looked at.
    pub attempt: u32,
    /// When the broker took it.
    pub enqueued: Timestamp,
    /// When the lease ends, counted from the arrival of the delivery.
    pub lease_until: Timestamp,
    /// Which subscribing of the consumer it came with.
    pub(crate) incarnation: u64,
    entry: Vec<u8>,
    key: Option<Range<usize>>,
    due_ms: Option<u64>,
    ttl_ms: Option<u64>,
    body: Range<usize>,
}

/// What a delivery says about a run of messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedHead {
    pub(crate) lease: LeaseId,
    pub(crate) offset: Offset,
    pub(crate) attempt: u32,
    pub(crate) enqueued: Timestamp,
    pub(crate) lease_until: Timestamp,
    pub(crate) incarnation: u64,
}

impl Received {
    /// Copies a checked message.
    pub(crate) fn new(head: ReceivedHead, message: &Message<'_>) -> Self {
        let entry = message.bytes.to_vec();
        let body = entry.len() - message.body.len()..entry.len();
        let key = message.key.and_then(|key| place(message.bytes, key));
        Self {
            lease: head.lease,
            offset: head.offset,
            attempt: head.attempt,
            enqueued: head.enqueued,
            lease_until: head.lease_until,
            incarnation: head.incarnation,
            entry,
            key,
            due_ms: message.due_ms,
            ttl_ms: message.ttl_ms,
            body,
        }
    }

    /// The payload.
    pub fn body(&self) -> &[u8] {
        self.entry.get(self.body.clone()).unwrap_or_default()
    }

    /// What the message is about, if the producer said so.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.clone().and_then(|range| self.entry.get(range))
    }

    /// When it was due, if the producer said so.
    pub fn due(&self) -> Option<Timestamp> {
        self.due_ms.map(Timestamp::from_millis)
    }

    /// How long it lives from when it may first be given out, if the producer said so.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl_ms.map(Duration::from_millis)
    }

    /// The named values, in the producer's order; reads the entry again.
    pub fn headers(&self) -> Vec<Header<'_>> {
        Message::read(&self.entry)
            .map_or_else(|_| Vec::new(), |(message, _)| message.headers().collect())
    }

    /// Length of the whole message.
    pub const fn bytes(&self) -> usize {
        self.entry.len()
    }
}

/// Where `part`, which borrows from `whole`, stands in it.
fn place(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (start + part.len() <= whole.len()).then(|| start..start + part.len())
}
