//! Writes that were in flight at a crash: nothing confirmed is lost, nothing unconfirmed is taken for damage.

use corelane_wire::{Lsn, PartitionId};

use super::{last_block, place};
use crate::block::{Block, BlockFault, BlockHeader, BlockKind, Place};
use crate::config::LogConfig;
use crate::layout::{BLOCK_ALIGN, SEGMENT_HEADER_BYTES};
use crate::memory::{PARTITION, SECTOR};
use crate::recovery::TornBy;
use crate::rig::{DIRTS, Rig, tiny_config};

/// Prepares a log whose last write of `sectors` sectors is not synced, and tears it in every way of `subsets`.
fn tear(prepare: impl Fn(Rig) -> Rig, subsets: impl Iterator<Item = u32>) {
    let subsets: Vec<u32> = subsets.collect();
    let rigs = DIRTS.map(|dirt| prepare(Rig::over(dirt)));
    for (before, subset) in rigs
        .iter()
        .flat_map(|rig| subsets.iter().map(move |subset| (rig, *subset)))
    {
        let mut rig = before.fork();
        let confirmed = before.log.durable();
        let all = before.log.end();
        let sectors = rig.disk.unsynced_sectors();
        assert!((8..=32).contains(&sectors), "{sectors} sectors");
        rig.disk.crash(|sector| subset >> sector & 1 == 1);
        let found = rig.restart().unwrap();
        let is_whole = u64::from(subset) | !((1 << sectors) - 1) == u64::MAX;
        let expected = if is_whole { all } else { confirmed };
        assert_eq!(found.end, expected, "sectors {subset:b} reached the disk");
        // The log goes on, and what was cut does not come back.
        rig.commit(700);
        rig.commit(5_000);
        let found = rig.restart().unwrap();
        assert_eq!((found.end, found.truncated), (Lsn(expected.0 + 2), None));
    }
}

/// A log with an unsynced last block that fills `bytes` and leaves no sector zero.
fn with_unsynced(mut rig: Rig, commits: usize, bytes: usize, seal: bool) -> Rig {
    for _ in 0..commits {
        rig.commit(900);
    }
    assert_eq!(rig.idle(), seal || commits > 0);
    rig.append(bytes);
    let io = rig.next_write().unwrap();
    rig.write(&io);
    rig
}

#[test]
fn every_torn_write_of_a_page_recovers_to_the_block_before() {
    tear(|rig| with_unsynced(rig, 3, 3_900, true), 0..256);
}

#[test]
fn every_torn_write_without_a_seal_below_recovers_to_the_block_before() {
    let prepare = |mut rig: Rig| {
        rig.commit(900);
        rig.append(3_900);
        let io = rig.next_write().unwrap();
        rig.write(&io);
        rig
    };
    tear(prepare, 0..256);
}

#[test]
fn every_torn_write_of_two_pages_recovers_to_the_block_before() {
    let interesting = (0..1 << 16).filter(|subset| subset % 29 == 0 || subset % 256 < 3);
    let single = (0..16).flat_map(|sector| [1 << sector, 0xffff ^ (1 << sector)]);
    let all = interesting.chain(single).chain([0xffff]);
    tear(|rig| with_unsynced(rig, 1, 7_900, true), all);
}

#[test]
fn every_torn_write_of_headers_and_first_block_recovers_to_nothing() {
    // Of the headers only the first sector holds anything: sectors 0 and 8; the block is 16 to 23.
    let headers = [0, 1, 1 << 8, 1 << 8 | 1];
    let torn = (0..255).flat_map(|block| headers.map(|header| block << 16 | header));
    tear(|rig| with_unsynced(rig, 0, 3_900, false), torn.step_by(3));
    let whole = (1 << 24) - 1;
    tear(
        |rig| with_unsynced(rig, 0, 3_900, false),
        [whole].into_iter(),
    );
}

#[test]
fn a_torn_first_write_without_header_is_cut_even_if_its_block_is_whole() {
    let mut rig = with_unsynced(Rig::new(), 0, 3_900, false);
    rig.disk.crash(|sector| sector >= 16);
    let found = rig.restart().unwrap();
    assert_eq!(found.end, Lsn(0));
    assert_eq!(found.truncated.unwrap().by, TornBy::Reordering);
}

#[test]
fn one_lost_copy_of_the_header_is_written_anew() {
    for lost in [0, BLOCK_ALIGN] {
        let mut rig = with_unsynced(Rig::new(), 0, 3_900, false);
        rig.disk.crash(|sector| sector != lost / SECTOR);
        assert_eq!(rig.restart().unwrap().end, Lsn(1));
        rig.disk.crash(|_| false);
        let bytes = &rig.disk.segments[&(PARTITION, 0)].durable;
        assert_ne!(bytes[lost], 0);
        assert_eq!(rig.restart().unwrap().truncated, None);
    }
}

#[test]
fn a_torn_footer_is_written_again() {
    let prepare = || {
        let mut rig = Rig::new();
        loop {
            rig.append(6_000);
            let io = rig.next_write().unwrap();
            rig.write(&io);
            if BlockHeader::decode(&rig.disk.segments[&(PARTITION, 0)].now[place(&io).1..])
                .is_ok_and(|(header, _)| header.kind == BlockKind::Footer)
            {
                return rig;
            }
            rig.disk_sync(&io);
            rig.done(io);
        }
    };
    for subset in 0..256_u32 {
        let mut rig = prepare();
        let confirmed = rig.log.durable();
        rig.disk.crash(|sector| subset >> sector & 1 == 1);
        assert_eq!(rig.restart().unwrap().end, confirmed);
        for _ in 0..6 {
            rig.commit(6_000);
        }
        assert_eq!(rig.restart().unwrap().end, Lsn(confirmed.0 + 6));
    }
}

#[test]
fn a_torn_seal_costs_nothing() {
    for subset in 0..256_u32 {
        let mut rig = Rig::new();
        rig.commit(900);
        rig.idle();
        rig.disk.crash(|sector| subset >> sector & 1 == 1);
        let found = rig.restart().unwrap();
        assert_eq!((found.end, found.truncated), (Lsn(1), None));
    }
}

#[test]
fn a_bad_block_with_nothing_behind_is_cut_and_reported() {
    let mut rig = Rig::new();
    rig.commit(900);
    rig.append(7_900);
    let io = rig.next_write().unwrap();
    rig.write(&io);
    rig.disk.crash(|sector| sector != 9);
    let (segment, end) = place(&io);
    let found = rig.restart().unwrap();
    let truncated = found.truncated.unwrap();
    assert_eq!(truncated.by, TornBy::Garbage);
    assert_eq!((truncated.lsn, truncated.bytes), (Lsn(1), 4_096));
    assert_eq!(truncated.site.position, end as u64);
    let bytes = &rig.disk.segments[&(PARTITION, segment)].durable;
    assert!(bytes[end..end + BLOCK_ALIGN].iter().all(|byte| *byte == 0));
    assert_eq!(rig.restart().unwrap().truncated, None);
}

#[test]
fn bytes_behind_the_end_that_are_not_of_the_segment_are_left_alone() {
    let mut rig = Rig::new();
    rig.commit(900);
    let (segment, _, end) = last_block(&rig);
    rig.disk
        .tamper(segment, |bytes| bytes[end..end + 9_000].fill(0xa5));
    let content = rig.content();
    let found = rig.restart().unwrap();
    assert_eq!((found.end, found.truncated), (Lsn(1), None));
    assert!(rig.content() == content);
}

#[test]
fn blocks_behind_a_lost_unconfirmed_one_are_cut_and_never_come_back() {
    for lost in 0..4 {
        let (mut rig, starts) = reordered(lost);
        let found = rig.restart().unwrap();
        assert_eq!(found.end, Lsn(lost as u64));
        assert_eq!(found.truncated.unwrap().by, TornBy::Reordering);
        let bytes = &rig.disk.segments[&(PARTITION, 0)].durable;
        for start in &starts[lost..5] {
            let page = &bytes[*start..start + BLOCK_ALIGN];
            assert!(
                page.iter().all(|byte| *byte == 0),
                "without its first page it is no block"
            );
        }
        assert_eq!(
            bytes[0] == 0,
            lost == 0,
            "the header goes with the first block"
        );
        // A block of the same size ends exactly where the old ones began.
        rig.commit(900 + 1_700 * lost);
        let found = rig.restart().unwrap();
        assert_eq!((found.end, found.truncated), (Lsn(lost as u64 + 1), None));
        for _ in 0..20 {
            rig.commit(3_000);
        }
        assert_eq!(rig.restart().unwrap().end, Lsn(lost as u64 + 21));
    }
}

/// A chain's member with five blocks that nothing attests; all but block `lost` reached the disk.
fn reordered(lost: usize) -> (Rig, Vec<usize>) {
    let mut rig = Rig::with(LogConfig {
        alone: false,
        first_segment_bytes: 64 << 10,
        ..tiny_config()
    });
    let mut ends = vec![SEGMENT_HEADER_BYTES];
    for at in 0..5 {
        rig.commit(900 + 1_700 * at);
        ends.push(usize::try_from(rig.log.current.unwrap().position).unwrap());
    }
    rig.disk
        .tamper(0, |bytes| bytes[ends[lost]..ends[lost + 1]].fill(0));
    (rig, ends)
}

#[test]
fn bytes_of_another_segment_never_validate() {
    let mut rig = super::filled();
    let (segment, _, end) = last_block(&rig);
    // The file was recycled: behind the end stand whole blocks that were valid in another segment, each at the
    // position it had there.
    let donor = (0..segment)
        .map(|number| rig.disk.segments[&(PARTITION, number)].now.clone())
        .find(|bytes| {
            bytes
                .get(end..end + 4)
                .is_some_and(|magic| magic == b"CLBK")
        })
        .unwrap();
    let expected = rig.log.end();
    rig.disk.tamper(segment, |bytes| {
        let length = bytes.len().min(donor.len());
        bytes[end..length].copy_from_slice(&donor[end..length]);
    });
    let found = rig.restart().unwrap();
    assert_eq!(
        (found.end, found.truncated),
        (expected, None),
        "none counts"
    );
}

#[test]
fn a_block_validates_only_at_its_own_place() {
    let mut rig = Rig::new();
    rig.commit(900);
    let bytes = rig.disk.segments[&(PARTITION, 0)].now.clone();
    let block = &bytes[SEGMENT_HEADER_BYTES..];
    let right = Place {
        segment_uuid: rig.log.current.unwrap().uuid,
        partition: PartitionId(PARTITION),
        position: SEGMENT_HEADER_BYTES as u64,
    };
    assert!(Block::verify(block, &right).is_ok());
    let wrong = [
        Place {
            segment_uuid: 1,
            ..right
        },
        Place {
            partition: PartitionId(0),
            ..right
        },
        Place {
            position: 4_096,
            ..right
        },
    ];
    for place in wrong {
        assert_eq!(Block::verify(block, &place).unwrap_err(), BlockFault::Place);
    }
}
