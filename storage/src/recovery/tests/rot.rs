//! Bytes that changed after they were confirmed: never cut, always named, the files untouched.

use corelane_wire::Lsn;

use super::{damage, filled, last_block};
use crate::block::BlockFault;
use crate::error::{DamageCause, RecoverError};
use crate::layout::{BLOCK_ALIGN, SEGMENT_HEADER_BYTES};
use crate::memory::PARTITION;
use crate::recovery::TornBy;
use crate::rig::Rig;

/// Flips one bit and expects a refusal that leaves every file as it is.
fn expect_damage(rig: &mut Rig, segment: u32, at: usize) {
    rig.disk.tamper(segment, |bytes| bytes[at] ^= 0x10);
    let (content, writes) = (rig.content(), rig.disk.writes);
    let found = damage(rig.restart());
    assert!(
        found.first < found.end || at_footer(rig, segment, at),
        "{found}"
    );
    assert!(rig.content() == content, "no file was changed");
    assert_eq!(rig.disk.writes, writes, "nothing was written at all");
    rig.disk.tamper(segment, |bytes| bytes[at] ^= 0x10);
}

/// Rot in a footer loses no record, so its range is empty.
fn at_footer(rig: &Rig, segment: u32, at: usize) -> bool {
    let bytes = &rig.disk.segments[&(PARTITION, segment)].now;
    let page = at / BLOCK_ALIGN * BLOCK_ALIGN;
    bytes[page + BLOCK_ALIGN..].iter().all(|byte| *byte == 0)
}

/// Any bit of its header: that of its segment's uuid too, which tells it from a block of an earlier life of the file.
#[test]
fn the_last_block_never_goes_without_a_word() {
    let rig = filled();
    let (segment, start, _) = last_block(&rig);
    for bit in 0..8 * 128 {
        let mut rotten = rig.fork();
        let change = |file: &mut Vec<u8>| file[start + bit / 8] ^= 1 << (bit % 8);
        rotten.disk.tamper(segment, change);
        let found = rotten.restart().expect("nothing attests the last block");
        assert!(found.truncated.is_some(), "bit {bit} of the last header");
    }
}

#[test]
fn a_flip_in_any_confirmed_block_is_damage() {
    let mut rig = filled();
    rig.idle();
    let end = rig.log.end();
    let (last_segment, _, last_end) = last_block(&rig);
    for segment in 0..=last_segment {
        let bytes = &rig.disk.segments[&(PARTITION, segment)].now;
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let to = if segment == last_segment {
            last_end
        } else {
            used
        };
        for at in (SEGMENT_HEADER_BYTES..to).step_by(379) {
            expect_damage(&mut rig, segment, at);
        }
    }
    assert_eq!(rig.restart().unwrap().end, end);
}

#[test]
fn a_flip_in_each_header_byte_of_a_confirmed_block_is_damage() {
    let mut rig = filled();
    for at in 0..128 {
        expect_damage(&mut rig, 1, SEGMENT_HEADER_BYTES + at);
    }
}

#[test]
fn a_damage_names_the_range_of_lsn() {
    let mut rig = Rig::new();
    for _ in 0..4 {
        rig.commit(900);
    }
    rig.disk.tamper(0, |bytes| {
        bytes[SEGMENT_HEADER_BYTES + BLOCK_ALIGN + 200] ^= 1;
    });
    let found = damage(rig.restart());
    assert_eq!((found.first, found.end), (Lsn(1), Lsn(3)));
    assert_eq!(found.cause, DamageCause::Block(BlockFault::BodyChecksum));
    assert_eq!(found.site.position, 12_288);
    let text = found.to_string();
    assert!(text.contains("records 1 to 3"), "{text}");
}

#[test]
fn a_zeroed_confirmed_block_is_damage() {
    let mut rig = Rig::new();
    for _ in 0..4 {
        rig.commit(900);
    }
    let from = SEGMENT_HEADER_BYTES + BLOCK_ALIGN;
    rig.disk
        .tamper(0, |bytes| bytes[from..from + BLOCK_ALIGN].fill(0));
    assert_eq!(
        damage(rig.restart()).cause,
        DamageCause::Block(BlockFault::Zero)
    );
}

#[test]
fn the_last_block_is_protected_by_its_seal() {
    let mut rig = filled();
    assert!(rig.idle());
    let (segment, start, _) = last_block(&rig);
    expect_damage(&mut rig, segment, start + 300);
    expect_damage(&mut rig, segment, start + 3);
}

#[test]
fn the_last_block_without_a_seal_is_cut() {
    let mut rig = filled();
    let (segment, start, _) = last_block(&rig);
    rig.disk.tamper(segment, |bytes| bytes[start + 300] ^= 1);
    let found = rig.restart().unwrap();
    let truncated = found.truncated.unwrap();
    assert_eq!(truncated.by, TornBy::Garbage);
    assert_eq!(truncated.site.position, start as u64);
    rig.commit(900);
    assert_eq!(rig.restart().unwrap().truncated, None);
}

#[test]
fn a_flip_in_one_copy_of_a_header_is_repaired() {
    for at in [0, 5, 60, 2_000, BLOCK_ALIGN, BLOCK_ALIGN + 60] {
        let mut rig = filled();
        let (content, end) = (rig.content(), rig.log.end());
        rig.disk.tamper(1, |bytes| bytes[at] ^= 4);
        assert_eq!(rig.restart().unwrap().end, end);
        assert!(rig.content() == content);
    }
}

#[test]
fn a_flip_in_both_copies_of_a_header_is_damage() {
    for segment in [0, 1] {
        let mut rig = filled();
        rig.disk.tamper(segment, |bytes| bytes[60] ^= 4);
        expect_damage(&mut rig, segment, BLOCK_ALIGN + 60);
    }
    // In the only segment, too: the second block attests the first.
    let mut rig = Rig::new();
    rig.commit(900);
    rig.commit(900);
    rig.disk.tamper(0, |bytes| bytes[60] ^= 4);
    expect_damage(&mut rig, 0, BLOCK_ALIGN + 60);
}

#[test]
fn rot_in_the_middle_does_not_eat_the_confirmed_rest() {
    let mut rig = filled();
    let end = rig.log.end();
    // Half a segment is gone: more than one block in a row.
    rig.disk
        .tamper(1, |bytes| bytes[SEGMENT_HEADER_BYTES..30_000].fill(0));
    let found = damage(rig.restart());
    assert!(found.end < end && found.first < found.end);
}

#[test]
fn a_swapped_block_is_damage() {
    let mut rig = Rig::new();
    for _ in 0..4 {
        rig.commit(900);
    }
    rig.disk.tamper(0, |bytes| {
        let (left, right) = bytes.split_at_mut(SEGMENT_HEADER_BYTES + BLOCK_ALIGN);
        left[SEGMENT_HEADER_BYTES..].swap_with_slice(&mut right[..BLOCK_ALIGN]);
    });
    assert_eq!(
        damage(rig.restart()).cause,
        DamageCause::Block(BlockFault::Place)
    );
}

#[test]
fn a_read_error_is_neither_torn_nor_damaged() {
    let mut rig = filled();
    let content = rig.content();
    rig.disk.unreadable = Some(2);
    let error = rig.restart().unwrap_err();
    assert!(matches!(error, RecoverError::Io { .. }), "{error}");
    assert!(rig.content() == content);
}
