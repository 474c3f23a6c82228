//! The script: client operations drawn from the seed, run once over a disk that records.

use std::collections::BTreeMap;
use std::time::Duration;

use corelane_wire::{
    ConsumerId, Dequeue, Extend, Fate, Lane, Nack, Offset, Peek, ProducerId, Reject, Request,
    Sequence, Subscribe, Timestamp,
};

use super::client::{Asked, Client, Fact};
use super::driver::{Fault, shared};
use super::harm::Verdict;
use super::machine::{Machine, open};
use super::setup::{FLEETING, QUEUES, SUBSCRIPTIONS, Setup};
use super::written::Written;
use crate::sim::checker::{Token, Verb};
use crate::sim::clock::WALL_AT_BEGIN;
use crate::sim::disk::{Disk, Moment};
use crate::sim::driver::lock;
use crate::sim::random::{Concern, Random};
use crate::sim::swarm::DiskFaults;

/// What a script left.
pub(super) struct Played {
    /// Every change of the disk, in order, and its end.
    pub(super) moments: Vec<Moment>,
    pub(super) last: Disk,
    /// What clients were told, each with the number of changes before.
    pub(super) facts: Vec<(usize, Fact)>,
    /// Every record that was handed to the disk, by its lsn.
    pub(super) written: Vec<Written>,
    /// Hashes of the live state, by the end of the log.
    pub(super) hashes: BTreeMap<u64, u64>,
    /// Operations of the disk that the node asked for.
    pub(super) calls: u64,
    /// Node time at the end.
    pub(super) now: Timestamp,
}

/// Plays the script of a setup; one operation of the disk may fail.
pub(super) fn play(setup: &Setup, fault: Option<Fault>) -> Verdict<Played> {
    let mut disk = Disk::new(setup.seed, DiskFaults::default());
    disk.record();
    let disk = shared(disk);
    let opened = open(&disk, setup)?;
    let mut machine = Machine::new(&disk, setup, opened, Timestamp(WALL_AT_BEGIN));
    machine.driver().written = Some(Vec::new());
    machine.driver().fault = fault;
    let client = machine.connect()?;
    let mut actor = Actor {
        setup,
        random: Random::stream(setup.seed, Concern::Client(0)),
        client,
        tokens: 0,
        sequences: BTreeMap::new(),
        consumers: 0,
    };
    for _ in 0..setup.operations {
        actor.act(&mut machine)?;
    }
    machine.rest(&mut actor.client)?;
    machine.note_hash();
    let calls = machine.driver().calls;
    let written = machine.driver().written.take().unwrap_or_default();
    let (facts, hashes, now) = (machine.facts, machine.hashes, machine.now);
    let mut disk = lock(&disk);
    Ok(Played {
        moments: disk.take_tape(),
        last: disk.snapshot(),
        facts,
        written,
        hashes,
        calls,
        now,
    })
}

/// Who acts.
struct Actor<'a> {
    setup: &'a Setup,
    random: Random,
    client: Client,
    tokens: Token,
    sequences: BTreeMap<usize, u64>,
    consumers: u32,
}

impl Actor<'_> {
    /// One operation, and often some turns after it; what is asked for without a turn between is one frame to the node.
    fn act(&mut self, machine: &mut Machine) -> Verdict {
        let queue = self.random.index(QUEUES.len());
        // Half of the scripts pile messages up; in the others consumers keep up, so that segments become free.
        let piles_up = self.setup.piles_up;
        match self.random.below(100) {
            0..=26 => self.enqueue(queue),
            27..=39 if piles_up => self.enqueue(queue),
            27..=52 => self.dequeue(queue),
            53..=57 => self.subscribe(queue),
            58..=60 => self.credit(),
            61..=76 if piles_up => self.settle(Verb::Ack),
            61..=76 => self.settle_all(),
            77..=82 => self.settle(Verb::Nack),
            83 => self.settle(Verb::Reject),
            84..=85 => self.settle(Verb::Extend),
            86..=87 => self.peek(queue),
            88..=89 => self.create(),
            90..=91 => self.delete(),
            92..=93 => return self.reconnect(machine),
            94..=96 if !piles_up => return self.drain(machine),
            94..=96 => return self.pass(machine, Duration::from_millis(7)),
            _ => {
                let seconds = self.random.between(1, 12);
                return self.pass(machine, Duration::from_secs(seconds));
            }
        }
        if self.random.one_in(3) {
            return Ok(());
        }
        self.work(machine)
    }

    /// A few turns of the node, seldom until it rests.
    fn work(&mut self, machine: &mut Machine) -> Verdict {
        if self.client.is_over || !machine.send(&mut self.client) {
            self.client = machine.connect()?;
            return Ok(());
        }
        for _ in 0..self.random.between(1, 12) {
            machine.turn_for(&mut self.client)?;
        }
        machine.note_hash();
        Ok(())
    }

    /// Time passes.
    fn pass(&mut self, machine: &mut Machine, time: Duration) -> Verdict {
        self.work(machine)?;
        machine.now = machine.now.add(time);
        machine.rest(&mut self.client)
    }

    /// The session ends, unless its leases are held on to: nobody resumes it.
    fn reconnect(&mut self, machine: &mut Machine) -> Verdict {
        self.work(machine)?;
        let socket = self.client.socket;
        machine.driver().hang_up(socket);
        self.client = machine.connect()?;
        self.work(machine)
    }

    fn enqueue(&mut self, queue: usize) {
        let count = self.random.pick(&[1, 1, 1, 3, 5]);
        let messages: Vec<(Token, usize)> = (0..count)
            .map(|_| {
                self.tokens += 1;
                let bytes = self.random.skewed(12, self.setup.body_bytes_max);
                (self.tokens, bytes as usize)
            })
            .collect();
        // Retries of the fleeting queue's producers would be refused after its deletion.
        let producer = if queue == FLEETING || self.random.one_in(3) {
            (ProducerId::NONE, Sequence(0))
        } else {
            let sequence = self.sequences.entry(queue).or_default();
            *sequence += 1;
            (ProducerId(7), Sequence(*sequence - 1))
        };
        self.client.enqueue(queue, &messages, producer);
    }

    fn subscription(&mut self) -> usize {
        usize::from(self.setup.piles_up && self.random.one_in(4))
    }

    fn lease_ms(&mut self) -> u32 {
        self.random.pick(&[1_000, 5_000, 60_000])
    }

    fn dequeue(&mut self, queue: usize) {
        let subscription = self.subscription();
        let count = self.random.skewed(1, 12) as u32;
        self.take(queue, subscription, count);
    }

    fn take(&mut self, queue: usize, subscription: usize, count: u32) {
        let of = (queue, subscription);
        let request = Request::Dequeue(Dequeue {
            queue: QUEUES[queue],
            lane: Lane(0),
            subscription: SUBSCRIPTIONS[subscription],
            count,
            lease_ms: self.lease_ms(),
            wait_ms: 0,
        });
        self.client.ask(&request, Asked::Dequeue(of));
    }

    fn subscribe(&mut self, queue: usize) {
        if self.client.consumers.len() >= 4 {
            return;
        }
        self.consumers += 1;
        let (consumer, of) = (self.consumers, (queue, self.subscription()));
        let request = Request::Subscribe(Subscribe {
            queue: QUEUES[queue],
            lane: Lane(0),
            subscription: SUBSCRIPTIONS[of.1],
            consumer: ConsumerId(consumer),
            credit: self.random.below(8) as u32,
            lease_ms: self.lease_ms(),
        });
        self.client.consumers.insert(consumer, of);
        self.client.ask(&request, Asked::Other);
    }

    fn credit(&mut self) {
        let consumers: Vec<u32> = self.client.consumers.keys().copied().collect();
        if consumers.is_empty() {
            return;
        }
        let request = Request::Credit {
            consumer: ConsumerId(self.random.pick(&consumers)),
            credit: self.random.below(12) as u32,
        };
        self.client.ask(&request, Asked::Other);
    }

    fn settle(&mut self, verb: Verb) {
        let Some(held) = self.client.held.pop_front() else {
            return;
        };
        let lease_ms = self.lease_ms();
        let delay_ms = self.random.pick(&[0, 0, 40, 3_000]);
        let count_attempt = self.random.one_in(2);
        let fate = self.random.pick(&[Fate::Retry, Fate::Dead, Fate::Park]);
        let text = "why";
        self.client.settle(held, verb, |settle| match verb {
            Verb::Ack => Request::Ack(settle),
            Verb::Nack => Request::Nack(Nack {
                settle,
                delay_ms,
                count_attempt,
            }),
            Verb::Reject => Request::Reject(Reject { settle, fate, text }),
            Verb::Extend => Request::Extend(Extend { settle, lease_ms }),
        });
        if verb == Verb::Extend {
            self.client.held.push_back(held);
        }
    }

    /// Takes what is ready in all queues, and acks it.
    fn drain(&mut self, machine: &mut Machine) -> Verdict {
        for queue in 0..QUEUES.len() {
            self.take(queue, 0, 1_000);
        }
        self.work(machine)?;
        machine.rest(&mut self.client)?;
        self.settle_all();
        self.pass(machine, Duration::from_millis(7))
    }

    /// Acks everything that is held.
    fn settle_all(&mut self) {
        while !self.client.held.is_empty() {
            self.settle(Verb::Ack);
        }
    }

    fn peek(&mut self, queue: usize) {
        let request = Request::Peek(Peek {
            queue: QUEUES[queue],
            lane: Lane(0),
            from: Offset(0),
            count: self.random.skewed(1, 40) as u32,
        });
        self.client.ask(&request, Asked::Peek { queue });
    }

    fn create(&mut self) {
        let request = Request::QueueCreate {
            queue: QUEUES[FLEETING],
            lanes: 1,
        };
        self.client.ask(&request, Asked::Create { queue: FLEETING });
    }

    fn delete(&mut self) {
        let request = Request::QueueDelete {
            queue: QUEUES[FLEETING],
        };
        self.client.ask(&request, Asked::Delete { queue: FLEETING });
    }
}
