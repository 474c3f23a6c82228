//! Checkpoints that the real writer wrote, an input's edits of them, and what their root says.
//!
//! See `edits` for the input: bit 0 of its first byte begins with the written generations instead of none, bit 1 makes
//! checksums right after the edits.

use corelane_storage::{
    BLOCK_ALIGN, CheckpointConfig, CheckpointMeta, CheckpointWriter, MANIFEST_BYTES_MAX,
};
use corelane_wire::{ChunkPlace, Lsn, PartitionId, checksum};

use crate::edits::{self, FROM_WRITTEN, REPAIR};
use crate::files::Files;
use crate::{put, u32_at, u64_at};

/// Whose checkpoints they are.
pub const CONFIG: CheckpointConfig = CheckpointConfig {
    partition: PartitionId(3),
    log_id: 0x1234_5678_9abc_def0,
};
/// The newest generation that is written.
pub const NEWEST: u8 = 2;

const PLACE_BYTES: usize = 20;
const CHUNKS: usize = 40;
const PART_BYTES: usize = 64 << 10;
const PARTS_FROM: usize = 128;

/// Three generations: the second replaces a third of the chunks, the last a few.
pub fn written() -> Files {
    let mut files = Files::default();
    let mut places: Vec<ChunkPlace> = Vec::new();
    let mut previous: Option<CheckpointMeta> = None;
    for generation in 0..=NEWEST {
        let mut writer = CheckpointWriter::begin(&mut files, CONFIG, previous.as_ref())
            .expect("files in memory do not fail");
        let step = [1, 3, 15][usize::from(generation)];
        for key in 0..CHUNKS {
            let place = if key % step == 0 {
                writer.put(&vec![generation + 1; 100 + key * 37])
            } else {
                writer.keep(places[key])
            };
            let place = place.expect("files in memory do not fail");
            match places.get_mut(key) {
                Some(known) => *known = place,
                None => places.push(place),
            }
        }
        let end = Lsn(u64::from(generation) * 100);
        let meta = writer.finish(&encode(&places), end, b"table");
        previous = Some(meta.expect("files in memory do not fail"));
    }
    files
}

/// The pages of the newest generation by name, for seeds.
pub fn newest_pages() -> [(&'static str, u8); 4] {
    let files = written();
    let bytes = files.checkpoints[&u32::from(NEWEST)].len();
    let last = u8::try_from(bytes / BLOCK_ALIGN - 1).expect("files here are small");
    [
        ("header", 0),
        ("chunks", 1),
        ("manifest", last - 1),
        ("trailer", last),
    ]
}

/// Carries out an input; `None` if it is too short.
pub fn build(input: &[u8], written: &Files) -> Option<Files> {
    let (options, edits) = input.split_first()?;
    let mut files = if options & FROM_WRITTEN == 0 {
        Files::default()
    } else {
        written.clone()
    };
    edits::apply_all(&mut files.checkpoints, edits);
    if options & REPAIR != 0 {
        files.checkpoints.values_mut().for_each(|file| repair(file));
    }
    Some(files)
}

/// A root that lists places.
pub fn encode(places: &[ChunkPlace]) -> Vec<u8> {
    let mut root = Vec::new();
    for place in places {
        root.extend(place.file.to_le_bytes());
        root.extend(place.bytes.to_le_bytes());
        root.extend(place.position.to_le_bytes());
        root.extend(place.crc.to_le_bytes());
    }
    root
}

/// The places that a root lists.
pub fn decode(root: &[u8]) -> Vec<ChunkPlace> {
    let entries = root.chunks_exact(PLACE_BYTES);
    let places = entries.map(|entry| ChunkPlace {
        file: u32_at(entry, 0),
        bytes: u32_at(entry, 4),
        position: u64_at(entry, 8),
        crc: u32_at(entry, 16),
    });
    places.collect()
}

/// Makes the checksums of header, manifest and trailer right.
fn repair(file: &mut [u8]) {
    let Some(trailer) = file.len().checked_sub(BLOCK_ALIGN) else {
        return;
    };
    if trailer < BLOCK_ALIGN {
        return;
    }
    let manifest = usize::try_from(u64_at(file, trailer + 48)).unwrap_or(usize::MAX);
    if let Some(body) = file[..trailer].get(manifest..) {
        let parts = body.chunks(PART_BYTES).map(|part| checksum(&[part]));
        let parts: Vec<_> = parts.take(MANIFEST_BYTES_MAX / PART_BYTES).collect();
        for (at, crc) in parts.iter().enumerate() {
            put(file, trailer + PARTS_FROM + 4 * at, &crc.to_le_bytes());
        }
    }
    for page in [0, trailer] {
        let crc = checksum(&[&file[page + 8..page + BLOCK_ALIGN]]);
        put(file, page + 4, &crc.to_le_bytes());
    }
}
