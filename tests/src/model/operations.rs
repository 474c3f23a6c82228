//! What is done to both sides: drawn from a seed, and from what there is to be done.

use corelane_core::Limits;
use corelane_wire::message::{CLASS_DURABLE, CLASS_MEMORY};
use corelane_wire::{
    ConsumerId, Dequeue, Fate, Lane, Offset, OffsetRange, PartitionId, Peek, QueueList, Request,
    Subscribe,
};

use super::node::StartFrom;
use super::reference::Status;
use super::side_by_side::{Held, Pair};
use crate::sim::random::{Concern, Random};

/// One of the 500.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// What needs no more than its names and numbers.
    Ask(Request<'static>),
    Enqueue {
        queue: &'static str,
        batch: Drawn,
    },
    Settle {
        entries: Vec<Held>,
        how: How,
    },
    Reschedule {
        queue: &'static str,
        /// When they are due from now on, if they are not to be cancelled.
        due_ms: Option<u64>,
        ranges: Vec<OffsetRange>,
    },
    TurnEnd,
    Commit {
        end: u64,
    },
    Pass {
        to: u64,
    },
    Disconnect,
    Resume,
    Writable {
        is_writable: bool,
    },
    GiveOut {
        is_allowed: bool,
    },
    Cut,
    Publish,
    Segment {
        base: u64,
    },
    Load,
    Relocate {
        below: u64,
    },
    Move {
        bytes: u64,
    },
    Fetched {
        is_read: bool,
    },
    Crash {
        end: u64,
        wall: u64,
        from: StartFrom,
        is_read_only: bool,
    },
    Poison,
}

/// A batch that is to be built.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) producer: u128,
    pub(super) sequence: u64,
    pub(super) class: u8,
    /// When each message is due, and its key.
    pub(super) messages: Vec<(Option<u64>, Option<&'static [u8]>)>,
}

/// What a client wants done with messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    Ack,
    Nack { delay_ms: u64, is_counted: bool },
    Reject { fate: Fate, text: &'static str },
    Extend { lease_ms: u32 },
}

/// What a seed draws: how often each kind of operation comes, and what follows one.
#[derive(Debug)]
pub(super) struct Mood {
    pub(super) random: Random,
    weights: Vec<(Kind, u64)>,
    /// In percent.
    turn_ends: u64,
    commits: u64,
    /// Few chunks are read at a time. Nobody can tell then which queue waits for one, nor, with a single active consumer, for
    /// what its dequeues wait; so there is none.
    pub(super) has_few_loads: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Enqueue,
    Dequeue,
    Consume,
    Settle,
    TurnEnd,
    Commit,
    Pass,
    Connection,
    Look,
    Queue,
    Schedule,
    Life,
    Aside,
    Checkpoint,
    Load,
    Relocate,
    Crash,
    Poison,
}

impl Mood {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::stream(seed, Concern::Swarm);
        let weigh = |&(kind, usual): &(Kind, u64)| (kind, usual * random.pick(&[1, 2, 2, 2, 3, 4]));
        let weights = USUAL.iter().map(weigh).collect();
        Self {
            weights,
            turn_ends: random.pick(&[20, 50, 80, 100]),
            commits: random.pick(&[10, 50, 80, 100]),
            has_few_loads: random.one_in(4),
            random: Random::stream(seed, Concern::Schedule),
        }
    }

    /// Most seeds keep little in memory, so that much is read back.
    pub(super) fn limits(&mut self) -> Limits {
        let usual = Limits {
            queues_max: 2,
            subscriptions_max: 3,
            waiters_max: 12,
            consumers_per_connection_max: 3,
            loads_max: if self.has_few_loads { 1 } else { 64 },
            turn_deliveries_max: self.random.pick(&[1_024, 1_024, 1, 3]),
            ..Limits::default()
        };
        if self.random.one_in(4) {
            return usual;
        }
        Limits {
            stretch_runs_max: self.random.pick(&[4, 6, 12]),
            runs_loaded_max: self.random.pick(&[4, 8, 16]),
            ..usual
        }
    }

    /// Whether the turn ends behind an operation, and whether everything is committed then.
    pub(super) fn follows(&mut self) -> (bool, bool) {
        let turn_ends = self.random.below(100) < self.turn_ends;
        (turn_ends, self.random.below(100) < self.commits)
    }

    pub(super) fn draw(&mut self, pair: &Pair) -> Operation {
        let is_over = matches!(pair.model.status, Status::Poisoned | Status::ReadOnly);
        if is_over && self.random.one_in(4) {
            return self.crash(pair);
        }
        match self.kind() {
            Kind::Enqueue => self.enqueue(pair),
            Kind::Dequeue => Operation::Ask(Request::Dequeue(Dequeue {
                queue: self.queue(),
                lane: Lane(0),
                subscription: self.subscription(),
                count: self.number(1, 8),
                lease_ms: self.lease_ms(),
                wait_ms: self.random.pick(&[0, 0, 500, 2_000, 30_000]),
            })),
            Kind::Consume => self.consume(),
            Kind::Settle => self.settle(pair),
            Kind::TurnEnd => Operation::TurnEnd,
            Kind::Commit => {
                let end = self.random.between(pair.node.kept, pair.model.end);
                Operation::Commit { end }
            }
            Kind::Pass => self.pass(pair),
            Kind::Connection => self.connection(),
            Kind::Look => Operation::Ask(self.look()),
            Kind::Queue => {
                let queue = self.queue();
                Operation::Ask(match self.random.below(3) {
                    0 => Request::QueueDelete { queue },
                    _ => Request::QueueCreate { queue, lanes: 1 },
                })
            }
            Kind::Schedule => self.reschedule(pair),
            Kind::Life => self.about_subscription(pair, Self::life),
            Kind::Aside => self.about_subscription(pair, Self::aside),
            Kind::Checkpoint => self.checkpoint(pair),
            Kind::Load if !pair.node.fetches.is_empty() && self.random.one_in(2) => {
                Operation::Fetched { is_read: true }
            }
            Kind::Load => Operation::Load,
            Kind::Relocate => self.relocate(pair),
            Kind::Crash => self.crash(pair),
            Kind::Poison => Operation::Poison,
        }
    }

    fn kind(&mut self) -> Kind {
        let all: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.below(all);
        for (kind, weight) in &self.weights {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        Kind::TurnEnd
    }

    /// Sometimes a batch again, or one too early.
    fn enqueue(&mut self, pair: &Pair) -> Operation {
        let (queue, producer) = (self.queue(), u128::from(self.random.below(3)));
        let state = &pair.model.state;
        let known = state
            .find(queue)
            .and_then(|queue| state.producers.get(&(queue, producer)));
        let next = known.map_or(0, |(receipts, _)| receipts.len() as u64);
        let sequence = match self.random.below(8) {
            _ if producer == 0 => 0,
            0 => next.saturating_sub(self.random.between(1, 3)),
            1 => next + self.random.between(1, 2),
            _ => next,
        };
        // The same batch has the same count, mostly.
        let count = match self.random.below(30) {
            _ if producer == 0 => self.random.skewed(1, 8),
            0 => 9,
            _ => 1 + 3 * (sequence % 5 / 2),
        };
        let now = pair.model.log_now() / MILLISECOND;
        let is_later = self.random.one_in(4);
        let messages = (0..count).map(|_| {
            let due_ms = self.due_ms(now).filter(|_| is_later);
            (due_ms, self.random.pick(&KEYS))
        });
        let messages = messages.collect();
        let class = self
            .random
            .pick(&[CLASS_DURABLE, CLASS_DURABLE, CLASS_MEMORY]);
        let batch = Drawn {
            producer,
            sequence,
            class,
            messages,
        };
        Operation::Enqueue { queue, batch }
    }

    fn consume(&mut self) -> Operation {
        let (consumer, credit) = (ConsumerId(self.number(0, 4)), self.number(0, 6));
        Operation::Ask(match self.random.below(6) {
            0..3 => Request::Subscribe(Subscribe {
                queue: self.queue(),
                lane: Lane(0),
                subscription: self.subscription(),
                consumer,
                credit,
                // No two consumers of a session have the same, so that a record tells whose it is.
                lease_ms: self.lease_ms() + consumer.0,
            }),
            3 | 4 => Request::Credit { consumer, credit },
            _ => Request::Unsubscribe { consumer },
        })
    }

    fn connection(&mut self) -> Operation {
        match self.random.below(5) {
            0 => Operation::Disconnect,
            1 => Operation::Resume,
            2 => Operation::GiveOut {
                is_allowed: self.random.one_in(2),
            },
            _ => Operation::Writable {
                is_writable: self.random.one_in(2),
            },
        }
    }

    fn look(&mut self) -> Request<'static> {
        match self.random.below(8) {
            0 | 1 => Request::QueueShow {
                queue: self.queue(),
            },
            2 => Request::QueueList(QueueList {
                partition: PartitionId(0),
                after: "",
                limit: self.number(1, 3),
            }),
            3 | 4 => self.list_scheduled(),
            _ => Request::Peek(Peek {
                queue: self.queue(),
                lane: Lane(0),
                from: Offset(self.random.skewed(1, 200) - 1),
                count: self.number(1, 20),
            }),
        }
    }

    /// Some of what clients got, mostly still held; now and then with a wrong lease or one message too many.
    pub(super) fn settle(&mut self, pair: &Pair) -> Operation {
        let mut entries = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            if pair.held.is_empty() {
                return Operation::TurnEnd;
            }
            let late = self.random.index(pair.held.len().min(8));
            let any = self.random.index(pair.held.len());
            let at = if self.random.one_in(3) {
                any
            } else {
                pair.held.len() - 1 - late
            };
            let mut held = pair.held[at].clone();
            let from = self.random.index(held.offsets.len());
            held.offsets.drain(..from);
            held.offsets
                .truncate(1 + self.random.index(held.offsets.len()));
            held.lease.lsn.0 += u64::from(self.random.one_in(40));
            if self.random.one_in(30) {
                let last = held.offsets.last().copied().unwrap_or_default();
                held.offsets.push(last + 1);
            }
            let first: &Held = entries.first().unwrap_or(&held);
            if (&first.queue, &first.subscription) == (&held.queue, &held.subscription) {
                entries.push(held);
            }
        }
        let how = match self.random.below(13) {
            0..5 => How::Ack,
            5..8 => How::Reject {
                fate: self
                    .random
                    .pick(&[Fate::Retry, Fate::Retry, Fate::Dead, Fate::Park]),
                text: self.random.pick(&["", "no", "not today"]),
            },
            8..11 => How::Nack {
                delay_ms: self.random.pick(&[0, 0, 10, 3_000, 60_000]),
                is_counted: self.random.one_in(2),
            },
            _ => How::Extend {
                lease_ms: self.random.pick(&[1_000, 5_000, 40_000]),
            },
        };
        Operation::Settle { entries, how }
    }

    fn pass(&mut self, pair: &Pair) -> Operation {
        let now = pair.node.now;
        let next = pair.node.engine.next_deadline();
        let to = match self.random.below(40) {
            0 => now + 700_000 * MILLISECOND,
            1..6 => now + self.random.below(12_000) * MILLISECOND,
            6..24 => next.map_or(now, |next| next.0.max(now)),
            _ => now + self.random.below(1_500) * MILLISECOND,
        };
        Operation::Pass { to }
    }

    fn checkpoint(&mut self, pair: &Pair) -> Operation {
        match self.random.below(5) {
            0 | 1 => Operation::Cut,
            2 | 3 => Operation::Publish,
            _ => {
                let base = self.random.between(pair.node.kept, pair.model.end);
                Operation::Segment { base }
            }
        }
    }

    fn relocate(&mut self, pair: &Pair) -> Operation {
        let committed = pair.model.committed;
        match self.random.below(7) {
            0 => Operation::Relocate {
                below: self.random.between(0, committed),
            },
            1 | 2 => Operation::Move {
                bytes: self.random.between(1, 800),
            },
            _ => Operation::Fetched {
                is_read: !self.random.one_in(20),
            },
        }
    }

    /// Everything that is committed survives, and some of the rest.
    fn crash(&mut self, pair: &Pair) -> Operation {
        let now = pair.node.now;
        let wall = match self.random.below(20) {
            0 => now + 25 * 3_600_000 * MILLISECOND,
            1 => now + 3_600_000 * MILLISECOND,
            2 => now - self.random.below(20_000) * MILLISECOND,
            _ => now + self.random.below(9_000) * MILLISECOND,
        };
        let ends = [pair.node.kept, pair.model.end];
        Operation::Crash {
            end: match self.random.below(3) {
                0 => self.random.between(ends[0], ends[1]),
                _ => self.random.pick(&ends),
            },
            wall,
            is_read_only: self.random.one_in(8),
            from: self.random.pick(&[
                StartFrom::Log,
                StartFrom::Checkpoint,
                StartFrom::Checkpoint,
                StartFrom::OlderCheckpoint,
            ]),
        }
    }

    pub(super) fn queue(&mut self) -> &'static str {
        self.random
            .pick(&["a", "a", "a", "a", "a", "a", "b", "b", "b", "c"])
    }

    pub(super) fn subscription(&mut self) -> &'static str {
        self.random
            .pick(&["", "", "default", "other", "other", "third", "fourth"])
    }

    fn lease_ms(&mut self) -> u32 {
        self.random.pick(&[1_000, 2_000, 10_000, 30_000])
    }

    pub(super) fn number(&mut self, low: u32, high: u32) -> u32 {
        u32::try_from(self.random.between(low.into(), high.into())).unwrap_or(high)
    }
}

const USUAL: [(Kind, u64); 18] = [
    (Kind::Enqueue, 50),
    (Kind::Dequeue, 30),
    (Kind::Consume, 16),
    (Kind::Settle, 50),
    (Kind::TurnEnd, 20),
    (Kind::Commit, 20),
    (Kind::Pass, 14),
    (Kind::Connection, 8),
    (Kind::Look, 8),
    (Kind::Queue, 2),
    (Kind::Schedule, 5),
    (Kind::Life, 10),
    (Kind::Aside, 8),
    (Kind::Checkpoint, 10),
    (Kind::Load, 12),
    (Kind::Relocate, 10),
    (Kind::Crash, 2),
    (Kind::Poison, 1),
];
const KEYS: [Option<&[u8]>; 6] = [
    None,
    None,
    Some(b"one"),
    Some(b"one"),
    Some(b"two"),
    Some(b"three"),
];
pub(super) const MILLISECOND: u64 = 1_000_000;
