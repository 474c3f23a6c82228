//! Random operations with crashes: live and replayed state are the same, and what clients see keeps the rules C1 to
//! C5 and C7 of the test plan.

mod checks;
mod drain;
mod ephemeral;
mod operations;
mod reading;

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::{
    Batch, Contract, ErrorCode, LeaseId, Lsn, OffsetRange, ProducerId, Receipt, ReturnTo,
    SettleOutcome, SubscriptionConfig, Timestamp,
};

use super::model::Model;
use super::node::*;
use crate::engine::ephemeral::is_unlogged;
use crate::ids::{QueueId, SubscriptionId};
use crate::random::next;
use crate::record::Record;
use crate::{Cut, DeliverTo, Delivery, Input, Limits, Outgoing, Output, Reply, Requester};

const QUEUES: [&str; 2] = ["a", "b"];
const SUBSCRIPTIONS: [&str; 2] = ["default", "other"];
const STEPS: u32 = if cfg!(miri) { 100 } else { 300 };

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        next(&mut self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn small(&mut self, bound: u32) -> u32 {
        u32::try_from(self.below(bound.into())).unwrap()
    }

    fn pick<T: Copy, const N: usize>(&mut self, among: [T; N]) -> T {
        among[usize::try_from(self.below(N as u64)).unwrap()]
    }

    fn name(&mut self, names: [&'static str; 2]) -> &'static str {
        self.pick(names)
    }
}

/// What a client did and must not forget.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Enqueue {
        queue: &'static str,
        producer: ProducerId,
        sequence: u64,
    },
    Ack {
        queue: &'static str,
        subscription: &'static str,
    },
    Other,
}

/// A delivery as a client holds it.
#[derive(Clone, Copy, Debug)]
struct Held {
    queue: &'static str,
    subscription: &'static str,
    lease: LeaseId,
    first: u64,
    count: u32,
}

struct Run {
    random: Random,
    node: Node,
    model: Model,
    epoch: u64,
    correlation: u64,
    with_deletes: bool,
    asked: BTreeMap<u64, Asked>,
    dequeues: BTreeMap<u64, (&'static str, &'static str)>,
    held: Vec<Held>,
    /// C7: receipts by queue, producer and sequence.
    receipts: BTreeMap<(&'static str, ProducerId, u64), OffsetRange>,
    /// C1: ends of the confirmed ranges.
    confirmed: BTreeMap<&'static str, u64>,
    /// C3: offsets whose ack was confirmed.
    acked: BTreeSet<(&'static str, &'static str, u64)>,
    sequences: BTreeMap<(&'static str, ProducerId), u64>,
    /// A cut that is not published yet.
    cut: Option<Cut>,
    /// Chunks that were read back.
    read: u32,
    /// What was enqueued, and when.
    messages: BTreeMap<(QueueId, u64), (Timestamp, Vec<u8>)>,
    /// Relocate records.
    relocated: u32,
    /// Records that were read for their keys.
    keys_read: u32,
    /// Messages of subscriptions by key that were leased.
    by_key: u32,
    /// Letters without an answer, and the first sending of each.
    letters: Vec<Outgoing>,
    sent: BTreeMap<ProducerId, Outgoing>,
    /// Letters that have arrived.
    forwarded: u32,
    /// Where the consumers of readers stand, and how many messages they got.
    reading: reading::Reading,
    /// What clients of ephemeral subscriptions know.
    beside: ephemeral::Beside,
    /// Leases of messages that waited behind others.
    behind: u32,
    /// Messages that were cancelled or moved.
    rescheduled: u32,
    /// Trim records.
    trimmed: u32,
    /// Messages whose time to live ended, in each subscription, as often as there were more with a step.
    expired: u64,
    /// Subscriptions that were ordered by key at some time: what they passed over is not new.
    by_keys: BTreeSet<(QueueId, SubscriptionId)>,
}

impl Run {
    fn new(seed: u64, with_deletes: bool) -> Self {
        // Small stretches and little memory, so that runs are dropped and read back.
        let limits = Limits {
            stretch_runs_max: 6,
            runs_loaded_max: 8,
            loads_max: 2,
            keys_max: 12,
            ..Limits::default()
        };
        Self {
            random: Random(seed),
            node: Node::with_limits(limits),
            model: Model::default(),
            epoch: 1,
            correlation: 0,
            with_deletes,
            asked: BTreeMap::new(),
            dequeues: BTreeMap::new(),
            held: Vec::new(),
            receipts: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            acked: BTreeSet::new(),
            sequences: BTreeMap::new(),
            cut: None,
            read: 0,
            messages: BTreeMap::new(),
            relocated: 0,
            keys_read: 0,
            by_key: 0,
            letters: Vec::new(),
            sent: BTreeMap::new(),
            forwarded: 0,
            reading: reading::Reading::default(),
            beside: ephemeral::Beside::default(),
            behind: 0,
            rescheduled: 0,
            trimmed: 0,
            expired: 0,
            by_keys: BTreeSet::new(),
        }
    }

    fn requester(&mut self, asked: Asked) -> Requester {
        self.correlation += 1;
        self.asked.insert(self.correlation, asked);
        let connection = 1 + self.random.below(3);
        requester(connection, connection.into(), self.correlation)
    }

    fn step(&mut self, input: Input<'_>) {
        let before = self.node.engine.stats();
        let outputs = self.node.step(input);
        self.take_in(outputs, before.producers);
        let expired = self.node.engine.stats().expired;
        self.expired += expired.saturating_sub(before.expired);
    }

    fn take_in(&mut self, outputs: Vec<Output>, producers: usize) {
        if self.node.engine.stats().producers < producers {
            // A client does not retry for as long as it takes to be forgotten.
            self.receipts.clear();
            self.asked
                .values_mut()
                .for_each(|asked| *asked = Asked::Other);
        }
        for output in outputs {
            match output {
                Output::Append { lsn, time, record } => {
                    assert!(!is_unlogged(&record), "X1: {record:?}");
                    self.check_lease(&record);
                    self.check_keys(&record);
                    self.check_turns(&record);
                    self.note_keys(&record);
                    self.note_rescheduled(&record);
                    self.trimmed += u32::from(matches!(record, Record::Trim { .. }));
                    self.keep_messages(lsn, time, &record);
                    self.model.apply(lsn, time, &record);
                }
                Output::Reply { to, reply } => self.on_reply(to, reply),
                Output::Deliver(delivery) => self.on_delivery(&delivery),
                Output::Flush { end } => assert!(end <= self.node.engine.positions().end),
                Output::Letter(letter) => self.on_letter(*letter),
                Output::Load { .. } | Output::Fetch { .. } | Output::Abandon { .. } => {}
            }
        }
        self.compare_counts();
    }

    fn on_reply(&mut self, to: Requester, reply: Reply) {
        let asked = self.asked.remove(&to.correlation.0);
        if let Reply::Settled(settled) = &reply {
            self.note_beside(to.correlation.0, settled);
        }
        if let Reply::Refused { code, text } = &reply {
            assert_ne!(*code, ErrorCode::Damaged, "nothing is damaged: {text}");
        }
        match (asked, reply) {
            (
                Some(Asked::Enqueue {
                    queue,
                    producer,
                    sequence,
                }),
                Reply::Receipt(Receipt { range, .. }),
            ) => self.on_receipt(queue, producer, sequence, range),
            (
                Some(Asked::Ack {
                    queue,
                    subscription,
                }),
                Reply::Settled(settled),
            ) => {
                for piece in settled {
                    if piece.outcome != SettleOutcome::Stale {
                        let offsets = piece.range.first.0..piece.range.end().0;
                        let keys = offsets.map(|offset| (queue, subscription, offset));
                        self.acked.extend(keys);
                    }
                }
            }
            (Some(_), _) => {}
            (None, reply) => panic!("{to:?} was answered twice: {reply:?}"),
        }
    }

    fn on_receipt(
        &mut self,
        queue: &'static str,
        producer: ProducerId,
        sequence: u64,
        range: OffsetRange,
    ) {
        if self.with_deletes {
            return;
        }
        let committed = self.node.engine.positions().committed;
        let id = self.node.engine.state.queues.find(queue).unwrap();
        let written = self.node.log.iter().find(|(_, _, record)| {
            matches!(record, Record::Enqueue { queue, first, .. } if *queue == id && *first == range.first)
        });
        assert!(
            written.is_some_and(|(lsn, _, _)| *lsn < committed),
            "E3: {range} of {queue} is confirmed but not committed"
        );
        if producer != ProducerId::NONE {
            let first = self.receipts.entry((queue, producer, sequence));
            assert_eq!(*first.or_insert(range), range, "C7: another receipt");
        }
        let end = self.confirmed.entry(queue).or_default();
        *end = (*end).max(range.end().0);
    }

    /// C2 and C5, and that only committed messages are delivered.
    fn on_delivery(&mut self, delivery: &Delivery) {
        let lease = delivery.lease;
        let id = self.node.engine.state.leases.get(lease);
        let key = id.map(|lease| lease.key);
        if let Some(key) = key {
            let messages = &self.model.subscriptions[&key];
            for run in &delivery.runs {
                for offset in run.first.0..run.first.0 + u64::from(run.count) {
                    let message = messages[usize::try_from(offset).unwrap()];
                    assert_eq!(message.attempts, run.attempt, "C5: attempt of {offset}");
                }
            }
        }
        let committed = self.node.engine.positions().committed;
        for run in &delivery.runs {
            assert!(run.lsn < committed, "E3: {run:?} is not committed");
            let (_, _, record) = &self.node.log[usize::try_from(run.lsn.0).unwrap()];
            let (&Record::Enqueue {
                queue,
                first,
                count,
                ..
            }
            | &Record::Relocate {
                queue,
                first,
                count,
                ..
            }) = record
            else {
                panic!("C2: {run:?} was never enqueued");
            };
            assert_eq!(first.0 + u64::from(run.index), run.first.0, "C2");
            assert!(run.index + run.count <= count, "C2");
            let batch = Batch::read(&self.node.batches[&run.lsn]).unwrap();
            for at in 0..run.count {
                let message = batch.messages(run.index + at, 1).unwrap().to_vec();
                let key = (queue, run.first.0 + u64::from(at));
                assert_eq!((run.enqueued, message), self.messages[&key], "C2: {key:?}");
            }
        }
        if self.check_beside(delivery) || self.check_read(delivery) {
            return;
        }
        let (queue, subscription) = match delivery.to {
            DeliverTo::Dequeue(to) => {
                self.asked.remove(&to.correlation.0);
                self.dequeues[&to.correlation.0]
            }
            DeliverTo::Consumer { consumer, .. } => (
                QUEUES[(consumer.0 % 2) as usize],
                SUBSCRIPTIONS[(consumer.0 / 2 % 2) as usize],
            ),
            DeliverTo::Peek(to) => {
                self.asked.remove(&to.correlation.0);
                return;
            }
        };
        for run in &delivery.runs {
            self.held.push(Held {
                queue,
                subscription,
                lease,
                first: run.first.0,
                count: run.count,
            });
        }
    }

    fn random_step(&mut self) {
        match self.random.below(42) {
            38..42 => self.ephemeral(),
            35 => {
                self.letter_read();
                self.letter_answered();
            }
            36 => self.forward_dead(),
            37 => self.configure_queue(),
            32..35 => self.administrate(),
            28 => self.relocate(),
            29 => self.move_some(),
            30 => self.fetched(),
            31 => self.keys_fetched(),
            24 => self.cut(),
            25 => self.publish(),
            26 => self.roll(),
            27 => {
                self.read_one();
                self.keys_fetched();
            }
            0..6 => self.enqueue(),
            6..9 => self.dequeue(),
            9..12 => self.settle(),
            12 => self.consume(),
            13..16 => self.step(Input::TurnEnd),
            16..19 => self.some_durable(),
            19 => self.pass(),
            20 => self.connections(),
            21 => {
                self.look();
                self.reschedule();
            }
            22 => self.forget_or_delete(),
            _ => {
                if self.random.below(6) == 0 {
                    self.crash();
                }
            }
        }
    }

    /// Everything committed and some of the rest survives.
    fn crash(&mut self) {
        self.beside.begin_anew(self.node.engine.stats().missed);
        let engine = replayed(&self.node.log).unwrap();
        assert_eq!(
            engine.state_hash(),
            self.node.engine.state_hash(),
            "live and replayed state differ"
        );
        let positions = self.node.engine.positions();
        let behind = positions.end.0 - positions.committed.0;
        let end = Lsn(positions.committed.0 + self.random.below(behind + 1));
        let wall = self.node.now.0 + self.random.below(20) * 1_000_000_000;
        self.epoch += 1;
        self.cut = None;
        let wall = Timestamp(wall);
        if self.node.chunks.newest().is_some() && self.random.below(4) > 0 {
            self.node.restart_from_checkpoint(end, wall, self.epoch);
            self.check_checkpoints();
        } else {
            self.node.restart(end, wall, self.epoch);
        }
        self.model = Model::of(&self.node.log);
        self.reading.begin_anew();
        let ephemerals = self.node.engine.ephemerals.len();
        assert_eq!(ephemerals, 0, "a crash ends them");
        self.asked.clear();
        self.letters.clear();
        self.compare_counts();
        self.node.durable();
    }

    /// K1: from either checkpoint the log leads to the state that it leads to from its beginning.
    fn check_checkpoints(&self) {
        let log = &self.node.log[..self.node.log.len().saturating_sub(1)];
        let whole = replayed(log).unwrap().state_hash();
        let chunks = &self.node.chunks;
        for from in chunks.newest().into_iter().chain(chunks.older()) {
            let engine = restored(chunks, from, log, self.node.limits);
            assert_eq!(engine.state_hash(), whole, "K1: from {}", from.end);
        }
    }
}

/// Returns how many messages ephemeral subscriptions, and broadcasts, missed, ephemeral ones got, chunks were read back,
/// batches relocated, records read for their keys, messages leased by key, and leases of what waited behind others,
/// messages rescheduled, those that expired, letters that have arrived, and Trim records; and messages that readers and
/// broadcasts got.
fn run(seed: u64, with_deletes: bool) -> [u32; 13] {
    // The seed is the only thing a failure needs to be repeated.
    println!("seed {seed}, with deletes: {with_deletes}");
    let mut run = Run::new(seed, with_deletes);
    let plain = SubscriptionConfig::PLAIN;
    let contract = |contract| SubscriptionConfig { contract, ..plain };
    match seed % 6 {
        0 | 1 => run.create(contract(Contract::KeyOrdered)),
        2 | 3 => run.create(SubscriptionConfig {
            returned: ReturnTo::Back,
            ..plain
        }),
        4 if with_deletes => run.create(contract(Contract::Broadcast)),
        _ => {}
    }
    for _ in 0..STEPS {
        run.random_step();
    }
    if !with_deletes {
        run.drain();
    }
    let engine = replayed(&run.node.log).unwrap();
    assert_eq!(engine.state_hash(), run.node.engine.state_hash());
    let end = run.node.engine.positions().end;
    run.step(Input::Durable { end });
    run.cut();
    run.publish();
    run.crash();
    let heard = u32::try_from(run.reading.heard_messages).unwrap();
    let read = u32::try_from(run.reading.messages).unwrap();
    [
        u32::try_from(run.beside.missed).unwrap(),
        run.beside.delivered,
        run.read,
        run.relocated,
        run.keys_read,
        run.by_key,
        run.behind,
        run.rescheduled,
        u32::try_from(run.expired).unwrap(),
        run.forwarded,
        run.trimmed,
        read,
        heard,
    ]
}

#[test]
fn random_operations_keep_the_promises_and_replay_to_the_same_state() {
    let mut seen = [0; 9];
    for seed in 0..seeds() {
        for (sum, of) in seen.iter_mut().zip(run(seed, false)) {
            *sum += of;
        }
    }
    // Ephemeral subscriptions missed and got messages, runs were dropped from memory, batches relocated, keys read,
    // messages given out by key and behind others, and others rescheduled, and some expired; none dies here.
    assert!(seen.iter().all(|seen| *seen > 0) || cfg!(miri), "{seen:?}");
}

#[test]
fn random_operations_with_deletes_replay_to_the_same_state() {
    let mut seen = [0; 5];
    for seed in 0..seeds() {
        let [.., expired, letters, trims, read, heard] = run(1_000_000 + seed, true);
        for (sum, of) in seen.iter_mut().zip([expired, letters, trims, read, heard]) {
            *sum += of;
        }
    }
    // Messages have expired, letters have arrived, queues were trimmed, and readers and broadcasts got messages.
    assert!(seen.iter().all(|seen| *seen > 0) || cfg!(miri), "{seen:?}");
}

/// More by hand: `CORELANE_CORE_SEEDS=100000 cargo test -p corelane-core random`.
fn seeds() -> u64 {
    const SEEDS: u64 = if cfg!(miri) { 1 } else { 150 };
    let more = std::env::var("CORELANE_CORE_SEEDS").ok();
    more.and_then(|count| count.parse().ok()).unwrap_or(SEEDS)
}
