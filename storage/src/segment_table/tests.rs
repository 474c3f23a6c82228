use corelane_wire::Lsn;
use proptest::prelude::*;

use super::{SegmentTable, TableFault};
use crate::rig::Rig;

fn encoded(table: &SegmentTable) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    bytes
}

/// The table of a log with closed segments, at a record in the middle of its last one.
fn table() -> SegmentTable {
    let mut rig = Rig::new();
    for at in 0..43 {
        rig.commit(at * 131 % 5_000);
    }
    let table = rig.log.segment_table(rig.log.end());
    assert!(table.segments.len() > 3);
    assert!(!table.resume.as_ref().unwrap().blocks.is_empty());
    table
}

#[test]
fn the_table_of_every_end_has_one_encoding() {
    let mut rig = Rig::new();
    for at in 0..60 {
        rig.commit(at * 131 % 5_000);
    }
    for end in 0..=60 {
        let table = rig.log.segment_table(Lsn(end));
        let bytes = encoded(&table);
        assert_eq!(SegmentTable::decode(&bytes), Ok(table.clone()));
        let Some(resume) = &table.resume else {
            assert_eq!((end, table), (0, SegmentTable::default()));
            continue;
        };
        let last = table.segments.last().unwrap();
        assert_eq!((last.end, last.footer), (Lsn(end), None));
        assert_eq!((last.number, resume.first), (resume.segment, Lsn(end - 1)));
    }
}

#[test]
fn golden_bytes() {
    let mut rig = Rig::new();
    for _ in 0..9 {
        rig.commit(5_000);
    }
    let bytes = encoded(&rig.log.segment_table(Lsn(6)));
    let golden = [
        "0200000003000000008000000000000005000000000000000000000000000000",
        "000000000200000012de29e796577639000000000000000002000000000000000080000000000000",
        "0060000000000000d7daf5da00000000",
        "01000000000000002a07993527678b6a0200000000000000060000000000000000c0000000000000",
        "00000000000000000000000000000000",
        "000000000200000001000000040000000200000006000000",
    ];
    assert_eq!(crate::rig::hex(&bytes), golden.concat());
}

#[test]
fn another_length_is_refused() {
    let bytes = encoded(&table());
    for length in 0..bytes.len() {
        let fault = SegmentTable::decode(&bytes[..length]).unwrap_err();
        assert_eq!(fault, TableFault::Length(length));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(SegmentTable::decode(&longer).is_err());
}

#[test]
fn counts_that_lie_are_not_believed() {
    let bytes = encoded(&table());
    for (at, count) in [(0, u32::MAX), (4, u32::MAX), (0, 0), (0, 1 << 26)] {
        let mut lying = bytes.clone();
        lying[at..at + 4].copy_from_slice(&count.to_le_bytes());
        assert!(SegmentTable::decode(&lying).is_err(), "{count} at {at}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    type Change = fn(&mut SegmentTable);
    let changes: [Change; 16] = [
        |table| table.segments.swap(0, 1),
        |table| table.segments[1].base = Lsn(0),
        |table| table.segments[1].end = table.segments[1].base,
        |table| table.segments[1].footer = None,
        |table| table.segments[1].bytes += 1,
        |table| table.segments[1].bytes = 8_192,
        |table| footer(table).position += 512,
        |table| footer(table).position = 4_096,
        |table| footer(table).position = u64::MAX - 4_095,
        |table| footer(table).blocks = u32::MAX,
        |table| resume(table).first = Lsn(0),
        |table| resume(table).first = Lsn(1_000),
        |table| resume(table).position += 1,
        |table| resume(table).position = 1 << 20,
        |table| resume(table).blocks.swap(0, 1),
        |table| {
            resume(table).blocks.remove(0);
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut table = table();
        change(&mut table);
        let fault = SegmentTable::decode(&encoded(&table)).unwrap_err();
        assert_eq!(fault, TableFault::Field, "change {at}");
    }
}

fn footer(table: &mut SegmentTable) -> &mut super::FooterEntry {
    table.segments[1].footer.as_mut().unwrap()
}

fn resume(table: &mut SegmentTable) -> &mut super::Resume {
    table.resume.as_mut().unwrap()
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_say_what_they_said(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(table) = SegmentTable::decode(&bytes) {
            prop_assert_eq!(encoded(&table), bytes);
        }
    }

    #[test]
    fn a_flipped_table_is_refused_or_says_what_it_says(at in 0..10_000_usize, flip in 1..=255_u8) {
        let mut bytes = encoded(&table());
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(table) = SegmentTable::decode(&bytes) {
            prop_assert_eq!(encoded(&table), bytes);
        }
    }
}
