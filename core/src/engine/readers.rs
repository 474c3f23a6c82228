//! Where the consumers of readers stand. Nothing of it is replicated: whoever becomes active reads from the checkpoint on.
//!
//! ```text
//!   read for good |  given out  |  not given out
//!   --------------|-------------|--------------->
//!             checkpoint       next
//! ```

use std::collections::{BTreeMap, VecDeque};

use corelane_wire::{
    Contract, ErrorCode, LeaseId, Offset, OffsetRange, SubscriptionAnswer, SubscriptionConfig,
    Timestamp,
};

use super::broadcast::is_plain;
use super::deliver::Served;
use super::demand::{Serial, Taker};
use super::pack::Pack;
use super::request::Refusal;
use super::{DeliverTo, Delivery, Engine, Output, Reply};
use crate::limits::{LEASE_MESSAGES_MAX, PUSH_BYTES_MAX};
use crate::record::Record;
use crate::state::{Subscription, SubscriptionKey};

/// The active consumers of all readers.
#[derive(Debug, Default)]
pub(super) struct Readers {
    places: BTreeMap<SubscriptionKey, Place>,
}

/// How far a consumer has come.
#[derive(Debug)]
struct Place {
    /// Who is active.
    consumer: Serial,
    /// The next message that it gets.
    next: Offset,
    /// What it got and has not read for good, in order; at most as many messages as its credit.
    given: VecDeque<OffsetRange>,
    given_count: u32,
}

impl Readers {
    /// Where a consumer goes on: where it stands, or at the checkpoint if another one was active.
    fn stand(&mut self, key: SubscriptionKey, consumer: Serial, checkpoint: Offset) -> Offset {
        let at_checkpoint = || Place {
            consumer,
            next: checkpoint,
            given: VecDeque::new(),
            given_count: 0,
        };
        let place = self.places.entry(key).or_insert_with(at_checkpoint);
        if place.consumer != consumer {
            *place = at_checkpoint();
        }
        // What was purged need not be read.
        place.next = place.next.max(checkpoint);
        place.next
    }

    /// The active consumer got messages.
    fn give(&mut self, key: SubscriptionKey, ranges: &[OffsetRange]) {
        let Some(place) = self.places.get_mut(&key) else {
            return;
        };
        for range in ranges {
            place.next = range.end();
            place.given_count += range.count;
            match place.given.back_mut() {
                Some(last) if last.end() == range.first => last.count += range.count,
                Some(_) | None => place.given.push_back(*range),
            }
        }
    }

    /// Everything before the checkpoint is read for good: who got how much of it.
    fn settle(&mut self, key: SubscriptionKey, checkpoint: Offset) -> Option<(Serial, u32)> {
        let place = self.places.get_mut(&key)?;
        let before = place.given_count;
        while let Some(first) = place.given.front_mut()
            && first.first < checkpoint
        {
            let read = checkpoint.min(first.end()).0 - first.first.0;
            let read = u32::try_from(read).expect("a part of a range of 32 bits");
            place.given_count -= read;
            first.first = Offset(first.first.0 + u64::from(read));
            first.count -= read;
            if first.count == 0 {
                place.given.pop_front();
            }
        }
        Some((place.consumer, before - place.given_count))
    }

    /// The end of what was given out since the active consumer is active.
    pub(super) fn next(&self, key: SubscriptionKey) -> Option<Offset> {
        self.places.get(&key).map(|place| place.next)
    }

    /// Messages that were given out and are not read for good.
    pub(super) fn given(&self, key: SubscriptionKey) -> u64 {
        let place = self.places.get(&key);
        place.map_or(0, |place| place.given_count.into())
    }

    /// A subscription begins anew, or has gone: who got how much that it does not hold any more.
    fn forget(&mut self, key: SubscriptionKey) -> Option<(Serial, u32)> {
        let place = self.places.remove(&key)?;
        Some((place.consumer, place.given_count))
    }

    /// These subscriptions have gone, with their consumers.
    pub(super) fn forget_where(&mut self, is_gone: impl Fn(SubscriptionKey) -> bool) {
        self.places.retain(|key, _| !is_gone(*key));
    }
}

impl Engine {
    /// Gives the active consumer of a reader what is next.
    pub(super) fn serve_reader(
        &mut self,
        now: Timestamp,
        (key, config): (SubscriptionKey, &SubscriptionConfig),
        budget: &mut usize,
        outputs: &mut VecDeque<Output>,
    ) -> Served {
        let Some(subscription) = self.state.subscription(key) else {
            return Served::All;
        };
        let taker = self.demand.only_taker(key, self.demand.mark());
        let Some(Taker::Consumer(serial, consumer, wanted)) = taker else {
            return Served::All;
        };
        let next = self.readers.stand(key, serial, subscription.done);
        if *budget == 0 {
            return Served::More;
        }
        let allowed = self.allowed(now, key, config);
        if allowed == 0 {
            self.wait_for_rate(now, key, config);
            return Served::All;
        }
        let mut pack = Pack::new(wanted.min(allowed).min(LEASE_MESSAGES_MAX), PUSH_BYTES_MAX);
        self.read_from(key, next, &mut pack);
        if let Some(away) = pack.away {
            self.load(key.0, away, outputs);
        }
        if pack.runs.is_empty() {
            return Served::All;
        }
        *budget -= 1;
        let count = pack.count();
        if config.rate_max > 0 {
            self.throttle.take(key, config.rate_max, now, count);
        }
        self.readers.give(key, &pack.ranges);
        self.demand.hold(serial, count);
        outputs.push_back(Output::Deliver(Delivery {
            to: DeliverTo::Consumer {
                connection: consumer.connection,
                consumer: consumer.id,
            },
            lease: LeaseId::default(),
            lease_ms: 0,
            runs: pack.runs,
        }));
        let is_wanted = self.demand.only_taker(key, self.demand.mark()).is_some();
        if is_wanted && self.readers.next(key) < self.visible_in(key) {
            return Served::More;
        }
        Served::All
    }

    /// The end of what may be given out.
    pub(super) fn visible_in(&self, key: SubscriptionKey) -> Option<Offset> {
        let queue = self.state.queues.get(key.0)?;
        Some(queue.visible_end(self.committed))
    }

    /// Chooses what a reader gets from `next` on.
    fn read_from(&self, key: SubscriptionKey, next: Offset, pack: &mut Pack) {
        if let Some(queue) = self.state.queues.get(key.0)
            && let Some(subscription) = queue.subscription(key.1)
        {
            let visible = queue.visible_end(self.committed);
            for (first, end) in subscription.unfinished(next, visible) {
                if !pack.take(queue, first, end, 1) {
                    break;
                }
            }
            self.moves.resolve(&mut pack.runs);
        }
    }

    /// Everything before `offset` is read for good.
    pub(super) fn checkpoint(
        &mut self,
        now: Timestamp,
        key: SubscriptionKey,
        offset: Offset,
        outputs: &mut VecDeque<Output>,
    ) -> Result<SubscriptionAnswer, Refusal> {
        let reader = self.subscription(key).filter(|of| is_reader(of));
        let Some(done) = reader.map(|of| of.done) else {
            let text = "only a reader has a checkpoint".to_owned();
            return Err((ErrorCode::NotSupported, text));
        };
        let next = self.readers.next(key).unwrap_or(done).max(done);
        if offset > next {
            let text =
                format!("offset {offset} is behind {next}, up to where messages were given out");
            return Err((ErrorCode::OutOfRange, text));
        }
        if done < offset {
            let (queue, subscription) = key;
            let record = Record::Take {
                queue,
                subscription,
                ranges: pieces(done, offset),
            };
            self.append(now, record, outputs);
        }
        let at = self.state.subscription(key).map_or(done, |of| of.done);
        if let Some((consumer, count)) = self.readers.settle(key, at) {
            self.demand.release(consumer, count);
        }
        Ok(SubscriptionAnswer::Checkpointed { at })
    }

    /// A reader begins anew at its checkpoint, or is none any more.
    pub(super) fn restart_reader(&mut self, key: SubscriptionKey) {
        if let Some((consumer, count)) = self.readers.forget(key) {
            self.demand.release(consumer, count);
        }
    }

    /// A subscription has become a reader: whoever waits for leased messages is told.
    pub(super) fn end_dequeues(&mut self, key: SubscriptionKey, outputs: &mut VecDeque<Output>) {
        for waiting in self.demand.end_waits_for(key) {
            let (code, text) = no_leases();
            self.reply(waiting, Reply::Refused { code, text }, outputs);
        }
    }

    pub(super) fn is_reader(&self, key: SubscriptionKey) -> bool {
        self.subscription(key).is_some_and(is_reader)
    }

    /// Refuses a configuration that a subscription, or a new one, cannot have.
    pub(super) fn check_config(
        &self,
        key: Option<SubscriptionKey>,
        config: &SubscriptionConfig,
    ) -> Result<(), Refusal> {
        let attempts = u64::from(config.attempts_max) | config.backoff_ms | config.backoff_max_ms;
        if config.contract == Contract::Reader && attempts > 0 {
            let text =
                "a reader has no attempts: attempts_max, backoff_ms and backoff_max_ms must be 0";
            return Err((ErrorCode::NotSupported, text.to_owned()));
        }
        if config.contract == Contract::Broadcast && !is_plain(config) {
            let text = "a broadcast has no bounds and no attempts: all other fields must be 0";
            return Err((ErrorCode::NotSupported, text.to_owned()));
        }
        let subscription = key.and_then(|key| self.subscription(key));
        let becomes_broadcast = config.contract == Contract::Broadcast
            && subscription.is_some_and(|of| of.config.contract != Contract::Broadcast);
        if becomes_broadcast || subscription.is_some_and(|of| !of.may_become(config.contract)) {
            let text = "a broadcast is made as one and stays one, and a subscription becomes a reader, or ceases to be one, only while nothing of it is done, leased or set aside";
            return Err((ErrorCode::NotSupported, text.to_owned()));
        }
        Ok(())
    }
}

/// Refuses what is about leases where there are none.
pub(super) fn check_leases(subscription: &Subscription) -> Result<(), Refusal> {
    match subscription.config.contract {
        Contract::Reader | Contract::Broadcast => Err(no_leases()),
        Contract::Competing
        | Contract::AtMostOnce
        | Contract::SingleActive
        | Contract::KeyOrdered => Ok(()),
    }
}

fn is_reader(subscription: &Subscription) -> bool {
    subscription.config.contract == Contract::Reader
}

fn no_leases() -> Refusal {
    let text = "a reader and a broadcast lease nothing: subscribe a consumer";
    (ErrorCode::NotSupported, text.to_owned())
}

/// Ranges that are as long as they can be.
pub(super) fn pieces(first: Offset, end: Offset) -> Vec<OffsetRange> {
    let mut pieces = Vec::new();
    let mut first = first;
    while first < end {
        let count = u32::try_from(end.0 - first.0).unwrap_or(u32::MAX);
        pieces.push(OffsetRange { first, count });
        first = Offset(first.0 + u64::from(count));
    }
    pieces
}
