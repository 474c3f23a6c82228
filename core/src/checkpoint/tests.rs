use corelane_wire::{Lsn, Offset, Timestamp};

use super::packed::pack;
use super::*;
use crate::state::EnqueueRun;
use crate::{Engine, Limits};

fn runs() -> Vec<EnqueueRun> {
    let sizes = [
        (1, 300, 300),
        (3, 900, 400),
        (1, 1, 1),
        (1_000, u32::MAX, 7),
    ];
    let mut first = Offset(1 << 40);
    let mut runs = Vec::new();
    for (at, (count, bytes, largest)) in (1..).zip(sizes) {
        runs.push(EnqueueRun {
            lsn: Lsn(at * at * 1_000_000),
            first,
            count,
            bytes,
            largest,
            time: Timestamp(1_780_000_000_000_000_000 + at),
        });
        first = Offset(first.0 + u64::from(count));
    }
    runs
}

#[test]
fn packed_runs_come_back_and_every_cut_of_them_is_refused() {
    let packed = pack(&runs());
    assert_eq!(unpack(&packed), Some(runs()));
    for end in 0..packed.len() {
        assert_eq!(unpack(&packed[..end]), None, "cut at {end}");
    }
    let mut longer = packed.clone();
    longer.push(0);
    assert_eq!(unpack(&longer), None);
    assert_eq!(unpack(&[0xff; 30]), None, "more runs than a stretch has");
}

#[test]
fn runs_with_gaps_between_them_come_back() {
    let with_gaps: Vec<_> = runs().into_iter().step_by(2).collect();
    let packed = pack(&with_gaps);
    assert_eq!(unpack(&packed), Some(with_gaps));
    for end in 0..packed.len() {
        assert_eq!(unpack(&packed[..end]), None, "cut at {end}");
    }
}

#[test]
fn runs_of_one_producer_take_few_bytes() {
    let run = |at: u64| EnqueueRun {
        lsn: Lsn(at),
        first: Offset(at),
        count: 1,
        bytes: 300,
        largest: 300,
        time: Timestamp(1_780_000_000_000_000_000 + 5_000 * at),
    };
    let many: Vec<_> = (0..4_096).map(run).collect();
    let packed = pack(&many);
    assert!(packed.len() < 7 * many.len(), "{} bytes", packed.len());
    assert_eq!(unpack(&packed), Some(many));
}

/// Takes no chunks.
struct NoChunks;

impl ChunkSink for NoChunks {
    type Error = std::convert::Infallible;
    fn put(&mut self, _: &[u8]) -> Result<ChunkPlace, Self::Error> {
        unreachable!("an empty state is its root")
    }
    fn keep(&mut self, place: ChunkPlace) -> Result<ChunkPlace, Self::Error> {
        Ok(place)
    }
}

/// One flipped bit in a chunk is the storage's to find; what comes through must not do harm.
#[test]
fn no_bytes_make_a_restore_panic() {
    let mut engine = Engine::new(corelane_wire::PartitionId(0), Limits::default());
    let whole = engine.cut().write(&mut NoChunks).unwrap().root;
    let restore = |root: &[u8]| {
        let mut read = |_| Err("there are no chunks".to_owned());
        Engine::restore(
            corelane_wire::PartitionId(0),
            Limits::default(),
            root,
            &mut read,
        )
    };
    assert!(restore(&whole).is_ok());
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            // Whatever it says, it says it without a panic.
            drop(restore(&flipped));
        }
        assert!(restore(&whole[..at]).is_err());
    }
}
