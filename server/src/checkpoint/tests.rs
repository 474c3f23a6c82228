use std::collections::VecDeque;

use corelane_core::{ConnectionId, Engine, Input, Limits, Record, Requester};
use corelane_wire::{
    BatchBuilder, Correlation, Enqueue, Epoch, Lane, OutgoingMessage, PartitionId, ProducerId,
    Request, Sequence, SessionId, Timestamp,
};

use super::*;

/// Messages of each segment, and its length.
const IN_SEGMENT: u64 = 10;
const SEGMENT_BYTES: u64 = 8_192;
const BODY_BYTES: usize = 200;

/// An engine with one message a record in a queue of its own for each segment, and the lsn of the first of them.
struct Partition {
    engine: Engine,
    bases: Vec<Lsn>,
}

impl Partition {
    fn new(segments: u32) -> Self {
        let mut engine = Engine::new(PartitionId(0), Limits::default());
        let mut bases = Vec::new();
        step(&mut engine, Input::Start { epoch: Epoch(1) });
        for segment in 0..segments {
            bases.push(engine.positions().end);
            engine.segment_begins(engine.positions().end);
            for _ in 0..IN_SEGMENT {
                enqueue(&mut engine, &format!("q{segment}"));
            }
            let end = engine.positions().end;
            step(&mut engine, Input::Durable { end });
        }
        bases.push(engine.positions().end);
        enqueue(&mut engine, "last");
        Self { engine, bases }
    }

    fn delete(&mut self, queue: u32) {
        let queue = &format!("q{queue}");
        let request = Request::QueueDelete { queue };
        let from = asker();
        step(&mut self.engine, Input::Request { from, request });
    }

    fn plan(&mut self, segment_bytes: u64) -> (Vec<u32>, u32) {
        let end = self.engine.positions().end;
        let ends = self.bases.iter().skip(1).chain([&end]);
        let segments = (0..).zip(&self.bases).zip(ends);
        let segments = segments.map(|((number, base), end)| SegmentEntry {
            number: SegmentNumber(number),
            uuid: u64::from(number),
            base: *base,
            end: *end,
            bytes: segment_bytes,
            footer: None,
        });
        let table = SegmentTable {
            segments: segments.collect(),
            resume: None,
        };
        let cut = self.engine.cut();
        let live = needed_segments(&cut, &table);
        let plan = plan_relocation(&cut, &table, &live);
        assert!(plan.stretches.iter().all(|it| it.below == end));
        let queues = plan.stretches.iter().map(|stretch| stretch.queue.0);
        (queues.collect(), plan.pressure)
    }
}

fn asker() -> Requester {
    Requester {
        connection: ConnectionId(1),
        session: SessionId(1),
        correlation: Correlation(1),
    }
}

fn step(engine: &mut Engine, input: Input<'_>) {
    let mut outputs = VecDeque::new();
    engine.step(Timestamp(1_780_000_000_000_000_000), input, &mut outputs);
}

fn enqueue(engine: &mut Engine, queue: &str) {
    let mut batch = BatchBuilder::new();
    let message = OutgoingMessage {
        body: &[7; BODY_BYTES],
        ..OutgoingMessage::default()
    };
    batch.push(&message).unwrap();
    let batch = &batch.finish(ProducerId::NONE, Sequence(0));
    let lane = Lane(0);
    let request = Request::Enqueue(Enqueue { queue, lane, batch });
    let from = asker();
    step(engine, Input::Request { from, request });
}

#[test]
fn a_log_that_is_mostly_live_is_left_alone() {
    // Ten records of 340 bytes are more than half of a segment.
    assert_eq!(Partition::new(20).plan(6_000), (vec![], 0));
}

#[test]
fn a_short_log_is_left_alone_however_little_of_it_is_live() {
    let mut partition = Partition::new(2);
    partition.delete(0);
    assert_eq!(partition.plan(6_000), (vec![], 0));
}

#[test]
fn one_message_a_commit_is_packed_until_the_log_is_short_enough() {
    let mut partition = Partition::new(20);
    // Each segment holds 3.4 KB in 16 KiB: 21 of them are 344 KB, the goal is 2 * 68 KB and two segments.
    let (queues, pressure) = partition.plan(2 * SEGMENT_BYTES);
    assert!((10..20).contains(&queues.len()), "{queues:?}");
    assert!(queues.is_sorted(), "of segments alike the oldest go first");
    assert_eq!(pressure, 100);
}

#[test]
fn the_emptiest_segments_go_first_and_the_newest_never() {
    let mut partition = Partition::new(6);
    for dead in [0, 2, 3] {
        partition.delete(dead);
    }
    // Those without a live message go by themselves; of the others only what is needed moves.
    let (queues, pressure) = partition.plan(2 * SEGMENT_BYTES);
    assert_eq!(queues, [1, 4, 5]);
    assert!(pressure > 0);
}

#[test]
fn what_is_kept_of_a_record_counts_with_its_head() {
    let partition = &mut Partition::new(1);
    let head = Record::Relocate {
        queue: corelane_core::QueueId(0),
        first: corelane_wire::Offset(0),
        count: 1,
        bytes: 0,
        largest: 0,
        enqueued: Timestamp(0),
    };
    let mut bytes = Vec::new();
    head.encode_head(&mut bytes);
    let entry = BODY_BYTES + 12;
    let least = 32 + bytes.len() + 48 + entry;
    let live: u64 = partition.engine.cut().live().map(|it| it.bytes).sum();
    let each = live / (IN_SEGMENT + 1);
    assert!((least as u64..least as u64 + 64).contains(&each), "{each}");
}
