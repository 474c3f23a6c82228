//! Operations in flight: what each token stands for.
//!
//! Invariant: (G1) a token names one operation for ever: its slot is used again only after the
//! operation's last completion, with another generation. A completion whose generation is not
//! the slot's is not ours to handle and finds nothing.

use corelane_core::{ConnectionId, FetchFor, QueueId};
use corelane_storage::{SegmentNumber, Task};
use corelane_wire::{Offset, Timestamp};

use crate::driver::{Listener, Token};

/// What an operation in flight is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Accepting connections.
    Accept(Listener),
    /// Receiving from a connection.
    Recv(ConnectionId),
    /// Sending to a connection.
    Send(ConnectionId),
    /// Closing a connection's socket.
    Close(ConnectionId),
    /// Closing a socket that never became a connection.
    Refuse,
    /// Opening a segment of the partition in this slot.
    Open { slot: usize, segment: SegmentNumber },
    /// Closing a segment that nobody reads any more.
    CloseFile,
    /// A write of a log.
    Write(WriteSite),
    /// A read of a log.
    Read(ReadSite),
    /// Work on a spare segment, or on one that is not needed any more.
    Housekeeping(Task),
    /// Writing a checkpoint of the partition in this slot.
    Checkpoint { slot: usize },
    /// Reading a chunk of a checkpoint for the engine in this slot.
    LoadChunk {
        slot: usize,
        queue: QueueId,
        first: Offset,
    },
    /// Reading something of the partition in this slot through.
    Scrub { slot: usize },
    /// Waking another shard.
    Wake,
}

/// Which read, for its completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReadSite {
    pub(super) slot: usize,
    pub(super) segment: SegmentNumber,
    pub(super) position: u64,
    pub(super) purpose: ReadFor,
}

/// What a read of a log is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReadFor {
    /// Messages that were given out.
    Delivery,
    /// A record that the engine has asked for.
    Fetch(FetchFor),
}

/// Which write, for its completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WriteSite {
    pub(super) slot: usize,
    pub(super) segment: SegmentNumber,
    pub(super) id: u64,
    pub(super) begun: Timestamp,
}

/// The table of operations in flight.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    work: Option<Work>,
}

impl Tokens {
    /// A token for a new operation.
    pub(super) fn issue(&mut self, work: Work) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                work: None,
            });
            u32::try_from(self.slots.len() - 1).expect("operations are bounded by their sources")
        });
        let slot = &mut self.slots[index as usize];
        slot.work = Some(work);
        Token(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// What a completion belongs to; with `more` the operation goes on, else its slot is freed.
    pub(super) fn completed(&mut self, token: Token, more: bool) -> Option<Work> {
        let index = token.0 & u64::from(u32::MAX);
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        if u64::from(slot.generation) != token.0 >> 32 {
            return None;
        }
        if more {
            return slot.work;
        }
        let work = slot.work.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(u32::try_from(index).ok()?);
        Some(work)
    }
}
