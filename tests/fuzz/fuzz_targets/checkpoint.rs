//! Opens checkpoints whose files were edited, reads every chunk that their roots name, and goes on from the newest.
//!
//! See `checkpoints` for the input. Opening must not panic, must change nothing, must read each file a bounded number
//! of times, and must find only generations whose files are all there. A chunk is what its file holds, or an error,
//! whichever way it is read. The next generation must be whole, and must leave the one before as it was.

#![no_main]

use corelane_fuzz::checkpoints::{self, CONFIG};
use corelane_fuzz::files::Files;
use corelane_storage::{
    CheckpointWriter, ChunkReader, FoundCheckpoint, OpenCheckpoints, open_checkpoints, read_chunk,
};
use corelane_wire::{ChunkPlace, checksum};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static WRITTEN: Files = checkpoints::written();
}

fuzz_target!(|input: &[u8]| {
    let Some(mut files) = WRITTEN.with(|written| checkpoints::build(input, written)) else {
        return;
    };
    let before = files.checkpoints.clone();
    let open = open(&files);
    assert!(files.checkpoints == before, "opening changed a file");
    for found in &open.found {
        check_files(&files, found);
        read_all(&files, found);
    }
    if let Some(newest) = open.found.first() {
        go_on(&mut files, newest);
    }
});

/// Opens, with the bounds and the order checked.
fn open(files: &Files) -> OpenCheckpoints {
    files.reads.set(0);
    let open = open_checkpoints(files, &CONFIG).expect("listing files in memory does not fail");
    // Header, trailer and manifest.
    let seen = open.found.len() + open.refused.len();
    assert!(files.reads.get() <= 3 * seen && seen <= files.checkpoints.len());
    assert!(open.found.len() <= 2);
    open
}

/// What a generation says of its files is so.
fn check_files(files: &Files, found: &FoundCheckpoint) {
    let meta = found.meta();
    assert!(meta.files.is_sorted_by(|a, b| a.generation < b.generation));
    let own = meta.files.last().expect("its own file is in the list");
    assert_eq!(own.generation, meta.generation);
    for file in &meta.files {
        let bytes = files.checkpoints[&file.generation].len() as u64;
        assert!(file.total == bytes && file.live <= bytes, "{file:?}");
    }
}

/// The chunks that can be read.
fn read_all(files: &Files, found: &FoundCheckpoint) -> Vec<(ChunkPlace, Vec<u8>)> {
    let mut reader = ChunkReader::new(CONFIG.partition);
    let mut chunks = Vec::new();
    for place in checkpoints::decode(found.root()) {
        let alone = read_chunk(files, CONFIG.partition, place).ok();
        let along = reader.read(files, place).ok();
        assert_eq!(along, alone.as_deref(), "{place:?}");
        if let Some(bytes) = alone {
            let from = usize::try_from(place.position).expect("it was read");
            let held = &files.checkpoints[&place.file][from..from + place.bytes as usize];
            assert!(held == bytes && checksum(&[held]) == place.crc, "{place:?}");
            chunks.push((place, bytes));
        }
    }
    chunks
}

/// Writes the next generation out of what can be read of this one.
fn go_on(files: &mut Files, found: &FoundCheckpoint) {
    let chunks = read_all(files, found);
    let mut writer = CheckpointWriter::begin(files, CONFIG, Some(found.meta()))
        .expect("files in memory do not fail");
    let mut kept = Vec::new();
    for (place, bytes) in chunks {
        if let Ok(place) = writer.keep(place) {
            kept.push((place, bytes));
        }
    }
    let places: Vec<_> = kept.iter().map(|(place, _)| *place).collect();
    let root = checkpoints::encode(&places);
    let meta = writer.finish(&root, found.end(), found.table());
    let meta = meta.expect("it is no larger than the one before");
    let open = open(files);
    assert_eq!(*open.found[0].meta(), meta);
    assert_eq!(*open.found[1].meta(), *found.meta());
    assert!(open.found[1].root() == found.root() && open.found[1].table() == found.table());
    assert!(read_all(files, &open.found[0]) == kept, "a chunk changed");
}
