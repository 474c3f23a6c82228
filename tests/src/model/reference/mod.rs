//! The reference model of a partition, written from the manual: what each request is answered with, what may be
//! delivered, and what has to be.
//!
//! What survives a crash is in [`state`]; the rest is here, and goes with the process. Answers wait in the order in
//! which they were given until everything that was decided before them is committed.

pub(super) mod apply;
mod deliver;
mod lives;
mod requests;
mod schedule;
pub(crate) mod state;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use corelane_core::{ConnectionId, DeliverTo, Limits, Reply, Requester};
use corelane_wire::{
    ConsumerId, ErrorCode, LeaseId, Offset, PartitionId, QueueInfo, SettleEntry,
    SubscriptionDetail, SubscriptionInfo, Timestamp, record_kind,
};

use super::coverage::Coverage;
use apply::Settling;
use state::{Key, State, count, millis};

/// A partition as a client could know it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) limits: Limits,
    /// Node time.
    pub(crate) now: u64,
    pub(crate) state: State,
    /// The state before each record that may not be committed, by the record's number.
    history: VecDeque<(u64, State)>,
    /// The number of the next record.
    pub(crate) end: u64,
    pub(crate) committed: u64,
    pub(crate) status: Status,
    /// How far log time stays behind the wall.
    pub(crate) held_back: u64,
    /// The epoch of an empty partition whose Epoch record goes before the first other one.
    epoch_pending: Option<u64>,
    /// What leaves once everything before a record is committed.
    pub(crate) gate: VecDeque<(u64, Expected)>,
    /// In the order of their arrival.
    pub(crate) takers: Vec<Taker>,
    pub(crate) unwritable: BTreeSet<ConnectionId>,
    pub(crate) is_withheld: bool,
    /// Queues of which something is being read.
    pub(crate) loading: BTreeSet<usize>,
    /// Queues of which keys are being read.
    pub(crate) reading: BTreeSet<usize>,
    /// Settlements that wait for the end of the turn.
    turn: Vec<(Requester, Key, Settling, Vec<SettleEntry>)>,
    /// What the rejects of the turn say; those that say the same in a row say it once.
    texts: Vec<String>,
    /// Sessions without a connection, and when they end in log time.
    pub(crate) lost: BTreeMap<u128, u64>,
    /// By how much subscriptions were ahead of their rate, at an instant of node time.
    ahead: BTreeMap<Key, (u64, u64)>,
    /// What the engine has to do in this step, in this order.
    pub(crate) expected: VecDeque<Expected>,
    pub(crate) coverage: Coverage,
    /// The kind of the last record, and the state before it, until it is observed.
    pub(crate) last: Option<(u8, State)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Status {
    /// Until what is below is committed.
    Starting(u64),
    #[default]
    Serving,
    Poisoned,
    /// Later records are damaged.
    ReadOnly,
}

/// Something that leaves the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// Its number, log time and kind.
    Record(u64, u64, u8),
    /// What covers several messages comes message by message.
    Answer(Requester, Reply),
    Given(Given),
    /// It will never be known to be committed.
    Abandon(Box<Self>),
}

/// Messages that were given out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    pub(crate) key: Key,
    /// One of these gets them.
    pub(crate) to: Vec<DeliverTo>,
    /// Whether it is still there for certain.
    pub(crate) is_sure: bool,
    /// For how many milliseconds.
    pub(crate) lease: (LeaseId, u32),
    /// Offset, attempt and when it was enqueued, in order.
    pub(crate) messages: Vec<(u64, u32, u64)>,
}

/// A dequeue that waits, or a consumer.
#[derive(Clone, Debug)]
pub(crate) struct Taker {
    pub(crate) key: Key,
    pub(crate) to: DeliverTo,
    pub(crate) session: u128,
    /// How many messages it wants, or is willing to hold.
    pub(crate) count: u32,
    pub(crate) lease_ms: u32,
    /// Until when a dequeue waits, in node time.
    pub(crate) until: Option<u64>,
    /// Its turn has ended without a message.
    pub(crate) has_waited: bool,
    /// Under which a consumer got messages.
    leases: Vec<LeaseId>,
}

impl Model {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Everything from record `end` on never happened, and what is not in the log is forgotten.
    pub(crate) fn crash(&mut self, end: u64) {
        let before = self.history.iter().find(|(at, _)| *at == end);
        let state = before.map_or(&self.state, |(_, state)| state).clone();
        let coverage = std::mem::take(&mut self.coverage);
        *self = Self {
            state,
            end,
            coverage,
            ..Self::new(self.limits)
        };
    }

    /// The partition begins an epoch.
    pub(crate) fn start(&mut self, epoch: u64) {
        if self.end == 0 {
            self.epoch_pending = Some(epoch);
            return;
        }
        let mut jump = self.now.saturating_sub(self.state.log_time);
        if jump > JUMP_MAX {
            (self.held_back, jump) = (jump, 0);
        }
        let state = self.record(record_kind::EPOCH);
        state.epoch = epoch;
        state.jumps += jump;
        let ends = self.state.log_time + SESSION_GRACE;
        let holders = self.state.holders();
        self.lost = holders.map(|(_, session)| (session, ends)).collect();
        self.status = Status::Starting(self.end);
    }

    /// In place of a start: later records are damaged, so that nothing is appended.
    pub(crate) fn read_only(&mut self) {
        self.status = Status::ReadOnly;
        self.committed = self.end;
    }

    /// Everything below `end` is on the disk.
    pub(crate) fn durable(&mut self, end: u64) {
        if self.status == Status::Poisoned {
            return;
        }
        self.committed = end;
        self.history.retain(|(at, _)| *at >= end);
        if matches!(self.status, Status::Starting(start) if start <= end) {
            self.status = Status::Serving;
        }
        while let Some((_, leaves)) = self.gate.pop_front_if(|(at, _)| *at <= end) {
            self.expected.push_back(leaves);
        }
    }

    /// A write failed: nothing is confirmed any more.
    pub(crate) fn poisoned(&mut self) {
        if self.status == Status::Poisoned {
            return;
        }
        self.status = Status::Poisoned;
        let gated = self.gate.drain(..);
        let abandoned = gated.map(|(_, waits)| Expected::Abandon(Box::new(waits)));
        self.expected.extend(abandoned);
        let waiting = self.takers.drain(..).filter_map(|taker| taker.waiter());
        let settling = self.turn.drain(..).map(|(from, ..)| from);
        let refused = |from| Expected::Answer(from, refused(ErrorCode::Poisoned));
        self.expected.extend(settling.chain(waiting).map(refused));
        self.lost.clear();
    }

    /// Messages that wait to be given to this connection are given to nobody.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId) {
        self.takers.retain(|taker| taker.connection() != connection);
        self.unwritable.remove(&connection);
        self.gate.retain_mut(|(_, waits)| {
            let Expected::Given(given) = waits else {
                return true;
            };
            let others = given.to.len();
            given.to.retain(|to| connection_of(*to) != connection);
            given.is_sure &= given.to.len() == others;
            !given.to.is_empty()
        });
    }

    pub(crate) fn session_lost(&mut self, session: u128) {
        let is_holder = self.state.holders().any(|(_, holder)| holder == session);
        if is_holder && self.status != Status::Poisoned {
            let ends = self.log_now() + SESSION_GRACE;
            self.lost.insert(session, ends);
        }
    }

    pub(crate) fn writable(&mut self, connection: ConnectionId, is_writable: bool) {
        self.unwritable.remove(&connection);
        if !is_writable {
            self.unwritable.insert(connection);
        }
    }

    /// A record that is appended now gets this log time.
    pub(crate) fn log_now(&self) -> u64 {
        self.state
            .log_time
            .max(self.now.saturating_sub(self.held_back))
    }

    fn info(&self, queue: usize) -> QueueInfo {
        let of = &self.state.queues[queue];
        let subscriptions = of.live().map(|(number, subscription)| {
            let detail = self.detail((queue, number));
            let done = subscription.messages.iter().filter(|of| of.is_done());
            SubscriptionInfo {
                name: detail.name,
                ready: detail.ready,
                leased: detail.leased,
                delayed: detail.delayed,
                done: done.count() as u64,
                consumers: detail.consumers,
            }
        });
        QueueInfo {
            name: of.name.clone(),
            partition: PartitionId(0),
            lanes: 1,
            created: Timestamp(of.created),
            start: Offset(of.start as u64),
            end: Offset(of.messages.len() as u64),
            subscriptions: subscriptions.collect(),
        }
    }

    fn detail(&self, key: Key) -> SubscriptionDetail {
        let consumers = self.consumers().filter(|taker| taker.key == key);
        SubscriptionDetail {
            consumers: count(consumers.count()),
            ..self.state.subscription(key).detail()
        }
    }

    pub(crate) fn waiters(&self) -> impl Iterator<Item = &Taker> {
        self.takers.iter().filter(|taker| taker.until.is_some())
    }

    pub(crate) fn consumers(&self) -> impl Iterator<Item = &Taker> {
        self.takers.iter().filter(|taker| taker.until.is_none())
    }

    /// The next record: what is changed from now on is in it.
    pub(crate) fn record(&mut self, kind: u8) -> &mut State {
        if let Some(epoch) = self.epoch_pending.take() {
            self.record(record_kind::EPOCH).epoch = epoch;
        }
        self.observe_record();
        self.last = Some((kind, self.state.clone()));
        self.history.push_back((self.end, self.state.clone()));
        let (lsn, log_time) = (self.end, self.log_now());
        self.expected
            .push_back(Expected::Record(lsn, log_time, kind));
        self.end += 1;
        (self.state.lsn, self.state.log_time, self.state.ended) = (lsn, log_time, None);
        &mut self.state
    }

    fn answer(&mut self, to: Requester, reply: Reply) {
        self.leave(Expected::Answer(to, reply));
    }

    /// Leaves once all that was decided so far is committed.
    fn leave(&mut self, leaves: Expected) {
        if self.end <= self.committed {
            self.expected.push_back(leaves);
        } else {
            self.gate.push_back((self.end, leaves));
        }
    }
}

impl Taker {
    fn connection(&self) -> ConnectionId {
        connection_of(self.to)
    }

    /// Whose dequeue it is, if it is one.
    pub(crate) const fn waiter(&self) -> Option<Requester> {
        match self.to {
            DeliverTo::Dequeue(from) => Some(from),
            DeliverTo::Consumer { .. } | DeliverTo::Peek(_) => None,
        }
    }
}

pub(crate) const fn connection_of(to: DeliverTo) -> ConnectionId {
    match to {
        DeliverTo::Consumer { connection, .. } => connection,
        DeliverTo::Dequeue(from) | DeliverTo::Peek(from) => from.connection,
    }
}

pub(crate) const fn consumer(connection: ConnectionId, consumer: ConsumerId) -> DeliverTo {
    DeliverTo::Consumer {
        connection,
        consumer,
    }
}

const fn refused(code: ErrorCode) -> Reply {
    let text = String::new();
    Reply::Refused { code, text }
}

/// A refusal otherwise.
type Outcome<T> = Result<T, ErrorCode>;

/// A session lives so long after its last connection.
const SESSION_GRACE: u64 = millis(5_000);
/// A longer time while the broker was down is not taken over.
const JUMP_MAX: u64 = millis(24 * 3_600_000);
