//! A block: the unit of write, of the hash chain and of replication.
//!
//! Owns: the 128-byte header, its checksums and the walk over the records in a body.
//! Called by: the log when it submits, recovery and reads when they verify.
//! Invariants: (K1) a block whose header names another place than the one it was read from does not validate.
//! (K2) no length read from disk is used before it was compared with the bytes at hand.

use corelane_wire::{Epoch, Lsn, PartitionId, checksum};

use crate::fixed::{put, u16_at, u32_at, u64_at};
use crate::layout::{
    BLOCK_ALIGN, BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, FORMAT_LEVEL, SegmentNumber, aligned,
};

const MAGIC: u32 = u32::from_le_bytes(*b"CLBK");
/// First byte that the header's checksum covers: all but the magic and itself.
const CRC_FROM: usize = 8;
const UUID_AT: usize = 16;
/// First of the spare bytes, which must be zero.
const SPARE_FROM: usize = 72;

/// What a block is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BlockKind {
    /// Holds records; part of the chain.
    Data,
    /// Attests what is confirmed, holds nothing; outside the chain, overwritten by the next block.
    Seal,
    /// Closes a segment; part of the chain.
    Footer,
}

impl BlockKind {
    const fn flags(self) -> u16 {
        match self {
            Self::Data => 0,
            Self::Seal => 1,
            Self::Footer => 2,
        }
    }

    fn from_flags(flags: u16) -> Option<Self> {
        match flags {
            0 => Some(Self::Data),
            1 => Some(Self::Seal),
            2 => Some(Self::Footer),
            _ => None,
        }
    }
}

/// Where a block was read from, or is to be written to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment_uuid: u64,
    pub(crate) partition: PartitionId,
    pub(crate) position: u64,
}

/// The decoded header of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHeader {
    pub(crate) kind: BlockKind,
    /// Bytes of the records, without the padding.
    pub(crate) body_bytes: usize,
    pub(crate) body_crc: u32,
    pub(crate) place: Place,
    pub(crate) epoch: Epoch,
    pub(crate) first_lsn: Lsn,
    /// Records in the block.
    pub(crate) count: u32,
    /// Checksum of the previous block's header: the hash chain.
    pub(crate) prev_crc: u32,
    /// Every lsn below this one was confirmed when the block was submitted.
    pub(crate) attested: Lsn,
}

/// Why bytes are not the block that was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BlockFault {
    /// The bytes are all zero: nothing was ever written here.
    Zero,
    /// The file ends before the block does.
    Short,
    /// The first bytes are not those of a block.
    Magic,
    /// The header does not match its checksum.
    HeaderChecksum,
    /// The body or its padding does not match its checksum.
    BodyChecksum,
    /// The block belongs to another segment, partition or position.
    Place,
    /// A field holds a value that no writer stores.
    Field,
    /// The block does not continue the hash chain.
    Chain,
    /// The block does not continue the sequence of lsn.
    Sequence,
    /// A record in the body is malformed although the checksums hold.
    Record,
    /// Written by a newer version, of this level.
    Level(u16),
}

impl std::fmt::Display for BlockFault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Zero => "zeros",
            Self::Short => "cut short",
            Self::Magic => "not a block",
            Self::HeaderChecksum => "header checksum",
            Self::BodyChecksum => "body checksum",
            Self::Place => "block of another place",
            Self::Field => "illegal field",
            Self::Chain => "hash chain broken",
            Self::Sequence => "lsn gap",
            Self::Record => "malformed record",
            Self::Level(level) => return write!(formatter, "format level {level} is newer"),
        };
        formatter.write_str(text)
    }
}

impl BlockHeader {
    /// Bytes of the whole block, header and padding included.
    pub(crate) fn block_bytes(&self) -> usize {
        aligned(BLOCK_HEADER_BYTES + self.body_bytes)
    }

    /// The lsn after the block's last one.
    pub(crate) fn end_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0.saturating_add(u64::from(self.count)))
    }

    /// Stamps the header into `block`, whose body and padding are in place; returns the chain's next link.
    pub(crate) fn stamp(&mut self, block: &mut [u8]) -> u32 {
        self.stamp_at_level(block, FORMAT_LEVEL)
    }

    /// The same as a version of that level does.
    pub(crate) fn stamp_at_level(&mut self, block: &mut [u8], level: u16) -> u32 {
        assert_eq!(block.len(), self.block_bytes(), "a block is written whole");
        self.body_crc = checksum(&[&block[BLOCK_HEADER_BYTES..]]);
        let (header, crc) = self.encode(level);
        block[..BLOCK_HEADER_BYTES].copy_from_slice(&header);
        crc
    }

    fn encode(&self, level: u16) -> ([u8; BLOCK_HEADER_BYTES], u32) {
        let mut header = [0; BLOCK_HEADER_BYTES];
        let body_bytes = u32::try_from(self.body_bytes).expect("a body is below BLOCK_BYTES_MAX");
        put(&mut header, 0, MAGIC.to_le_bytes());
        put(&mut header, 8, body_bytes.to_le_bytes());
        put(&mut header, 12, self.body_crc.to_le_bytes());
        put(&mut header, UUID_AT, self.place.segment_uuid.to_le_bytes());
        put(&mut header, 24, self.place.partition.0.to_le_bytes());
        put(&mut header, 28, self.count.to_le_bytes());
        put(&mut header, 32, self.epoch.0.to_le_bytes());
        put(&mut header, 40, self.first_lsn.0.to_le_bytes());
        put(&mut header, 48, self.attested.0.to_le_bytes());
        put(&mut header, 56, self.place.position.to_le_bytes());
        put(&mut header, 64, self.prev_crc.to_le_bytes());
        put(&mut header, 68, self.kind.flags().to_le_bytes());
        put(&mut header, 70, level.to_le_bytes());
        let crc = checksum(&[&header[CRC_FROM..]]);
        put(&mut header, 4, crc.to_le_bytes());
        (header, crc)
    }

    /// Decodes the header at the start of `bytes` and returns it with its checksum, the link of the chain.
    ///
    /// The body is not looked at; the place is not compared.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u32), BlockFault> {
        let header = bytes
            .first_chunk::<BLOCK_HEADER_BYTES>()
            .ok_or(BlockFault::Short)?;
        if u32_at(header, 0) != MAGIC {
            let zero = bytes.iter().take(BLOCK_ALIGN).all(|byte| *byte == 0);
            return Err(if zero {
                BlockFault::Zero
            } else {
                BlockFault::Magic
            });
        }
        let crc = checksum(&[&header[CRC_FROM..]]);
        if crc != u32_at(header, 4) {
            return Err(BlockFault::HeaderChecksum);
        }
        let level = u16_at(header, 70);
        if level > FORMAT_LEVEL {
            return Err(BlockFault::Level(level));
        }
        let kind = BlockKind::from_flags(u16_at(header, 68)).ok_or(BlockFault::Field)?;
        let body_bytes = u32_at(header, 8) as usize;
        let spare_is_zero = header[SPARE_FROM..].iter().all(|byte| *byte == 0);
        if !spare_is_zero || level == 0 || body_bytes > BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES {
            return Err(BlockFault::Field);
        }
        let decoded = Self {
            kind,
            body_bytes,
            body_crc: u32_at(header, 12),
            place: Place {
                segment_uuid: u64_at(header, UUID_AT),
                partition: PartitionId(u32_at(header, 24)),
                position: u64_at(header, 56),
            },
            epoch: Epoch(u64_at(header, 32)),
            first_lsn: Lsn(u64_at(header, 40)),
            count: u32_at(header, 28),
            prev_crc: u32_at(header, 64),
            attested: Lsn(u64_at(header, 48)),
        };
        Ok((decoded, crc))
    }

    /// Whether the header names `place` as its own.
    pub(crate) fn is_at(&self, place: &Place) -> bool {
        self.place.segment_uuid == place.segment_uuid
            && self.place.partition == place.partition
            && self.place.position == place.position
    }

    /// Whether the first page of a block says that it belongs to a segment, be it intact or not.
    ///
    /// The header lies in the first sector, which is never torn: a page that does not say so is not the beginning of
    /// a write to that segment, but what stood there before or the middle of a block.
    pub(crate) fn names(page: &[u8], segment_uuid: u64) -> bool {
        page.first_chunk::<BLOCK_HEADER_BYTES>()
            .is_some_and(|header| u64_at(header, UUID_AT) == segment_uuid)
    }

    /// Verifies body and padding; `block` holds at least the whole block.
    pub(crate) fn verify_body(&self, block: &[u8]) -> Result<(), BlockFault> {
        let covered = block
            .get(BLOCK_HEADER_BYTES..self.block_bytes())
            .ok_or(BlockFault::Short)?;
        if checksum(&[covered]) != self.body_crc {
            return Err(BlockFault::BodyChecksum);
        }
        Ok(())
    }
}

/// A verified block at the start of some bytes.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    pub(crate) header: BlockHeader,
    /// Checksum of the header, the link that the next block names.
    pub(crate) crc: u32,
    /// The whole block.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Block<'a> {
    /// Verifies that `bytes` begin with a whole block that belongs at `place`.
    pub(crate) fn verify(bytes: &'a [u8], place: &Place) -> Result<Self, BlockFault> {
        let (header, crc) = BlockHeader::decode(bytes)?;
        if !header.is_at(place) {
            return Err(BlockFault::Place);
        }
        header.verify_body(bytes)?;
        let bytes = bytes.get(..header.block_bytes()).ok_or(BlockFault::Short)?;
        Ok(Self { header, crc, bytes })
    }
}

/// Where a block in trouble lies, for errors and log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSite {
    /// The partition whose log it is.
    pub partition: PartitionId,
    /// The segment file.
    pub segment: SegmentNumber,
    /// Byte distance from the start of the file.
    pub position: u64,
}

impl std::fmt::Display for BlockSite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "partition {} segment {} position {}",
            self.partition, self.segment, self.position
        )
    }
}

const _: () = assert!(SPARE_FROM <= BLOCK_HEADER_BYTES && BLOCK_HEADER_BYTES < BLOCK_ALIGN);

#[cfg(test)]
mod tests;
