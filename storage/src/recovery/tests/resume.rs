//! Starts that begin with a checkpoint: what came before it is not read, and what came after is judged as ever.

use corelane_wire::Lsn;

use super::{damage, filled, last_block};
use crate::block::BlockFault;
use crate::error::{DamageCause, ReadError};
use crate::layout::{BLOCK_ALIGN, SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::log::Lookup;
use crate::memory::PARTITION;
use crate::rig::Rig;

/// A log of a few segments with a checkpoint at `end`.
fn with_checkpoint(end: u64) -> Rig {
    let mut rig = filled();
    rig.checkpoint(Lsn(end));
    rig
}

/// The segment in which the scan goes on, and where in it.
fn resume(rig: &Rig) -> (u32, usize) {
    let resume = rig.checkpoint.1.resume.as_ref().unwrap();
    (resume.segment.0, usize::try_from(resume.position).unwrap())
}

#[test]
fn a_checkpoint_anywhere_gives_the_same_log() {
    for end in 0..=40 {
        let mut rig = with_checkpoint(end);
        let found = rig.restart().unwrap();
        assert_eq!((found.end, found.records), (Lsn(40), 40 - end));
        assert_eq!((found.truncated, found.missing), (None, Vec::new()));
        assert_eq!(found.segments, rig.log.segments());
        assert_eq!(found.leftovers, []);
        rig.check_reads(Lsn(0));
        for at in 0..12 {
            rig.commit(at * 700);
        }
        let found = rig.restart().unwrap();
        assert_eq!((found.end, found.truncated), (Lsn(52), None));
        rig.checkpoint(Lsn(end));
        rig.checkpoint(Lsn(52));
        assert_eq!(rig.restart().unwrap().records, 0);
        rig.check_reads(Lsn(0));
    }
}

#[test]
fn the_table_is_the_same_after_a_restart() {
    let mut rig = filled();
    let ends = [1, 7, 20, 33, 40].map(Lsn);
    let tables = ends.map(|end| rig.log.segment_table(end));
    rig.restart().unwrap();
    assert_eq!(ends.map(|end| rig.log.segment_table(end)), tables);
    rig.checkpoint(Lsn(33));
    rig.restart().unwrap();
    for (end, table) in ends.into_iter().zip(&tables).skip(3) {
        assert_eq!(rig.log.segment_table(end), *table);
    }
    // Before the checkpoint the index is not at hand: the scan begins with the segment.
    let coarse = rig.log.segment_table(Lsn(20));
    assert_eq!(coarse.segments, tables[2].segments);
    assert_eq!(coarse.resume.unwrap().blocks, []);
    rig.checkpoint(Lsn(20));
    assert_eq!(rig.restart().unwrap().records, 20);
    rig.check_reads(Lsn(0));
}

#[test]
fn segments_before_the_checkpoint_are_not_read() {
    let mut rig = with_checkpoint(33);
    let (segment, position) = resume(&rig);
    assert!(segment >= 2);
    for before in 0..segment {
        rig.disk.tamper(before, |bytes| bytes.fill(0xa5));
    }
    // Nor is what stands before the block in the segment of the checkpoint, but for its header.
    rig.disk.tamper(segment, |bytes| {
        bytes[SEGMENT_HEADER_BYTES..position].fill(0xa5);
    });
    let found = rig.restart().unwrap();
    assert_eq!(
        (found.end, found.records, found.truncated),
        (Lsn(40), 7, None)
    );
    rig.check_reads(Lsn(32));
    let error = rig.read(Lsn(0)).unwrap_err();
    let ReadError::Damaged {
        fault, first, end, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((*fault, *first), (BlockFault::Magic, Lsn(0)));
    assert_eq!(
        *end, rig.checkpoint.1.segments[0].end,
        "its footer is unreadable"
    );
}

#[test]
fn what_a_checkpoint_covers_is_never_cut() {
    for end in 30..=40 {
        let mut rig = with_checkpoint(end);
        let (segment, position) = resume(&rig);
        for at in [3, 60, 130] {
            rig.disk.tamper(segment, |bytes| bytes[position + at] ^= 1);
            let content = rig.content();
            let found = damage(rig.restart());
            assert_eq!(found.site.position, position as u64);
            assert!(found.first.0 < end && found.end >= Lsn(end), "{found}");
            assert!(rig.content() == content);
            rig.disk.tamper(segment, |bytes| bytes[position + at] ^= 1);
        }
        rig.disk.tamper(segment, |bytes| bytes[position..].fill(0));
        assert!(damage(rig.restart()).end >= Lsn(end));
    }
}

#[test]
fn what_follows_a_checkpoint_is_cut_as_ever() {
    let mut rig = with_checkpoint(39);
    let (segment, start, _) = last_block(&rig);
    rig.disk.tamper(segment, |bytes| bytes[start + 300] ^= 1);
    let found = rig.restart().unwrap();
    assert_eq!((found.end, found.records), (Lsn(39), 0));
    assert_eq!(found.truncated.unwrap().lsn, Lsn(39));
    rig.check_reads(Lsn(0));
    rig.commit(900);
    assert_eq!(rig.restart().unwrap().truncated, None);
}

#[test]
fn a_lost_segment_of_the_table_costs_what_it_held() {
    type Loss = fn(&mut Rig) -> DamageCause;
    let losses: [Loss; 2] = [
        |rig| {
            rig.disk.segments.remove(&(PARTITION, 1));
            DamageCause::MissingSegment(SegmentNumber(1))
        },
        |rig| {
            rig.disk.tamper(1, |file| file.truncate(12_288));
            DamageCause::FileLength(12_288)
        },
    ];
    for lose in losses {
        let mut rig = with_checkpoint(33);
        let cause = lose(&mut rig);
        let lost = rig.checkpoint.1.segments[1];
        let found = rig.restart().unwrap();
        let [damage] = &found.missing[..] else {
            panic!("{:?}", found.missing);
        };
        assert_eq!(
            (damage.first, damage.end, damage.cause),
            (lost.base, lost.end, cause)
        );
        assert_eq!((found.end, found.truncated), (Lsn(40), None));
        assert!(!found.segments.contains(&SegmentNumber(1)));
        assert_eq!(found.segments, rig.log.segments());
        let Lookup::Damaged(read) = rig.log.reader().read(lost.base) else {
            panic!("a record that is lost");
        };
        assert_eq!(read, *damage);
        rig.check_reads(lost.end);
        assert!(rig.read(Lsn(lost.base.0 - 1)).is_ok());
        // The next checkpoint says so too.
        rig.commit(900);
        rig.checkpoint(Lsn(41));
        assert_eq!(rig.restart().unwrap().missing, found.missing);
    }
}

#[test]
fn a_lost_segment_behind_the_checkpoint_is_damage() {
    for end in [1, 12, 20, 33] {
        let mut rig = with_checkpoint(end);
        let (segment, _) = resume(&rig);
        for lost in [segment, segment + 1] {
            let file = rig.disk.segments.remove(&(PARTITION, lost)).unwrap();
            if file.now[0] == 0 {
                continue;
            }
            let found = damage(rig.restart());
            assert_eq!(
                found.cause,
                DamageCause::MissingSegment(SegmentNumber(lost))
            );
            rig.disk.segments.insert((PARTITION, lost), file);
        }
        assert_eq!(rig.restart().unwrap().end, Lsn(40));
    }
    let mut rig = with_checkpoint(40);
    rig.disk.segments.clear();
    let found = damage(rig.restart());
    assert_eq!((found.first, found.end), (Lsn(39), Lsn(40)));
}

#[test]
fn segments_that_the_table_does_not_name_are_leftovers() {
    let mut rig = with_checkpoint(33);
    let table = &mut rig.checkpoint.1;
    let names: Vec<_> = table
        .segments
        .drain(..2)
        .map(|segment| segment.number)
        .collect();
    rig.disk.unreadable = Some(0);
    let content = rig.content();
    let found = rig.restart().unwrap();
    assert_eq!((found.end, &found.leftovers), (Lsn(40), &names));
    assert_eq!(found.segments, rig.log.segments());
    assert!(rig.content() == content, "they are not touched");
    assert!(matches!(rig.log.reader().read(Lsn(0)), Lookup::Unknown));
    let kept = rig.checkpoint.1.segments[0].base;
    rig.check_reads(kept);
}

#[test]
fn a_file_that_is_not_the_one_of_the_table_is_damage() {
    let mut rig = with_checkpoint(33);
    let before = rig.checkpoint.1.clone();
    let content = rig.content();
    rig.checkpoint.1.segments.last_mut().unwrap().uuid ^= 1;
    assert_eq!(damage(rig.restart()).cause, DamageCause::BrokenLink);
    rig.checkpoint.1 = before.clone();
    let closed = rig.checkpoint.1.segments.iter_mut().rev().nth(1).unwrap();
    closed.footer.as_mut().unwrap().crc ^= 1;
    assert_eq!(damage(rig.restart()).cause, DamageCause::BrokenLink);
    rig.checkpoint.1 = before.clone();
    rig.checkpoint.1.resume.as_mut().unwrap().first.0 -= 1;
    assert_eq!(
        damage(rig.restart()).cause,
        DamageCause::Block(BlockFault::Sequence)
    );
    assert!(rig.content() == content);
    // A footer that is not the one of the table says nothing about the segment.
    rig.checkpoint.1 = before;
    rig.checkpoint.1.segments[0].footer.as_mut().unwrap().crc ^= 1;
    rig.restart().unwrap();
    let error = rig.read(Lsn(0)).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Damaged {
                fault: BlockFault::Chain,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_flip_anywhere_in_a_footer_is_found_when_it_is_read() {
    let mut rig = with_checkpoint(33);
    rig.restart().unwrap();
    let entry = rig.checkpoint.1.segments[0];
    let footer = usize::try_from(entry.footer.unwrap().position).unwrap();
    for at in 0..BLOCK_ALIGN {
        rig.disk.tamper(0, |bytes| bytes[footer + at] ^= 8);
        let error = rig.read(Lsn(2)).unwrap_err();
        let ReadError::Damaged { first, end, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((first, end), (entry.base, entry.end));
        rig.disk.tamper(0, |bytes| bytes[footer + at] ^= 8);
    }
    rig.check_reads(Lsn(0));
}

#[test]
fn one_lost_copy_of_the_header_where_the_scan_goes_on_is_written_anew() {
    let mut rig = with_checkpoint(33);
    let (segment, _) = resume(&rig);
    let content = rig.content();
    rig.disk.tamper(segment, |bytes| bytes[60] ^= 4);
    assert_eq!(rig.restart().unwrap().end, Lsn(40));
    assert!(rig.content() == content);
    rig.disk.tamper(segment, |bytes| {
        bytes[60] ^= 4;
        bytes[BLOCK_ALIGN + 60] ^= 4;
    });
    assert!(damage(rig.restart()).end >= Lsn(33));
}
