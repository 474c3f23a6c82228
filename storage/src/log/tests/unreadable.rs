//! Reads that fail.

use corelane_wire::Lsn;

use crate::buffer::Buffer;
use crate::config::LogConfig;
use crate::error::ReadError;
use crate::layout::SegmentNumber;
use crate::log::Lookup;
use crate::rig::{Rig, tiny_config};

/// The segment, position and bytes of the read that a record needs.
fn wanted(rig: &Rig, lsn: Lsn) -> (SegmentNumber, u64, usize) {
    let Lookup::OnDisk {
        segment,
        position,
        bytes,
    } = rig.log.reader().read(lsn)
    else {
        panic!("record {lsn} is not to be read");
    };
    (segment, position, bytes)
}

#[test]
fn a_sector_that_cannot_be_read_costs_its_block_and_none_that_is_read_ahead_with_it() {
    let mut rig = Rig::with(LogConfig {
        cache_bytes: 0,
        ..tiny_config()
    });
    for _ in 0..4 {
        rig.commit(3_500);
    }
    let bad = wanted(&rig, Lsn(2)).1;
    for lsn in (0..4).map(Lsn) {
        // A read fails if the sector lies in it.
        let fails = |(_, position, bytes): (SegmentNumber, u64, usize)| {
            (position..position + bytes as u64).contains(&bad)
        };
        let first = wanted(&rig, lsn);
        assert_eq!(fails(first), lsn <= Lsn(2), "each is read ahead from");
        if !fails(first) {
            assert!(rig.read(lsn).is_ok());
            continue;
        }
        let mut read = |(segment, position, bytes)| {
            rig.log
                .on_read_done(segment, position, Buffer::zeroed(bytes), Err(libc::EIO))
        };
        assert!(read(first).is_ok(), "it is asked for again");
        let alone = wanted(&rig, lsn);
        assert!(
            alone.1 == first.1 && alone.2 < first.2,
            "without the others"
        );
        if lsn == Lsn(2) {
            let (segment, position, bytes) = alone;
            let failed =
                rig.log
                    .on_read_done(segment, position, Buffer::zeroed(bytes), Err(libc::EIO));
            assert!(matches!(failed, Err(ReadError::Errno { .. })));
        } else {
            assert!(rig.read(lsn).is_ok());
        }
    }
}
