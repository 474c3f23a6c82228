//! The header that begins a segment file, twice, and the footer that closes it.
//!
//! Invariants: (G1) the header names log, partition and number, so a file in a foreign place is told from a
//! damaged one and never touched. (G2) a footer is submitted only after every block before it was durable.

use corelane_wire::{Epoch, Lsn, PartitionId, checksum};

use crate::fixed::{put, u16_at, u32_at, u64_at, u128_at};
use crate::layout::{
    BLOCK_ALIGN, BLOCK_HEADER_BYTES, FORMAT_LEVEL, SEGMENT_HEADER_BYTES, SegmentNumber, aligned,
};

const MAGIC: u32 = u32::from_le_bytes(*b"CLSG");
const CRC_FROM: usize = 8;
const SPARE_FROM: usize = 88;
const FOOTER_FIXED_BYTES: usize = 32;
/// Bytes of one entry of the index, in a footer and elsewhere.
pub(crate) const ENTRY_BYTES: usize = 8;

/// What the header of a segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    /// Format level of the version that wrote it.
    pub(crate) level: u16,
    pub(crate) number: SegmentNumber,
    pub(crate) log_id: u128,
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    pub(crate) base: Lsn,
    pub(crate) uuid: u64,
    /// Bytes of the whole file.
    pub(crate) bytes: u64,
    pub(crate) previous: Link,
}

/// The end of the chain of the segment before: what the next segment's header names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Link {
    pub(crate) uuid: u64,
    pub(crate) crc: u32,
}

/// Why the first bytes of a segment are not a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderFault {
    /// All zero or no valid checksum: nothing is known about the file.
    Absent,
    /// Intact, but written by a newer version.
    Level(u16),
}

impl SegmentHeader {
    /// Encodes the copy that stands at `position`; returns the checksum of the first copy, the chain's start.
    pub(crate) fn encode(&self, position: u64) -> ([u8; BLOCK_ALIGN], u32) {
        let mut page = [0; BLOCK_ALIGN];
        put(&mut page, 0, MAGIC.to_le_bytes());
        put(&mut page, 8, self.level.to_le_bytes());
        put(&mut page, 12, self.number.0.to_le_bytes());
        put(&mut page, 16, self.log_id.to_le_bytes());
        put(&mut page, 32, self.partition.0.to_le_bytes());
        put(&mut page, 36, self.previous.crc.to_le_bytes());
        put(&mut page, 40, self.epoch.0.to_le_bytes());
        put(&mut page, 48, self.base.0.to_le_bytes());
        put(&mut page, 56, self.uuid.to_le_bytes());
        put(&mut page, 64, self.bytes.to_le_bytes());
        put(&mut page, 72, self.previous.uuid.to_le_bytes());
        put(&mut page, 80, position.to_le_bytes());
        let crc = checksum(&[&page[CRC_FROM..]]);
        put(&mut page, 4, crc.to_le_bytes());
        (page, crc)
    }

    /// The chain's start: the link that the segment's first block names.
    pub(crate) fn chain_start(&self) -> u32 {
        self.encode(0).1
    }

    /// Decodes the copy at `position`.
    pub(crate) fn decode(page: &[u8], position: u64) -> Result<Self, HeaderFault> {
        let page = page
            .first_chunk::<BLOCK_ALIGN>()
            .ok_or(HeaderFault::Absent)?;
        if u32_at(page, 0) != MAGIC || checksum(&[&page[CRC_FROM..]]) != u32_at(page, 4) {
            return Err(HeaderFault::Absent);
        }
        let level = u16_at(page, 8);
        if level > FORMAT_LEVEL {
            return Err(HeaderFault::Level(level));
        }
        let spare_is_zero =
            u16_at(page, 10) == 0 && page[SPARE_FROM..].iter().all(|byte| *byte == 0);
        if level == 0 || u64_at(page, 80) != position || !spare_is_zero {
            return Err(HeaderFault::Absent);
        }
        Ok(Self {
            level,
            number: SegmentNumber(u32_at(page, 12)),
            log_id: u128_at(page, 16),
            partition: PartitionId(u32_at(page, 32)),
            epoch: Epoch(u64_at(page, 40)),
            base: Lsn(u64_at(page, 48)),
            uuid: u64_at(page, 56),
            bytes: u64_at(page, 64),
            previous: Link {
                uuid: u64_at(page, 72),
                crc: u32_at(page, 36),
            },
        })
    }
}

/// One block of a segment in the index: where it begins and with which record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockEntry {
    /// Its first lsn minus the segment's base.
    pub(crate) lsn_delta: u32,
    /// Its position in units of `BLOCK_ALIGN`.
    pub(crate) page: u32,
}

impl BlockEntry {
    pub(crate) fn new(lsn_delta: u64, position: u64) -> Self {
        let page = position / BLOCK_ALIGN as u64;
        Self {
            lsn_delta: u32::try_from(lsn_delta).expect("a segment holds fewer than 2^32 records"),
            page: u32::try_from(page).expect("a segment holds fewer than 2^32 pages"),
        }
    }

    /// The entry of a block that begins with `first` at `position`, in a segment that begins with `base`; `None` if
    /// no block does.
    pub(crate) fn checked(base: Lsn, first: Lsn, position: u64) -> Option<Self> {
        let lsn_delta = u32::try_from(first.0.checked_sub(base.0)?).ok()?;
        let page = u32::try_from(position / BLOCK_ALIGN as u64).ok()?;
        let entry = Self { lsn_delta, page };
        (entry.position() == position).then_some(entry)
    }

    pub(crate) fn position(self) -> u64 {
        u64::from(self.page) * BLOCK_ALIGN as u64
    }

    pub(crate) fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        put(&mut bytes, 0, self.lsn_delta.to_le_bytes());
        put(&mut bytes, 4, self.page.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: [u8; ENTRY_BYTES]) -> Self {
        Self {
            lsn_delta: u32_at(&bytes, 0),
            page: u32_at(&bytes, 4),
        }
    }
}

/// Whether `blocks`, and `end` behind the last of them, begin where a segment does and ascend in it.
pub(crate) fn are_in_row(blocks: &[BlockEntry], end: BlockEntry) -> bool {
    let first = blocks.first().unwrap_or(&end);
    let mut pairs = blocks
        .iter()
        .zip(blocks.iter().skip(1).chain(std::iter::once(&end)));
    first.lsn_delta == 0
        && first.position() == SEGMENT_HEADER_BYTES as u64
        && pairs.all(|(block, next)| block.lsn_delta < next.lsn_delta && block.page < next.page)
}

/// Bytes of the footer block of a segment with `blocks` blocks.
pub(crate) fn footer_bytes(blocks: usize) -> usize {
    aligned(BLOCK_HEADER_BYTES + footer_body_bytes(blocks))
}

/// Bytes of the body of that block.
pub(crate) fn footer_body_bytes(blocks: usize) -> usize {
    FOOTER_FIXED_BYTES + ENTRY_BYTES * blocks
}

/// Writes the body of a footer: the segment's extent and one entry for each of its blocks.
pub(crate) fn encode_footer(base: Lsn, end: Lsn, blocks: &[BlockEntry], into: &mut [u8]) {
    let (fixed, entries) = into.split_at_mut(FOOTER_FIXED_BYTES);
    let fixed: &mut [u8; FOOTER_FIXED_BYTES] =
        fixed.try_into().expect("split at the array's length");
    let count = u32::try_from(blocks.len()).expect("a segment holds fewer than 2^32 blocks");
    put(fixed, 0, base.0.to_le_bytes());
    put(fixed, 8, end.0.to_le_bytes());
    put(fixed, 16, count.to_le_bytes());
    for (entry, block) in entries.chunks_exact_mut(ENTRY_BYTES).zip(blocks) {
        entry.copy_from_slice(&block.encode());
    }
}

/// Whether a footer's body says what the scan of the segment found.
pub(crate) fn footer_matches(body: &[u8], base: Lsn, end: Lsn, blocks: &[BlockEntry]) -> bool {
    let mut expected = vec![0; footer_body_bytes(blocks.len())];
    encode_footer(base, end, blocks, &mut expected);
    body == expected
}

/// The blocks that a footer names, if it is that of the segment from `base` to `end` which ends at `position`.
pub(crate) fn decode_footer(
    body: &[u8],
    base: Lsn,
    end: Lsn,
    position: u64,
) -> Option<Vec<BlockEntry>> {
    let (_, entries) = body.split_at_checked(FOOTER_FIXED_BYTES)?;
    let (entries, []) = entries.as_chunks::<ENTRY_BYTES>() else {
        return None;
    };
    let blocks: Vec<_> = entries.iter().copied().map(BlockEntry::decode).collect();
    let behind = BlockEntry::checked(base, end, position)?;
    let is_whole = are_in_row(&blocks, behind) && footer_matches(body, base, end, &blocks);
    is_whole.then_some(blocks)
}

#[cfg(test)]
mod tests;
