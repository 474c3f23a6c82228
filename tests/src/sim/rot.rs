//! Rot: one byte of a block that a later block attests goes bad. Recovery must say so and touch nothing.
//!
//! Reads blocks with a parser of its own, after the byte table of `docs/storage-format.md`.

use corelane_wire::checksum;

use crate::sim::disk::{Disk, FileName, SECTOR_BYTES};

/// A block as its header tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) segment: u32,
    pub(crate) position: u64,
    pub(crate) bytes: u64,
    pub(crate) first_lsn: u64,
    pub(crate) attested: u64,
    pub(crate) holds_records: bool,
    pub(crate) is_footer: bool,
}

/// A byte that has gone bad.
#[derive(Clone, Copy, Debug)]
pub struct Rot {
    /// The partition.
    pub partition: u32,
    /// Its segment.
    pub segment: u32,
    /// Where in the file.
    pub position: u64,
    /// Whether only a SEAL says that the block was confirmed.
    pub is_attested_by_seal_alone: bool,
}

/// Spoils one byte of one attested block of the partition, if it has any.
pub fn spoil(disk: &mut Disk, partition: u32) -> Option<Rot> {
    let blocks = blocks(disk, partition);
    let attested: Vec<(Seen, bool)> = blocks
        .iter()
        .enumerate()
        .filter(|(_, block)| block.holds_records)
        .filter_map(|(index, block)| {
            let later = &blocks[index + 1..];
            let witnesses = || {
                later
                    .iter()
                    .filter(|other| other.attested > block.first_lsn)
            };
            let by_seal_alone = witnesses().all(|other| !other.holds_records);
            witnesses().next()?;
            Some((*block, by_seal_alone))
        })
        .collect();
    if attested.is_empty() {
        return None;
    }
    let random = disk.random();
    // The newest ones are the ones that a careless recovery cuts.
    let index =
        attested.len() - 1 - random.skewed(1, attested.len() as u64) as usize % attested.len();
    let index = if random.one_in(2) {
        attested.len() - 1
    } else {
        index
    };
    let (block, is_attested_by_seal_alone) = attested[index];
    let position = block.position + random.below(block.bytes);
    let mask = 1 << random.below(8);
    let name = FileName::Segment(partition, block.segment);
    disk.rot(&name, position, mask);
    Some(Rot {
        partition,
        segment: block.segment,
        position,
        is_attested_by_seal_alone,
    })
}

/// Spoils the newest checkpoint of the partition, if there is one before it.
pub fn spoil_newest_checkpoint(disk: &mut Disk, partition: u32) -> bool {
    let of =
        |name: &FileName| matches!(name, FileName::Checkpoint(owner, _) if *owner == partition);
    let mut files: Vec<FileName> = disk.names().filter(|name| of(name)).cloned().collect();
    files.sort();
    let Some(newest) = files.pop().filter(|_| !files.is_empty()) else {
        return false;
    };
    let end = disk.file_bytes(&newest).unwrap_or_default();
    // The last sector names all others.
    disk.rot(&newest, end - SECTOR_BYTES as u64, 1);
    true
}

/// The blocks of the segments of a partition, in the order of the log.
pub(crate) fn blocks(disk: &Disk, partition: u32) -> Vec<Seen> {
    let mut found = Vec::new();
    for name in disk.names() {
        let FileName::Segment(owner, segment) = name else {
            continue;
        };
        if *owner != partition {
            continue;
        }
        let end = disk.file_bytes(name).unwrap_or_default();
        // A file that was a segment before still holds that one's blocks.
        let mut uuid = [0; 8];
        disk.read(name, SEGMENT_UUID_AT, &mut uuid);
        for position in disk.written_sectors(name) {
            let mut header = [0; 128];
            disk.read(name, position, &mut header);
            if let Some(seen) = parse(&header, *segment, position)
                && header[16..24] == uuid
                && position + seen.bytes <= end
            {
                found.push(seen);
            }
        }
    }
    found
}

/// Where the uuid stands in a segment's header.
const SEGMENT_UUID_AT: u64 = 56;

fn parse(header: &[u8; 128], segment: u32, position: u64) -> Option<Seen> {
    let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
    let half = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or_default());
    let is_block =
        header.starts_with(b"CLBK") && half(4) == checksum(&[&header[8..]]) && word(56) == position;
    is_block.then(|| Seen {
        segment,
        position,
        bytes: (128 + u64::from(half(8))).next_multiple_of(SECTOR_BYTES as u64),
        first_lsn: word(40),
        attested: word(48),
        holds_records: header[68..70] == [0, 0],
        is_footer: header[68..70] == [2, 0],
    })
}
