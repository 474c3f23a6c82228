//! How far a log reaches: a copy of that much recovers to the same end, whatever the log was doing.

use corelane_wire::Lsn;

use super::{damage, filled, last_block, place};
use crate::error::RecoverError;
use crate::layout::SegmentNumber;
use crate::memory::PARTITION;
use crate::recovery::{LogExtent, log_extent};
use crate::rig::{DIRTS, Rig, tiny_config};

fn extent(rig: &Rig) -> Result<LogExtent, RecoverError> {
    let (start, table) = &rig.checkpoint;
    log_extent(
        &rig.disk,
        rig.log.config(),
        (*start, table),
        &mut |_| Ok(()),
    )
}

/// Another machine, whose disk holds what the extent says and zeros.
fn copied(rig: &Rig) -> (Rig, LogExtent) {
    let extent = extent(rig).unwrap();
    let mut copy = rig.fork();
    let is_kept = |number| extent.segments.iter().any(|it| it.number.0 == number);
    copy.disk.segments.retain(|(_, number), _| is_kept(*number));
    for segment in &extent.segments {
        let key = (PARTITION, segment.number.0);
        let file = copy.disk.segments.get_mut(&key).unwrap();
        assert_eq!(file.now.len() as u64, segment.file_bytes);
        file.now[usize::try_from(segment.used_bytes).unwrap()..].fill(0);
        file.durable = file.now.clone();
    }
    (copy, extent)
}

/// Copies, starts on the copy, and goes on with it.
fn check(rig: &Rig, end: Lsn) {
    let (mut copy, extent) = copied(rig);
    assert_eq!(extent.end, end);
    assert_eq!(extent.missing, []);
    let found = copy.restart().unwrap();
    assert_eq!((found.end, found.truncated), (end, None));
    for at in 0..8 {
        copy.commit(at * 1_100);
    }
    copy.check_reads(copy.checkpoint.0);
    assert_eq!(copy.restart().unwrap().end, Lsn(end.0 + 8));
}

#[test]
fn a_copy_of_what_a_log_reaches_recovers_to_its_end_at_every_moment() {
    for dirt in DIRTS {
        let mut rig = Rig::over(dirt);
        for at in 0..60_usize {
            check(&rig, rig.log.durable());
            rig.append(at * 997 % 7_500);
            // Not written yet, then written and not synced, then durable, then perhaps attested.
            check(&rig, rig.log.durable());
            let io = rig.next_write().unwrap();
            rig.write(&io);
            let written = extent(&rig).unwrap().end;
            assert!((rig.log.durable()..=rig.log.end()).contains(&written));
            check(&rig, written);
            rig.disk_sync(&io);
            rig.done(io);
            rig.flush();
            if at % 3 == 0 {
                rig.idle();
            }
            if at % 17 == 0 {
                rig.checkpoint(rig.log.durable());
            }
        }
    }
}

#[test]
fn a_closed_segment_whose_successor_is_not_linked_ends_before_its_footer() {
    for checkpoint in [0, 5, 30] {
        let mut rig = filled();
        rig.checkpoint(Lsn(checkpoint));
        let sealed: Vec<_> = rig.log.sealed().collect();
        let last = sealed.last().unwrap();
        rig.disk
            .segments
            .retain(|(_, number), _| *number <= last.number.0);
        if Lsn(checkpoint) > last.end {
            continue;
        }
        check(&rig, last.end);
    }
}

#[test]
fn the_segment_in_which_a_checkpoint_ends_must_be_there() {
    let mut rig = filled();
    rig.checkpoint(Lsn(30));
    let resume = rig.checkpoint.1.resume.as_ref().unwrap().segment;
    rig.disk
        .segments
        .retain(|(_, number), _| *number < resume.0);
    let damage = damage(extent(&rig).map(|_| unreachable!()));
    assert_eq!(damage.site.segment, resume);
}

#[test]
fn a_block_that_is_half_written_is_not_reached() {
    let mut rig = filled();
    let end = rig.log.durable();
    rig.append(6_000);
    let io = rig.next_write().unwrap();
    rig.write(&io);
    let (number, start) = place(&io);
    let file = rig.disk.segments.get_mut(&(PARTITION, number)).unwrap();
    file.now[start + 200] ^= 1;
    check(&rig, end);
}

#[test]
fn rot_that_a_later_block_attests_is_damage_and_not_the_end() {
    let mut rig = filled();
    rig.idle();
    let (number, start, _) = last_block(&rig);
    rig.disk.segments.get_mut(&(PARTITION, number)).unwrap().now[start + 200] ^= 1;
    let damage = damage(extent(&rig).map(|_| unreachable!()));
    assert_eq!(damage.site.segment, SegmentNumber(number));
    assert_eq!(damage.site.position, start as u64);
}

#[test]
fn a_log_that_was_never_used_has_no_segments() {
    let rig = Rig::with(tiny_config());
    let extent = extent(&rig).unwrap();
    assert_eq!((extent.end, extent.segments.len()), (Lsn(0), 0));
}
