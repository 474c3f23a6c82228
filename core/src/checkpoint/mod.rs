//! Checkpoints of a partition's state: what a cut is, how it becomes chunks, and how chunks become a state again.
//!
//! Owns the meaning of the chunks; where they lie is the storage's. A cut is taken on the owner shard between two
//! steps and costs next to nothing; it is written by any thread. Chunks that did not change since an earlier
//! checkpoint are only named.
//! Invariants: (K1) a state that is restored has the hash of the state that was cut. (K2) a place is remembered only
//! once the checkpoint that wrote it is durable. (K3) no bytes make a restore panic or allocate more than a bounded
//! multiple of their length.

mod former;
mod packed;
mod restore;
mod rows;
mod stored;
mod walk;
mod write;

use std::sync::Arc;

use corelane_wire::{ChunkPlace, Epoch, LeaseId, Lsn, Offset, ProducerId};

use crate::ids::QueueId;
use crate::state::chunk::Frozen;
use crate::state::pages::FrozenPage;
use crate::state::{Lease, QueuePage, State, Window};
use crate::time::LogClock;

pub(crate) use packed::unpack;
pub use restore::RestoreError;
pub use walk::{ChunkToRead, ChunkWalk};
pub use write::Written;

/// Takes the chunks of a checkpoint.
pub trait ChunkSink {
    /// Why it cannot.
    type Error;

    /// Takes a new chunk; says where it lies.
    ///
    /// # Errors
    /// If it cannot be written.
    fn put(&mut self, chunk: &[u8]) -> Result<ChunkPlace, Self::Error>;

    /// Keeps a chunk of an earlier checkpoint; says where it lies from now on.
    ///
    /// # Errors
    /// If it had to be moved and cannot be.
    fn keep(&mut self, place: ChunkPlace) -> Result<ChunkPlace, Self::Error>;
}

/// Gives the bytes of a chunk back.
pub type ReadChunk<'a> = dyn FnMut(ChunkPlace) -> Result<Vec<u8>, String> + 'a;

/// The state of a partition as of one lsn, to be written by another thread.
#[derive(Debug)]
pub struct Cut {
    end: Lsn,
    epoch: Epoch,
    clock: LogClock,
    next_queue: u32,
    queues: Vec<Arc<Frozen<QueuePage>>>,
    leases: Vec<FrozenPage<LeaseId, Lease>>,
    windows: Vec<FrozenPage<(QueueId, ProducerId), Window>>,
}

/// Messages in a row, some of which are needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveStretch {
    /// Of the messages.
    pub queue: QueueId,
    /// The first message.
    pub first: Offset,
    /// The end of the messages, exclusive.
    pub end: Offset,
    /// The first of their records.
    pub first_lsn: Lsn,
    /// The last of their records.
    pub last_lsn: Lsn,
    /// About how many bytes of their records are needed.
    pub bytes: u64,
}

impl Cut {
    /// The state as of now.
    pub(crate) fn of(state: &mut State) -> Self {
        let mut closed = Vec::new();
        let queues = state.queues.freeze(state.layout, |queue, last, runs| {
            closed.push((queue, last, runs));
        });
        for (queue, last, runs) in closed {
            state.loaded.push(queue, last, runs);
        }
        Self {
            end: state.end,
            epoch: state.epoch,
            clock: state.clock,
            next_queue: state.queues.next(),
            queues,
            leases: state.leases.freeze(),
            windows: state.producers.freeze(),
        }
    }

    /// The lsn after the last record that it holds: a log is replayed from there.
    pub const fn end(&self) -> Lsn {
        self.end
    }

    /// The stretches of messages that are needed.
    pub fn live(&self) -> impl Iterator<Item = LiveStretch> {
        let pages = self.queues.iter().flat_map(|page| &page.value);
        pages.flat_map(|(id, queue)| {
            let stretches = queue.runs.stretches().iter();
            stretches.map(|(&first, stretch)| LiveStretch {
                queue: *id,
                first,
                end: stretch.end,
                first_lsn: stretch.first_lsn,
                last_lsn: stretch.last_lsn,
                bytes: stretch.live_bytes(),
            })
        })
    }
}

#[cfg(test)]
mod tests;
