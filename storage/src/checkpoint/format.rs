//! The bytes around the chunks: a header page in front; the manifest and a trailer page behind.
//!
//! Nothing here takes a length from the disk that was not compared with the length of the file.

use corelane_wire::{Lsn, PartitionId, checksum};

use super::fault::CheckpointFault;
use super::{CHUNK_ALIGN, CheckpointConfig, CheckpointFile};
use crate::fixed::{put, u16_at, u32_at, u64_at, u128_at};
use crate::layout::{BLOCK_ALIGN, aligned};

/// Level of the format of checkpoints that this build writes, and the newest that it reads.
pub(super) const CHECKPOINT_LEVEL: u16 = 1;
/// Bytes of the manifest that have a checksum of their own.
pub(super) const PART_BYTES: usize = 64 << 10;
/// How many such checksums the trailer has room for.
pub(super) const PARTS_MAX: usize = (BLOCK_ALIGN - PARTS_FROM) / 4;
/// Bytes of a file in the manifest's list.
pub(super) const FILE_BYTES: usize = 24;

const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"CLCK");
const TRAILER_MAGIC: u32 = u32::from_le_bytes(*b"CLCT");
const CRC_FROM: usize = 8;
const HEADER_SPARE_FROM: usize = 40;
const TRAILER_SPARE: std::ops::Range<usize> = 64..PARTS_FROM;
const PARTS_FROM: usize = 128;

type Page = [u8; BLOCK_ALIGN];

/// The last page of a file: whose it is, and where the manifest before it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trailer {
    /// Everything below is in the state.
    pub(super) end: Lsn,
    /// Where the manifest begins.
    pub(super) manifest: u64,
    /// The manifest is the root,
    pub(super) root_bytes: u32,
    /// the table of the log,
    pub(super) table_bytes: u32,
    /// so many files, and zeros up to the next page.
    pub(super) files: u32,
    /// Checksums of the parts of the manifest.
    pub(super) parts: Vec<u32>,
}

impl Trailer {
    /// Bytes of the manifest with its padding.
    pub(super) fn manifest_bytes(&self) -> u64 {
        let bytes = u64::from(self.root_bytes)
            + u64::from(self.table_bytes)
            + u64::from(self.files) * FILE_BYTES as u64;
        bytes.next_multiple_of(BLOCK_ALIGN as u64)
    }

    pub(super) fn encode(&self, config: &CheckpointConfig, generation: u32) -> Page {
        let mut page = begin_page(TRAILER_MAGIC, config, generation);
        put(&mut page, 36, self.files.to_le_bytes());
        put(&mut page, 40, self.end.0.to_le_bytes());
        put(&mut page, 48, self.manifest.to_le_bytes());
        put(&mut page, 56, self.root_bytes.to_le_bytes());
        put(&mut page, 60, self.table_bytes.to_le_bytes());
        for (at, crc) in self.parts.iter().enumerate() {
            put(&mut page, PARTS_FROM + 4 * at, crc.to_le_bytes());
        }
        seal_page(page)
    }

    /// Decodes the last page of a file of `file_bytes`.
    pub(super) fn decode(
        page: &[u8],
        config: &CheckpointConfig,
        generation: u32,
        file_bytes: u64,
    ) -> Result<Self, CheckpointFault> {
        let page = intact(page, TRAILER_MAGIC).ok_or(CheckpointFault::Trailer)?;
        check_owner(page, config, generation)?;
        let mut trailer = Self {
            end: Lsn(u64_at(page, 40)),
            manifest: u64_at(page, 48),
            root_bytes: u32_at(page, 56),
            table_bytes: u32_at(page, 60),
            files: u32_at(page, 36),
            parts: Vec::new(),
        };
        let bytes = trailer.manifest_bytes();
        let parts = bytes.div_ceil(PART_BYTES as u64);
        let parts = usize::try_from(parts).map_or(usize::MAX, |parts| parts);
        let is_placed = trailer.manifest >= BLOCK_ALIGN as u64
            && trailer.manifest.is_multiple_of(BLOCK_ALIGN as u64)
            && trailer.manifest.checked_add(bytes) == file_bytes.checked_sub(BLOCK_ALIGN as u64);
        if !is_placed || parts > PARTS_MAX || trailer.files == 0 {
            return Err(CheckpointFault::Field);
        }
        let (parts, spare) = page[PARTS_FROM..].split_at(4 * parts);
        if !is_zero(spare) || !is_zero(&page[TRAILER_SPARE]) {
            return Err(CheckpointFault::Field);
        }
        let (parts, _) = parts.as_chunks();
        trailer.parts = parts.iter().map(|crc| u32::from_le_bytes(*crc)).collect();
        Ok(trailer)
    }

    /// Checks a manifest and returns its list of files.
    pub(super) fn files(
        &self,
        generation: u32,
        manifest: &[u8],
    ) -> Result<Vec<CheckpointFile>, CheckpointFault> {
        let parts = manifest.chunks(PART_BYTES).zip(&self.parts);
        for (part, (bytes, crc)) in parts.enumerate() {
            if checksum(&[bytes]) != *crc {
                return Err(CheckpointFault::Manifest { part });
            }
        }
        let before = self.root_bytes as usize + self.table_bytes as usize;
        let list = manifest.get(before..).ok_or(CheckpointFault::Field)?;
        let (entries, _) = list.as_chunks::<FILE_BYTES>();
        let count = self.files as usize;
        let entries = entries.get(..count).ok_or(CheckpointFault::Field)?;
        let files: Vec<_> = entries.iter().map(decode_file).collect();
        let is_spare_zero = entries.iter().all(|entry| u32_at(entry, 4) == 0)
            && is_zero(&list[count * FILE_BYTES..]);
        if is_spare_zero && self.is_possible(generation, &files) {
            Ok(files)
        } else {
            Err(CheckpointFault::Field)
        }
    }

    fn is_possible(&self, generation: u32, files: &[CheckpointFile]) -> bool {
        let Some((own, earlier)) = files.split_last() else {
            return false;
        };
        let total = self.manifest + self.manifest_bytes() + BLOCK_ALIGN as u64;
        let is_ascending = files.is_sorted_by(|a, b| a.generation < b.generation);
        let is_own = own.generation == generation
            && own.total == total
            && own.live <= self.manifest - BLOCK_ALIGN as u64;
        let is_used = |file: &CheckpointFile| file.live > 0 && file.live <= file.total;
        is_ascending && is_own && earlier.iter().all(is_used) && files.iter().all(is_aligned)
    }
}

fn is_aligned(file: &CheckpointFile) -> bool {
    file.live.is_multiple_of(CHUNK_ALIGN as u64) && file.total.is_multiple_of(BLOCK_ALIGN as u64)
}

/// The first page of a file.
pub(super) fn encode_header(config: &CheckpointConfig, generation: u32) -> Page {
    seal_page(begin_page(HEADER_MAGIC, config, generation))
}

pub(super) fn check_header(
    page: &[u8],
    config: &CheckpointConfig,
    generation: u32,
) -> Result<(), CheckpointFault> {
    let page = intact(page, HEADER_MAGIC).ok_or(CheckpointFault::Header)?;
    check_owner(page, config, generation)?;
    if is_zero(&page[HEADER_SPARE_FROM..]) && u32_at(page, 36) == 0 {
        Ok(())
    } else {
        Err(CheckpointFault::Field)
    }
}

/// The manifest with its padding, and the checksums of its parts.
pub(super) fn encode_manifest(
    root: &[u8],
    table: &[u8],
    files: &[CheckpointFile],
) -> (Vec<u8>, Vec<u32>) {
    let bytes = root.len() + table.len() + files.len() * FILE_BYTES;
    let mut manifest = Vec::with_capacity(aligned(bytes));
    manifest.extend_from_slice(root);
    manifest.extend_from_slice(table);
    for file in files {
        manifest.extend_from_slice(&encode_file(file));
    }
    manifest.resize(aligned(bytes), 0);
    let parts = manifest.chunks(PART_BYTES).map(|part| checksum(&[part]));
    let parts = parts.collect();
    (manifest, parts)
}

fn encode_file(file: &CheckpointFile) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    put(&mut bytes, 0, file.generation.to_le_bytes());
    put(&mut bytes, 8, file.total.to_le_bytes());
    put(&mut bytes, 16, file.live.to_le_bytes());
    bytes
}

fn decode_file(bytes: &[u8; FILE_BYTES]) -> CheckpointFile {
    CheckpointFile {
        generation: u32_at(bytes, 0),
        total: u64_at(bytes, 8),
        live: u64_at(bytes, 16),
    }
}

/// What header and trailer begin with.
fn begin_page(magic: u32, config: &CheckpointConfig, generation: u32) -> Page {
    let mut page = [0; BLOCK_ALIGN];
    put(&mut page, 0, magic.to_le_bytes());
    put(&mut page, 8, CHECKPOINT_LEVEL.to_le_bytes());
    put(&mut page, 12, generation.to_le_bytes());
    put(&mut page, 16, config.log_id.to_le_bytes());
    put(&mut page, 32, config.partition.0.to_le_bytes());
    page
}

fn seal_page(mut page: Page) -> Page {
    let crc = checksum(&[&page[CRC_FROM..]]);
    put(&mut page, 4, crc.to_le_bytes());
    page
}

fn intact(page: &[u8], magic: u32) -> Option<&Page> {
    let page = page.first_chunk::<BLOCK_ALIGN>()?;
    let is_intact = u32_at(page, 0) == magic && checksum(&[&page[CRC_FROM..]]) == u32_at(page, 4);
    is_intact.then_some(page)
}

/// A newer level is told first: what follows the first fields may then mean something else.
fn check_owner(
    page: &Page,
    config: &CheckpointConfig,
    generation: u32,
) -> Result<(), CheckpointFault> {
    let level = u16_at(page, 8);
    if level > CHECKPOINT_LEVEL {
        return Err(CheckpointFault::Level(level));
    }
    if level == 0 || u16_at(page, 10) != 0 {
        return Err(CheckpointFault::Field);
    }
    let owner = CheckpointConfig {
        partition: PartitionId(u32_at(page, 32)),
        log_id: u128_at(page, 16),
    };
    let found = u32_at(page, 12);
    if owner == *config && found == generation {
        return Ok(());
    }
    Err(CheckpointFault::Foreign {
        log_id: owner.log_id,
        partition: owner.partition,
        generation: found,
    })
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

const _: () = assert!(PART_BYTES.is_multiple_of(BLOCK_ALIGN));
const _: () = assert!(BLOCK_ALIGN.is_multiple_of(CHUNK_ALIGN));
