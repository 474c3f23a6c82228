//! Checkpoints: the state machine's state as of one lsn, one file per generation, without the chunks that did not
//! change since the generation before.
//!
//! ```text
//!   00000007.ckpt   [header][chunks a b c ...][root, log's table, files][trailer]
//!   00000008.ckpt   [header][chunks b'][root, log's table, files: 7, 8][trailer]     a and c stay in 7
//! ```
//! Owns: the files of checkpoints, not what chunks and root mean. Called by: the job that writes a checkpoint, off
//! the shard's loop; start-up; the shard, for chunks that it left on disk.
//! Invariants: (K1) a published file is never written to again. (K2) the files that the two newest published
//! generations name are there. (K3) a file with less than half of its bytes in use by the generation before is not
//! used by the next one: its chunks move. So the files take at most twice what was in use when the older of the two
//! generations began, and the files of these two themselves.

use corelane_wire::{Lsn, PartitionId};

mod chunk;
mod fault;
mod format;
mod read;
mod write;

pub use chunk::{ChunkFault, ChunkReader, chunk_of, chunk_stretch, read_chunk};
pub use fault::CheckpointFault;
pub use read::{FoundCheckpoint, OpenCheckpoints, open_checkpoints};
pub use write::CheckpointWriter;

/// Whose checkpoints they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointConfig {
    /// The partition.
    pub partition: PartitionId,
    /// Identity of the data directory's logs, from the superblock.
    pub log_id: u128,
}

/// What the next generation must know of a published one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointMeta {
    /// Its number.
    pub generation: u32,
    /// The state is the one after every record below.
    pub end: Lsn,
    /// The files with chunks of it, ascending; its own is the last.
    pub files: Vec<CheckpointFile>,
}

/// How much of one file a generation uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointFile {
    /// The generation whose file it is.
    pub generation: u32,
    /// Bytes of the file.
    pub total: u64,
    /// Bytes of the chunks in it that are in use, each rounded up to `CHUNK_ALIGN`.
    pub live: u64,
}

impl CheckpointMeta {
    /// Bytes of the chunks in use, in all files.
    pub fn live(&self) -> u64 {
        self.files.iter().map(|file| file.live).sum()
    }

    /// Bytes of all the files with chunks in use.
    pub fn total(&self) -> u64 {
        self.files.iter().map(|file| file.total).sum()
    }

    fn names(&self, generation: u32) -> bool {
        let found = (self.files).binary_search_by_key(&generation, |file| file.generation);
        found.is_ok()
    }
}

/// The largest chunk.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Every chunk begins at a multiple of this in its file, and is aligned to it in memory where it was read.
pub const CHUNK_ALIGN: usize = 16;
/// The most that root, table of the log and list of files may have together.
pub const MANIFEST_BYTES_MAX: usize = format::PARTS_MAX * format::PART_BYTES;

#[cfg(test)]
mod tests;
