//! File work that may block for long, done the same way by every driver.

use std::io;

use corelane_storage::{ChunkFault, Task, Volume, read_chunk};
use corelane_wire::{ChunkPlace, PartitionId};

use super::Data;
use crate::checkpoint::CheckpointJob;
use crate::scrub::ScrubJob;

/// Work on files other than the log's own reads and writes.
#[derive(Debug)]
pub enum Chore {
    /// Work on spares and segments. Carries nothing.
    Task(Task),
    /// Reads a chunk of a checkpoint. Carries [`Data::Chunk`] if its checksum is right.
    ReadChunk {
        /// Whose checkpoint.
        partition: PartitionId,
        /// Where it lies.
        place: ChunkPlace,
    },
    /// Writes a checkpoint. Carries [`Data::Checkpoint`], whatever came of it.
    Checkpoint(Box<CheckpointJob>),
    /// Reads a stretch of what is kept through. Carries [`Data::Scrub`], whatever came of it.
    Scrub(Box<ScrubJob>),
}

impl Chore {
    /// Does it; what it changed survives a power cut on return. Of a task, the result is 1 for true.
    pub fn run(self, volume: &mut dyn Volume) -> (io::Result<usize>, Data) {
        match self {
            Self::Task(task) => (task.run(volume).map(usize::from), Data::None),
            Self::ReadChunk { partition, place } => match read_chunk(volume, partition, place) {
                Ok(chunk) => (Ok(chunk.len()), Data::Chunk(chunk)),
                Err(ChunkFault::Io(error)) => (Err(error), Data::None),
                Err(fault) => {
                    tracing::error!(partition = partition.0, ?place, %fault, "chunk of a checkpoint is damaged");
                    (Err(io::Error::from_raw_os_error(libc::EIO)), Data::None)
                }
            },
            Self::Checkpoint(mut job) => {
                let result = job.run(volume).map(|()| 0);
                (result, Data::Checkpoint(job))
            }
            Self::Scrub(mut job) => {
                let result = job.run(volume).map(|()| 0);
                (result, Data::Scrub(job))
            }
        }
    }
}
