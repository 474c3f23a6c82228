//! What a survey finds wrong with a log.

use std::fmt;
use std::io;

use corelane_wire::Lsn;

use super::TornBy;
use crate::block::{BlockFault, BlockSite};
use crate::layout::{FORMAT_LEVEL, SegmentNumber};

/// A part of a log that is not as it was written.
#[derive(Debug)]
pub struct Finding {
    /// Where it begins.
    pub site: BlockSite,
    /// The position behind it.
    pub end: u64,
    /// The records in it: the first lsn, and the one after the last. The same twice if it holds none.
    pub lsns: (Lsn, Lsn),
    /// What is wrong.
    pub fault: LogFault,
}

/// What is wrong with a part of a log.
#[derive(Debug)]
pub enum LogFault {
    /// One of the two copies of a segment's header; the other one is intact.
    HeaderCopy,
    /// Both copies of a segment's header.
    Headers,
    /// Blocks that something else attests, or which a checkpoint or a later segment needs: rot, not a torn write.
    Blocks(BlockFault),
    /// Only the footer: every record of the segment is there.
    Footer(BlockFault),
    /// The end of the log was torn, and nothing attests that it was confirmed: a start cuts it.
    Torn(TornBy),
    /// The segment and those after it up to this one are missing.
    Missing(SegmentNumber),
    /// The segment does not continue the one before.
    BrokenLink,
    /// The file has another length than it should have.
    Length(u64),
    /// The file belongs to another log, partition or number.
    Foreign(String),
    /// It was written by a newer version, of this level.
    Level(u16),
    /// It could not be read.
    Unreadable(io::Error),
    /// A removal was cut off: the log does not use the file any more.
    Leftover,
}

impl LogFault {
    /// Whether something that was written and kept is not as it was.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Torn(_) | Self::Leftover => false,
            Self::HeaderCopy
            | Self::Headers
            | Self::Blocks(_)
            | Self::Footer(_)
            | Self::Missing(_)
            | Self::BrokenLink
            | Self::Length(_)
            | Self::Foreign(_)
            | Self::Level(_)
            | Self::Unreadable(_) => true,
        }
    }
}

impl fmt::Display for LogFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderCopy => formatter.write_str("one copy of the segment header is damaged"),
            Self::Headers => formatter.write_str("both copies of the segment header are damaged"),
            Self::Blocks(fault) => write!(formatter, "damaged blocks: {fault}"),
            Self::Footer(fault) => write!(formatter, "damaged footer: {fault}"),
            Self::Torn(TornBy::Reordering) => {
                formatter.write_str("torn end: a write is missing that later ones overtook")
            }
            Self::Torn(TornBy::Garbage) => formatter.write_str("torn end: half a write"),
            Self::Missing(last) => write!(formatter, "missing up to segment {last}"),
            Self::BrokenLink => formatter.write_str("does not continue the segment before"),
            Self::Length(bytes) => write!(formatter, "the file has {bytes} bytes"),
            Self::Foreign(owner) => write!(formatter, "the file belongs to {owner}"),
            Self::Level(level) => write!(
                formatter,
                "format level {level} is newer than {FORMAT_LEVEL}, the newest that this version reads"
            ),
            Self::Unreadable(error) => write!(formatter, "cannot be read: {error}"),
            Self::Leftover => formatter.write_str("left over from a removal"),
        }
    }
}

#[cfg(test)]
mod tests;
