//! One step of both sides, and whether they agree.

use std::collections::VecDeque;

use corelane_core::{DeliverTo, Delivery, Input, Limits, Output, Record, Reply, Requester, Run};
use corelane_wire::{
    Contract, Correlation, Lane, LeaseId, Offset, OnSubscription, Request, SubscriptionVerb,
    record_kind,
};

use super::answers::{given_out, is_maybe, is_met};
use super::coverage::Feature;
use super::node::Node;
use super::peeks::Peeks;
use super::reference::state::Key;
use super::reference::{Expected, Given, Model, Status, Taker};

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
        Self {
            model: Model::new(limits),
            node: Node::new(limits),
            peeks: Peeks::default(),
            held: VecDeque::new(),
            looks: 0,
        }
    }

    /// Both take one input, and must agree in what comes of it.
    pub(super) fn step(&mut self, input: Input<'_>) -> Result<(), String> {
        self.model.now = self.node.now;
        let outputs = self.node.step(input);
        let queues = self.node.loads.iter().map(|(queue, ..)| queue.0 as usize);
        self.model.loading = match self.node.loads.len() {
            full if full >= self.model.limits.loads_max => (0..MANY).collect(),
            _ => queues.collect(),
        };
        self.model.reading = self.node.reading().collect();
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
        let model = &mut self.model;
        match *input {
            Input::Start { epoch } => model.start(epoch.0),
            // Its answer is judged by itself, whenever it comes.
            Input::Request { from, .. } if self.peeks.is_one(from) => {}
            Input::Request { from, request } => {
                model.observe_asked(from, &request);
                model.request(from, request);
            }
            Input::Disconnected { connection } => model.disconnected(connection),
            Input::SessionLost { session } => model.session_lost(session.0),
            Input::SessionResumed { session } => drop(model.lost.remove(&session.0)),
            Input::Writable {
                connection,
                writable,
            } => model.writable(connection, writable),
            Input::GiveOut { allowed } => model.is_withheld = !allowed,
            Input::Durable { end } => model.durable(end.0),
            Input::Poisoned => model.poisoned(),
            Input::Deadline => self.judge_deadline(seen)?,
            Input::TurnEnd => self.judge_turn_end(seen)?,
            Input::Fetched { .. } => self.judge_relocation(seen)?,
            Input::Loaded { .. } => self.peeks.look_again(&self.model),
            Input::ReadOnly => model.read_only(),
            Input::Relocate { .. }
            | Input::Move { .. }
            | Input::Define { .. }
            | Input::Beside { .. }
            | Input::LetterAnswered { .. } => {}
        }
        self.take_expected(seen)?;
        self.model.observe_record();
        match seen.front() {
            Some(_) => Err("unasked: the engine does what nothing asked for".to_owned()),
            None => Ok(()),
        }
    }

    fn judge_deadline(&mut self, seen: &mut VecDeque<Output>) -> Result<(), String> {
        let ended = self.ended_waits()?;
        self.model.end_of_time(ended);
        self.take_expected(seen)?;
        if is_record(seen.front(), record_kind::TICK) {
            self.model.tick();
            self.take_expected(seen)?;
        }
        let is_serving = self.model.status == Status::Serving;
        let log_now = self.model.log_now();
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

    /// How many dequeues the engine has ended of those that wait in the model.
    fn ended_waits(&self) -> Result<usize, String> {
        let (waiting, stats) = (self.model.waiters().count(), self.node.engine.stats());
        let ended = waiting.checked_sub(stats.waiters);
        ended.ok_or_else(|| format!("waits: {} dequeues, in the model {waiting}", stats.waiters))
    }

    fn judge_turn_end(&mut self, seen: &mut VecDeque<Output>) -> Result<(), String> {
        if self.model.status != Status::Serving {
            return Ok(());
        }
        self.model.settle();
        self.take_expected(seen)?;
        let served = self.judge_deliveries(seen)?;
        let is_full = served.len() >= self.model.limits.turn_deliveries_max;
        let ended = self.ended_waits()?;
        let ended = self.model.end_empty(ended, is_full);
        self.take_expected(seen)?;
        let deadline = self.node.engine.next_deadline().map(|time| time.0);
        let mut must_be_served = self.model.state.keys();
        let is_ready = |key: Key| !self.model.ready(key).is_empty();
        must_be_served.retain(|key| self.model.is_wanted(*key) && is_ready(*key));
        for key in must_be_served {
            // Behind a dequeue that was told that there is nothing for it there may be another for which there is something.
            let is_later = is_full || ended.contains(&key);
            if !served.contains(&key) && !is_later {
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

    /// Of which subscriptions messages are given out, each as often as it comes.
    fn judge_deliveries(&mut self, seen: &mut VecDeque<Output>) -> Result<Vec<Key>, String> {
        let mut served = Vec::new();
        while let Some(Output::Append { record, .. }) = seen.front()
            && [record_kind::LEASE, record_kind::TAKE].contains(&record.kind())
        {
            let to = match seen.get(1) {
                Some(Output::Deliver(delivery)) => Some(delivery.to),
                Some(_) | None => None,
            };
            let (key, ranges, under) = given_out(record).ok_or("it is one of the two")?;
            let mut takers = self.model.wanting(key);
            takers.retain(|taker| to.is_none_or(|to| to == taker.to));
            let order = self.judge_choice(key, &ranges, under, &mut takers)?;
            let of = self.model.state.subscription(key);
            if to.is_some() != of.is(Contract::Competing) {
                return Err(format!("delivery: {to:?} gets {order:?} at another time"));
            }
            self.model.give(key, (&ranges, order), under, &takers);
            served.push(key);
            self.take_expected(seen)?;
        }
        Ok(served)
    }

    /// Messages are given out `under` a lease of a session for so many milliseconds: they must be the first ones, in this
    /// order, and one of the takers must be meant; the others are taken out.
    fn judge_choice(
        &self,
        key: Key,
        ranges: &[Vec<usize>],
        under: Option<(u128, u32)>,
        takers: &mut Vec<Taker>,
    ) -> Result<Vec<usize>, String> {
        let model = &self.model;
        let mut offsets = ranges.concat();
        takers.retain(|taker| {
            let is_theirs = under.is_none_or(|under| under == (taker.session, taker.lease_ms));
            is_theirs && offsets.len() <= model.room(taker) as usize
        });
        let mut order = model.ready(key);
        order.truncate(offsets.len());
        offsets.sort_unstable_by_key(|at| order.iter().position(|first| first == at));
        let is_right = !model.is_withheld
            && !takers.is_empty()
            && offsets == order
            && ranges.is_sorted()
            && under.is_none() == model.state.subscription(key).is(Contract::AtMostOnce);
        let wrong = || format!("delivery: first are {order:?}, not {offsets:?}, for {takers:?}");
        is_right.then(|| order.clone()).ok_or_else(wrong)
    }

    /// Messages leave: those that were given out, to one of those who may get them.
    fn judge_delivery(&mut self, given: &Given, delivery: &Delivery) -> Result<(), String> {
        let mut messages = Vec::new();
        for run in &delivery.runs {
            if self.node.queue_of(run)? != given.key.0 {
                return Err(format!("{run:?} is not of queue {}", given.key.0));
            }
            messages.extend(offsets(run).map(|at| (at, run.attempt, run.enqueued.0)));
        }
        let is_right = given.to.contains(&delivery.to)
            && given.messages == messages
            && given.lease == (delivery.lease, delivery.lease_ms);
        if !is_right {
            return Err(format!("delivery: {delivery:?}\n  model: {given:?}"));
        }
        let several = delivery.runs.len() > 1;
        self.model.meet_if(several, given.key, Feature::SeveralRuns);
        let queue = &self.model.state.queues[given.key.0];
        self.held.push_back(Held {
            queue: queue.name.clone(),
            subscription: queue.subscriptions[given.key.1].about.name.clone(),
            lease: delivery.lease,
            offsets: messages.into_iter().map(|(at, ..)| at).collect(),
        });
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
        Ok(())
    }

    fn judge_relocation(&mut self, seen: &mut VecDeque<Output>) -> Result<(), String> {
        while let Some(Output::Append { record, .. }) = seen.front()
            && let Record::Relocate {
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
            self.model.record(record_kind::RELOCATE);
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
            | Output::Letter(_)
            | Output::Fetch { .. } => Err(format!("a peek is answered with {output:?}")),
        }
    }

    /// What the model expects must be there, in this order and before anything else.
    fn take_expected(&mut self, seen: &mut VecDeque<Output>) -> Result<(), String> {
        while let Some(expected) = self.model.expected.pop_front() {
            let is_maybe = is_maybe(&expected);
            let is_it = match (&expected, seen.front()) {
                (Expected::Given(given), Some(Output::Deliver(delivery))) => {
                    let judged = self.judge_delivery(given, &delivery.clone());
                    match judged {
                        Err(reason) if !is_maybe => return Err(reason),
                        judged => judged.is_ok(),
                    }
                }
                (expected, Some(output)) => is_met(expected, output),
                (_, None) => false,
            };
            if is_it {
                seen.pop_front();
            } else if !is_maybe {
                let found = seen.front();
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
        if !matches!(self.model.status, Status::Serving | Status::ReadOnly) {
            return Ok(());
        }
        for (queue, subscription) in self.model.state.keys() {
            self.looks += 1;
            let from = Requester {
                correlation: Correlation(self.looks),
                ..Requester::default()
            };
            let queue = &self.model.state.queues[queue];
            let (queue, name) = (&queue.name, &queue.subscriptions[subscription].about.name);
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
        | Output::Letter(_)
        | Output::Fetch { .. } => None,
    }
}

fn is_record(output: Option<&Output>, kind: u8) -> bool {
    matches!(output, Some(Output::Append { record, .. }) if record.kind() == kind)
}

fn offsets(run: &Run) -> impl Iterator<Item = u64> + use<> {
    let Offset(first) = run.first;
    first..first + u64::from(run.count)
}

/// More queues than a seed makes.
const MANY: usize = 1_000;
/// A client remembers so many deliveries.
const HELD_MAX: usize = 64;
