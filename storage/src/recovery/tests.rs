mod crash;
mod extent;
mod files;
mod hostile;
mod resume;
mod reuse;
mod rot;
mod survey;
mod torn;
mod window;

use corelane_wire::{Epoch, Lsn, PartitionId};

use super::{Recovery, Scanned, recover};
use crate::error::RecoverError;
use crate::layout::{BLOCK_ALIGN, SegmentNumber};
use crate::log::LogIo;
use crate::memory::PARTITION;
use crate::rig::{Rig, tiny_config};
use crate::segment_table::SegmentTable;
use crate::volume::Volume;

/// A segment and a position, as indices into a file's bytes.
fn place(io: &LogIo) -> (u32, usize) {
    let LogIo::Write {
        segment, position, ..
    } = io;
    (segment.0, usize::try_from(*position).unwrap())
}

/// A log of a few segments, everything durable, the last commit not attested.
fn filled() -> Rig {
    let mut rig = Rig::new();
    for at in 0..40 {
        rig.commit(at * 131 % 5_000);
    }
    assert!(rig.disk.segments.len() > 3);
    rig
}

/// The last block of the log: its segment and where it begins and ends.
fn last_block(rig: &Rig) -> (u32, usize, usize) {
    let lookup = rig.log.reader().read(Lsn(rig.log.durable().0 - 1));
    assert!(matches!(lookup, crate::log::Lookup::Cached(_)));
    let segments = rig.log.segments();
    let current = segments
        .iter()
        .rev()
        .find(|segment| rig.disk.segments[&(PARTITION, segment.0)].now[0] != 0)
        .unwrap();
    let bytes = &rig.disk.segments[&(PARTITION, current.0)].now;
    let pages = bytes.len() / BLOCK_ALIGN;
    let starts = (0..pages).rev().map(|page| page * BLOCK_ALIGN);
    let start = starts
        .filter_map(|at| {
            crate::block::BlockHeader::decode(&bytes[at..])
                .ok()
                .map(|found| (at, found.0))
        })
        .find(|(_, header)| header.kind == crate::block::BlockKind::Data)
        .unwrap();
    (current.0, start.0, start.0 + start.1.block_bytes())
}

fn damage(result: Result<Recovery, RecoverError>) -> crate::error::Damage {
    match result {
        Err(RecoverError::Damaged(damage)) => damage,
        other => panic!("damage expected, not {other:?}"),
    }
}

#[test]
fn what_was_appended_comes_back_over_many_segments() {
    let mut rig = Rig::new();
    for at in 0..400_usize {
        rig.append(at * 997 % 7_500);
        if at % 3 == 0 {
            rig.flush();
        }
        if at % 7 == 0 {
            rig.idle();
        }
        if at % 41 == 0 {
            rig.flush();
            let end = rig.log.end();
            let found = rig.restart().unwrap();
            assert_eq!((found.end, found.truncated), (end, None));
        }
    }
    rig.flush();
    assert!(rig.disk.segments.len() > 20);
    assert_eq!(rig.restart().unwrap().end, Lsn(400));
}

#[test]
fn an_unused_partition_recovers_to_nothing() {
    let mut rig = Rig::new();
    let found = rig.restart().unwrap();
    assert_eq!((found.end, found.epoch), (Lsn(0), Epoch(0)));
    assert!(found.segments.is_empty());
    rig.commit(10);
    assert_eq!(rig.restart().unwrap().end, Lsn(1));
}

#[test]
fn recovery_names_the_highest_epoch_and_every_file() {
    let mut rig = filled();
    rig.epoch = Epoch(9);
    rig.commit(10);
    let found = rig.restart().unwrap();
    assert_eq!(found.epoch, Epoch(9));
    assert_eq!(found.segments.len(), rig.disk.segments.len());
    assert_eq!(found.segments, rig.log.segments());
}

#[test]
fn recovery_of_a_clean_log_writes_nothing_and_is_repeatable() {
    let mut rig = filled();
    rig.idle();
    let content = rig.content();
    let writes = rig.disk.writes;
    let first = rig.restart().unwrap();
    let second = rig.restart().unwrap();
    assert_eq!(first, second);
    assert_eq!(rig.disk.writes, writes);
    assert!(rig.content() == content);
}

#[test]
fn the_two_newest_segments_are_locked_before_the_scan() {
    let mut rig = filled();
    rig.disk.locked.clear();
    rig.restart().unwrap();
    let newest = u32::try_from(rig.disk.segments.len()).unwrap();
    assert_eq!(rig.disk.locked, [newest - 1, newest - 2]);
}

#[test]
fn a_segment_taken_ahead_proves_nothing_and_is_used_next() {
    let mut rig = Rig::new();
    rig.commit(6_000);
    rig.commit(6_000);
    assert_eq!(rig.disk.segments.len(), 2, "segment 1 was taken ahead");
    let found = rig.restart().unwrap();
    assert_eq!(found.segments, [SegmentNumber(0), SegmentNumber(1)]);
    for _ in 0..4 {
        rig.commit(6_000);
    }
    assert_ne!(rig.disk.segments[&(PARTITION, 1)].now[0], 0);
    assert_eq!(rig.restart().unwrap().end, Lsn(6));
}

#[test]
fn a_first_segment_without_a_block_is_used_again() {
    let mut rig = Rig::new();
    rig.append(10);
    rig.supply();
    rig.disk.crash(|_| false);
    assert_eq!(rig.restart().unwrap().segments, [SegmentNumber(0)]);
    rig.commit(10);
    assert_eq!(rig.disk.segments.len(), 1);
    assert_eq!(rig.restart().unwrap().end, Lsn(1));
}

#[test]
fn what_recovery_keeps_is_synced() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.commit(100);
    }
    rig.append(5_000);
    let io = rig.next_write().unwrap();
    rig.write(&io);
    // SIGKILL: the write is in the page cache and scans as valid.
    assert_eq!(rig.restart().unwrap().end, Lsn(4));
    rig.disk.crash(|_| false);
    assert_eq!(
        rig.restart().unwrap().end,
        Lsn(4),
        "it was served, so it survives a power cut"
    );
}

#[test]
fn a_record_that_the_state_machine_refuses_ends_the_recovery() {
    let mut rig = filled();
    let error = recover(
        &mut rig.disk,
        tiny_config(),
        (Lsn(0), &SegmentTable::default()),
        &mut |scanned| match scanned {
            Scanned::Record(view) if view.lsn == Lsn(7) => Err(String::from("no")),
            Scanned::Record(_) | Scanned::Segment { .. } | Scanned::Block(_) => Ok(()),
        },
    )
    .unwrap_err();
    assert!(
        matches!(&error, RecoverError::Replay { lsn: Lsn(7), reason } if reason == "no"),
        "{error}"
    );
}

#[test]
fn another_partition_is_not_looked_at() {
    let mut rig = filled();
    assert_eq!(rig.disk.segments(PartitionId(4)).unwrap(), []);
    let mut config = tiny_config();
    config.partition = PartitionId(4);
    let (log, _) = recover(
        &mut rig.disk,
        config,
        (Lsn(0), &SegmentTable::default()),
        &mut |_| unreachable!(),
    )
    .unwrap();
    assert_eq!(log.end(), Lsn(0));
}
