//! Any bytes at all: no panic, no allocation by a length that was read, no confirmed record silently gone.

use corelane_wire::{Epoch, Lsn, PartitionId, RecordHeader, Timestamp};
use proptest::prelude::*;

use super::{damage, filled, last_block};
use crate::block::{BlockFault, BlockHeader, BlockKind, Place};
use crate::error::DamageCause;
use crate::layout::{BLOCK_ALIGN, BLOCK_HEADER_BYTES};
use crate::memory::PARTITION;
use crate::rig::Rig;
use crate::segment::SegmentHeader;

/// A log with one block behind which `body` stands as a block whose checksums and chain are right.
fn with_crafted(body: &[u8], count: u32) -> Rig {
    with_header(body, |header| header.count = count)
}

/// The same, with a header that says something else, under a checksum that is right.
fn with_header(body: &[u8], change: impl FnOnce(&mut BlockHeader)) -> Rig {
    let mut rig = Rig::new();
    rig.commit(900);
    let current = rig.log.current.unwrap();
    let mut block = vec![0; BLOCK_ALIGN];
    block[BLOCK_HEADER_BYTES..][..body.len()].copy_from_slice(body);
    let mut header = BlockHeader {
        kind: BlockKind::Data,
        body_bytes: body.len(),
        body_crc: 0,
        place: Place {
            segment_uuid: current.uuid,
            partition: PartitionId(PARTITION),
            position: current.position,
        },
        epoch: Epoch(1),
        first_lsn: Lsn(1),
        count: 1,
        prev_crc: current.chain,
        attested: Lsn(1),
    };
    change(&mut header);
    header.stamp(&mut block);
    let at = usize::try_from(current.position).unwrap();
    rig.disk.tamper(0, |bytes| {
        bytes[at..at + BLOCK_ALIGN].copy_from_slice(&block);
    });
    rig
}

fn record(bytes: u32, lsn_delta: u32) -> [u8; 32] {
    let header = RecordHeader {
        bytes,
        kind: 3,
        lsn_delta,
        time: Timestamp(1),
        payload_head: 0,
    };
    header.write(&[])
}

#[test]
fn a_well_formed_crafted_block_is_accepted() {
    let body = [record(32, 0), record(32, 1)].concat();
    let mut rig = with_crafted(&body, 2);
    rig.model.extend(
        [const {
            crate::rig::Kept {
                epoch: Epoch(1),
                head: Vec::new(),
                batch: Vec::new(),
            }
        }; 2],
    );
    assert_eq!(rig.restart().unwrap().end, Lsn(3));
}

#[test]
fn a_record_that_lies_about_its_length_is_damage() {
    let bodies = [
        (record(u32::MAX, 0).to_vec(), 1),
        (record(33, 0).to_vec(), 1),
        ([record(32, 0), record(32, 0)].concat(), 2),
        ([record(32, 0), record(32, 7)].concat(), 2),
        (record(32, 0).to_vec(), 2),
        (record(32, 0).to_vec(), u32::MAX),
        (record(32, 0).to_vec(), 0),
        (record(32, 0)[..31].to_vec(), 1),
        (Vec::new(), 0),
    ];
    for (body, count) in bodies {
        let mut rig = with_crafted(&body, count);
        let content = rig.content();
        let found = damage(rig.restart());
        assert_eq!(found.cause, DamageCause::Block(BlockFault::Record));
        assert!(rig.content() == content);
    }
}

#[test]
fn an_intact_block_that_does_not_continue_the_log_is_not_taken_in() {
    let changes: [fn(&mut BlockHeader); 3] = [
        |header| header.prev_crc ^= 1,
        |header| header.first_lsn = Lsn(0),
        |header| header.first_lsn = Lsn(2),
    ];
    for change in changes {
        let mut rig = with_header(&record(32, 0), change);
        let found = rig.restart().unwrap();
        assert_eq!(found.end, Lsn(1));
        assert!(
            found.truncated.is_some(),
            "an old block, which nothing attests"
        );
        let mut rig = with_header(&record(32, 0), |header| {
            change(header);
            header.attested = Lsn(2);
        });
        assert_eq!(damage(rig.restart()).first, Lsn(1), "something is missing");
    }
}

#[test]
fn a_header_that_names_another_place_attests_nothing() {
    let changes: [fn(&mut BlockHeader); 2] = [
        |header| header.place.position += BLOCK_ALIGN as u64,
        |header| header.place.partition = PartitionId(PARTITION + 1),
    ];
    for change in changes {
        let mut rig = with_header(&record(32, 0), |header| {
            change(header);
            header.attested = Lsn(9);
        });
        let found = rig.restart().unwrap();
        assert_eq!(found.end, Lsn(1));
        assert!(found.truncated.is_some(), "such a page is no evidence");
    }
}

#[test]
fn a_seal_that_attests_more_than_was_found_proves_a_loss() {
    let seal = |attested| {
        with_header(&[], |header| {
            header.kind = BlockKind::Seal;
            header.count = 0;
            header.attested = attested;
        })
    };
    assert_eq!(seal(Lsn(1)).restart().unwrap().truncated, None);
    let found = damage(seal(Lsn(4)).restart());
    assert_eq!((found.first, found.end), (Lsn(1), Lsn(4)));
}

#[test]
fn a_segment_that_does_not_continue_the_one_before_is_damage() {
    let changes: [fn(&mut SegmentHeader); 4] = [
        |header| header.previous.crc ^= 1,
        |header| header.previous.uuid ^= 1,
        |header| header.base = Lsn(header.base.0 + 1),
        |header| header.uuid ^= 1,
    ];
    for change in changes {
        let mut rig = filled();
        rig.disk.tamper(1, |bytes| {
            let mut header = SegmentHeader::decode(bytes, 0).unwrap();
            change(&mut header);
            for position in [0, BLOCK_ALIGN] {
                let (page, _) = header.encode(position as u64);
                bytes[position..position + BLOCK_ALIGN].copy_from_slice(&page);
            }
        });
        let content = rig.content();
        assert_eq!(damage(rig.restart()).cause, DamageCause::BrokenLink);
        assert!(rig.content() == content);
    }
}

#[test]
fn a_block_that_lies_about_its_length_is_not_believed() {
    for body_bytes in [u32::MAX, 2 << 20, (2 << 20) - 127] {
        let mut rig = filled();
        let (segment, start, _) = last_block(&rig);
        rig.disk.tamper(segment, |bytes| {
            let header = &mut bytes[start..start + BLOCK_HEADER_BYTES];
            header[8..12].copy_from_slice(&body_bytes.to_le_bytes());
            let crc = corelane_wire::checksum(&[&header[8..]]);
            header[4..8].copy_from_slice(&crc.to_le_bytes());
        });
        let found = damage(rig.restart());
        assert_eq!(found.cause, DamageCause::Block(BlockFault::Field));
    }
    // Longer than what is left of the file, but not than a block may be: torn, and not read beyond the end.
    let mut rig = filled();
    let (segment, start, _) = last_block(&rig);
    rig.disk.tamper(segment, |bytes| {
        let header = &mut bytes[start..start + BLOCK_HEADER_BYTES];
        header[8..12].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        let crc = corelane_wire::checksum(&[&header[8..]]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(rig.restart().unwrap().truncated.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(
        seed in any::<u64>(),
        segments in proptest::collection::vec((0..60_000_usize, 0..40_000_usize), 1..4),
    ) {
        let mut rig = filled();
        for (segment, (bytes, from)) in (0..).zip(segments) {
            rig.disk.tamper(segment, |file| {
                let to = bytes.min(file.len());
                let from = from.min(to);
                file[from..to].copy_from_slice(&crate::rig::filler(seed, to - from));
            });
        }
        // The rig compares what comes back with the model: a prefix or a refusal, nothing else.
        drop(rig.restart());
    }

    #[test]
    fn random_flips_are_found_or_hit_nothing_confirmed(
        flips in proptest::collection::vec((0..5_u32, 0..48_000_usize, 1..=255_u8), 1..6),
    ) {
        let mut rig = filled();
        rig.idle();
        let confirmed = rig.log.durable();
        for (segment, at, flip) in &flips {
            rig.disk.tamper(*segment, |file| {
                let at = at % file.len();
                file[at] ^= flip;
            });
        }
        if let Ok(found) = rig.restart() {
            // Only the last block and its SEAL hit together can be lost without a trace.
            prop_assert!(found.end == confirmed || flips.len() > 1);
            prop_assert!(found.end.0 + 1 >= confirmed.0);
        }
    }
}
