use corelane_wire::{Epoch, Lsn, Timestamp};

use crate::block::{BlockHeader, BlockKind};
use crate::buffer::Buffer;
use crate::config::LogConfig;
use crate::error::{PoisonCause, ReadError};
use crate::layout::{BLOCK_ALIGN, SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::log::{LogIo, Lookup};
use crate::record::NewRecord;
use crate::rig::{Rig, tiny_config};
use crate::segment::SegmentHeader;

mod buffers;
mod segments;
mod unreadable;

const MILLI: u64 = 1_000_000;

fn header_of(io: &LogIo) -> BlockHeader {
    let LogIo::Write {
        buffer,
        position,
        bytes,
        ..
    } = io;
    let start = if *position == 0 {
        SEGMENT_HEADER_BYTES
    } else {
        0
    };
    let (header, _) = BlockHeader::decode(&buffer.as_slice()[start..*bytes]).unwrap();
    assert_eq!(header.place.position, position + start as u64);
    header
}

fn is_durable(io: &LogIo) -> bool {
    let LogIo::Write { durable, .. } = io;
    *durable
}

fn position_of(io: &LogIo) -> (SegmentNumber, u64) {
    let LogIo::Write {
        segment, position, ..
    } = io;
    (*segment, *position)
}

fn fail(rig: &mut Rig, io: LogIo, result: Result<usize, i32>) -> PoisonCause {
    let LogIo::Write { buffer, id, .. } = io;
    let poison = rig.log.on_write_done(rig.now, id, buffer, result);
    poison.unwrap_err().cause
}

#[test]
fn nothing_is_written_before_something_gates_it() {
    let mut rig = Rig::new();
    let lsn = rig.append(100);
    rig.supply();
    assert!(rig.log.next_io(rig.now, lsn).is_none());
    assert!(rig.log.next_io(rig.now, Lsn(lsn.0 + 1)).is_some());
}

#[test]
fn a_full_block_is_written_although_nothing_gates_it() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.append(3_000);
    }
    rig.supply();
    let io = rig.log.next_io(rig.now, Lsn(0)).unwrap();
    assert_eq!(header_of(&io).count, 2);
    rig.write(&io);
    assert_eq!(rig.done(io), Some(Lsn(2)));
    assert!(rig.log.next_io(rig.now, Lsn(0)).is_none());
}

#[test]
fn one_commit_takes_all_that_arrived_during_the_last() {
    let mut rig = Rig::new();
    rig.append(10);
    let first = rig.next_write().unwrap();
    for _ in 0..20 {
        rig.append(10);
    }
    assert!(rig.next_write().is_none(), "one write in flight");
    assert_eq!(rig.log.durable(), Lsn(0));
    assert_eq!(rig.done(first), Some(Lsn(1)));
    let second = rig.next_write().unwrap();
    assert_eq!(header_of(&second).count, 20);
    assert_eq!(rig.log.durable(), Lsn(1), "not before its own sync");
    assert_eq!(rig.done(second), Some(Lsn(21)));
}

#[test]
fn every_block_and_footer_asks_for_a_sync() {
    let mut rig = Rig::new();
    let mut footers = 0;
    for _ in 0..30 {
        rig.append(6_000);
        while let Some(io) = rig.next_write() {
            assert!(is_durable(&io), "O_DIRECT alone is not durable");
            footers += u32::from(header_of(&io).kind == BlockKind::Footer);
            rig.write(&io);
            rig.done(io);
        }
    }
    assert!(footers > 3);
}

#[test]
fn attestation_is_stamped_at_submission() {
    let mut rig = Rig::new();
    rig.append(10);
    let first = rig.next_write().unwrap();
    assert_eq!(header_of(&first).attested, Lsn(0));
    rig.append(10);
    rig.done(first);
    let second = rig.next_write().unwrap();
    assert_eq!(header_of(&second).attested, Lsn(1));
}

#[test]
fn a_member_of_a_chain_attests_only_what_the_chain_confirmed() {
    let mut rig = Rig::with(LogConfig {
        alone: false,
        ..tiny_config()
    });
    rig.commit(10);
    rig.append(10);
    let io = rig.next_write().unwrap();
    assert_eq!(header_of(&io).attested, Lsn(0));
    rig.done(io);
    rig.log.set_committed(Lsn(2));
    rig.append(10);
    assert_eq!(header_of(&rig.next_write().unwrap()).attested, Lsn(2));
}

#[test]
fn idle_log_attests_its_last_commit_once_after_5_ms() {
    let mut rig = Rig::new();
    rig.commit(10);
    let due = Timestamp(rig.now.0 + 5 * MILLI);
    assert_eq!(rig.log.next_deadline(), Some(due));
    assert!(rig.log.next_io(Timestamp(due.0 - 1), Lsn(0)).is_none());
    let seal = rig.log.next_io(due, Lsn(0)).unwrap();
    let header = header_of(&seal);
    assert_eq!(header.kind, BlockKind::Seal);
    assert_eq!((header.attested, header.count), (Lsn(1), 0));
    assert!(!is_durable(&seal), "a SEAL is not synced");
    let place = position_of(&seal);
    assert_eq!(rig.done(seal), None);
    assert_eq!(rig.log.next_deadline(), None, "once");
    rig.append(10);
    let block = rig.next_write().unwrap();
    assert_eq!(position_of(&block), place, "the block overwrites the SEAL");
}

#[test]
fn no_block_is_submitted_beside_a_seal() {
    let mut rig = Rig::new();
    rig.commit(10);
    let later = Timestamp(rig.now.0 + 5 * MILLI);
    let seal = rig.log.next_io(later, Lsn(0)).unwrap();
    rig.append(10);
    assert!(rig.next_write().is_none());
    rig.done(seal);
    assert_eq!(header_of(&rig.next_write().unwrap()).kind, BlockKind::Data);
}

#[test]
fn a_block_that_waits_goes_before_a_seal() {
    let mut rig = Rig::new();
    rig.commit(10);
    rig.append(10);
    let later = Timestamp(rig.now.0 + 50 * MILLI);
    let io = rig.log.next_io(later, rig.log.end()).unwrap();
    assert_eq!(header_of(&io).kind, BlockKind::Data);
}

#[test]
fn a_block_that_waits_for_its_segment_leaves_no_deadline_behind() {
    let mut rig = Rig::new();
    while rig.log.wants_segment().is_none() {
        rig.append(6_000);
        if rig.log.segments().is_empty() {
            rig.supply();
        }
        while let Some(io) = rig.log.next_io(rig.now, rig.log.end()) {
            rig.done(io);
        }
    }
    for _ in 0..6 {
        rig.append(6_000);
        while let Some(io) = rig.log.next_io(rig.now, rig.log.end()) {
            rig.done(io);
        }
    }
    assert!(rig.log.durable() < rig.log.end(), "there is no segment");
    let due = rig.log.next_deadline().expect("the last commit is new");
    rig.now = due;
    let seal = rig.log.next_io(rig.now, rig.log.end()).unwrap();
    assert_eq!(header_of(&seal).kind, BlockKind::Seal);
    rig.done(seal);
    assert_eq!(rig.log.next_deadline(), None, "the loop may sleep");
    let waiting = rig.next_write().expect("the segment came");
    assert_eq!(header_of(&waiting).kind, BlockKind::Footer);
}

#[test]
fn a_seal_is_not_in_the_chain() {
    let mut rig = Rig::new();
    rig.commit(10);
    let chain = rig.log.current.unwrap().chain;
    assert!(rig.idle());
    rig.append(10);
    assert_eq!(header_of(&rig.next_write().unwrap()).prev_crc, chain);
}

#[test]
fn a_failed_write_poisons_for_ever() {
    for result in [Err(libc::EIO), Err(libc::ENOSPC), Ok(0), Ok(BLOCK_ALIGN)] {
        let mut rig = Rig::new();
        rig.append(10);
        let io = rig.next_write().unwrap();
        let cause = fail(&mut rig, io, result);
        match result {
            Err(errno) => assert_eq!(cause, PoisonCause::Errno(errno)),
            Ok(written) => {
                assert!(
                    matches!(cause, PoisonCause::ShortWrite { written: w, .. } if w == written)
                );
            }
        }
        assert_eq!(rig.log.durable(), Lsn(0));
        let record = NewRecord {
            lsn: rig.log.end(),
            time: rig.now,
            kind: 3,
            epoch: Epoch(1),
            head: &[],
            batch: &[],
        };
        assert_eq!(rig.log.append(record).as_ref().err(), rig.log.poison());
        let later = Timestamp(rig.now.0 + 1_000 * MILLI);
        assert!(rig.log.next_io(later, Lsn(u64::MAX)).is_none(), "no retry");
        assert_eq!(rig.log.next_deadline(), None);
        assert_eq!(rig.log.wants_segment(), None);
    }
}

#[test]
fn a_failed_seal_poisons() {
    let mut rig = Rig::new();
    rig.commit(10);
    let later = Timestamp(rig.now.0 + 5 * MILLI);
    let seal = rig.log.next_io(later, Lsn(0)).unwrap();
    assert_eq!(
        fail(&mut rig, seal, Err(libc::EIO)),
        PoisonCause::Errno(libc::EIO)
    );
    assert!(rig.log.poison().is_some());
    assert!(
        matches!(rig.log.reader().read(Lsn(0)), Lookup::Cached(_)),
        "reads go on"
    );
}

#[test]
fn a_failed_footer_poisons() {
    let mut rig = Rig::new();
    loop {
        rig.append(6_000);
        let io = rig.next_write().unwrap();
        if header_of(&io).kind == BlockKind::Footer {
            fail(&mut rig, io, Ok(100));
            break;
        }
        rig.write(&io);
        rig.done(io);
    }
    assert!(rig.next_write().is_none());
}

#[test]
fn the_next_segment_is_asked_for_ahead() {
    let mut rig = Rig::new();
    assert_eq!(
        rig.log.wants_segment(),
        None,
        "an unused partition has none"
    );
    rig.append(10);
    assert_eq!(rig.log.wants_segment(), Some((SegmentNumber(0), 32 << 10)));
    rig.supply();
    let io = rig.next_write().unwrap();
    rig.write(&io);
    rig.done(io);
    assert_eq!(rig.log.wants_segment(), None, "12 of 32 KiB are used");
    rig.append(10);
    let io = rig.log.next_io(rig.now, rig.log.end()).unwrap();
    assert_eq!(
        rig.log.wants_segment(),
        Some((SegmentNumber(1), 48 << 10)),
        "half full"
    );
    rig.write(&io);
    rig.done(io);
}

#[test]
fn a_segment_is_closed_only_when_the_next_is_at_hand() {
    let mut rig = Rig::new();
    rig.append(6_000);
    rig.supply();
    while let Some(io) = rig.log.next_io(rig.now, rig.log.end()) {
        assert_eq!(header_of(&io).kind, BlockKind::Data);
        rig.write(&io);
        rig.done(io);
        rig.append(6_000);
    }
    assert!(rig.log.wants_segment().is_some());
    let footer = rig.next_write().unwrap();
    assert_eq!(header_of(&footer).kind, BlockKind::Footer);
    assert_eq!(header_of(&footer).attested, rig.log.durable());
    rig.write(&footer);
    assert_eq!(rig.done(footer), None);
    let first = rig.next_write().unwrap();
    assert_eq!(position_of(&first), (SegmentNumber(1), 0));
    let LogIo::Write { buffer, .. } = &first;
    let header = SegmentHeader::decode(buffer.as_slice(), 0).unwrap();
    let second = SegmentHeader::decode(&buffer.as_slice()[BLOCK_ALIGN..], 4096);
    assert_eq!(second, Ok(header), "the header stands there twice");
    assert_eq!(header.previous, rig.log.previous);
    assert_eq!(header.base, rig.log.durable());
    assert_eq!(header_of(&first).prev_crc, header.chain_start());
}

#[test]
fn a_block_holds_records_of_one_epoch() {
    let mut rig = Rig::new();
    rig.append(10);
    rig.epoch = Epoch(2);
    rig.append(10);
    let first = rig.next_write().unwrap();
    assert_eq!(
        (header_of(&first).epoch, header_of(&first).count),
        (Epoch(1), 1)
    );
    rig.done(first);
    let second = rig.next_write().unwrap();
    assert_eq!(
        (header_of(&second).epoch, header_of(&second).count),
        (Epoch(2), 1)
    );
}

#[test]
fn a_written_block_is_read_from_its_own_buffer() {
    let mut rig = Rig::new();
    rig.commit(10);
    let lsn = rig.append(500);
    assert!(
        matches!(rig.log.reader().read(lsn), Lookup::Unknown),
        "not durable yet"
    );
    let io = rig.next_write().unwrap();
    let LogIo::Write { buffer, .. } = &io;
    let range = buffer.as_slice().as_ptr_range();
    rig.write(&io);
    rig.done(io);
    let Lookup::Cached(view) = rig.log.reader().read(lsn) else {
        panic!("a written block is in the cache");
    };
    assert!(range.contains(&view.payload.as_ptr()), "no copy");
    assert_eq!(view.batch(), rig.model[1].batch);
}

#[test]
fn every_record_can_be_read_with_a_bounded_cache() {
    for cache_bytes in [0, 20 << 10, 10 << 20] {
        let mut rig = Rig::with(LogConfig {
            cache_bytes,
            ..tiny_config()
        });
        for at in 0..150 {
            rig.append(at * 37 % 5_000);
            if at % 3 == 0 {
                rig.flush();
            }
        }
        rig.flush();
        for order in [1, 7, 149] {
            for at in 0..150 {
                let lsn = at * order % 150;
                let kept = &rig.model[lsn];
                let payload = [&kept.head[..], &kept.batch].concat();
                assert_eq!(rig.read(Lsn(lsn as u64)).unwrap(), payload);
                let bound = cache_bytes.max(64 << 10);
                assert!(rig.log.cache_bytes() <= bound, "{}", rig.log.cache_bytes());
            }
        }
    }
}

#[test]
fn a_read_of_a_rotten_block_is_a_typed_error() {
    let mut rig = Rig::with(LogConfig {
        cache_bytes: 0,
        ..tiny_config()
    });
    for _ in 0..6 {
        rig.commit(3_500);
    }
    rig.disk
        .tamper(0, |bytes| bytes[SEGMENT_HEADER_BYTES + 1_000] ^= 1);
    let error = rig.read(Lsn(0)).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Damaged {
                first: Lsn(0),
                end: Lsn(1),
                ..
            }
        ),
        "{error}"
    );
    assert!(rig.read(Lsn(1)).is_ok(), "its neighbours are intact");
    let Lookup::OnDisk {
        segment, position, ..
    } = rig.log.reader().read(Lsn(0))
    else {
        panic!("a rotten block is not cached");
    };
    let failed = rig
        .log
        .on_read_done(segment, position, Buffer::zeroed(4096), Err(libc::EIO));
    assert!(matches!(
        failed,
        Err(ReadError::Errno {
            errno: libc::EIO,
            ..
        })
    ));
    let short = rig
        .log
        .on_read_done(segment, position, Buffer::zeroed(4096), Ok(0));
    assert!(matches!(short, Err(ReadError::Damaged { .. })));
}

#[test]
fn pending_bytes_fall_to_zero_with_the_write() {
    let mut rig = Rig::new();
    assert_eq!(rig.log.pending_bytes(), 0);
    rig.append(100);
    rig.append(7_000);
    rig.append(7_000);
    assert!(rig.log.pending_bytes() > 14_100);
    rig.flush();
    assert_eq!(rig.log.pending_bytes(), 0);
}
