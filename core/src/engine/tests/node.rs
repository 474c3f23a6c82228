//! A partition on its own for tests: keeps the log, the clock and the outputs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corelane_wire::{
    Batch, BatchBuilder, ChunkPlace, ConsumerId, Correlation, Dequeue, Enqueue, Epoch, ErrorCode,
    Extend, Lane, LeaseId, Lsn, Nack, Offset, OffsetRange, OutgoingMessage, PartitionId, Peek,
    ProducerId, Receipt, Request, Sequence, SessionId, Settle, SettleEntries, SettleEntry,
    SettleOutcome, Settled, Subscribe, Timestamp,
};

use super::chunks::{Chunks, Generation};
use crate::ids::{ConnectionId, QueueId, SubscriptionId};
use crate::limits::Limits;
use crate::record::Record;
use crate::{
    DeliverTo, Delivery, Engine, FetchFor, Input, Output, ReplayError, Reply, Requester, Run,
};

/// A Thursday in 2026.
pub(super) const T0: Timestamp = Timestamp(1_780_000_000_000_000_000);
pub(super) const QUEUE: QueueId = QueueId(0);
pub(super) const DEFAULT: SubscriptionId = SubscriptionId(0);

pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
    pub(super) log: Vec<(Lsn, Timestamp, Record)>,
    pub(super) chunks: Chunks,
    pub(super) limits: Limits,
    /// Whether every invariant is looked at after each step.
    pub(super) is_checked: bool,
    /// What the engine asked to be read.
    pub(super) loads: VecDeque<(QueueId, Offset, ChunkPlace)>,
    /// Records that the engine wants to relocate messages of, each with its first message.
    pub(super) fetches: VecDeque<(Lsn, Offset)>,
    /// Records of dead messages that it wants read.
    pub(super) letter_reads: VecDeque<Lsn>,
    /// Records whose keys the engine wants to know.
    pub(super) key_reads: VecDeque<Lsn>,
    /// The batches in the log.
    pub(super) batches: BTreeMap<Lsn, Vec<u8>>,
}

impl Node {
    /// An empty partition, started in epoch 1.
    pub(super) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(super) fn with_limits(limits: Limits) -> Self {
        let mut node = Self {
            engine: Engine::new(PartitionId(0), limits),
            now: T0,
            log: Vec::new(),
            chunks: Chunks::default(),
            limits,
            is_checked: true,
            loads: VecDeque::new(),
            fetches: VecDeque::new(),
            key_reads: VecDeque::new(),
            letter_reads: VecDeque::new(),
            batches: BTreeMap::new(),
        };
        assert_eq!(node.step(Input::Start { epoch: Epoch(1) }), []);
        node
    }

    pub(super) fn step(&mut self, input: Input<'_>) -> Vec<Output> {
        let mut outputs = VecDeque::new();
        self.engine.step(self.now, input, &mut outputs);
        let is_fetched = |of| matches!(input, Input::Fetched { whose, .. } if whose == of);
        let fetched = self
            .fetches
            .pop_front_if(|_| is_fetched(FetchFor::Relocation));
        self.key_reads.pop_front_if(|_| is_fetched(FetchFor::Keys));
        self.letter_reads
            .pop_front_if(|_| is_fetched(FetchFor::DeadLetters));
        for output in &outputs {
            if let Output::Append { lsn, time, record } = output {
                self.log.push((*lsn, *time, record.clone()));
                let batch = batch_of(record, &input, fetched);
                self.batches.extend(batch.map(|batch| (*lsn, batch)));
            }
            if let Output::Fetch { whose, lsn, first } = output {
                match whose {
                    FetchFor::Relocation => self.fetches.push_back((*lsn, *first)),
                    FetchFor::Keys => self.key_reads.push_back(*lsn),
                    FetchFor::DeadLetters => self.letter_reads.push_back(*lsn),
                }
            }
            if let Output::Load {
                queue,
                first,
                place,
            } = output
            {
                self.loads.push_back((*queue, *first, *place));
            }
        }
        if self.is_checked {
            self.engine.state.assert_consistent();
            self.engine.ephemerals.assert_consistent();
            self.engine.keys.assert_consistent(&self.engine.state);
        }
        outputs.into()
    }

    pub(super) fn request(&mut self, from: Requester, request: Request<'_>) -> Vec<Output> {
        self.step(Input::Request { from, request })
    }

    pub(super) fn turn_end(&mut self) -> Vec<Output> {
        self.step(Input::TurnEnd)
    }

    /// Makes everything durable.
    pub(super) fn durable(&mut self) -> Vec<Output> {
        let end = self.engine.positions().end;
        self.step(Input::Durable { end })
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        self.now = self.now.add(duration);
    }

    /// Lets time pass and the deadline come.
    pub(super) fn deadline_after(&mut self, duration: Duration) -> Vec<Output> {
        self.pass(duration);
        self.step(Input::Deadline)
    }

    /// Enqueues and commits `count` messages without a producer.
    pub(super) fn fill(&mut self, queue: &str, count: u32) {
        self.enqueue(queue, &batch(count, ProducerId::NONE, 0));
        self.durable();
    }

    pub(super) fn enqueue(&mut self, queue: &str, batch: &[u8]) -> Vec<Output> {
        self.request(alice(1), enqueue(queue, batch))
    }

    /// Takes `count` messages at once and commits the lease; returns its id.
    pub(super) fn take(&mut self, from: Requester, queue: &str, count: u32) -> LeaseId {
        self.request(from, dequeue(queue, count, 0));
        let outputs = self.turn_end();
        self.durable();
        let lease = deliveries(&outputs).first().map(|delivery| delivery.lease);
        lease.expect("messages were ready")
    }

    /// Crashes, keeping the log below `end`, and starts again; the Epoch record is durable then.
    pub(super) fn restart(&mut self, end: Lsn, wall: Timestamp, epoch: u64) -> Vec<Output> {
        self.batches.retain(|lsn, _| *lsn < end);
        self.log.retain(|(lsn, _, _)| *lsn < end);
        self.engine = replayed(&self.log).unwrap();
        self.begin(wall, epoch)
    }

    /// Crashes, keeping the log below `end`, and starts again from the newest checkpoint.
    pub(super) fn restart_from_checkpoint(
        &mut self,
        end: Lsn,
        wall: Timestamp,
        epoch: u64,
    ) -> Vec<Output> {
        self.batches.retain(|lsn, _| *lsn < end);
        self.log.retain(|(lsn, _, _)| *lsn < end);
        let newest = self.chunks.newest().expect("there is a checkpoint");
        self.engine = restored(&self.chunks, newest, &self.log, self.limits);
        self.begin(wall, epoch)
    }

    /// Answers the first load that waits; `false` if there is none.
    pub(super) fn read_one(&mut self) -> Option<Vec<Output>> {
        let (queue, first, place) = self.loads.pop_front()?;
        let chunk = self.chunks.read(place).ok();
        let chunk = chunk.as_deref();
        Some(self.step(Input::Loaded {
            queue,
            first,
            chunk,
        }))
    }

    /// Gives every record whose keys the engine wants to know.
    pub(super) fn read_keys(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(lsn) = self.key_reads.front() {
            let batch = self.batches[lsn].clone();
            outputs.extend(self.step(Input::Fetched {
                whose: FetchFor::Keys,
                batch: Some(&batch),
            }));
        }
        outputs
    }

    fn begin(&mut self, wall: Timestamp, epoch: u64) -> Vec<Output> {
        self.loads.clear();
        self.fetches.clear();
        self.letter_reads.clear();
        self.key_reads.clear();
        self.now = wall;
        self.step(Input::Start {
            epoch: Epoch(epoch),
        })
    }
}

/// The batch behind the head of a record, out of what was stepped.
fn batch_of(record: &Record, input: &Input<'_>, fetched: Option<(Lsn, Offset)>) -> Option<Vec<u8>> {
    if let (Record::Enqueue { .. }, Input::Request { request, .. }) = (record, input)
        && let Request::Enqueue(enqueue) = request
    {
        return Some(enqueue.batch.to_vec());
    }
    if let (Record::Relocate { first, count, .. }, Input::Fetched { batch, .. }) = (record, input) {
        let index = u32::try_from(first.0 - fetched?.1.0).unwrap();
        let batch = Batch::trusted((*batch)?).unwrap();
        let mut part = Vec::new();
        batch.part(index, *count)?.encode(&mut part);
        return Some(part);
    }
    None
}

/// An engine that replayed a log but was not started.
pub(super) fn replayed(log: &[(Lsn, Timestamp, Record)]) -> Result<Engine, ReplayError> {
    let mut engine = Engine::new(PartitionId(0), Limits::default());
    replay(&mut engine, log)?;
    Ok(engine)
}

fn replay(engine: &mut Engine, log: &[(Lsn, Timestamp, Record)]) -> Result<(), ReplayError> {
    for (lsn, time, record) in log {
        let mut payload = Vec::new();
        record.encode_head(&mut payload);
        if record.has_batch() {
            payload.extend(b"the batch is not looked at");
        }
        engine.replay(*lsn, *time, record.kind(), &payload)?;
    }
    Ok(())
}

/// An engine with the state of a checkpoint that replayed the rest of a log but was not started.
pub(super) fn restored(
    chunks: &Chunks,
    from: &Generation,
    log: &[(Lsn, Timestamp, Record)],
    limits: Limits,
) -> Engine {
    let mut read = |place| chunks.read(place);
    let mut engine = Engine::restore(PartitionId(0), limits, &from.root, &mut read).unwrap();
    engine.state.assert_consistent();
    assert_eq!(engine.positions().end, from.end);
    replay(&mut engine, &log[usize::try_from(from.end.0).unwrap()..]).unwrap();
    engine
}

/// Requests of a session of its own; the number is the correlation.
pub(super) fn alice(correlation: u64) -> Requester {
    requester(1, 0xa11ce, correlation)
}

pub(super) fn bob(correlation: u64) -> Requester {
    requester(2, 0xb0b, correlation)
}

pub(super) fn requester(connection: u64, session: u128, correlation: u64) -> Requester {
    Requester {
        connection: ConnectionId(connection),
        session: SessionId(session),
        correlation: Correlation(correlation),
    }
}

/// A batch of messages with 100 bytes each.
pub(super) fn batch(count: u32, producer: ProducerId, sequence: u64) -> Vec<u8> {
    sized_batch(count, 88, producer, sequence)
}

pub(super) fn sized_batch(
    count: u32,
    body_bytes: usize,
    producer: ProducerId,
    sequence: u64,
) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let body = vec![7; body_bytes];
    for _ in 0..count {
        let message = OutgoingMessage {
            body: &body,
            ..OutgoingMessage::default()
        };
        builder.push(&message).unwrap();
    }
    builder.finish(producer, Sequence(sequence))
}

pub(super) fn enqueue<'a>(queue: &'a str, batch: &'a [u8]) -> Request<'a> {
    Request::Enqueue(Enqueue {
        queue,
        lane: Lane(0),
        batch,
    })
}

pub(super) fn dequeue(queue: &str, count: u32, wait_ms: u32) -> Request<'_> {
    dequeue_from(queue, "", count, wait_ms)
}

pub(super) fn dequeue_from<'a>(
    queue: &'a str,
    subscription: &'a str,
    count: u32,
    wait_ms: u32,
) -> Request<'a> {
    Request::Dequeue(Dequeue {
        queue,
        lane: Lane(0),
        subscription,
        count,
        lease_ms: 30_000,
        wait_ms,
    })
}

pub(super) fn subscribe(queue: &str, consumer: u32, credit: u32) -> Request<'_> {
    Request::Subscribe(Subscribe {
        queue,
        lane: Lane(0),
        subscription: "",
        consumer: ConsumerId(consumer),
        credit,
        lease_ms: 30_000,
    })
}

pub(super) fn peek(queue: &str, from: u64, count: u32) -> Request<'_> {
    Request::Peek(Peek {
        queue,
        lane: Lane(0),
        from: Offset(from),
        count,
    })
}

/// The bytes of settlement entries: (lease, first offset, count).
pub(super) fn entries(list: &[(LeaseId, u64, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(lease, first, count) in list {
        entry(lease, first, count).put(&mut bytes);
    }
    bytes
}

pub(super) fn entry(lease: LeaseId, first: u64, count: u32) -> SettleEntry {
    SettleEntry {
        lease,
        range: range(first, count),
    }
}

pub(super) fn settle<'a>(queue: &'a str, bytes: &'a [u8]) -> Settle<'a> {
    Settle {
        queue,
        lane: Lane(0),
        subscription: "",
        entries: SettleEntries::read(bytes).unwrap(),
    }
}

pub(super) fn nack<'a>(queue: &'a str, bytes: &'a [u8], delay_ms: u64) -> Request<'a> {
    Request::Nack(Nack {
        settle: settle(queue, bytes),
        delay_ms,
        count_attempt: true,
    })
}

pub(super) fn extend<'a>(queue: &'a str, bytes: &'a [u8], lease_ms: u32) -> Request<'a> {
    Request::Extend(Extend {
        settle: settle(queue, bytes),
        lease_ms,
    })
}

pub(super) fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

pub(super) fn lease_id(epoch: u64, lsn: u64) -> LeaseId {
    LeaseId {
        epoch: Epoch(epoch),
        lsn: Lsn(lsn),
    }
}

pub(super) fn append(lsn: u64, time: Timestamp, record: Record) -> Output {
    Output::Append {
        lsn: Lsn(lsn),
        time,
        record,
    }
}

pub(super) fn flush(end: u64) -> Output {
    Output::Flush { end: Lsn(end) }
}

pub(super) fn reply(to: Requester, reply: Reply) -> Output {
    Output::Reply { to, reply }
}

pub(super) fn receipt(first: u64, count: u32, duplicate: bool) -> Reply {
    Reply::Receipt(Receipt {
        range: range(first, count),
        class: 0,
        copies: 1,
        duplicate,
        slow_down: false,
    })
}

pub(super) fn settled(list: &[(u64, u32, SettleOutcome)]) -> Reply {
    let settled = list.iter().map(|&(first, count, outcome)| Settled {
        range: range(first, count),
        outcome,
    });
    Reply::Settled(settled.collect())
}

/// What one lease gives of one batch.
pub(super) fn run(lsn: u64, (first, count): (u64, u32), index: u32, attempt: u32) -> Run {
    Run {
        lsn: Lsn(lsn),
        index,
        first: Offset(first),
        count,
        attempt,
        enqueued: T0,
    }
}

pub(super) fn deliver(to: DeliverTo, lease: LeaseId, runs: &[Run]) -> Output {
    Output::Deliver(Delivery {
        to,
        lease,
        lease_ms: 30_000,
        runs: runs.to_vec(),
    })
}

pub(super) fn lease_record(session: SessionId, ranges: &[OffsetRange]) -> Record {
    Record::Lease {
        queue: QUEUE,
        subscription: DEFAULT,
        session,
        lease_ms: 30_000,
        ranges: ranges.to_vec(),
    }
}

pub(super) fn deliveries(outputs: &[Output]) -> Vec<Delivery> {
    let delivered = outputs.iter().filter_map(|output| match output {
        Output::Deliver(delivery) => Some(delivery.clone()),
        Output::Append { .. }
        | Output::Flush { .. }
        | Output::Reply { .. }
        | Output::Load { .. }
        | Output::Letter(_)
        | Output::Fetch { .. }
        | Output::Abandon { .. } => None,
    });
    delivered.collect()
}

/// The codes of all refusals.
pub(super) fn refusals(outputs: &[Output]) -> Vec<(Requester, ErrorCode)> {
    let refused = outputs.iter().filter_map(|output| match output {
        Output::Reply {
            to,
            reply: Reply::Refused { code, .. },
        } => Some((*to, *code)),
        Output::Reply { .. }
        | Output::Append { .. }
        | Output::Flush { .. }
        | Output::Deliver(_)
        | Output::Load { .. }
        | Output::Letter(_)
        | Output::Fetch { .. }
        | Output::Abandon { .. } => None,
    });
    refused.collect()
}

pub(super) const ALICE_7: DeliverTo = DeliverTo::Consumer {
    connection: ConnectionId(1),
    consumer: ConsumerId(7),
};

/// A queue with `count` committed messages in one batch and the default subscription; the end of the log is 4.
pub(super) fn filled(count: u32) -> Node {
    let mut node = Node::new();
    node.fill("q", count);
    node.request(alice(99), dequeue("q", 1, 1_000));
    node.step(Input::Disconnected {
        connection: ConnectionId(1),
    });
    node.durable();
    node
}

/// How many messages each delivery of a turn has, and to whom.
pub(super) fn served(outputs: &[Output]) -> Vec<(DeliverTo, u32)> {
    let list = deliveries(outputs);
    list.iter()
        .map(|each| (each.to, each.runs.iter().map(|run| run.count).sum()))
        .collect()
}
