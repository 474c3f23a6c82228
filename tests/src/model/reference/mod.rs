//! The reference model of a partition, written from the manual: what each request is answered with, what may be
//! delivered, and what has to be.
//!
//! What survives a crash is in [`state`], as facts that are replayed; the rest is here, and goes with the process.
//! Answers wait in the order in which they were given until everything that was decided before them is committed.

mod apply;
mod deliver;
mod lives;
pub(super) mod requests;
pub(crate) mod state;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use corelane_core::Requester;
use corelane_wire::{
    AsideInfo, ErrorCode, PartitionId, QueueInfo, Receipt, SessionId, SettleOutcome,
    SubscriptionAnswer, SubscriptionDetail, SubscriptionInfo, Timestamp, record_kind,
};

use super::coverage::Coverage;
use state::{Fact, Key, Settling, State, millis};

/// How much a partition takes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) queues: usize,
    pub(crate) subscriptions: usize,
    pub(crate) waiters: usize,
    pub(crate) consumers_per_connection: usize,
}

/// A partition as a client could know it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    bounds: Bounds,
    pub(crate) state: State,
    /// What each record says: its number, its log time and its facts.
    log: Vec<(u64, u64, Fact)>,
    /// The number of the next record.
    pub(crate) end: u64,
    pub(crate) committed: u64,
    pub(crate) status: Status,
    /// How far log time stays behind the wall.
    pub(crate) held_back: u64,
    /// The epoch of an empty partition whose Epoch record goes before the first other one.
    epoch_pending: Option<u64>,
    pub(crate) gate: VecDeque<(u64, Requester, Answer)>,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) unwritable: BTreeSet<u64>,
    pub(crate) is_withheld: bool,
    /// Queues of which something is being read.
    pub(crate) loading: BTreeSet<usize>,
    turn: Vec<Collected>,
    /// What the rejects of the turn say; those that say the same in a row say it once.
    texts: Vec<String>,
    /// Sessions without a connection, and when they end in log time.
    pub(crate) lost: BTreeMap<u128, u64>,
    /// What the engine has to do in this step, in this order.
    pub(crate) expected: VecDeque<Expected>,
    pub(crate) coverage: Coverage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Status {
    /// Until what is below is committed.
    Starting(u64),
    #[default]
    Serving,
    Poisoned,
}

/// Something that leaves the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    Record { lsn: u64, time: u64, kind: u8 },
    Answer(Requester, Answer),
    Abandon(Requester),
}

/// What a request is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Receipt(Receipt),
    Empty,
    Subscribed,
    CreditSet,
    Unsubscribed,
    /// Message by message.
    Settled(Vec<(u64, SettleOutcome)>),
    QueueCreated(bool),
    QueueList(Vec<QueueInfo>, bool),
    Queue(QueueInfo),
    QueueDeleted,
    Subscription(SubscriptionAnswer),
    /// Message by message.
    Aside(Vec<AsideInfo>, bool),
    Refused(ErrorCode),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) from: Requester,
    pub(crate) key: Key,
    pub(crate) count: u32,
    pub(crate) lease_ms: u32,
    /// In node time.
    pub(crate) until: u64,
    /// Its turn has ended without a message.
    pub(crate) has_waited: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) connection: u64,
    pub(crate) id: u32,
    pub(crate) session: SessionId,
    pub(crate) key: Key,
    pub(crate) credit: u32,
    pub(crate) lease_ms: u32,
    /// Numbers of the records that gave it messages.
    leases: Vec<u64>,
}

/// A settlement that waits for the end of its turn.
#[derive(Debug)]
struct Collected {
    from: Requester,
    key: Key,
    how: Settling,
    entries: Vec<corelane_wire::SettleEntry>,
}

impl Model {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Everything below `end` is left, and nothing else: the records, and what follows from them.
    pub(crate) fn crash(&mut self, end: u64) {
        let mut log = std::mem::take(&mut self.log);
        log.retain(|(lsn, ..)| *lsn < end);
        let mut after = Self::new(self.bounds);
        for (lsn, time, fact) in &log {
            after.state.apply(*lsn, *time, fact);
        }
        (after.log, after.end) = (log, end);
        after.coverage = std::mem::take(&mut self.coverage);
        *self = after;
    }

    /// The partition begins an epoch.
    pub(crate) fn start(&mut self, now: u64, epoch: u64) {
        if self.end == 0 {
            self.epoch_pending = Some(epoch);
            return;
        }
        let mut jump = now.saturating_sub(self.state.log_time);
        if jump > JUMP_MAX {
            (self.held_back, jump) = (jump, 0);
        }
        self.write(now, record_kind::EPOCH);
        self.note(Fact::Epoch(epoch, jump));
        let ends = self.state.log_time + SESSION_GRACE;
        self.lost = self.held_by().map(|(_, session)| (session, ends)).collect();
        self.status = Status::Starting(self.end);
    }

    /// Everything below `end` is on the disk.
    pub(crate) fn durable(&mut self, end: u64) {
        if self.status == Status::Poisoned {
            return;
        }
        self.committed = end;
        if matches!(self.status, Status::Starting(start) if start <= end) {
            self.status = Status::Serving;
        }
        while let Some((_, to, answer)) = self.gate.pop_front_if(|(at, ..)| *at <= end) {
            self.expected.push_back(Expected::Answer(to, answer));
        }
    }

    /// A write failed: nothing is confirmed any more.
    pub(crate) fn poisoned(&mut self) {
        if self.status == Status::Poisoned {
            return;
        }
        self.status = Status::Poisoned;
        let abandoned = self.gate.drain(..).map(|(_, to, _)| Expected::Abandon(to));
        self.expected.extend(abandoned);
        let settlements = self.turn.drain(..).map(|each| each.from);
        let waiting = self.waiters.drain(..).map(|waiter| waiter.from);
        for from in settlements.chain(waiting) {
            let refused = Answer::Refused(ErrorCode::Poisoned);
            self.expected.push_back(Expected::Answer(from, refused));
        }
        self.consumers.clear();
        self.lost.clear();
    }

    pub(crate) fn disconnected(&mut self, connection: u64) {
        self.waiters
            .retain(|waiter| waiter.from.connection.0 != connection);
        self.consumers
            .retain(|consumer| consumer.connection != connection);
        self.unwritable.remove(&connection);
    }

    pub(crate) fn session_lost(&mut self, now: u64, session: u128) {
        let holds = !self.keys_held_by(session).is_empty();
        if holds && self.status != Status::Poisoned {
            self.lost.insert(session, self.log_now(now) + SESSION_GRACE);
        }
    }

    pub(crate) fn session_resumed(&mut self, session: u128) {
        self.lost.remove(&session);
    }

    pub(crate) fn writable(&mut self, connection: u64, is_writable: bool) {
        if is_writable {
            self.unwritable.remove(&connection);
        } else {
            self.unwritable.insert(connection);
        }
    }

    /// Some messages got another place.
    pub(crate) fn relocated(&mut self, now: u64) {
        self.write(now, record_kind::RELOCATE);
    }

    /// A record that is appended now gets this log time.
    pub(crate) fn log_now(&self, now: u64) -> u64 {
        self.state.log_time.max(now.saturating_sub(self.held_back))
    }

    pub(crate) fn info(&self, queue: usize) -> QueueInfo {
        let of = &self.state.queues[queue];
        let subscriptions = self.keys_of(queue).into_iter().map(|key| {
            let counts = self.state.counts(key);
            SubscriptionInfo {
                name: self.state.subscription(key).name.clone(),
                ready: counts.ready,
                leased: counts.leased,
                delayed: counts.delayed,
                done: counts.acked + counts.purged + counts.gone,
                consumers: self.consumers_of(key),
            }
        });
        QueueInfo {
            name: of.name.clone(),
            partition: PartitionId(0),
            lanes: 1,
            created: Timestamp(of.created),
            start: corelane_wire::Offset(of.start as u64),
            end: corelane_wire::Offset(of.messages.len() as u64),
            subscriptions: subscriptions.collect(),
        }
    }

    /// What there is to know about a subscription, with both sides of the law.
    pub(crate) fn detail(&self, key: Key) -> SubscriptionDetail {
        let of = self.state.subscription(key);
        let counts = self.state.counts(key);
        let finished = of.messages.iter().position(|message| !message.is_done());
        let offset = |at: usize| corelane_wire::Offset(at as u64);
        let pause = of.pause.as_ref();
        SubscriptionDetail {
            name: of.name.clone(),
            begin: offset(of.begin),
            finished: offset(finished.unwrap_or(of.messages.len())),
            position: offset(of.position),
            config: of.config,
            paused: pause.is_some(),
            pause_reason: pause.map(|(reason, _)| reason.clone()).unwrap_or_default(),
            paused_since: Timestamp(pause.map_or(0, |(_, since)| *since)),
            enqueued: of.messages.len() as u64 - counts.gone,
            ready: counts.ready,
            delayed: counts.delayed,
            leased: counts.leased,
            parked: counts.parked,
            dead: counts.dead,
            done: counts.acked,
            expired: 0,
            purged: counts.purged,
            consumers: self.consumers_of(key),
        }
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.state.keys().collect()
    }

    /// How many messages a consumer holds.
    pub(crate) fn held(&self, consumer: &Consumer) -> u32 {
        let (epoch, leases) = (self.state.epoch, &consumer.leases);
        let messages = self.state.messages(consumer.key);
        let held = messages.filter_map(|(_, message)| message.lease());
        let held = held.filter(|lease| lease.epoch.0 == epoch && leases.contains(&lease.lsn.0));
        u32::try_from(held.count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn keys_of(&self, queue: usize) -> Vec<Key> {
        let live = self.state.queues[queue].live();
        live.map(|(number, _)| (queue, number)).collect()
    }

    fn consumers_of(&self, key: Key) -> u32 {
        let consumers = self.consumers.iter().filter(|it| it.key == key);
        u32::try_from(consumers.count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn keys_held_by(&self, session: u128) -> BTreeSet<Key> {
        let held = self.held_by().filter(|(_, holder)| *holder == session);
        held.map(|(key, _)| key).collect()
    }

    /// The session that holds a message, for each that is leased.
    fn held_by(&self) -> impl Iterator<Item = (Key, u128)> {
        let messages = self.state.all_messages();
        let leased = messages.filter_map(|(key, message)| Some((key, message.lease()?)));
        leased.map(|(key, lease)| (key, self.state.holders[&lease].0))
    }

    /// The next record: what is noted from now on is in it.
    fn write(&mut self, now: u64, kind: u8) {
        let time = self.log_now(now);
        if let Some(epoch) = self.epoch_pending.take() {
            self.write_one(time, record_kind::EPOCH);
            self.note(Fact::Epoch(epoch, 0));
        }
        self.write_one(time, kind);
    }

    fn write_one(&mut self, time: u64, kind: u8) {
        let lsn = self.end;
        self.end += 1;
        self.state.log_time = time;
        self.log.push((lsn, time, Fact::Record));
        self.expected
            .push_back(Expected::Record { lsn, time, kind });
    }

    fn note(&mut self, fact: Fact) {
        let (lsn, time) = (self.end - 1, self.state.log_time);
        self.observe_before(&fact);
        self.state.apply(lsn, time, &fact);
        self.observe_after(&fact);
        self.log.push((lsn, time, fact));
    }

    /// Leaves once all that was decided so far is committed.
    fn answer(&mut self, to: Requester, answer: Answer) {
        if self.end <= self.committed {
            self.answer_now(to, answer);
        } else {
            self.gate.push_back((self.end, to, answer));
        }
    }

    fn answer_now(&mut self, to: Requester, answer: Answer) {
        self.expected.push_back(Expected::Answer(to, answer));
    }
}

/// A session lives so long after its last connection.
const SESSION_GRACE: u64 = millis(5_000);
/// A longer time while the broker was down is not taken over.
const JUMP_MAX: u64 = millis(24 * 3_600_000);
