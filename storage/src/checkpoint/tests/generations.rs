//! What lies in which file, and which files stay.

use std::io::ErrorKind;

use super::*;
use crate::checkpoint::{CHUNK_BYTES_MAX, MANIFEST_BYTES_MAX};
use crate::layout::BLOCK_ALIGN;

#[test]
fn a_state_comes_back() {
    let mut disk = Memory::default();
    let mut state = some_state(300);
    let meta = state.checkpoint(&mut disk).unwrap();
    assert_eq!((meta.generation, meta.end), (0, Lsn(300)));
    let open = open(&disk);
    assert!(open.refused.is_empty());
    assert_eq!(open.found.len(), 1);
    assert_eq!(*open.found[0].meta(), meta);
    let restored = State::restore(&disk, &open.found[0]).unwrap();
    assert_eq!(restored.content(), state.content());
}

#[test]
fn an_empty_state_and_an_empty_root_come_back() {
    let mut disk = Memory::default();
    let meta = State::default().checkpoint(&mut disk).unwrap();
    assert_eq!((meta.live(), meta.files.len()), (0, 1));
    let writer = CheckpointWriter::begin(&mut disk, CONFIG, Some(&meta)).unwrap();
    assert_eq!(writer.generation(), 1);
    writer.finish(&[], Lsn(9), &[]).unwrap();
    let found = &open(&disk).found[0];
    assert_eq!((found.root(), found.table()), (&[][..], &[][..]));
    assert_eq!(found.end(), Lsn(9));
    // The second file does without a page for the empty root: it still names itself.
    assert_eq!(disk.checkpoints(P).unwrap()[1], (1, 3 * 4_096));
}

#[test]
fn chunks_that_did_not_change_stay_where_they_are() {
    let mut disk = Memory::default();
    let mut state = some_state(100);
    state.checkpoint(&mut disk).unwrap();
    let places = |state: &State| -> Vec<_> {
        let chunks = state.chunks.values();
        chunks.map(|chunk| chunk.place.unwrap()).collect()
    };
    let before = places(&state);
    state.change(7, some_chunk(7, 1));
    let meta = state.checkpoint(&mut disk).unwrap();
    let after = places(&state);
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before == after, at != 7);
        assert_eq!(after.file, u32::from(at == 7));
        assert!(after.position.is_multiple_of(CHUNK_ALIGN as u64));
    }
    let chunk = u64::from(after[7].bytes).next_multiple_of(CHUNK_ALIGN as u64);
    assert_eq!(meta.files[1].live, chunk);
    assert!(meta.files[1].total < 32 << 10, "{meta:?}");
}

#[test]
fn two_generations_and_what_they_name_are_kept() {
    let mut disk = Memory::default();
    let mut state = some_state(100);
    for generation in 0..6 {
        state.change(7, some_chunk(7, generation));
        state.checkpoint(&mut disk).unwrap();
    }
    // The file of generation 0 holds nearly all chunks.
    assert_eq!(files(&disk), [0, 4, 5]);
    assert_eq!(generations(&disk), [5, 4]);
    for found in &open(&disk).found {
        State::restore(&disk, found).unwrap();
    }
}

#[test]
fn a_file_more_than_half_dead_is_emptied_and_goes() {
    let mut disk = Memory::default();
    let mut state = some_state(100);
    state.checkpoint(&mut disk).unwrap();
    for key in 0..70 {
        state.change(key, some_chunk(key, 1));
    }
    state.checkpoint(&mut disk).unwrap();
    assert!(state.meta.as_ref().unwrap().names(0), "still needed");
    state.checkpoint(&mut disk).unwrap();
    assert!(!state.meta.as_ref().unwrap().names(0), "its chunks moved");
    assert_eq!(files(&disk), [0, 1, 2], "for the generation before");
    state.checkpoint(&mut disk).unwrap();
    assert_eq!(files(&disk)[0], 1, "and then it is gone");
    let restored = State::restore(&disk, &open(&disk).found[0]).unwrap();
    assert_eq!(restored.content(), state.content());
}

#[test]
fn a_damaged_newest_generation_stays_until_two_whole_ones_are_newer() {
    let mut disk = Memory::default();
    let mut state = some_state(50);
    state.checkpoint(&mut disk).unwrap();
    let older = state.clone();
    state.change(3, some_chunk(3, 1));
    state.checkpoint(&mut disk).unwrap();
    disk.tamper_checkpoint(1, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let found = open(&disk);
    assert_eq!(found.refused.len(), 1);
    let mut state = State::restore(&disk, &found.found[0]).unwrap();
    assert_eq!(state.content(), older.content());
    assert_eq!(state.checkpoint(&mut disk).unwrap().generation, 2);
    assert_eq!(files(&disk), [0, 1, 2]);
    state.checkpoint(&mut disk).unwrap();
    assert_eq!(files(&disk), [0, 2, 3], "0 has the chunks");
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let mut disk = Memory::default();
    let mut writer = CheckpointWriter::begin(&mut disk, CONFIG, None).unwrap();
    writer.put(&vec![1; 300_000]).unwrap();
    drop(writer);
    assert!(disk.drafts.is_empty() && files(&disk).is_empty());
}

#[test]
fn a_write_that_fails_is_not_tried_again() {
    let mut disk = Memory {
        fuse: Some(2),
        ..Memory::default()
    };
    let mut writer = CheckpointWriter::begin(&mut disk, CONFIG, None).unwrap();
    writer.put(&vec![1; 300_000]).unwrap();
    let error = writer.put(&vec![1; 300_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let error = writer.put(&vec![1; 300_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    let error = writer.finish(&[], Lsn(1), &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    disk.crash(|_| true);
    assert_eq!(files(&disk), [] as [u32; 0]);
}

#[test]
fn what_cannot_be_in_the_generation_before_is_not_kept() {
    let mut disk = Memory::default();
    let mut state = some_state(100);
    let meta = state.checkpoint(&mut disk).unwrap();
    let place = state.chunks[&5].place.unwrap();
    let mut writer = CheckpointWriter::begin(&mut disk, CONFIG, Some(&meta)).unwrap();
    let wrong = [
        ChunkPlace { file: 1, ..place },
        ChunkPlace { bytes: 0, ..place },
        ChunkPlace {
            bytes: u32::MAX,
            ..place
        },
        ChunkPlace {
            position: u64::MAX,
            ..place
        },
        ChunkPlace {
            position: meta.files[0].total - 1,
            ..place
        },
    ];
    for place in wrong {
        let error = writer.keep(place).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{place:?}");
    }
    for chunk in state.chunks.values() {
        writer.keep(chunk.place.unwrap()).unwrap();
    }
    let error = writer.keep(place).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "kept twice");
    // None of that ended it.
    writer.finish(&[], Lsn(1), &[]).unwrap();
    assert_eq!(generations(&disk), [1, 0]);
}

#[test]
fn chunks_and_manifests_have_bounds() {
    let mut disk = Memory::default();
    let mut writer = CheckpointWriter::begin(&mut disk, CONFIG, None).unwrap();
    let largest = vec![7; CHUNK_BYTES_MAX];
    let place = writer.put(&largest).unwrap();
    for chunk in [vec![7; CHUNK_BYTES_MAX + 1], Vec::new()] {
        let error = writer.put(&chunk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let root = vec![9; MANIFEST_BYTES_MAX - BLOCK_ALIGN];
    let meta = writer.finish(&root, Lsn(1), &[1; 4_072]).unwrap();
    assert_eq!(open(&disk).found[0].root(), root);
    assert_eq!(read_chunk(&disk, P, place).unwrap(), largest);
    let writer = CheckpointWriter::begin(&mut disk, CONFIG, Some(&meta)).unwrap();
    let error = writer.finish(&root, Lsn(1), &[1; 4_073]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(disk.drafts.is_empty());
    assert_eq!(generations(&disk), [0]);
}

#[test]
fn a_damaged_chunk_that_has_to_move_can_be_put_instead() {
    let mut disk = Memory::default();
    let mut state = some_state(100);
    state.checkpoint(&mut disk).unwrap();
    for key in 0..70 {
        state.change(key, some_chunk(key, 1));
    }
    let meta = state.checkpoint(&mut disk).unwrap();
    let place = state.chunks[&80].place.unwrap();
    assert_eq!(place.file, 0);
    disk.tamper_checkpoint(0, |bytes| {
        bytes[usize::try_from(place.position).unwrap()] ^= 4;
    });
    let mut writer = CheckpointWriter::begin(&mut disk, CONFIG, Some(&meta)).unwrap();
    let error = writer.keep(place).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let place = writer.put(&state.chunks[&80].bytes).unwrap();
    writer.finish(&[], Lsn(1), &[]).unwrap();
    assert_eq!(
        read_chunk(&disk, P, place).unwrap(),
        state.chunks[&80].bytes
    );
}
