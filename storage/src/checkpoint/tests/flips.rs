//! Files that are not what was written: every byte, lengths, owners, missing ones.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::CheckpointFault;
use crate::checkpoint::format::{check_header, encode_header};
use crate::rig::hex as digits;

/// Two generations, the newer one small.
fn two() -> (Memory, State, State) {
    let mut disk = Memory::default();
    let mut state = some_state(20);
    state.checkpoint(&mut disk).unwrap();
    let older = state.clone();
    state.change(3, some_chunk(3, 1));
    state.checkpoint(&mut disk).unwrap();
    (disk, older, state)
}

/// Opens, and expects the older generation, with the newer one refused.
fn falls_back(disk: &Memory, older: &State) -> CheckpointFault {
    let mut open = open(disk);
    assert_eq!(open.found.len(), 1);
    let restored = State::restore(disk, &open.found[0]).unwrap();
    assert_eq!(restored.content(), older.content());
    assert_eq!(restored.meta, older.meta);
    let (generation, fault) = open.refused.pop().unwrap();
    assert_eq!((generation, open.refused.len()), (1, 0));
    fault
}

/// One changed byte here is a new format: it needs a level, a fixture and an ADR.
#[test]
fn header_and_trailer_are_golden() {
    let config = CheckpointConfig {
        partition: PartitionId(9),
        log_id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
    };
    let header = digits(&encode_header(&config, 7));
    let expected = concat!(
        "434c434b", // magic
        "450c1ad3", // crc
        "01000000", // level, spare
        "07000000", // generation
        "100f0e0d0c0b0a090807060504030201",
        "09000000",
    );
    assert_eq!(header[..72], *expected);
    assert!(header[72..].bytes().all(|digit| digit == b'0'));
    let mut disk = Memory::default();
    let mut writer = CheckpointWriter::begin(&mut disk, config, None).unwrap();
    writer.put(b"123456789").unwrap();
    writer.finish(b"root", Lsn(1_000), b"table").unwrap();
    let (_, file) = disk.checkpoints.pop_first().unwrap();
    let hex = digits(&file.now);
    assert_eq!(hex.len(), 2 * 4 * 4_096);
    assert!(hex[8_192..].starts_with("3132333435363738390000"));
    let manifest = concat!(
        "726f6f74",
        "7461626c65",
        "0000000000000000",
        "0040000000000000",
        "1000000000000000",
        "000000",
    );
    assert!(
        hex[16_384..].starts_with(manifest),
        "{}",
        &hex[16_384..16_500]
    );
    let trailer = concat!(
        "434c4354", // magic
        "d53c6425", // crc
        "01000000", // level, spare
        "00000000", // generation
        "100f0e0d0c0b0a090807060504030201",
        "09000000",
        "01000000",
        "e803000000000000",
        "0020000000000000",
        "04000000",
        "05000000",
    );
    assert_eq!(hex[24_576..24_576 + 128], *trailer);
    let part = corelane_wire::checksum(&[&file.now[8_192..12_288]]);
    assert_eq!(hex[24_576 + 256..][..8], digits(&part.to_le_bytes()));
    assert!(hex[24_576 + 264..].bytes().all(|digit| digit == b'0'));
}

#[test]
fn every_flip_in_header_manifest_and_trailer_is_found() {
    let (mut disk, older, state) = two();
    let total = state.meta.unwrap().files[1].total;
    let total = usize::try_from(total).unwrap();
    // The manifest is one page: 20 places, a table and two files.
    let checked = (0..4_096).chain(total - 2 * 4_096..total);
    for at in checked {
        disk.tamper_checkpoint(1, |bytes| bytes[at] ^= 1 << (at % 8));
        let fault = falls_back(&disk, &older);
        let is_expected = if at < 4_096 {
            matches!(fault, CheckpointFault::Header)
        } else if at < total - 4_096 {
            matches!(fault, CheckpointFault::Manifest { part: 0 })
        } else {
            matches!(fault, CheckpointFault::Trailer)
        };
        assert!(is_expected, "byte {at}: {fault}");
        disk.tamper_checkpoint(1, |bytes| bytes[at] ^= 1 << (at % 8));
    }
    assert_eq!(generations(&disk), [1, 0]);
}

#[test]
fn every_part_of_a_long_manifest_is_checked() {
    let (mut disk, _, state) = two();
    let root = filler(1, 200_000);
    let writer = CheckpointWriter::begin(&mut disk, CONFIG, state.meta.as_ref()).unwrap();
    writer.finish(&root, Lsn(1), b"table").unwrap();
    for (part, at) in [0, 65_536, 131_072, 196_608].into_iter().enumerate() {
        for at in [at, at + 1_000] {
            disk.tamper_checkpoint(2, |bytes| bytes[4_096 + at] ^= 1);
            let open = open(&disk);
            let fault = &open.refused[0].1;
            assert!(matches!(fault, CheckpointFault::Manifest { part: found } if *found == part));
            disk.tamper_checkpoint(2, |bytes| bytes[4_096 + at] ^= 1);
        }
    }
    assert_eq!(generations(&disk), [2, 1]);
}

#[test]
fn every_other_length_is_refused() {
    let (mut disk, older, state) = two();
    let total = usize::try_from(state.meta.unwrap().files[1].total).unwrap();
    let whole = disk.checkpoints[&(PARTITION, 1)].clone();
    let pages = (0..=total / 4_096 + 2).map(|page| page * 4_096);
    let lengths = pages.chain([1, 4_095, total - 1, total + 1, total - 512]);
    for length in lengths.filter(|length| *length != total) {
        disk.tamper_checkpoint(1, |bytes| bytes.resize(length, 0));
        let fault = falls_back(&disk, &older);
        let is_expected = matches!(fault, CheckpointFault::Length(_) | CheckpointFault::Trailer);
        assert!(is_expected, "{length} bytes: {fault}");
        disk.checkpoints.insert((PARTITION, 1), whole.clone());
    }
    // Its own trailer at the end of a longer file is not in its place.
    disk.tamper_checkpoint(1, |bytes| {
        let trailer = bytes[total - 4_096..].to_vec();
        bytes.extend(trailer);
    });
    let fault = falls_back(&disk, &older);
    assert!(matches!(fault, CheckpointFault::Field), "{fault}");
}

#[test]
fn files_of_others_are_typed() {
    let (mut disk, older, state) = two();
    let own = disk.checkpoints[&(PARTITION, 1)].clone();
    let others = [
        CheckpointConfig {
            log_id: 1,
            ..CONFIG
        },
        CheckpointConfig {
            partition: PartitionId(7),
            ..CONFIG
        },
    ];
    for other in others {
        let mut elsewhere = disk.clone();
        elsewhere
            .checkpoints
            .retain(|(_, generation), _| *generation == 0);
        elsewhere
            .checkpoints
            .insert((other.partition.0, 0), own.clone());
        let writer = CheckpointWriter::begin(&mut elsewhere, other, older.meta.as_ref()).unwrap();
        writer.finish(&[], Lsn(1), &[]).unwrap();
        let file = elsewhere.checkpoints[&(other.partition.0, 1)].clone();
        disk.checkpoints.insert((PARTITION, 1), file);
        let fault = falls_back(&disk, &older);
        let CheckpointFault::Foreign {
            log_id,
            partition,
            generation,
        } = fault
        else {
            panic!("{fault}");
        };
        assert_eq!((log_id, partition), (other.log_id, other.partition));
        assert_eq!(generation, 1);
    }
    // A file under the name of another generation.
    disk.checkpoints.insert((PARTITION, 1), own.clone());
    disk.checkpoints.insert((PARTITION, 5), own);
    let found = open(&disk);
    let fault = &found.refused[0].1;
    assert!(
        matches!(fault, CheckpointFault::Foreign { generation: 1, .. }),
        "{fault}"
    );
    assert_eq!(found.found[0].meta().generation, 1);
    // And none is written over it.
    let writer = CheckpointWriter::begin(&mut disk, CONFIG, state.meta.as_ref()).unwrap();
    assert_eq!(writer.generation(), 6);
}

#[test]
fn a_newer_level_is_typed() {
    let page = encode_header(&CONFIG, 1);
    check_header(&page, &CONFIG, 1).unwrap();
    let (mut disk, older, _) = two();
    disk.tamper_checkpoint(1, |bytes| {
        bytes[8] = 2;
        let crc = corelane_wire::checksum(&[&bytes[8..4_096]]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    });
    let fault = falls_back(&disk, &older);
    assert!(matches!(fault, CheckpointFault::Level(2)), "{fault}");
}

/// Every checksum is right, but no version writes this.
#[test]
fn fields_that_contradict_each_other_are_refused() {
    let (mut disk, older, state) = two();
    let total = usize::try_from(state.meta.unwrap().files[1].total).unwrap();
    let (manifest, trailer) = (total - 8_192, total - 4_096);
    let list = manifest + 20 * 24 + table(Lsn(21)).len();
    let wrong: [(usize, u64); 14] = [
        (8, 0),                                // level 0
        (10, 1),                               // spare
        (4_088, 1),                            // spare of the header
        (trailer + 36, 0),                     // no file in the list
        (trailer + 36, 3),                     // one more than there are
        (trailer + 48, 0),                     // a manifest in the header
        (trailer + 56, 1 << 31),               // a root longer than the file
        (trailer + 120, 1),                    // spare of the trailer
        (trailer + 136, 1),                    // a checksum of nothing
        (list, 1 << 32),                       // spare of the list
        (list, 1),                             // its own file twice
        (list + 16, 0),                        // a file without a chunk
        (list + 16, 1 << 40),                  // more chunks than the file has bytes
        (list + 24 + 8, total as u64 - 4_096), // another length of its own
    ];
    let whole = disk.checkpoints[&(PARTITION, 1)].clone();
    for (at, value) in wrong {
        disk.tamper_checkpoint(1, |bytes| {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            make_right(bytes);
        });
        let fault = falls_back(&disk, &older);
        let is_expected = matches!(fault, CheckpointFault::Field);
        assert!(is_expected, "{value} at {at}: {fault}");
        disk.checkpoints.insert((PARTITION, 1), whole.clone());
    }
}

#[test]
fn a_generation_without_a_file_that_it_names_is_refused() {
    let mut disk = Memory::default();
    let mut state = some_state(100);
    state.checkpoint(&mut disk).unwrap();
    state.change(3, some_chunk(3, 1));
    state.checkpoint(&mut disk).unwrap();
    let total = state.meta.as_ref().unwrap().files[0].total;
    disk.tamper_checkpoint(0, |bytes| bytes.truncate(8_192));
    let open_ = open(&disk);
    assert!(open_.found.is_empty());
    let fault = &open_.refused[0].1;
    assert!(matches!(
        fault,
        CheckpointFault::File { generation: 0, found: Some(8_192), expected } if *expected == total
    ));
    disk.checkpoints.remove(&(PARTITION, 0));
    let open_ = open(&disk);
    let fault = &open_.refused[0].1;
    assert!(matches!(
        fault,
        CheckpointFault::File {
            generation: 0,
            found: None,
            ..
        }
    ));
    // Going on from nothing is possible, and overwrites nothing.
    let mut again = some_state(3);
    assert_eq!(again.checkpoint(&mut disk).unwrap().generation, 2);
    assert_eq!(generations(&disk), [2]);
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let (mut disk, older, _) = two();
    disk.unreadable_checkpoint = Some(1);
    let fault = falls_back(&disk, &older);
    assert!(matches!(fault, CheckpointFault::Io(_)), "{fault}");
}

proptest! {
    /// Whatever is done to the newer file, opening ends with a typed answer, and the older one is there.
    #[test]
    fn arbitrary_changes_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        repair in any::<bool>(),
    ) {
        let (mut disk, older, _) = two();
        disk.tamper_checkpoint(1, |bytes| {
            let total = bytes.len();
            for (at, byte) in &edits {
                // Half of them in the first fields of header, manifest and trailer.
                let at = at.index(2 * total);
                let at = if at < total {
                    at
                } else {
                    [0, total - 8_192, total - 4_096][at % 3] + at % 160
                };
                bytes[at] = *byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(total));
            }
            if repair {
                make_right(bytes);
            }
        });
        let open = open(&disk);
        prop_assert_eq!(open.found.len() + open.refused.len(), 2);
        for found in &open.found {
            if let Ok(mut state) = restore_any(&disk, found) {
                let mut disk = disk.clone();
                if state.checkpoint(&mut disk).is_ok() {
                    prop_assert_eq!(generations(&disk)[0], 2);
                }
            }
        }
        let last = open.found.last().unwrap();
        let restored = State::restore(&disk, last).unwrap();
        prop_assert_eq!(restored.content(), older.content());
    }
}

/// Like `State::restore`, of a root that may say anything.
fn restore_any(disk: &Memory, found: &FoundCheckpoint) -> Result<State, ChunkFault> {
    let mut state = State {
        meta: Some(found.meta().clone()),
        ..State::default()
    };
    let mut reader = ChunkReader::new(P);
    let whole = found.root().len() / 24 * 24;
    for (key, place) in decode(&found.root()[..whole]) {
        let bytes = reader.read(disk, place)?.to_vec();
        let place = Some(place);
        state.chunks.insert(key, Chunk { bytes, place });
    }
    Ok(state)
}

/// Makes the checksums of header, manifest and trailer right.
fn make_right(file: &mut [u8]) {
    let total = file.len();
    if total < 3 * 4_096 || !total.is_multiple_of(4_096) {
        return;
    }
    let manifest = u64::from_le_bytes(file[total - 4_096 + 48..][..8].try_into().unwrap());
    let manifest = usize::try_from(manifest).unwrap_or(usize::MAX);
    if let Some(body) = file[..total - 4_096].get(manifest..) {
        let parts: Vec<_> = body
            .chunks(65_536)
            .map(|part| corelane_wire::checksum(&[part]))
            .collect();
        for (at, crc) in parts.into_iter().enumerate().take(992) {
            file[total - 4_096 + 128 + 4 * at..][..4].copy_from_slice(&crc.to_le_bytes());
        }
    }
    for at in [0, total - 4_096] {
        let crc = corelane_wire::checksum(&[&file[at + 8..at + 4_096]]);
        file[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    }
}
