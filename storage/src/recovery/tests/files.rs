//! Files that are missing, too short, foreign or of another version: refused, and left as they are.

use corelane_wire::{Lsn, PartitionId, checksum};

use super::{damage, filled};
use crate::error::{DamageCause, RecoverError};
use crate::layout::{BLOCK_ALIGN, SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::memory::PARTITION;
use crate::recovery::recover;
use crate::rig::{Rig, tiny_config};
use crate::segment_table::SegmentTable;

fn expect(rig: &mut Rig, cause: DamageCause) {
    let content = rig.content();
    assert_eq!(damage(rig.restart()).cause, cause);
    assert!(rig.content() == content, "no file was changed");
}

#[test]
fn a_missing_segment_is_damage() {
    for missing in [0, 1, 2] {
        let mut rig = filled();
        rig.disk.segments.remove(&(PARTITION, missing));
        expect(
            &mut rig,
            DamageCause::MissingSegment(SegmentNumber(missing)),
        );
    }
}

#[test]
fn a_missing_newest_segment_is_damage() {
    let mut rig = filled();
    let newest = u32::try_from(rig.disk.segments.len()).unwrap() - 1;
    // Whatever was taken ahead, and the one with the last records.
    for number in (1..=newest).rev() {
        let removed = rig.disk.segments.remove(&(PARTITION, number)).unwrap();
        if removed.now[0] != 0 {
            expect(&mut rig, DamageCause::MissingSegment(SegmentNumber(number)));
            return;
        }
    }
}

#[test]
fn a_file_of_another_length_is_damage() {
    for bytes in [0, 1, 4_096, 30_000, 40_960] {
        let mut rig = filled();
        rig.disk.tamper(1, |file| file.truncate(bytes));
        expect(&mut rig, DamageCause::FileLength(bytes as u64));
    }
    let mut rig = filled();
    rig.disk.tamper(0, |file| file.resize(64 << 10, 0));
    expect(&mut rig, DamageCause::FileLength(64 << 10));
}

#[test]
fn an_empty_newest_file_is_refused() {
    for bytes in [0, 1] {
        let mut rig = filled();
        let newest = u32::try_from(rig.disk.segments.len()).unwrap() - 1;
        rig.disk.tamper(newest, |file| file.truncate(bytes));
        expect(&mut rig, DamageCause::FileLength(bytes as u64));
    }
}

fn expect_foreign(rig: &mut Rig) {
    let content = rig.content();
    let error = rig.restart().unwrap_err();
    assert!(matches!(error, RecoverError::Foreign { .. }), "{error}");
    assert!(rig.content() == content, "no file was changed");
}

#[test]
fn swapped_and_duplicated_segments_are_foreign() {
    let mut rig = filled();
    let second = rig.disk.segments[&(PARTITION, 2)].clone();
    let first = rig.disk.segments.insert((PARTITION, 1), second).unwrap();
    expect_foreign(&mut rig);
    rig.disk.segments.insert((PARTITION, 2), first);
    expect_foreign(&mut rig);
}

#[test]
fn the_newest_file_is_not_wiped_if_it_is_foreign() {
    let mut rig = filled();
    let newest = u32::try_from(rig.disk.segments.len()).unwrap();
    let copy = rig.disk.segments[&(PARTITION, 0)].clone();
    rig.disk.segments.insert((PARTITION, newest), copy);
    expect_foreign(&mut rig);
}

#[test]
fn segments_of_another_partition_or_log_are_foreign() {
    let mut rig = filled();
    let files: Vec<_> = rig.disk.segments.clone().into_iter().collect();
    for ((_, number), file) in files {
        rig.disk.segments.insert((8, number), file);
    }
    let content = rig.content();
    let mut elsewhere = tiny_config();
    elsewhere.partition = PartitionId(8);
    let mut other_log = tiny_config();
    other_log.log_id = 9;
    for config in [elsewhere, other_log] {
        let error = recover(
            &mut rig.disk,
            config,
            (Lsn(0), &SegmentTable::default()),
            &mut |_| Ok(()),
        )
        .unwrap_err();
        assert!(matches!(error, RecoverError::Foreign { .. }), "{error}");
    }
    assert!(rig.content() == content);
}

/// Raises the level in a header whose checksum covers it from byte 8 to `end`.
fn raise_level(header: &mut [u8], level_at: usize, end: usize) {
    header[level_at] = 6;
    let crc = checksum(&[&header[8..end]]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_newer_format_is_refused() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 2] = [
        |bytes| raise_level(bytes, 8, BLOCK_ALIGN),
        |bytes| raise_level(&mut bytes[SEGMENT_HEADER_BYTES..], 70, 128),
    ];
    for change in changes {
        let mut rig = filled();
        rig.disk.tamper(2, change);
        let content = rig.content();
        let error = rig.restart().unwrap_err();
        assert!(
            matches!(
                error,
                RecoverError::FormatNewer {
                    level: 6,
                    segment: SegmentNumber(2),
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("start the version"), "{error}");
        assert!(rig.content() == content);
    }
}

#[test]
fn a_lost_footer_with_a_segment_behind_it_is_damage() {
    let mut rig = filled();
    let bytes = &rig.disk.segments[&(PARTITION, 0)].now;
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let footer = used / BLOCK_ALIGN * BLOCK_ALIGN;
    rig.disk.tamper(0, |bytes| bytes[footer..].fill(0));
    let content = rig.content();
    let found = damage(rig.restart());
    assert_eq!(found.first, found.end, "no record is lost");
    assert!(rig.content() == content);
}

#[test]
fn garbage_in_the_headers_of_a_segment_taken_ahead_is_wiped() {
    let mut rig = Rig::new();
    rig.commit(6_000);
    rig.commit(6_000);
    rig.disk.tamper(1, |bytes| bytes[100..30_000].fill(7));
    assert!(rig.restart().unwrap().truncated.is_some());
    let bytes = &rig.disk.segments[&(PARTITION, 1)].durable;
    let (headers, rest) = bytes.split_at(SEGMENT_HEADER_BYTES);
    assert!(headers.iter().all(|byte| *byte == 0));
    assert!(
        rest[..20_000].iter().all(|byte| *byte == 7),
        "old bytes are no harm"
    );
    for _ in 0..6 {
        rig.commit(6_000);
    }
    assert_eq!(rig.restart().unwrap().end, Lsn(8));
}
