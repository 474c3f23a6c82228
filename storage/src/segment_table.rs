//! What a checkpoint says about the log, so that a start reads only what came after it.
//!
//! Made by: the log, when a checkpoint is written. Read by: recovery. Its bytes stand in the file of the checkpoint,
//! whose checksums cover them; nothing here is used before it was compared with the rest of the table.
//! Invariant: (T1) a table that was decoded is one that [`crate::Log::segment_table`] could have made: segments ascend
//! and do not overlap, all but the last have a footer, and the scan goes on in the last.

use std::fmt;

use corelane_wire::Lsn;

use crate::fixed::{put, u32_at, u64_at};
use crate::layout::{BLOCK_ALIGN, BLOCK_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::segment::{BlockEntry, ENTRY_BYTES, are_in_row, footer_bytes};

/// The segments that hold records below the end of a checkpoint, and where the scan goes on.
///
/// The default one, which is empty, is the table of a log that was never used: all of it is scanned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentTable {
    /// Ascending; the numbers have gaps where segments were forgotten.
    pub segments: Vec<SegmentEntry>,
    /// Where the scan goes on: in the last of the segments.
    pub resume: Option<Resume>,
}

/// A segment that holds records below the end of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentEntry {
    /// The segment file.
    pub number: SegmentNumber,
    /// Identity of the segment.
    pub uuid: u64,
    /// Its first lsn.
    pub base: Lsn,
    /// The lsn after its last; of the last segment, the end of the checkpoint.
    pub end: Lsn,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its footer; the last segment has none, or it does not matter.
    pub footer: Option<FooterEntry>,
}

/// The block that closes a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FooterEntry {
    /// Byte distance from the start of the file.
    pub position: u64,
    /// How many blocks it names.
    pub blocks: u32,
    /// Checksum of its header: the link that the next segment names.
    pub crc: u32,
}

/// Where a scan goes on: at the block that holds the last record of the checkpoint, or, if the index of its segment
/// was not at hand, at the first block of the segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// The segment.
    pub segment: SegmentNumber,
    /// Where the block begins.
    pub position: u64,
    /// The first lsn of the block.
    pub first: Lsn,
    /// The blocks of the segment before that one.
    pub blocks: Vec<BlockEntry>,
}

/// Why bytes are not a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TableFault {
    /// Fewer or more bytes than the counts in it say.
    Length(usize),
    /// A field holds a value that no writer stores, or does not fit the others.
    Field,
}

impl fmt::Display for TableFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(formatter, "a segment table of {bytes} bytes"),
            Self::Field => formatter.write_str("illegal field in a segment table"),
        }
    }
}

impl std::error::Error for TableFault {}

impl SegmentTable {
    /// Appends its bytes to `out`; the layout is in `docs/storage-format.md`.
    ///
    /// # Panics
    /// If it has 2^32 segments or blocks.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let count = |count: usize| u32::try_from(count).expect("fewer than 2^32 entries");
        let mut head = [0; HEAD_BYTES];
        put(&mut head, 0, count(self.segments.len()).to_le_bytes());
        if let Some(resume) = &self.resume {
            put(&mut head, 4, count(resume.blocks.len()).to_le_bytes());
            put(&mut head, 8, resume.position.to_le_bytes());
            put(&mut head, 16, resume.first.0.to_le_bytes());
        }
        out.extend_from_slice(&head);
        for segment in &self.segments {
            out.extend_from_slice(&segment.encode());
        }
        for block in self.resume.iter().flat_map(|resume| &resume.blocks) {
            out.extend_from_slice(&block.encode());
        }
    }

    /// Reads it back; `bytes` hold the table and nothing else.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, TableFault> {
        let length = TableFault::Length(bytes.len());
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(length)?;
        let segments_bytes = (u32_at(head, 0) as usize)
            .checked_mul(SEGMENT_BYTES)
            .ok_or(length)?;
        let (segments, blocks) = rest.split_at_checked(segments_bytes).ok_or(length)?;
        if (u32_at(head, 4) as usize).checked_mul(ENTRY_BYTES) != Some(blocks.len()) {
            return Err(length);
        }
        let (segments, []) = segments.as_chunks::<SEGMENT_BYTES>() else {
            return Err(length);
        };
        let (blocks, []) = blocks.as_chunks::<ENTRY_BYTES>() else {
            return Err(length);
        };
        let segments: Vec<_> = segments.iter().map(SegmentEntry::decode).collect();
        let resume = segments.last().map(|last| Resume {
            segment: last.number,
            position: u64_at(head, 8),
            first: Lsn(u64_at(head, 16)),
            blocks: blocks.iter().copied().map(BlockEntry::decode).collect(),
        });
        let is_valid = resume
            .as_ref()
            .is_none_or(|resume| is_valid(&segments, resume));
        let table = Self { segments, resume };
        // What is spare is zero, and every table has one encoding.
        let mut again = Vec::with_capacity(bytes.len());
        table.encode(&mut again);
        if !is_valid || again != bytes {
            return Err(TableFault::Field);
        }
        Ok(table)
    }
}

/// T1.
fn is_valid(segments: &[SegmentEntry], resume: &Resume) -> bool {
    let Some((last, closed)) = segments.split_last() else {
        return false;
    };
    let ascend = segments
        .windows(2)
        .all(|pair| pair[0].number < pair[1].number && pair[0].end <= pair[1].base);
    let block = BlockEntry::checked(last.base, resume.first, resume.position);
    ascend
        && segments.iter().all(SegmentEntry::is_valid)
        && closed.iter().all(|segment| segment.footer.is_some())
        && last.footer.is_none()
        && (last.base..last.end).contains(&resume.first)
        && block.is_some_and(|block| are_in_row(&resume.blocks, block))
        && resume.position < last.bytes
}

impl SegmentEntry {
    fn encode(&self) -> [u8; SEGMENT_BYTES] {
        let mut bytes = [0; SEGMENT_BYTES];
        put(&mut bytes, 0, self.number.0.to_le_bytes());
        put(&mut bytes, 8, self.uuid.to_le_bytes());
        put(&mut bytes, 16, self.base.0.to_le_bytes());
        put(&mut bytes, 24, self.end.0.to_le_bytes());
        put(&mut bytes, 32, self.bytes.to_le_bytes());
        if let Some(footer) = self.footer {
            put(&mut bytes, 4, footer.blocks.to_le_bytes());
            put(&mut bytes, 40, footer.position.to_le_bytes());
            put(&mut bytes, 48, footer.crc.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; SEGMENT_BYTES]) -> Self {
        let footer = FooterEntry {
            position: u64_at(bytes, 40),
            blocks: u32_at(bytes, 4),
            crc: u32_at(bytes, 48),
        };
        Self {
            number: SegmentNumber(u32_at(bytes, 0)),
            uuid: u64_at(bytes, 8),
            base: Lsn(u64_at(bytes, 16)),
            end: Lsn(u64_at(bytes, 24)),
            bytes: u64_at(bytes, 32),
            // A footer names one block at least.
            footer: (footer.blocks > 0).then_some(footer),
        }
    }

    fn is_valid(&self) -> bool {
        let page = BLOCK_ALIGN as u64;
        let footer_fits = |footer: FooterEntry| {
            let bytes = footer_bytes(footer.blocks as usize);
            let end = footer.position.checked_add(bytes as u64);
            bytes <= BLOCK_BYTES_MAX
                && footer.position.is_multiple_of(page)
                && footer.position > SEGMENT_HEADER_BYTES as u64
                && end.is_some_and(|end| end <= self.bytes)
        };
        self.base < self.end
            && self.bytes.is_multiple_of(page)
            && self.footer.is_none_or(footer_fits)
    }
}

const HEAD_BYTES: usize = 32;
const SEGMENT_BYTES: usize = 56;

#[cfg(test)]
mod tests;
