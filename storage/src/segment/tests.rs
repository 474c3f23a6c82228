use corelane_wire::{Epoch, Lsn, PartitionId};

use super::{
    BlockEntry, HeaderFault, Link, SegmentHeader, encode_footer, footer_body_bytes, footer_bytes,
    footer_matches,
};
use crate::layout::{BLOCK_ALIGN, SegmentNumber, segment_uuid};
use crate::rig::hex;

const HEADER: SegmentHeader = SegmentHeader {
    level: 4,
    number: SegmentNumber(7),
    log_id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
    partition: PartitionId(9),
    epoch: Epoch(3),
    base: Lsn(1_000),
    uuid: 0x1122_3344_5566_7788,
    bytes: 64 << 20,
    previous: Link {
        uuid: 0x99,
        crc: 0xdead_beef,
    },
};

/// One changed byte here is a new format: it needs a level, a fixture and an ADR.
#[test]
fn header_bytes_are_golden() {
    let (page, _) = HEADER.encode(4_096);
    let hex = hex(&page);
    let expected = concat!(
        "434c5347", // magic
        "79d71dc9", // crc
        "04000000", // level, spare
        "07000000", // number
        "100f0e0d0c0b0a090807060504030201",
        "09000000",
        "efbeadde",
        "0300000000000000",
        "e803000000000000",
        "8877665544332211",
        "0000000400000000",
        "9900000000000000",
        "0010000000000000",
    );
    assert_eq!(hex[..176], *expected);
    assert!(hex[176..].bytes().all(|digit| digit == b'0'));
}

#[test]
fn a_header_of_level_1_is_read_and_written_anew_as_it_was() {
    let old = SegmentHeader { level: 1, ..HEADER };
    let (page, _) = old.encode(4_096);
    assert_eq!(hex(&page[4..12]), "e9f8aed901000000");
    assert_eq!(SegmentHeader::decode(&page, 4_096), Ok(old));
    assert_ne!(old.chain_start(), HEADER.chain_start());
}

#[test]
fn identity_of_a_segment_is_golden() {
    let uuid = segment_uuid(HEADER.log_id, PartitionId(9), Epoch(3), Lsn(1_000));
    assert_eq!(uuid, 0x93bf_3dc2_fd0b_2c39);
    let others = [
        segment_uuid(HEADER.log_id + 1, PartitionId(9), Epoch(3), Lsn(1_000)),
        segment_uuid(HEADER.log_id, PartitionId(8), Epoch(3), Lsn(1_000)),
        segment_uuid(HEADER.log_id, PartitionId(9), Epoch(4), Lsn(1_000)),
        segment_uuid(HEADER.log_id, PartitionId(9), Epoch(3), Lsn(1_001)),
    ];
    assert!(!others.contains(&uuid));
}

#[test]
fn each_copy_reads_back_only_at_its_own_position() {
    for position in [0, BLOCK_ALIGN as u64] {
        let (page, _) = HEADER.encode(position);
        assert_eq!(SegmentHeader::decode(&page, position), Ok(HEADER));
        assert_eq!(
            SegmentHeader::decode(&page, 4_096 - position),
            Err(HeaderFault::Absent)
        );
    }
}

#[test]
fn every_flipped_byte_and_every_cut_is_found() {
    let (page, _) = HEADER.encode(0);
    for at in 0..page.len() {
        let mut flipped = page;
        flipped[at] ^= 0x40;
        assert!(SegmentHeader::decode(&flipped, 0).is_err(), "byte {at}");
        assert!(SegmentHeader::decode(&page[..at], 0).is_err());
    }
}

#[test]
fn a_footer_names_every_block() {
    let blocks = [BlockEntry::new(0, 8_192), BlockEntry::new(40, 16_384)];
    let mut body = vec![0; footer_body_bytes(2)];
    encode_footer(Lsn(5), Lsn(77), &blocks, &mut body);
    let mut expected = vec![0; 48];
    expected[0] = 5;
    expected[8] = 77;
    expected[16] = 2;
    expected[36] = 2;
    expected[40] = 40;
    expected[44] = 4;
    assert_eq!(body, expected);
    assert!(footer_matches(&body, Lsn(5), Lsn(77), &blocks));
    assert!(!footer_matches(&body, Lsn(5), Lsn(78), &blocks));
    assert!(!footer_matches(&body, Lsn(5), Lsn(77), &blocks[..1]));
    assert!(!footer_matches(&[], Lsn(5), Lsn(77), &blocks));
    assert_eq!(footer_bytes(2), BLOCK_ALIGN);
    assert_eq!(footer_bytes(500), 2 * BLOCK_ALIGN);
}
