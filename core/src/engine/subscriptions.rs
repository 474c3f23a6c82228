//! Requests about one subscription as a whole.

use std::collections::VecDeque;

use corelane_wire::limits::{LIST_BYTES_MAX, RETURN_MAX};
use corelane_wire::{
    Aside, AsideInfo, Contract, ErrorCode, Offset, OffsetRange, OnSubscription, Start,
    SubscriptionAnswer, SubscriptionConfig, SubscriptionDetail, SubscriptionVerb, Timestamp,
    is_ephemeral,
};

use super::ephemeral::{check_ephemeral, check_ephemeral_verb};
use super::request::{Refusal, subscription_name};
use super::{Engine, Output, Reply, Requester};
use crate::ids::QueueId;
use crate::record::{Change, Record};
use crate::state::{Queue, Subscription, SubscriptionKey};

impl Engine {
    /// A client asks something about one subscription.
    pub(super) fn on_subscription(
        &mut self,
        now: Timestamp,
        from: Requester,
        on: &OnSubscription<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let answer = if let SubscriptionVerb::Create { start, config } = on.verb {
            let answer = self.create_or_match(now, on, (start, config), outputs)?;
            let (key, _) = self.find_subscription(on.queue, on.subscription)?;
            self.ephemerals.enter(from.connection, key, true);
            answer
        } else {
            let (key, _) = self.find_subscription(on.queue, on.subscription)?;
            self.ask_subscription(now, key, on.verb, outputs)?
        };
        self.reply(from, Reply::Subscription(Box::new(answer)), outputs);
        Ok(())
    }

    fn create_or_match(
        &mut self,
        now: Timestamp,
        on: &OnSubscription<'_>,
        (start, config): (Option<Start>, SubscriptionConfig),
        outputs: &mut VecDeque<Output>,
    ) -> Result<SubscriptionAnswer, Refusal> {
        match self.find_subscription(on.queue, on.subscription) {
            Ok((_, subscription)) if subscription.config == config => {
                return Ok(SubscriptionAnswer::Created { created: false });
            }
            Ok((_, subscription)) => {
                let name = &subscription.name;
                let text = format!("subscription {name} exists with another configuration");
                return Err((ErrorCode::SubscriptionExists, text));
            }
            Err((ErrorCode::SubscriptionNotFound | ErrorCode::QueueNotFound, _)) => {}
            Err(refusal) => return Err(refusal),
        }
        let names = (on.queue, on.subscription);
        self.check_config(None, &config)?;
        if is_ephemeral(on.subscription) {
            check_ephemeral(&config)?;
        }
        let is_broadcast = config.contract == Contract::Broadcast;
        if is_broadcast && !matches!(start, None | Some(Start::Latest)) {
            let text =
                "a broadcast has no start: its consumers get what comes while they are there";
            return Err((ErrorCode::NotSupported, text.to_owned()));
        }
        // Nothing goes because a broadcast begins: where it would be the first one, it begins with what is kept.
        let start = start.filter(|_| !is_broadcast);
        let key = self.create_subscription(now, names, start, outputs)?;
        if config != SubscriptionConfig::default() {
            self.change(now, key, Change::Configure(config), outputs);
        }
        Ok(SubscriptionAnswer::Created { created: true })
    }

    /// Everything that is asked of a subscription that exists.
    fn ask_subscription(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        verb: SubscriptionVerb<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<SubscriptionAnswer, Refusal> {
        if let SubscriptionVerb::Seek { .. }
        | SubscriptionVerb::Purge { .. }
        | SubscriptionVerb::Return { .. }
        | SubscriptionVerb::DeadLetters { .. } = verb
        {
            self.check_kept_for(key)?;
        }
        if key.1.is_ephemeral() {
            check_ephemeral_verb(verb)?;
        }
        let (change, answer) = match verb {
            SubscriptionVerb::Create { .. } | SubscriptionVerb::Show => {
                return Ok(SubscriptionAnswer::Shown(Box::new(self.detail(key))));
            }
            SubscriptionVerb::ListAside { aside, from, limit } => {
                return Ok(self.list_aside(key, aside, (from, limit)));
            }
            SubscriptionVerb::Return {
                aside,
                first,
                end,
                max,
            } => return Ok(self.return_aside(now, key, (aside, first, end, max), outputs)),
            SubscriptionVerb::Purge { states } => {
                let before = self.state_of(key).counts.purged;
                self.change(now, key, Change::Purge(states), outputs);
                let count = self.state_of(key).counts.purged - before;
                return Ok(SubscriptionAnswer::Purged { count });
            }
            SubscriptionVerb::Configure { config } => {
                self.check_config(Some(key), &config)?;
                (Change::Configure(config), SubscriptionAnswer::Configured)
            }
            SubscriptionVerb::Pause { reason } => {
                let reason = Some(reason.into());
                (Change::Pause { reason }, SubscriptionAnswer::Paused)
            }
            SubscriptionVerb::Resume => {
                (Change::Pause { reason: None }, SubscriptionAnswer::Resumed)
            }
            SubscriptionVerb::Seek { start } => {
                let at = self.resolve(key.0, start)?;
                (Change::Seek { from: at }, SubscriptionAnswer::Sought { at })
            }
            SubscriptionVerb::Delete => (Change::Unsubscribe, SubscriptionAnswer::Deleted),
            SubscriptionVerb::DeadLetters { change } => {
                return self.dead_letters(now, key, change, outputs);
            }
            SubscriptionVerb::Checkpoint { offset } => {
                return self.checkpoint(now, key, offset, outputs);
            }
        };
        self.change(now, key, change, outputs);
        if verb == SubscriptionVerb::Delete {
            self.forget_subscription(key, outputs);
        }
        if matches!(verb, SubscriptionVerb::Seek { .. }) || !self.is_reader(key) {
            self.restart_reader(key);
        } else {
            self.end_dequeues(key, outputs);
        }
        // Its bounds may be others now.
        self.demand.activate(key);
        Ok(answer)
    }

    pub(super) fn change(
        &mut self,
        now: Timestamp,
        (queue, subscription): SubscriptionKey,
        change: Change,
        outputs: &mut VecDeque<Output>,
    ) {
        self.keys.change((queue, subscription), &change);
        let record = Record::Change {
            queue,
            subscription,
            change,
        };
        self.append(now, record, outputs);
        // Its bounds may be others now, or what it knows of its keys.
        self.demand.activate((queue, subscription));
    }

    /// Nothing is known of a subscription that has gone: dequeues that wait are told, consumers vanish.
    pub(super) fn forget_subscription(
        &mut self,
        key: SubscriptionKey,
        outputs: &mut VecDeque<Output>,
    ) {
        self.throttle.forget(|of| of == key);
        self.readers.forget_where(|of| of == key);
        self.missed.forget(|of| of == key);
        self.ephemerals.forget(|of| of == key);
        self.ephemerals.state.drop_if_unused(key.0);
        for waiting in self.demand.forget_subscription(key) {
            let code = ErrorCode::SubscriptionNotFound;
            let text = "the subscription was deleted".to_owned();
            self.reply(waiting, Reply::Refused { code, text }, outputs);
        }
    }

    /// The queue and subscription of these names; makes what is missing.
    pub(super) fn ensure_subscription(
        &mut self,
        now: Timestamp,
        (queue, name): (&str, &str),
        outputs: &mut VecDeque<Output>,
    ) -> Result<SubscriptionKey, Refusal> {
        if let Some(id) = self.state.queues.find(queue)
            && let Some(key) = self.find_key(id, subscription_name(name))
        {
            return Ok(key);
        }
        self.create_subscription(now, (queue, name), None, outputs)
    }

    /// Makes a subscription, and its queue if there is none. By default the first one of a queue begins at its first
    /// message, later ones behind its last.
    fn create_subscription(
        &mut self,
        now: Timestamp,
        (queue_name, name): (&str, &str),
        start: Option<Start>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<SubscriptionKey, Refusal> {
        let found = self.state.queues.find(queue_name);
        let of_queue = found.and_then(|id| self.state.queues.get(id));
        let siblings = of_queue.map_or(0, |queue| queue.subscriptions.len());
        let broadcasts = of_queue.map_or(0, |queue| queue.broadcasts.len());
        // The numbers of ephemeral ones are not for others.
        let is_used_up = of_queue.is_some_and(|queue| queue.next_subscription.is_ephemeral());
        let ephemerals = found.map_or(0, |id| self.ephemerals.in_queue(id).len());
        let limits = &self.limits;
        if siblings + broadcasts + ephemerals >= limits.subscriptions_max
            || is_used_up
            || self.state.counts.subscriptions + self.ephemerals.len()
                >= limits.subscriptions_total_max
        {
            return Err((
                ErrorCode::LimitExceeded,
                format!(
                    "at most {} subscriptions of a queue, {} of a partition",
                    limits.subscriptions_max, limits.subscriptions_total_max
                ),
            ));
        }
        let start = start.unwrap_or_else(|| match siblings {
            0 if !is_ephemeral(name) => Start::Earliest,
            _ => Start::Latest,
        });
        let (id, from) = if let Some(id) = found {
            (id, self.resolve(id, start)?)
        } else {
            // A queue that is made has no message yet.
            let from = resolve_in(start, Offset(0), Offset(0))?;
            (self.create_queue(now, queue_name, outputs)?, from)
        };
        if is_ephemeral(name) {
            return self.begin_ephemeral(now, id, name, from);
        }
        let queue = self.state.queues.get(id);
        let subscription = queue
            .map(|queue| queue.next_subscription)
            .expect("the queue was found or created in this step");
        let record = Record::Subscribe {
            queue: id,
            subscription,
            name: subscription_name(name).to_owned(),
            from,
        };
        self.append(now, record, outputs);
        Ok((id, subscription))
    }

    fn resolve(&self, queue: QueueId, start: Start) -> Result<Offset, Refusal> {
        let Some(queue) = self.state.queues.get(queue) else {
            return Ok(Offset(0));
        };
        let from = resolve_in(start, queue.start, queue.end)?;
        let max = self.limits.ranges_max;
        if queue.pieces_from(from, max) >= max {
            let text = format!("what is done behind offset {from} is too scattered to begin there");
            return Err((ErrorCode::Busy, text));
        }
        Ok(from)
    }

    fn list_aside(
        &self,
        key: SubscriptionKey,
        aside: Aside,
        (from, limit): (Offset, u32),
    ) -> SubscriptionAnswer {
        // A row has a count of 32 bits, and a list a bound in bytes.
        let limit = (limit as usize).min(LIST_BYTES_MAX / AsideInfo::BYTES_MAX);
        let subscription = self.subscription(key);
        let rows = subscription.into_iter().flat_map(|subscription| {
            let rows = subscription.aside(aside).within(from, END);
            rows.map(|(first, end, row)| AsideInfo {
                range: OffsetRange {
                    first,
                    count: u32::try_from(end.0 - first.0).unwrap_or(u32::MAX),
                },
                attempts: row.attempts,
                cause: row.cause,
                since: row.since,
                leased: row.leased,
                session: row.session,
                text: row.text.as_ref().to_owned(),
            })
        });
        let mut rows: Vec<_> = rows.take(limit + 1).collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        SubscriptionAnswer::AsideList { rows, more }
    }

    fn return_aside(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        (aside, first, end, max): (Aside, Offset, Offset, u32),
        outputs: &mut VecDeque<Output>,
    ) -> SubscriptionAnswer {
        let mut left = max.min(RETURN_MAX);
        let mut next = end;
        let mut ranges = Vec::new();
        let subscription = self.subscription(key);
        let parts = subscription.into_iter();
        for (first, to, _) in parts.flat_map(|of| of.aside(aside).within(first, end)) {
            if left == 0 {
                next = first;
                break;
            }
            let count = u32::try_from(to.0 - first.0).unwrap_or(u32::MAX).min(left);
            left -= count;
            let range = OffsetRange { first, count };
            ranges.push(range);
            if range.end() < to {
                next = range.end();
                break;
            }
        }
        let count = max.min(RETURN_MAX) - left;
        if count > 0 {
            self.change(now, key, Change::Return { aside, ranges }, outputs);
        }
        SubscriptionAnswer::Returned { count, next }
    }

    fn detail(&self, key: SubscriptionKey) -> SubscriptionDetail {
        let queue = self.state.queues.get(key.0);
        let found = queue.and_then(|queue| Some((queue, self.subscription(key)?)));
        let consumers = self.demand.consumers_in(key);
        let read = self.readers.next(key).unwrap_or_default();
        let detail = found.map(|(queue, of)| SubscriptionDetail {
            consumers,
            missed: self.missed.of(key),
            position: of.cursor.max(read),
            ..detail(queue, of)
        });
        detail.unwrap_or_default()
    }
}

fn detail(queue: &Queue, of: &Subscription) -> SubscriptionDetail {
    let pause = of.pause.as_ref();
    SubscriptionDetail {
        name: of.name.clone(),
        begin: of.begin,
        finished: of.done,
        position: of.cursor,
        config: of.config,
        paused: pause.is_some(),
        pause_reason: pause.map(|pause| pause.reason.clone()).unwrap_or_default(),
        paused_since: pause.map(|pause| pause.since).unwrap_or_default(),
        enqueued: of.enqueued(of.end_of(queue)),
        ready: of.ready(of.end_of(queue)),
        delayed: of.delayed_count,
        leased: of.leased,
        parked: of.parked.count(),
        dead: of.dead_count(),
        done: of.finished.acked,
        expired: of.finished.expired,
        purged: of.finished.purged,
        consumers: 0,
        missed: 0,
    }
}

/// The offset of a start in a queue that keeps the messages from `first` on and ends at `end`.
fn resolve_in(start: Start, first: Offset, end: Offset) -> Result<Offset, Refusal> {
    match start {
        Start::Earliest => Ok(first),
        Start::Latest => Ok(end),
        Start::At(offset) if (first..=end).contains(&offset) => Ok(offset),
        Start::At(offset) => Err((
            ErrorCode::OffsetNotKept,
            format!("offset {offset}: the queue keeps {first} to {end}"),
        )),
    }
}

const END: Offset = Offset(u64::MAX);
