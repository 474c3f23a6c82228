//! One step of both sides, and whether they agree.

use std::collections::VecDeque;

use corelane_core::{DeliverTo, Delivery, Input, Limits, Output, Reply, Requester, Run};
use corelane_wire::{
    AsideInfo, Correlation, Lane, LeaseId, Offset, OffsetRange, OnSubscription, Request,
    SubscriptionAnswer, SubscriptionVerb, record_kind,
};

use super::coverage::Feature;
use super::node::Node;
use super::peeks::Peeks;
use super::reference::state::Key;
use super::reference::{Answer, Bounds, Expected, Model, Status};

/// The engine and the model.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) model: Model,
    pub(super) node: Node,
    pub(super) peeks: Peeks,
    /// What clients got, settled or not.
    pub(super) held: VecDeque<Held>,
    looks: u64,
}

/// A delivery as a client holds it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) queue: String,
    pub(super) subscription: String,
    pub(super) lease: LeaseId,
    pub(super) offsets: Vec<u64>,
}

impl Pair {
    pub(super) fn new(limits: Limits) -> Self {
        let bounds = Bounds {
            queues: limits.queues_max,
            subscriptions: limits.subscriptions_max,
            waiters: limits.waiters_max,
            consumers_per_connection: limits.consumers_per_connection_max,
        };
        Self {
            model: Model::new(bounds),
            node: Node::new(limits),
            peeks: Peeks::default(),
            held: VecDeque::new(),
            looks: 0,
        }
    }

    /// Both take one input, and must agree in what comes of it.
    pub(super) fn step(&mut self, input: Input<'_>) -> Result<(), String> {
        let outputs = self.node.step(input);
        let queues = self.node.loads.iter().map(|(queue, ..)| queue.0 as usize);
        self.model.loading = queues.collect();
        if let Input::Request {
            from,
            request: Request::Peek(peek),
        } = input
        {
            self.peeks.ask(&self.model, from, &peek);
        }
        let is_peek = |output: &Output| to_whom(output).is_some_and(|to| self.peeks.is_one(to));
        let (peeks, seen): (Vec<Output>, Vec<Output>) = outputs.into_iter().partition(is_peek);
        let mut seen = VecDeque::from(seen);
        let judged = self.judge(&input, &mut seen);
        judged.map_err(|reason| {
            let expected = &self.model.expected;
            format!(
                "{reason}\n  engine, not judged yet: {seen:?}\n  model, not met yet: {expected:?}"
            )
        })?;
        for peek in peeks {
            let judged = self.judge_peek(peek);
            judged.map_err(|reason| format!("peek: {reason}"))?;
        }
        Ok(())
    }

    /// Lets the model do the same, and compares what comes of it.
    fn judge(&mut self, input: &Input<'_>, seen: &mut VecDeque<Output>) -> Result<(), String> {
        let now = self.node.now;
        let model = &mut self.model;
        match *input {
            Input::Start { epoch } => model.start(now, epoch.0),
            // Its answer is judged by itself, whenever it comes.
            Input::Request { from, .. } if self.peeks.is_one(from) => {}
            Input::Request { from, request } => model.request(now, from, request),
            Input::Disconnected { connection } => model.disconnected(connection.0),
            Input::SessionLost { session } => model.session_lost(now, session.0),
            Input::SessionResumed { session } => model.session_resumed(session.0),
            Input::Writable {
                connection,
                writable,
            } => model.writable(connection.0, writable),
            Input::GiveOut { allowed } => model.is_withheld = !allowed,
            Input::Durable { end } => model.durable(end.0),
            Input::Poisoned => model.poisoned(),
            Input::Deadline => self.judge_deadline(seen)?,
            Input::TurnEnd => self.judge_turn_end(seen)?,
            Input::Fetched { .. } => self.judge_relocation(seen)?,
            Input::Loaded { .. } => self.peeks.look_again(&self.model),
            Input::Relocate { .. } | Input::Move { .. } | Input::ReadOnly => {}
        }
        self.take_expected(seen)?;
        match seen.front() {
            Some(_) => Err("unasked: the engine does what nothing asked for".to_owned()),
            None => Ok(()),
        }
    }

    fn judge_deadline(&mut self, seen: &mut VecDeque<Output>) -> Result<(), String> {
        let now = self.node.now;
        self.model.end_of_time(now);
        self.take_expected(seen)?;
        if is_record(seen.front(), record_kind::TICK) {
            self.model.tick(now);
            self.take_expected(seen)?;
        }
        let is_serving = self.model.status == Status::Serving;
        let log_now = self.model.log_now(now);
        match self
            .model
            .state
            .due()
            .filter(|due| is_serving && *due <= log_now)
        {
            Some(due) => Err(format!(
                "time: {due} is due at {log_now}, and nothing is done"
            )),
            None => Ok(()),
        }
    }

    fn judge_turn_end(&mut self, seen: &mut VecDeque<Output>) -> Result<(), String> {
        if self.model.status != Status::Serving {
            return Ok(());
        }
        let now = self.node.now;
        self.model.settle(now);
        self.take_expected(seen)?;
        let mut served: Vec<Key> = Vec::new();
        while is_record(seen.front(), record_kind::LEASE) {
            let Some(Output::Deliver(delivery)) = seen.get(1) else {
                return Err("delivery: a lease without one".to_owned());
            };
            let delivery = delivery.clone();
            let key = self.judge_delivery(&delivery)?;
            self.take_expected(seen)?;
            seen.pop_front();
            served.push(key);
        }
        self.model.end_empty(now);
        self.take_expected(seen)?;
        let deadline = self.node.engine.next_deadline().map(|time| time.0);
        for key in self.model.must_be_served() {
            if !served.contains(&key) {
                return Err(format!(
                    "progress: {key:?} has messages and takers, and nothing is delivered"
                ));
            }
            if deadline != Some(0) {
                return Err(format!(
                    "progress: {key:?} has more to give, and the next turn is not asked for"
                ));
            }
        }
        match self.model.deadline() {
            Some(due) if deadline.is_none_or(|deadline| deadline > due) => Err(format!(
                "time: something is due at {due}, the engine wakes at {deadline:?}"
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn judge_delivery(&mut self, delivery: &Delivery) -> Result<Key, String> {
        let delivered = self.model.deliver(self.node.now, delivery);
        let key = delivered.map_err(|reason| format!("delivery: {reason}"))?;
        for run in &delivery.runs {
            if self.node.queue_of(run)? != key.0 {
                return Err(format!("{run:?} is not of queue {}", key.0));
            }
        }
        let queue = &self.model.state.queues[key.0];
        self.held.push_back(Held {
            queue: queue.name.clone(),
            subscription: queue.subscriptions[key.1].name.clone(),
            lease: delivery.lease,
            offsets: delivery.runs.iter().flat_map(offsets).collect(),
        });
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
        Ok(key)
    }

    fn judge_relocation(&mut self, seen: &mut VecDeque<Output>) -> Result<(), String> {
        while let Some(Output::Append { record, .. }) = seen.front()
            && let corelane_core::Record::Relocate {
                queue,
                first,
                count,
                ..
            } = record
        {
            let first = usize::try_from(first.0).map_err(|error| error.to_string())?;
            let messages = first..first + *count as usize;
            let (of, state) = (queue.0 as usize, &self.model.state);
            let is_needed = |offset| state.is_needed(of, offset);
            if state.queues[of].is_deleted || !messages.clone().all(is_needed) {
                return Err(format!(
                    "relocation: {messages:?} of queue {of} are not needed"
                ));
            }
            self.model.relocated(self.node.now);
            self.model.meet_all(queue.0 as usize, Feature::Relocation);
            self.take_expected(seen)?;
        }
        Ok(())
    }

    fn judge_peek(&mut self, output: Output) -> Result<(), String> {
        match output {
            Output::Deliver(delivery) => {
                let Some(to) = to_whom(&Output::Deliver(delivery.clone())) else {
                    return Err("a peek for a consumer".to_owned());
                };
                let mut shown = Vec::new();
                for queue in delivery.runs.iter().map(|run| self.node.queue_of(run)) {
                    self.model.meet_all(queue?, Feature::Peek);
                }
                for run in &delivery.runs {
                    let queue = self.node.queue_of(run)?;
                    shown.extend(offsets(run).map(|offset| (queue, offset)));
                }
                self.peeks.judge_shown(&self.model, to, &shown)
            }
            Output::Reply {
                to,
                reply: Reply::EmptyPeek,
            } => self.peeks.judge_shown(&self.model, to, &[]),
            Output::Reply {
                to,
                reply: Reply::Refused { code, .. },
            } => self.peeks.judge_refused(&self.model, to, code),
            Output::Abandon { to } => {
                self.peeks.abandon(to);
                Ok(())
            }
            Output::Reply { .. }
            | Output::Append { .. }
            | Output::Flush { .. }
            | Output::Load { .. }
            | Output::Fetch { .. } => Err(format!("a peek is answered with {output:?}")),
        }
    }

    /// What the model expects must be there, in this order and before anything else.
    fn take_expected(&mut self, seen: &mut VecDeque<Output>) -> Result<(), String> {
        while let Some(expected) = self.model.expected.pop_front() {
            let found = seen.pop_front().map(Expected::try_from).transpose();
            let found = found.map_err(|other| format!("missing before {other:?}: {expected:?}"))?;
            if found.as_ref() != Some(&expected) {
                return Err(format!(
                    "other than expected\n  engine: {found:?}\n  model: {expected:?}"
                ));
            }
        }
        Ok(())
    }

    /// Both must stand where the other does.
    pub(super) fn compare(&mut self) -> Result<(), String> {
        self.look()?;
        self.compare_sums()
    }

    /// Has every subscription shown; the answers are compared as they leave.
    fn look(&mut self) -> Result<(), String> {
        if self.model.status != Status::Serving {
            return Ok(());
        }
        for (queue, subscription) in self.model.keys() {
            self.looks += 1;
            let from = Requester {
                correlation: Correlation(self.looks),
                ..Requester::default()
            };
            let queue = &self.model.state.queues[queue];
            let (queue, name) = (&queue.name, &queue.subscriptions[subscription].name);
            let (queue, subscription) = (&queue.clone(), &name.clone());
            let request = Request::Subscription(OnSubscription {
                queue,
                lane: Lane(0),
                subscription,
                verb: SubscriptionVerb::Show,
            });
            self.step(Input::Request { from, request })?;
        }
        Ok(())
    }

    fn compare_sums(&self) -> Result<(), String> {
        let (model, stats) = (&self.model, self.node.engine.stats());
        let mut sum = [0; 9];
        let keys = model.keys();
        for key in &keys {
            let counts = model.state.counts(*key);
            let messages = model.state.subscription(*key).messages.len() as u64;
            sum[0] += counts.ready;
            sum[1] += counts.leased;
            sum[2] += counts.delayed;
            sum[3] += counts.dead;
            sum[4] += counts.parked;
            sum[5] += counts.acked;
            sum[6] += counts.purged;
            sum[7] += messages - counts.gone;
        }
        let queues = model.state.queues.iter().filter(|queue| !queue.is_deleted);
        sum[8] = queues
            .map(|queue| (queue.messages.len() - queue.start) as u64)
            .sum();
        let producers = model.state.producers.len();
        let of_model = (
            sum,
            keys.len(),
            producers,
            model.waiters.len(),
            model.consumers.len(),
        );
        let sum = [
            stats.ready,
            stats.leased,
            stats.delayed,
            stats.dead,
            stats.parked,
            stats.acked,
            stats.purged,
            stats.enqueued,
            stats.messages,
        ];
        let of_engine = (
            sum,
            stats.subscriptions,
            stats.producers,
            stats.waiters,
            stats.consumers,
        );
        if of_engine != of_model {
            return Err(format!(
                "counts: ready, leased, delayed, dead, parked, acked, purged, enqueued and kept messages, subscriptions, producers, waiters and consumers differ\n  engine: {of_engine:?}\n  model: {of_model:?}"
            ));
        }
        if stats.unaccounted + stats.expired > 0 {
            return Err(format!(
                "law: {} messages are unaccounted for",
                stats.unaccounted
            ));
        }
        let positions = self.node.engine.positions();
        if (positions.committed.0, positions.end.0) != (model.committed, model.end) {
            return Err(format!(
                "positions: engine {positions:?}, model {}, {}",
                model.committed, model.end
            ));
        }
        match model.last_gated() {
            Some(end) if self.node.flushed < end => Err(format!(
                "flush: an answer waits for {end}, asked for is only {}",
                self.node.flushed
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whom an answer or a delivery that was asked for is for.
fn to_whom(output: &Output) -> Option<Requester> {
    match output {
        Output::Reply { to, .. } | Output::Abandon { to } => Some(*to),
        Output::Deliver(delivery) => match delivery.to {
            DeliverTo::Dequeue(to) | DeliverTo::Peek(to) => Some(to),
            DeliverTo::Consumer { .. } => None,
        },
        Output::Append { .. }
        | Output::Flush { .. }
        | Output::Load { .. }
        | Output::Fetch { .. } => None,
    }
}

impl TryFrom<Output> for Expected {
    type Error = Output;

    fn try_from(output: Output) -> Result<Self, Output> {
        match output {
            Output::Append { lsn, time, record } => Ok(Self::Record {
                lsn: lsn.0,
                time: time.0,
                kind: record.kind(),
            }),
            Output::Reply { to, reply } => Ok(Self::Answer(to, reply.into())),
            Output::Abandon { to } => Ok(Self::Abandon(to)),
            Output::Deliver(_)
            | Output::Flush { .. }
            | Output::Load { .. }
            | Output::Fetch { .. } => Err(output),
        }
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Receipt(receipt) => Self::Receipt(receipt),
            Reply::Empty | Reply::EmptyPeek => Self::Empty,
            Reply::Subscribed => Self::Subscribed,
            Reply::CreditSet => Self::CreditSet,
            Reply::Unsubscribed => Self::Unsubscribed,
            Reply::Settled(settled) => {
                let each = settled.into_iter().flat_map(|row| {
                    (row.range.first.0..row.range.end().0).map(move |at| (at, row.outcome))
                });
                Self::Settled(each.collect())
            }
            Reply::QueueCreated { created } => Self::QueueCreated(created),
            Reply::QueueList { queues, more } => Self::QueueList(queues, more),
            Reply::Queue(info) => Self::Queue(*info),
            Reply::QueueDeleted => Self::QueueDeleted,
            Reply::Refused { code, .. } => Self::Refused(code),
            Reply::Subscription(answer) => {
                if let SubscriptionAnswer::AsideList { rows, more } = &*answer {
                    Self::Aside(rows.iter().flat_map(each).collect(), *more)
                } else {
                    Self::Subscription(*answer)
                }
            }
        }
    }
}

fn is_record(output: Option<&Output>, kind: u8) -> bool {
    matches!(output, Some(Output::Append { record, .. }) if record.kind() == kind)
}

fn offsets(run: &Run) -> impl Iterator<Item = u64> + use<> {
    let Offset(first) = run.first;
    first..first + u64::from(run.count)
}

/// The messages of a row, each by itself.
fn each(row: &AsideInfo) -> impl Iterator<Item = AsideInfo> + use<'_> {
    let offsets = row.range.first.0..row.range.end().0;
    offsets.map(|offset| AsideInfo {
        range: OffsetRange {
            first: Offset(offset),
            count: 1,
        },
        ..row.clone()
    })
}

/// A client remembers so many deliveries.
const HELD_MAX: usize = 64;
