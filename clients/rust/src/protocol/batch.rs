//! A message batch on its way from the producer to a receipt.
//!
//! Owns the encoded bytes and what is known about the copies that left. Called by: `producer`.

use corelane_wire::message::renumber;
use corelane_wire::{Correlation, ProducerId, Sequence, Timestamp};

/// One batch that is not settled yet.
#[derive(Debug)]
pub(super) struct PendingBatch {
    /// Ticket of its first message; the others follow.
    pub(super) ticket_first: u64,
    /// How many messages.
    pub(super) count: u32,
    /// When its first message came.
    pub(super) created: Timestamp,
    /// Its number under the current producer id, once it has been sent.
    pub(super) number: Option<Sequence>,
    pub(super) standing: Standing,
    /// Whether any copy ever left.
    pub(super) was_sent: bool,
    /// Whether a copy left whose answer was lost: it may lie in the log, or arrive there yet.
    pub(super) is_uncertain: bool,
    bytes: Vec<u8>,
}

/// Where a batch is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Here: not sent yet, refused, or to be sent again.
    Waiting,
    /// Out on the current connection.
    Out(Correlation),
}

impl PendingBatch {
    /// A batch that has not been sent; `bytes` is complete but for its number.
    pub(super) const fn new(
        ticket_first: u64,
        count: u32,
        created: Timestamp,
        bytes: Vec<u8>,
    ) -> Self {
        Self {
            ticket_first,
            count,
            created,
            number: None,
            standing: Standing::Waiting,
            was_sent: false,
            is_uncertain: false,
            bytes,
        }
    }

    /// Gives it the number under which it will be sent.
    pub(super) fn assign(&mut self, producer: ProducerId, sequence: Sequence) {
        renumber(&mut self.bytes, producer, sequence).expect("the builder's bytes are a batch");
        self.number = Some(sequence);
    }

    /// Takes the number away, as no copy under it can have been taken.
    pub(super) const fn unassign(&mut self) {
        self.number = None;
        self.is_uncertain = false;
    }

    pub(super) const fn is_out(&self) -> bool {
        matches!(self.standing, Standing::Out(_))
    }

    /// Whether its number lies at or above `from`.
    pub(super) fn is_numbered_from(&self, from: Sequence) -> bool {
        self.number.is_some_and(|number| number >= from)
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}
