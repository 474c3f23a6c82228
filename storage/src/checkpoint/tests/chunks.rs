//! Reading chunks: bounds, faults, windows.

use super::*;
use crate::checkpoint::{chunk_of, chunk_stretch};

fn written() -> (Memory, State) {
    let mut disk = Memory::default();
    let mut state = some_state(200);
    state.checkpoint(&mut disk).unwrap();
    (disk, state)
}

#[test]
fn every_flip_in_a_chunk_is_found() {
    let (mut disk, state) = written();
    let place = state.chunks[&11].place.unwrap();
    let from = usize::try_from(place.position).unwrap();
    for at in 0..place.bytes as usize {
        disk.tamper_checkpoint(0, |bytes| bytes[from + at] ^= 1 << (at % 8));
        let fault = read_chunk(&disk, P, place).unwrap_err();
        assert!(matches!(fault, ChunkFault::Checksum), "{fault}");
        let fault = ChunkReader::new(P)
            .read(&disk, place)
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(fault, ChunkFault::Checksum), "{fault}");
        disk.tamper_checkpoint(0, |bytes| bytes[from + at] ^= 1 << (at % 8));
    }
    read_chunk(&disk, P, place).unwrap();
}

#[test]
fn places_that_nothing_has_are_typed() {
    let (mut disk, state) = written();
    let place = state.chunks[&11].place.unwrap();
    let none = [
        ChunkPlace {
            bytes: 0,
            crc: 0,
            ..place
        },
        ChunkPlace {
            bytes: u32::MAX,
            ..place
        },
        ChunkPlace {
            bytes: (4 << 20) + 1,
            ..place
        },
        ChunkPlace {
            position: u64::MAX,
            ..place
        },
    ];
    let mut reader = ChunkReader::new(P);
    reader.read(&disk, place).unwrap();
    for place in none {
        let fault = reader.read(&disk, place).map(|_| ()).unwrap_err();
        assert!(matches!(fault, ChunkFault::Place), "{fault}");
        let fault = read_chunk(&disk, P, place).unwrap_err();
        assert!(matches!(fault, ChunkFault::Place), "{fault}");
        let fault = chunk_of(place, &[]).unwrap_err();
        assert!(matches!(fault, ChunkFault::Place), "{fault}");
    }
    let beyond = ChunkPlace {
        position: 1 << 50,
        ..place
    };
    let fault = reader.read(&disk, beyond).map(|_| ()).unwrap_err();
    assert!(matches!(fault, ChunkFault::Short), "{fault}");
    let elsewhere = ChunkPlace { file: 9, ..place };
    let fault = reader.read(&disk, elsewhere).map(|_| ()).unwrap_err();
    assert!(
        matches!(&fault, ChunkFault::Io(error) if error.kind() == std::io::ErrorKind::NotFound)
    );
    disk.unreadable_checkpoint = Some(0);
    let fault = read_chunk(&disk, P, place).unwrap_err();
    assert!(matches!(&fault, ChunkFault::Io(error) if error.raw_os_error() == Some(libc::EIO)));
}

#[test]
fn a_reader_recovers_from_a_failed_read() {
    let (mut disk, state) = written();
    let first = state.chunks[&0].place.unwrap();
    let last = state.chunks[&199].place.unwrap();
    let mut reader = ChunkReader::new(P);
    reader.read(&disk, first).unwrap();
    disk.unreadable_checkpoint = Some(0);
    reader.read(&disk, last).unwrap_err();
    disk.unreadable_checkpoint = None;
    for chunk in state.chunks.values() {
        assert_eq!(
            reader.read(&disk, chunk.place.unwrap()).unwrap(),
            chunk.bytes
        );
    }
}

#[test]
fn a_driver_reads_the_stretch_of_a_chunk() {
    let (disk, state) = written();
    for chunk in state.chunks.values() {
        let place = chunk.place.unwrap();
        let (position, bytes) = chunk_stretch(place).unwrap();
        assert!(position.is_multiple_of(4_096) && bytes.is_multiple_of(4_096));
        let mut read = vec![0; bytes];
        let count = disk.read_checkpoint(P, 0, position, &mut read).unwrap();
        assert_eq!(count, bytes, "a chunk is followed by whole pages");
        assert_eq!(chunk_of(place, &read).unwrap(), chunk.bytes);
        let short = &read[..read.len() - 4_096];
        let fault = chunk_of(place, short).unwrap_err();
        assert!(matches!(fault, ChunkFault::Short), "{fault}");
    }
}

/// 100,000 chunks in order cost about as many reads as the file has windows.
#[test]
fn chunks_in_order_are_read_in_large_pieces_and_aligned() {
    let mut disk = Memory::default();
    let mut state = State::default();
    for key in 0..100_000 {
        state.change(key, filler(u64::from(key), 100));
    }
    let meta = state.checkpoint(&mut disk).unwrap();
    disk.checkpoint_reads.set(0);
    let mut reader = ChunkReader::new(P);
    for chunk in state.chunks.values() {
        let read = reader.read(&disk, chunk.place.unwrap()).unwrap();
        assert_eq!(read, chunk.bytes);
        assert!(read.as_ptr().addr().is_multiple_of(CHUNK_ALIGN));
    }
    let reads = disk.checkpoint_reads.get() as u64;
    assert!(reads <= 8 + meta.live() / (1 << 20), "{reads} reads");
}

/// A state whose chunks lie in one file after the other, in turns.
fn spread_over(files: u32) -> (Memory, State) {
    let mut disk = Memory::default();
    let mut state = some_state(1_000);
    state.checkpoint(&mut disk).unwrap();
    for generation in 1..files {
        for key in (0..1_000).filter(|key| key % files == generation) {
            state.change(key, some_chunk(key, 1));
        }
        state.checkpoint(&mut disk).unwrap();
    }
    (disk, state)
}

/// An order that jumps between files reads each file from front to back.
#[test]
fn each_file_has_a_window_of_its_own() {
    let (disk, state) = spread_over(25);
    let meta = state.meta.as_ref().unwrap();
    assert!((20..32).contains(&meta.files.len()), "{meta:?}");
    disk.checkpoint_reads.set(0);
    let mut reader = ChunkReader::new(P);
    for chunk in state.chunks.values() {
        assert_eq!(
            reader.read(&disk, chunk.place.unwrap()).unwrap(),
            chunk.bytes
        );
    }
    let reads = disk.checkpoint_reads.get() as u64;
    let reads_max = 2 * meta.total() / (64 << 10) + 2 * meta.files.len() as u64;
    assert!(
        reads <= reads_max,
        "{reads} reads, {reads_max} expected at most"
    );
}

#[test]
fn more_files_than_windows_are_read_too() {
    let (disk, state) = spread_over(50);
    let found = &open(&disk).found[0];
    assert!(found.meta().files.len() > 32, "{:?}", found.meta());
    let restored = State::restore(&disk, found).unwrap();
    assert_eq!(restored.content(), state.content());
}
