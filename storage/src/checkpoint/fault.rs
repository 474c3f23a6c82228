//! Why a file is not a whole checkpoint.

use std::fmt;
use std::io;

use corelane_wire::PartitionId;

use super::format::CHECKPOINT_LEVEL;

/// Why a file is not a whole checkpoint. It was not touched.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointFault {
    /// The file is too short, or not made of whole pages.
    Length(u64),
    /// Its first page is not an intact header.
    Header,
    /// Its last page is not an intact trailer.
    Trailer,
    /// It belongs to another log, partition or generation.
    Foreign {
        /// The log that it belongs to.
        log_id: u128,
        /// The partition that it belongs to.
        partition: PartitionId,
        /// Its generation.
        generation: u32,
    },
    /// It was written by a newer version, of this level.
    Level(u16),
    /// It is intact, but a field holds a value that no version writes, or two fields contradict each other.
    Field,
    /// Root, table and list of files do not match their checksums.
    Manifest {
        /// The first part of 64 KiB that does not.
        part: usize,
    },
    /// A file with chunks of it is missing, or has not the length that it had.
    File {
        /// The generation whose file it is.
        generation: u32,
        /// Its length, if it is there.
        found: Option<u64>,
        /// The length that it had.
        expected: u64,
    },
    /// It could not be read.
    Io(io::Error),
}

impl fmt::Display for CheckpointFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(formatter, "no checkpoint has {bytes} bytes"),
            Self::Header => formatter.write_str("the first page is not an intact header"),
            Self::Trailer => formatter.write_str("the last page is not an intact trailer"),
            Self::Foreign {
                log_id,
                partition,
                generation,
            } => write!(
                formatter,
                "it is generation {generation} of partition {partition} of log {log_id:032x}"
            ),
            Self::Level(level) => write!(
                formatter,
                "format level {level} is newer than {CHECKPOINT_LEVEL}, the newest that this version reads"
            ),
            Self::Field => formatter.write_str("a field holds a value that no version writes"),
            Self::Manifest { part } => {
                write!(formatter, "part {part} of the manifest: wrong checksum")
            }
            Self::File {
                generation,
                found: None,
                ..
            } => write!(formatter, "file {generation}, which it names, is missing"),
            Self::File {
                generation,
                found: Some(found),
                expected,
            } => write!(
                formatter,
                "file {generation}, which it names, has {found} bytes and not {expected}"
            ),
            Self::Io(error) => write!(formatter, "read failed: {error}"),
        }
    }
}

impl std::error::Error for CheckpointFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Length(_)
            | Self::Header
            | Self::Trailer
            | Self::Foreign { .. }
            | Self::Level(_)
            | Self::Field
            | Self::Manifest { .. }
            | Self::File { .. } => None,
        }
    }
}
