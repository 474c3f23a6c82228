use corelane_wire::{Epoch, Lsn, PartitionId};

use super::{Block, BlockFault, BlockHeader, BlockKind, Place};
use crate::layout::{BLOCK_ALIGN, BLOCK_HEADER_BYTES};
use crate::rig::hex;

const PLACE: Place = Place {
    segment_uuid: 0x1122_3344_5566_7788,
    partition: PartitionId(9),
    position: 0x2000,
};

fn block() -> (Vec<u8>, u32) {
    let mut bytes = vec![0; BLOCK_ALIGN];
    bytes[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + 5].copy_from_slice(b"hello");
    let mut header = BlockHeader {
        kind: BlockKind::Data,
        body_bytes: 5,
        body_crc: 0,
        place: PLACE,
        epoch: Epoch(3),
        first_lsn: Lsn(1_000),
        count: 2,
        prev_crc: 0xdead_beef,
        attested: Lsn(998),
    };
    let crc = header.stamp(&mut bytes);
    (bytes, crc)
}

/// One changed byte here is a new format: it needs a level, a fixture and an ADR.
#[test]
fn header_bytes_are_golden() {
    let (bytes, crc) = block();
    let hex = hex(&bytes[..BLOCK_HEADER_BYTES]);
    let expected = concat!(
        "434c424b", // magic
        "36201a8f", // header crc
        "05000000", // body_len
        "e27ea6a3", // body crc
        "8877665544332211",
        "09000000",
        "02000000",
        "0300000000000000",
        "e803000000000000",
        "e603000000000000",
        "0020000000000000",
        "efbeadde",
        "0000",
        "0500",
    );
    assert_eq!(hex[..144], *expected);
    assert!(hex[144..].bytes().all(|digit| digit == b'0'));
    assert_eq!(crc.to_le_bytes(), bytes[4..8]);
}

#[test]
fn a_block_reads_back_as_it_was_written() {
    let (bytes, crc) = block();
    let read = Block::verify(&bytes, &PLACE).unwrap();
    assert_eq!(read.crc, crc);
    assert_eq!(read.header.kind, BlockKind::Data);
    assert_eq!(read.header.body_bytes, 5);
    assert_eq!((read.header.epoch, read.header.count), (Epoch(3), 2));
    assert_eq!(read.header.end_lsn(), Lsn(1_002));
    assert_eq!(read.header.attested, Lsn(998));
    assert_eq!(read.header.prev_crc, 0xdead_beef);
}

#[test]
fn every_flipped_bit_is_found() {
    let (bytes, _) = block();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Block::verify(&flipped, &PLACE).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_found() {
    let (bytes, _) = block();
    for length in 0..bytes.len() {
        let fault = Block::verify(&bytes[..length], &PLACE).unwrap_err();
        assert_eq!(fault, BlockFault::Short);
    }
    assert_eq!(
        Block::verify(&[0; BLOCK_ALIGN], &PLACE).unwrap_err(),
        BlockFault::Zero
    );
}

fn restamp(bytes: &mut [u8]) {
    let crc = corelane_wire::checksum(&[&bytes[8..BLOCK_HEADER_BYTES]]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_block_of_level_1_is_read() {
    let (mut bytes, _) = block();
    bytes[70] = 1;
    restamp(&mut bytes);
    assert_eq!(
        hex(&bytes[4..8]),
        "3b18777f",
        "the checksum that level 1 had"
    );
    assert_eq!(Block::verify(&bytes, &PLACE).unwrap().header.count, 2);
}

#[test]
fn what_no_writer_stores_is_refused_although_the_checksum_holds() {
    let changes = [
        (68, 3, BlockFault::Field),
        (70, 0, BlockFault::Field),
        (70, 6, BlockFault::Level(6)),
        (72, 1, BlockFault::Field),
        (127, 1, BlockFault::Field),
        (11, 0xff, BlockFault::Field),
    ];
    for (at, value, expected) in changes {
        let (mut bytes, _) = block();
        bytes[at] = value;
        restamp(&mut bytes);
        assert_eq!(Block::verify(&bytes, &PLACE).unwrap_err(), expected);
    }
}
