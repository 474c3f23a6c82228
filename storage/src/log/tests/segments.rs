//! Where segments begin and end, as the shell is told.

use corelane_wire::{Lsn, PartitionId};

use crate::layout::{RETIRED_BYTES, SegmentNumber};
use crate::log::Lookup;
use crate::memory::PARTITION;
use crate::rig::Rig;
use crate::volume::{SpareId, Task};

use super::{header_of, position_of};

#[test]
fn a_segment_is_named_once_when_its_first_block_goes_out() {
    let mut rig = Rig::new();
    assert_eq!(rig.log.take_rolled(), None);
    for _ in 0..30 {
        rig.append(6_000);
        while let Some(io) = rig.next_write() {
            let begins = (position_of(&io).1 == 0).then(|| header_of(&io).first_lsn);
            let named = rig.rolled.last().copied();
            assert!(
                begins.is_none() || begins == named,
                "{begins:?}, not {named:?}"
            );
            assert_eq!(rig.log.take_rolled(), None, "once");
            rig.write(&io);
            rig.done(io);
        }
    }
    assert!(rig.rolled.len() > 3 && rig.rolled[0] == Lsn(0));
    rig.restart().unwrap();
}

/// A log of a few segments, with a checkpoint at its end.
fn filled() -> Rig {
    let mut rig = Rig::new();
    for at in 0..40 {
        rig.commit(at * 131 % 5_000);
    }
    rig.checkpoint(rig.log.end());
    rig
}

#[test]
fn closed_segments_are_listed_in_a_row_with_their_records() {
    let mut rig = filled();
    for _ in 0..2 {
        let sealed: Vec<_> = rig.log.sealed().collect();
        let current = rig.log.current.unwrap().number;
        assert_eq!(sealed.len(), current.0 as usize);
        let mut end = Lsn(0);
        for (number, segment) in (0..).zip(&sealed) {
            assert_eq!((segment.number, segment.base), (SegmentNumber(number), end));
            let file = &rig.disk.segments[&(PARTITION, number)].now;
            assert_eq!(segment.bytes, file.len() as u64);
            end = segment.end;
        }
        assert!(end < rig.log.end());
        rig.restart().unwrap();
    }
}

#[test]
fn a_forgotten_segment_is_unknown_and_in_no_later_table() {
    for is_restarted in [false, true] {
        let mut rig = filled();
        if is_restarted {
            rig.restart().unwrap();
        }
        let forgotten = rig.log.sealed().nth(1).unwrap();
        // Cached or not, and with the index of its blocks or without.
        rig.read(forgotten.base).unwrap();
        let cache_bytes = rig.log.cache_bytes();
        rig.log.forget_segment(forgotten.number);
        rig.log.forget_segment(SegmentNumber(1_000));
        assert!(rig.log.cache_bytes() < cache_bytes);
        for lsn in forgotten.base.0..forgotten.end.0 {
            let lookup = rig.log.reader().read(Lsn(lsn));
            assert!(matches!(lookup, Lookup::Unknown), "{lookup:?}");
        }
        rig.check_reads(forgotten.end);
        rig.read(Lsn(forgotten.base.0 - 1)).unwrap();
        assert!(!rig.log.segments().contains(&forgotten.number));
        assert!(rig.log.sealed().all(|segment| segment != forgotten));
        rig.checkpoint(rig.log.end());
        let found = rig.restart().unwrap();
        assert_eq!(
            (found.leftovers, found.missing),
            (vec![forgotten.number], Vec::new())
        );
        rig.check_reads(forgotten.end);
    }
}

#[test]
fn every_closed_segment_can_be_forgotten_and_its_file_go() {
    let mut rig = filled();
    let partition = PartitionId(PARTITION);
    let sealed: Vec<_> = rig.log.sealed().collect();
    for segment in &sealed {
        rig.log.forget_segment(segment.number);
    }
    assert_eq!(rig.log.sealed().count(), 0);
    rig.checkpoint(rig.log.end());
    for segment in &sealed {
        let segment = segment.number;
        let task = Task::RemoveSegment { partition, segment };
        task.run(&mut rig.disk).unwrap();
        task.run(&mut rig.disk)
            .expect("it is gone, which is what was wanted");
    }
    let found = rig.restart().unwrap();
    assert_eq!((found.leftovers, found.missing), (Vec::new(), Vec::new()));
    for _ in 0..20 {
        rig.commit(3_000);
    }
    rig.checkpoint(Lsn(50));
    assert_eq!(rig.restart().unwrap().end, Lsn(60));
    rig.check_reads(sealed.last().unwrap().end);
}

#[test]
#[should_panic(expected = "only a closed segment is forgotten")]
fn the_segment_that_is_written_cannot_be_forgotten() {
    let mut rig = filled();
    let current = rig.log.current.unwrap().number;
    rig.log.forget_segment(current);
}

#[test]
fn a_retired_segment_loses_its_headers_when_it_is_used_again() {
    let mut rig = filled();
    let before = rig.disk.segments[&(PARTITION, 1)].now.clone();
    let task = Task::Retire {
        partition: PartitionId(PARTITION),
        segment: SegmentNumber(1),
        spare: SpareId(70),
    };
    let mut disk = rig.disk.clone();
    disk.fuse = Some(0);
    task.run(&mut disk).unwrap_err();
    assert!(disk.segments[&(PARTITION, 1)].now == before);
    task.run(&mut rig.disk).unwrap();
    assert!(!rig.disk.segments.contains_key(&(PARTITION, 1)));
    assert!(rig.disk.spares[&70].durable == before);
    let install = Task::Install {
        partition: PartitionId(PARTITION),
        segment: SegmentNumber(9),
        spare: SpareId(70),
    };
    for fuse in 0..3 {
        let mut disk = rig.disk.clone();
        disk.fuse = Some(fuse);
        install.run(&mut disk).unwrap_err();
        disk.crash(|_| false);
        assert!(disk.spares[&70].now[RETIRED_BYTES..] == before[RETIRED_BYTES..]);
        disk.fuse = None;
        install.run(&mut disk).unwrap();
        let file = &disk.segments[&(PARTITION, 9)].durable;
        assert!(file[..RETIRED_BYTES].iter().all(|byte| *byte == 0));
        assert!(file[RETIRED_BYTES..] == before[RETIRED_BYTES..]);
    }
}
