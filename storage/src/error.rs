//! The errors of the running log and of recovery. Those of opening a data directory are in `open_error`.

use std::fmt;
use std::io;

use corelane_wire::{Lsn, PartitionId};

use crate::block::{BlockFault, BlockSite};
use crate::layout::{FORMAT_LEVEL, SegmentNumber};

/// The log refuses everything since a write failed; only a restart, which reads the media again, clears it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Poison {
    /// The write that failed.
    pub site: BlockSite,
    /// How it failed.
    pub cause: PoisonCause,
}

/// How a write failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PoisonCause {
    /// The write or its `fdatasync` returned this error number.
    Errno(i32),
    /// Nothing was written: later records are damaged, so nothing may be.
    ReadOnly,
    /// Fewer bytes were written than asked for.
    ShortWrite {
        /// Bytes written.
        written: usize,
        /// Bytes asked for.
        expected: usize,
    },
}

impl fmt::Display for Poison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.site)?;
        match self.cause {
            PoisonCause::Errno(errno) => {
                let error = io::Error::from_raw_os_error(errno);
                write!(formatter, "write failed: {error}")
            }
            PoisonCause::ReadOnly => formatter.write_str("later records are damaged"),
            PoisonCause::ShortWrite { written, expected } => {
                write!(formatter, "short write: {written} of {expected} bytes")
            }
        }
    }
}

impl std::error::Error for Poison {}

/// A record could not be read back.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The read returned this error number.
    Errno {
        /// What was read.
        site: BlockSite,
        /// The error number.
        errno: i32,
    },
    /// What was read is not what was written.
    Damaged {
        /// The block.
        site: BlockSite,
        /// What is wrong with it.
        fault: BlockFault,
        /// Its first lsn.
        first: Lsn,
        /// The lsn after its last one.
        end: Lsn,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno { site, errno } => {
                let error = io::Error::from_raw_os_error(*errno);
                write!(formatter, "{site}: read failed: {error}")
            }
            Self::Damaged {
                site,
                fault,
                first,
                end,
            } => write!(formatter, "{site}: {fault}; records {first} to {end} lost"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A range of the log that fails its checks and may have been confirmed. The files were not touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where the first bad block stands.
    pub site: BlockSite,
    /// The first lsn that is missing.
    pub first: Lsn,
    /// Everything below was confirmed; the range `first..end` is damaged. Equal to `first` if only a footer is.
    pub end: Lsn,
    /// What was found instead.
    pub cause: DamageCause,
}

/// What proves a damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DamageCause {
    /// A block that does not check, and a later one that attests it.
    Block(BlockFault),
    /// The file of a segment is missing.
    MissingSegment(SegmentNumber),
    /// A segment does not continue the one before.
    BrokenLink,
    /// The file has not the length that its header states, or is too short for a segment.
    FileLength(u64),
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.site)?;
        match self.cause {
            DamageCause::Block(fault) => write!(formatter, "{fault}")?,
            DamageCause::MissingSegment(number) => write!(formatter, "segment {number} missing")?,
            DamageCause::BrokenLink => write!(formatter, "does not continue the segment before")?,
            DamageCause::FileLength(bytes) => write!(formatter, "file has {bytes} bytes")?,
        }
        write!(
            formatter,
            "; records {} to {} are damaged and may have been confirmed; no file was changed",
            self.first, self.end
        )
    }
}

/// A partition could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecoverError {
    /// Confirmed records may be lost; nothing was truncated.
    Damaged(Damage),
    /// The file belongs to another log, partition or number; it was not touched.
    Foreign {
        /// The file.
        partition: PartitionId,
        /// The file.
        segment: SegmentNumber,
        /// Whose it is.
        owner: String,
    },
    /// The file was written by a newer version.
    FormatNewer {
        /// The file.
        partition: PartitionId,
        /// The file.
        segment: SegmentNumber,
        /// Its level.
        level: u16,
    },
    /// An operation on a file failed.
    Io {
        /// What was done to which file.
        action: String,
        /// How it failed.
        source: io::Error,
    },
    /// A record is intact, but the state machine refuses it.
    Replay {
        /// The record.
        lsn: Lsn,
        /// What the state machine said.
        reason: String,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(damage) => write!(
                formatter,
                "{damage}; stop the broker, see `corelane log verify DIR` of the data directory, and \
                 restore the file from a copy"
            ),
            Self::Foreign {
                partition,
                segment,
                owner,
            } => write!(
                formatter,
                "partition {partition} segment {segment}: the file belongs to {owner}; no file was \
                 changed; put the file back where it came from"
            ),
            Self::FormatNewer {
                partition,
                segment,
                level,
            } => write!(
                formatter,
                "partition {partition} segment {segment}: format level {level} is newer than \
                 {FORMAT_LEVEL}, the newest that this version reads; start the version that wrote it"
            ),
            Self::Io { action, source } => write!(formatter, "{action}: {source}"),
            Self::Replay { lsn, reason } => write!(
                formatter,
                "record {lsn} is intact, but the state machine refuses it: {reason}; start the version \
                 that wrote it"
            ),
        }
    }
}

impl std::error::Error for RecoverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Damaged(_)
            | Self::Foreign { .. }
            | Self::FormatNewer { .. }
            | Self::Replay { .. } => None,
        }
    }
}
