//! The superblock: identity of a data directory and how often it was started.

use std::collections::BTreeSet;
use std::io;

use crate::buffer::Buffer;
use crate::fixed::{put, u32_at, u64_at, u128_at};
use crate::layout::{BLOCK_ALIGN, FORMAT_LEVEL, SEGMENT_HEADER_BYTES};
use crate::open_error::OpenError;
use crate::segment::SegmentHeader;
use crate::volume::Volume;

use corelane_wire::{PartitionId, checksum};

/// Name of the file in the data directory.
pub const SUPERBLOCK_NAME: &str = "superblock";
/// Bytes of the file.
pub const SUPERBLOCK_BYTES: usize = 128;

const MAGIC: u32 = u32::from_le_bytes(*b"CLSB");
const CRC_FROM: usize = 8;
const SPARE_FROM: usize = 56;

/// What the superblock says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Level of the format of everything in the directory.
    pub format: u32,
    /// Identity of the logs: part of every segment's identity.
    pub log_id: u128,
    /// Identity of this directory: tells it from a copy.
    pub data_uuid: u128,
    /// How many partitions it has, for ever.
    pub partitions: u32,
    /// How often it was started; raised durably before any partition opens.
    pub starts: u64,
}

/// Why bytes are not a superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SuperblockFault {
    /// It has not the length of one.
    Length(usize),
    /// It does not begin like one.
    Magic,
    /// It does not match its checksum.
    Checksum,
    /// A field holds a value that no version writes.
    Field,
    /// It was written by a newer version, of this level.
    Level(u32),
}

impl Superblock {
    /// Its bytes.
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        put(&mut bytes, 0, MAGIC.to_le_bytes());
        put(&mut bytes, 8, self.format.to_le_bytes());
        put(&mut bytes, 12, self.partitions.to_le_bytes());
        put(&mut bytes, 16, self.log_id.to_le_bytes());
        put(&mut bytes, 32, self.data_uuid.to_le_bytes());
        put(&mut bytes, 48, self.starts.to_le_bytes());
        let crc = checksum(&[&bytes[CRC_FROM..]]);
        put(&mut bytes, 4, crc.to_le_bytes());
        bytes
    }

    /// Reads it back.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SuperblockFault> {
        let bytes: &[u8; SUPERBLOCK_BYTES] = bytes
            .try_into()
            .map_err(|_| SuperblockFault::Length(bytes.len()))?;
        if u32_at(bytes, 0) != MAGIC {
            return Err(SuperblockFault::Magic);
        }
        if checksum(&[&bytes[CRC_FROM..]]) != u32_at(bytes, 4) {
            return Err(SuperblockFault::Checksum);
        }
        let format = u32_at(bytes, 8);
        if format > u32::from(FORMAT_LEVEL) {
            return Err(SuperblockFault::Level(format));
        }
        let spare_is_zero = bytes[SPARE_FROM..].iter().all(|byte| *byte == 0);
        let partitions = u32_at(bytes, 12);
        if format == 0 || partitions == 0 || !spare_is_zero {
            return Err(SuperblockFault::Field);
        }
        Ok(Self {
            format,
            log_id: u128_at(bytes, 16),
            data_uuid: u128_at(bytes, 32),
            partitions,
            starts: u64_at(bytes, 48),
        })
    }
}

/// Random identities for a directory that is new; drawn by the caller, since storage has no randomness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreshIds {
    /// See [`Superblock::log_id`].
    pub log_id: u128,
    /// See [`Superblock::data_uuid`].
    pub data_uuid: u128,
}

/// Reads the superblock, or makes one with `partitions_if_new` partitions, and raises `starts`, and the format level
/// if it is older; on return that is durable, so the epoch made of it was never used before.
///
/// A directory that has segments but no superblock, or a damaged one, is refused and left as it is: a new
/// superblock would make every segment in it foreign.
///
/// # Errors
/// A failed file operation, or a superblock that is damaged, newer or missing.
pub fn open_superblock(
    volume: &mut dyn Volume,
    partitions_if_new: u32,
    fresh_ids: FreshIds,
) -> Result<Superblock, OpenError> {
    let found = volume
        .read_file(SUPERBLOCK_NAME)
        .map_err(|source| OpenError::io("read the superblock", source))?;
    let mut superblock = match found {
        Some(bytes) => Superblock::decode(&bytes).map_err(OpenError::Superblock)?,
        None => new_superblock(volume, partitions_if_new, fresh_ids)?,
    };
    // What this version writes, an older one would misread: from now on it refuses the directory.
    superblock.format = u32::from(FORMAT_LEVEL);
    superblock.starts = superblock
        .starts
        .checked_add(1)
        .ok_or(OpenError::Superblock(SuperblockFault::Field))?;
    volume
        .replace_file(SUPERBLOCK_NAME, &superblock.encode())
        .map_err(|source| OpenError::io("write the superblock", source))?;
    let written = volume
        .read_file(SUPERBLOCK_NAME)
        .map_err(|source| OpenError::io("read the superblock back", source))?;
    if written.as_deref() != Some(&superblock.encode()[..]) {
        return Err(OpenError::Superblock(SuperblockFault::Checksum));
    }
    Ok(superblock)
}

fn new_superblock(
    volume: &dyn Volume,
    partitions: u32,
    fresh_ids: FreshIds,
) -> Result<Superblock, OpenError> {
    assert!(partitions > 0, "a data directory has partitions");
    for partition in (0..partitions).map(PartitionId) {
        let segments = volume
            .segments(partition)
            .map_err(|source| OpenError::io("list the segments", source))?;
        if !segments.is_empty() {
            return Err(OpenError::SuperblockMissing { partition });
        }
    }
    Ok(Superblock {
        format: u32::from(FORMAT_LEVEL),
        log_id: fresh_ids.log_id,
        data_uuid: fresh_ids.data_uuid,
        partitions,
        starts: 0,
    })
}

/// The logs that the intact segment headers of a partition name: where the superblock is lost, its log id.
///
/// # Errors
/// If segments cannot be listed or read.
pub fn named_logs(volume: &dyn Volume, partition: PartitionId) -> io::Result<BTreeSet<u128>> {
    let mut named = BTreeSet::new();
    let mut copies = Buffer::zeroed(SEGMENT_HEADER_BYTES);
    for segment in volume.segments(partition)? {
        copies.set_len(SEGMENT_HEADER_BYTES);
        let count = volume.read_at(partition, segment, 0, copies.as_mut_slice())?;
        copies.set_len(count);
        let pages = (0..)
            .step_by(BLOCK_ALIGN)
            .zip(copies.as_slice().chunks(BLOCK_ALIGN));
        let headers =
            pages.filter_map(|(position, page)| SegmentHeader::decode(page, position).ok());
        named.extend(headers.map(|header| header.log_id));
    }
    Ok(named)
}

#[cfg(test)]
mod tests;
