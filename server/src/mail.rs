//! Mail between the shards of one process.
//!
//! Each pair of shards has two rings, one per direction. A slot carries a [`Batch`]: all that one
//! shard had for the other in one turn, with the bytes of frames and answers behind one another
//! in a single buffer, so that a hop costs no allocation per request. Lives on: both shards, each
//! with its own end. Invariants:
//! (M1) Mail between two shards arrives in the order in which it was written, each exactly once.
//! (M2) A full ring loses nothing: the batch stays with the writer, which refuses new requests
//!      for that neighbour until it has gone ([`Mailboxes::is_full`]).
//! (M3) A shard that may block has set its parked flag and looked at its rings once more after
//!      that; a writer wakes only a neighbour whose flag it took.

use std::collections::VecDeque;

use corelane_core::mailbox::{Parked, Receiver, Sender, ring};
use corelane_core::{ConnectionId, Requester};
use corelane_wire::{Correlation, ErrorCode, PartitionId, SessionId, ShardId};

/// Batches that one ring holds.
const RING_BATCHES: usize = 16;
/// Above this number of bytes a batch that could not be sent counts as full (M2) whatever its ring says.
const BATCH_BYTES_HIGH: usize = 4 << 20;
/// Emptied batches that are kept for the next turns.
const SPARE_MAX: usize = 8;
/// Batches that grew beyond this are not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// One thing that a shard tells another. `bytes` counts what belongs to it in the batch's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mail {
    /// To a partition's shard: a client's frame, whole.
    Request {
        /// Who asked.
        from: Requester,
        /// Whose request it is: what follows a consumer does not say it.
        partition: PartitionId,
        /// Length of the frame.
        bytes: usize,
    },
    /// To a connection's shard: the answer to a request, as a frame.
    Answer {
        /// Whose answer.
        to: ConnectionId,
        /// Which request.
        correlation: Correlation,
        /// What it says.
        code: ErrorCode,
        /// Length of the frame.
        bytes: usize,
    },
    /// To a connection's shard: a pushed delivery, as a frame.
    Delivery {
        /// Who gets it.
        to: ConnectionId,
        /// Length of the frame.
        bytes: usize,
    },
    /// To a connection's shard: an answer of this connection will never come; close it, so that
    /// its client sees that the outcome is unknown.
    Abandon {
        /// Which connection.
        connection: ConnectionId,
    },
    /// To all: a connection is gone.
    Disconnected {
        /// Which connection.
        connection: ConnectionId,
    },
    /// To all: a connection of the session opened.
    SessionOpened {
        /// Which session.
        session: SessionId,
    },
    /// To all: a connection of the session closed.
    SessionClosed {
        /// Which session.
        session: SessionId,
    },
    /// To a connection's shard: there is more to deliver than goes without asking, or than there was room for.
    AskRoom {
        /// Which connection.
        connection: ConnectionId,
        /// Who asks.
        shard: ShardId,
    },
    /// To a shard that asked: it has room until it asks again or says that it needs no more.
    Room {
        /// Which connection.
        connection: ConnectionId,
    },
    /// To a connection's shard: no more is needed of the room that was given.
    RoomUsed {
        /// Which connection.
        connection: ConnectionId,
        /// Whose room it was.
        shard: ShardId,
    },
}

impl Mail {
    /// How many bytes of the batch's buffer belong to it.
    fn bytes(self) -> usize {
        match self {
            Self::Request { bytes, .. }
            | Self::Answer { bytes, .. }
            | Self::Delivery { bytes, .. } => bytes,
            Self::Abandon { .. }
            | Self::AskRoom { .. }
            | Self::Room { .. }
            | Self::RoomUsed { .. }
            | Self::Disconnected { .. }
            | Self::SessionOpened { .. }
            | Self::SessionClosed { .. } => 0,
        }
    }
}

/// What one shard had for another in one turn.
#[derive(Debug, Default)]
pub struct Batch {
    mails: Vec<Mail>,
    bytes: Vec<u8>,
}

impl Batch {
    /// Appends mail that has no bytes of its own.
    pub fn push(&mut self, mail: Mail) {
        debug_assert!(mail.bytes() == 0, "its bytes are written by `push_with`");
        self.mails.push(mail);
    }

    /// Appends mail whose bytes `write` appends to the buffer; `mail` gets their number.
    pub fn push_with(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
        mail: impl FnOnce(usize) -> Mail,
    ) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        self.mails.push(mail(self.bytes.len() - before));
    }

    /// The mail in order, each with its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Mail, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.mails.iter().map(move |&mail| {
            let (bytes, behind) = rest.split_at(mail.bytes());
            rest = behind;
            (mail, bytes)
        })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.mails.is_empty()
    }

    fn clear(&mut self) {
        self.mails.clear();
        self.bytes.clear();
    }
}

/// One shard's ends of the rings that join it to one other.
#[derive(Debug)]
struct Neighbour {
    outgoing: Sender<Batch>,
    incoming: Receiver<Batch>,
    parked: Parked,
    /// What this turn wrote, and what earlier turns could not send.
    batch: Batch,
    /// Whether the ring was full when it was last tried.
    ring_full: bool,
}

/// All mailboxes of one shard.
#[derive(Debug)]
pub struct Mailboxes {
    shard: ShardId,
    /// Indexed by shard; `None` for the shard itself.
    neighbours: Vec<Option<Neighbour>>,
    parked: Parked,
    spares: Vec<Batch>,
}

/// Joins `shards` shards, each with every other; one element per shard, in order.
pub fn mailboxes(shards: u16) -> Vec<Mailboxes> {
    let mut all: Vec<Mailboxes> = (0..shards)
        .map(|shard| Mailboxes {
            shard: ShardId(shard),
            neighbours: (0..shards).map(|_| None).collect(),
            parked: Parked::new(),
            spares: Vec::new(),
        })
        .collect();
    for left in 0..usize::from(shards) {
        for right in left + 1..usize::from(shards) {
            let (to_right, from_left) = ring(RING_BATCHES);
            let (to_left, from_right) = ring(RING_BATCHES);
            let parked = all[right].parked.clone();
            all[left].neighbours[right] = Some(Neighbour::new(to_right, from_right, parked));
            let parked = all[left].parked.clone();
            all[right].neighbours[left] = Some(Neighbour::new(to_left, from_left, parked));
        }
    }
    all
}

impl Neighbour {
    fn new(outgoing: Sender<Batch>, incoming: Receiver<Batch>, parked: Parked) -> Self {
        Self {
            outgoing,
            incoming,
            parked,
            batch: Batch::default(),
            ring_full: false,
        }
    }
}

impl Mailboxes {
    /// Whose mailboxes these are.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// What will go to `shard` at the end of this turn.
    ///
    /// # Panics
    /// If `shard` is this shard or does not exist.
    pub fn to(&mut self, shard: ShardId) -> &mut Batch {
        let neighbour = self.neighbours[usize::from(shard.0)].as_mut();
        &mut neighbour.expect("a shard sends itself no mail").batch
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.neighbours.len()
    }

    /// Writes mail to every other shard.
    pub fn to_all(&mut self, mail: Mail) {
        for neighbour in self.neighbours.iter_mut().flatten() {
            neighbour.batch.push(mail);
        }
    }

    /// Whether new requests and deliveries for `shard` must wait or be refused (M2).
    pub fn is_full(&self, shard: ShardId) -> bool {
        self.neighbours[usize::from(shard.0)]
            .as_ref()
            .is_some_and(|neighbour| {
                neighbour.ring_full || neighbour.batch.bytes.len() > BATCH_BYTES_HIGH
            })
    }

    /// Whether mail is kept back because a ring was full.
    pub fn holds_mail(&self) -> bool {
        self.neighbours
            .iter()
            .flatten()
            .any(|neighbour| !neighbour.batch.is_empty())
    }

    /// Puts the batches into the rings; names in `wake` the shards that must be woken. Returns
    /// how many batches went.
    pub fn flush(&mut self, wake: &mut Vec<ShardId>) -> u64 {
        let mut sent = 0;
        for (shard, neighbour) in self.neighbours.iter_mut().enumerate() {
            let Some(neighbour) = neighbour else { continue };
            if neighbour.batch.is_empty() {
                neighbour.ring_full = false;
                continue;
            }
            let batch =
                std::mem::replace(&mut neighbour.batch, self.spares.pop().unwrap_or_default());
            match neighbour.outgoing.send(batch) {
                Ok(()) => {
                    neighbour.ring_full = false;
                    sent += 1;
                    if neighbour.parked.wake() {
                        let shard = u16::try_from(shard).expect("shards are numbered by u16");
                        wake.push(ShardId(shard));
                    }
                }
                Err(batch) => {
                    let spare = std::mem::replace(&mut neighbour.batch, batch);
                    self.spares.push(spare);
                    neighbour.ring_full = true;
                }
            }
        }
        sent
    }

    /// Appends all that has arrived to `arrived`; at most one full ring per neighbour.
    pub fn receive(&mut self, arrived: &mut VecDeque<Batch>) {
        for neighbour in self.neighbours.iter_mut().flatten() {
            for _ in 0..RING_BATCHES {
                match neighbour.incoming.receive() {
                    Some(batch) => arrived.push_back(batch),
                    None => break,
                }
            }
        }
    }

    /// Takes back a batch that was read, for its memory.
    pub fn recycle(&mut self, mut batch: Batch) {
        if self.spares.len() < SPARE_MAX && batch.bytes.capacity() <= KEPT_BYTES_MAX {
            batch.clear();
            self.spares.push(batch);
        }
    }

    /// Announces that the shard is about to block; false if it must not, because mail is there (M3).
    pub fn park(&mut self) -> bool {
        if self.neighbours.len() < 2 {
            return true;
        }
        self.parked.park();
        let quiet = self
            .neighbours
            .iter_mut()
            .flatten()
            .all(|neighbour| neighbour.incoming.is_empty());
        if !quiet {
            self.parked.unpark();
        }
        quiet
    }

    /// Announces that the shard is awake.
    pub fn unpark(&mut self) {
        if self.neighbours.len() > 1 {
            self.parked.unpark();
        }
    }
}

#[cfg(test)]
mod tests;
