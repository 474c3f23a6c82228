//! The segment log of Corelane: hash-chained blocks, group commit, block cache, recovery.
//!
//! [`Log`] is a synchronous state machine without I/O: it says what to write, and is told what was written.
//! Only recovery and housekeeping block, through the [`Volume`] seam; [`Directory`] is that seam on real files.
//! The formats, the torn-tail rule and what survives which crash are in `docs/storage-format.md`.
//!
//! Reading order: `layout`, `block`, `segment`, `log`, `recovery`, `checkpoint`.

mod layout;

mod fixed;

mod buffer;

mod block;

mod segment;

mod superblock;

mod record;

mod open_block;

mod segment_table;

mod index;

mod cache;

mod config;

mod log;

mod volume;

mod recovery;

mod scrub;

mod checkpoint;

mod directory;

mod volatile;

mod volumes;

mod error;

mod open_error;

#[cfg(test)]
mod memory;

#[cfg(test)]
mod rig;

pub use block::{BlockFault, BlockSite};
pub use buffer::Buffer;
pub use checkpoint::{
    CHUNK_ALIGN, CHUNK_BYTES_MAX, CheckpointConfig, CheckpointFault, CheckpointFile,
    CheckpointMeta, CheckpointWriter, ChunkFault, ChunkReader, FoundCheckpoint, MANIFEST_BYTES_MAX,
    OpenCheckpoints, chunk_of, chunk_stretch, open_checkpoints, read_chunk,
};
pub use config::LogConfig;
pub use directory::{Directory, DirectoryOptions, Links};
pub use error::{Damage, DamageCause, Poison, PoisonCause, ReadError, RecoverError};
pub use layout::{
    BLOCK_ALIGN, BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, FIRST_SEGMENT_BYTES, FORMAT_LEVEL,
    RETIRED_BYTES, SEGMENT_BYTES, SEGMENT_HEADER_BYTES, SegmentNumber,
};
pub use log::{Log, LogIo, Lookup, Reader, SealedSegment};
pub use open_error::OpenError;
pub use record::{NewRecord, RecordView};
pub use recovery::{
    Finding, LogExtent, LogFault, Rebuilt, Recovery, Scanned, SegmentExtent, Surveyed, TornBy,
    Truncated, Visit, VisitSurvey, log_extent, open_damaged, rebuild, recover, survey,
};
pub use scrub::{Scrubbed, SegmentScrub, is_media_error};
pub use segment::BlockEntry;
pub use segment_table::{FooterEntry, Resume, SegmentEntry, SegmentTable, TableFault};
pub use superblock::{
    FreshIds, SUPERBLOCK_BYTES, SUPERBLOCK_NAME, Superblock, SuperblockFault, named_logs,
    open_superblock,
};
pub use volume::{SpareId, Task, Volume};
pub use volumes::{VOLATILE_SPARES, Volumes};
