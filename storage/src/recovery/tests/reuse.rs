//! Segments made of used spares: whatever stands in them, it is neither taken for records nor for damage.

use corelane_wire::{Lsn, PartitionId};

use crate::block::{BlockHeader, BlockKind, Place};
use crate::layout::{BLOCK_ALIGN, RETIRED_BYTES, SEGMENT_HEADER_BYTES};
use crate::log::LogIo;
use crate::memory::PARTITION;
use crate::recovery::TornBy;
use crate::rig::{DIRTS, Rig};
use crate::volume::{SpareId, Volume};

#[test]
fn a_clean_log_over_old_bytes_is_not_cut() {
    for dirt in DIRTS {
        let mut rig = Rig::over(dirt);
        for at in 0..30 {
            rig.commit(at * 611 % 7_000);
            if at % 4 == 0 {
                rig.idle();
            }
            let (end, content) = (rig.log.end(), rig.content());
            let found = rig.restart().unwrap();
            assert_eq!((found.end, found.truncated), (end, None));
            assert!(rig.content() == content, "nothing is written");
        }
        rig.check_reads(Lsn(0));
    }
}

/// What a power cut leaves of a write, sector by sector.
fn losses(sectors: usize) -> impl Iterator<Item = Vec<bool>> {
    (0..sectors).flat_map(move |chosen| {
        [
            (0..sectors).map(|sector| sector != chosen).collect(),
            (0..sectors).map(|sector| sector == chosen).collect(),
            (0..sectors).map(|sector| sector < chosen).collect(),
        ]
    })
}

/// Tears the write that a rig has not synced, twice in a row.
fn tear_twice(before: &Rig, is_seal: bool) {
    let (confirmed, all) = (before.log.durable(), before.log.end());
    for (at, kept) in losses(before.disk.unsynced_sectors()).enumerate() {
        let mut rig = before.fork();
        rig.disk.crash(|sector| kept[sector]);
        let found = rig.restart().expect("an honest disk is never damaged");
        assert!(found.end == confirmed || found.end == all, "{kept:?}");
        if is_seal {
            assert_eq!((found.end, found.truncated), (confirmed, None), "{kept:?}");
        }
        // What was cut does not come back behind a block that ends where it began, nor under one that is torn.
        let expected = Lsn(rig.commit(700).0 + 1);
        rig.append(7_000);
        let io = rig.next_write().unwrap();
        rig.write(&io);
        rig.disk.crash(|sector| (sector * 7 + at) % 3 > 0);
        let found = rig.restart().expect("an honest disk is never damaged");
        assert_eq!(found.end, expected, "the second write was torn");
        assert!(found.end > confirmed);
    }
}

#[test]
fn every_sector_of_every_write_can_be_lost() {
    for dirt in DIRTS {
        let mut rig = Rig::over(dirt);
        // Single pages, whole blocks and those between, over two segments.
        for bytes in [900, 7_900, 30, 7_900, 7_900, 60] {
            rig.append(bytes);
            while rig.log.durable() < rig.log.end() {
                let io = rig.next_write().unwrap();
                rig.write(&io);
                tear_twice(&rig, false);
                rig.disk_sync(&io);
                rig.done(io);
            }
            rig.now = corelane_wire::Timestamp(rig.now.0 + 5_000_000);
            if let Some(io) = rig.log.next_io(rig.now, Lsn(0)) {
                rig.write(&io);
                tear_twice(&rig, true);
                rig.done(io);
            }
        }
        assert_eq!(rig.rolled.len(), 2);
    }
}

#[test]
fn a_torn_write_is_reported_if_its_first_sector_is_there_and_only_then() {
    for dirt in DIRTS {
        for kept in 1..1 << 8_u32 {
            let mut rig = Rig::over(dirt);
            rig.commit(900);
            rig.append(3_900);
            let io = rig.next_write().unwrap();
            rig.write(&io);
            rig.disk.crash(|sector| kept >> sector & 1 == 1);
            let found = rig.restart().unwrap();
            let is_told = kept & 1 == 1 && kept != 255;
            let by = found.truncated.map(|truncated| truncated.by);
            assert_eq!(by, is_told.then_some(TornBy::Garbage), "{kept:b}");
        }
    }
}

#[test]
fn a_torn_first_write_is_told_from_an_earlier_life() {
    for dirt in DIRTS {
        // Both copies of the header are lost, the block is there.
        let mut rig = Rig::over(dirt);
        rig.append(5_000);
        let io = rig.next_write().unwrap();
        rig.write(&io);
        rig.disk.crash(|sector| sector >= 16);
        let found = rig.restart().unwrap();
        let truncated = found.truncated.unwrap();
        assert_eq!((found.end, truncated.by), (Lsn(0), TornBy::Reordering));
        assert_eq!(truncated.bytes, BLOCK_ALIGN as u64, "its first page");
        assert_eq!(rig.restart().unwrap().truncated, None);
        // And rot of both copies is damage, as ever.
        let mut rig = Rig::over(dirt);
        rig.commit(900);
        rig.commit(900);
        rig.disk
            .tamper(0, |bytes| bytes[..SEGMENT_HEADER_BYTES].fill(0));
        assert_eq!(super::damage(rig.restart()).end, Lsn(1));
    }
}

#[test]
fn segments_are_used_again_and_again() {
    let partition = PartitionId(PARTITION);
    let mut rig = Rig::new();
    let mut spares = 1_000;
    for round in 0..60 {
        for at in 0..3 {
            rig.append((round * 3 + at) * 997 % 7_500);
            let Some(io) = rig.next_write() else { continue };
            rig.write(&io);
            if (round + at) % 5 == 0 {
                // The power goes with the write in flight; a record that was not confirmed may be lost.
                rig.disk.crash(|sector| sector % 4 != at % 4);
                rig.restart().unwrap();
            } else {
                rig.disk_sync(&io);
                rig.done(io);
                rig.flush();
            }
        }
        rig.flush();
        // All but the newest closed segments are dead.
        let dead: Vec<_> = rig.log.sealed().map(|segment| segment.number).collect();
        let needed = rig
            .checkpoint
            .1
            .resume
            .as_ref()
            .map(|resume| resume.segment);
        let gone = dead.into_iter().filter(|number| Some(*number) < needed);
        let gone: Vec<_> = gone.collect();
        for segment in &gone {
            rig.log.forget_segment(*segment);
        }
        rig.checkpoint(rig.log.end());
        for segment in gone {
            spares += 1;
            rig.disk
                .retire_segment(partition, segment, SpareId(spares))
                .unwrap();
        }
        let end = rig.log.end();
        assert_eq!(rig.restart().unwrap().end, end);
    }
    let reused = rig.disk.segments.values().filter(|file| {
        let old = file.now[RETIRED_BYTES..].chunks(BLOCK_ALIGN);
        let uuids = old.filter_map(|page| BlockHeader::decode(page).ok());
        let uuids: std::collections::BTreeSet<_> =
            uuids.map(|(header, _)| header.place.segment_uuid).collect();
        uuids.len() > 1
    });
    assert!(reused.count() > 0, "blocks of two lives stand in one file");
}

#[test]
fn what_is_behind_the_end_of_a_first_block_is_not_read_as_a_header() {
    // The write that is torn is the first of its segment; the blocks behind it are whole and old.
    let mut rig = Rig::over(DIRTS[2]);
    rig.append(100);
    let io = rig.next_write().unwrap();
    let LogIo::Write { bytes, .. } = &io;
    assert_eq!(*bytes, RETIRED_BYTES);
    rig.write(&io);
    rig.disk.crash(|_| false);
    let found = rig.restart().unwrap();
    assert_eq!((found.end, found.truncated), (Lsn(0), None));
}

#[test]
fn a_block_that_is_not_what_its_uuid_is_the_hash_of_begins_no_segment() {
    let mut rig = Rig::new();
    rig.commit(6_000);
    rig.commit(6_000);
    assert_eq!(rig.disk.segments.len(), 2, "segment 1 was taken ahead");
    let current = rig.log.current.unwrap();
    rig.disk.tamper(1, |bytes| {
        let mut block = BlockHeader {
            kind: BlockKind::Data,
            body_bytes: 0,
            body_crc: 0,
            place: Place {
                segment_uuid: current.uuid,
                partition: PartitionId(PARTITION),
                position: SEGMENT_HEADER_BYTES as u64,
            },
            epoch: rig.epoch,
            first_lsn: Lsn(900),
            count: 1,
            prev_crc: 0,
            attested: Lsn(900),
        };
        block.stamp(&mut bytes[SEGMENT_HEADER_BYTES..RETIRED_BYTES]);
    });
    let content = rig.content();
    let found = rig.restart().unwrap();
    assert_eq!((found.end, found.truncated), (Lsn(2), None));
    assert!(rig.content() == content);
}
