//! What takes effect on which subscription: read off the requests, and off what each record changed in the model.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what has no effect on a subscription is no feature"
)]

use std::rc::Rc;

use corelane_core::{DeliverTo, Reply, Requester};
use corelane_wire::message::CLASS_MEMORY;
use corelane_wire::{
    Aside, AsideCause, Contract, ErrorCode, Request, ScheduleAnswer, SettleOutcome, Settled,
    SubscriptionVerb, record_kind,
};

use super::coverage::Feature;
use super::reference::state::{Is, Key, Message, State, Subscription};
use super::reference::{Model, Taker};

impl Model {
    pub(super) fn meet(&mut self, key: Key, feature: Feature) {
        let queue = &self.state.queues[key.0];
        let subscription = &queue.subscriptions[key.1].about.name;
        self.coverage.meet((&queue.name, subscription), feature);
    }

    pub(super) fn meet_if(&mut self, is_met: bool, key: Key, feature: Feature) {
        if is_met {
            self.meet(key, feature);
        }
    }

    pub(super) fn meet_all(&mut self, queue: usize, feature: Feature) {
        for key in self.state.keys() {
            self.meet_if(key.0 == queue, key, feature);
        }
    }

    /// A request was served.
    pub(super) fn observe_request(
        &mut self,
        request: &Request<'_>,
        outcome: &Result<Option<Reply>, ErrorCode>,
    ) {
        let features: &[Feature] = match outcome {
            Ok(Some(Reply::Receipt(receipt))) => match (receipt.duplicate, receipt.class) {
                (false, CLASS_MEMORY) => &[Feature::Memory],
                (false, _) => &[],
                (true, CLASS_MEMORY) => &[Feature::Duplicate, Feature::Memory],
                (true, _) => &[Feature::Duplicate],
            },
            Ok(Some(Reply::Schedule(answer))) => match &**answer {
                ScheduleAnswer::List { rows, .. } if !rows.is_empty() => &[Feature::ListScheduled],
                _ => &[],
            },
            Ok(Some(Reply::Subscribed)) => return self.observe_subscribed(),
            Err(ErrorCode::UnknownProducer) => &[Feature::UnknownProducer],
            Err(ErrorCode::OutOfSequence) => &[Feature::OutOfSequence],
            Err(ErrorCode::OutOfRange) => &[Feature::DueTooLate],
            Ok(_) | Err(_) => &[],
        };
        let queue = request.queue();
        if let Some(queue) = queue.and_then(|(queue, _)| self.state.find(queue)) {
            for feature in features {
                self.meet_all(queue, *feature);
            }
        }
    }

    /// A request is about to be served.
    pub(super) fn observe_asked(&mut self, from: Requester, request: &Request<'_>) {
        let (key, feature) = match request {
            Request::Credit { consumer, .. } => match self.consumer(from, *consumer) {
                Ok(at) => (self.takers[at].key, Feature::Credit),
                Err(_) => return,
            },
            Request::Unsubscribe { consumer } => match self.consumer(from, *consumer) {
                Ok(at) => (self.takers[at].key, Feature::Unsubscribe),
                Err(_) => return,
            },
            Request::Subscription(on) if matches!(on.verb, SubscriptionVerb::ListAside { .. }) => {
                match self.find_subscription(on.queue, on.subscription) {
                    Ok(key) => (key, Feature::ListAside),
                    Err(_) => return,
                }
            }
            _ => return,
        };
        self.meet(key, feature);
    }

    fn observe_subscribed(&mut self) {
        let Some(key) = self.takers.last().map(|taker| taker.key) else {
            return;
        };
        let consumers = self.consumers().filter(|taker| taker.key == key);
        let is_several = consumers.count() > 1;
        self.meet_if(is_several, key, Feature::SeveralConsumers);
        let is_single = self.state.subscription(key).is(Contract::SingleActive);
        self.meet_if(is_several && is_single, key, Feature::StandBy);
    }

    pub(super) fn observe_settled(&mut self, key: Key, settled: &[Settled]) {
        let any = |outcome| settled.iter().any(|row| row.outcome == outcome);
        self.meet_if(any(SettleOutcome::AlreadyDone), key, Feature::AlreadyDone);
        self.meet_if(any(SettleOutcome::Stale), key, Feature::Stale);
    }

    pub(super) fn observe_empty(&mut self, key: Key) {
        self.meet(key, Feature::DequeueEmpty);
    }

    /// Messages are about to be given to one of the takers.
    pub(super) fn observe_given(&mut self, key: Key, takers: &[Taker]) {
        let is_push = |taker: &Taker| matches!(taker.to, DeliverTo::Consumer { .. });
        let config = self.state.subscription(key).about.config;
        let feature = if takers.iter().any(is_push) {
            Feature::Push
        } else {
            Feature::Dequeue
        };
        self.meet(key, feature);
        let is_late = takers.iter().any(|it| it.until.is_some() && it.has_waited);
        self.meet_if(is_late, key, Feature::DequeueWaited);
        self.meet_if(config.in_flight_max > 0, key, Feature::InFlight);
        self.meet_if(config.rate_max > 0, key, Feature::Rate);
        let is_single = config.contract == Contract::SingleActive;
        self.meet_if(is_single, key, Feature::SingleActive);
        let consumers = self.consumers().filter(|taker| taker.key == key);
        let several = consumers.count() > 1;
        let is_standby = is_single && several;
        self.meet_if(is_standby, key, Feature::StandBy);
        let is_ordered = config.contract == Contract::KeyOrdered;
        self.meet_if(is_ordered, key, Feature::KeyOrdered);
        let mut messages = 0..self.state.subscription(key).messages.len();
        let waits = is_ordered && messages.any(|at| self.is_blocked(key, at));
        self.meet_if(waits, key, Feature::KeyWaits);
    }

    /// The last record is written: what did it change?
    pub(super) fn observe_record(&mut self) {
        let Some((kind, before)) = self.last.take() else {
            return;
        };
        self.observe_queues(kind, &before);
        for key in self.state.keys() {
            if let Some(features) = self.changed(kind, &before, key) {
                for feature in features {
                    self.meet(key, feature);
                }
            }
        }
    }

    fn observe_queues(&mut self, kind: u8, before: &State) {
        for (number, queue) in before.queues.iter().enumerate() {
            for (of, _) in queue.live().collect::<Vec<_>>() {
                let is_deleted = self.state.queues[number].is_deleted && !queue.is_deleted;
                self.meet_if(is_deleted, (number, of), Feature::QueueDelete);
                let is_deleted = self.state.subscription((number, of)).is_deleted;
                self.meet_if(is_deleted, (number, of), Feature::SubscriptionDelete);
            }
        }
        if kind == record_kind::EPOCH {
            let is_jump = self.state.jumps > before.jumps;
            for key in self.state.keys() {
                self.meet_if(is_jump, key, Feature::TimeJump);
                self.meet_if(self.held_back > 0, key, Feature::JumpRefused);
            }
        }
        let is_gone = |of: &&(usize, u128)| !self.state.producers.contains_key(*of);
        let gone = before.producers.keys().filter(is_gone);
        if kind == record_kind::TICK {
            for (queue, _) in gone.copied().collect::<Vec<_>>() {
                self.meet_all(queue, Feature::ProducerForgotten);
            }
        }
    }

    /// What a record did to a subscription, if anything.
    fn changed(&self, kind: u8, before: &State, key: Key) -> Option<Vec<Feature>> {
        let queue = &self.state.queues[key.0];
        let after = &queue.subscriptions[key.1];
        let old_queue = before.queues.get(key.0)?;
        let Some(old) = old_queue.subscriptions.get(key.1) else {
            let (begin, end) = (after.about.begin.0, queue.messages.len() as u64);
            let features = [
                (begin > 0, Feature::LateSubscription),
                (begin > queue.start as u64 && begin < end, Feature::Begin),
                (queue.live().count() > 1, Feature::SeveralSubscriptions),
                (has_due(after), Feature::DueBefore),
            ];
            return Some(only(&features));
        };
        if Rc::ptr_eq(old, after) {
            return None;
        }
        let mut features = of_kind(kind, old, after);
        let is_scheduled = kind == record_kind::SCHEDULE;
        let several = queue.messages.len() - old_queue.messages.len();
        features.extend(only(&[
            (several == 1, Feature::Enqueue),
            (several > 1, Feature::EnqueueBatch),
            (several > 0 && is_scheduled, Feature::DueLater),
        ]));
        let pairs = old.messages.iter().zip(&after.messages);
        for (at, (old, new)) in pairs.enumerate().filter(|(_, (old, new))| old != new) {
            features.extend(of_message(kind, old, new));
            let is_behind = matches!(new.is, Is::Back(Some(_)));
            features.extend(is_behind.then_some(Feature::Behind));
            let mut others = after.messages.iter().take(at);
            let is_first = kind != record_kind::ACK || others.all(Message::is_done);
            features.extend((!is_first).then_some(Feature::AckOutOfOrder));
        }
        Some(features)
    }
}

fn has_due(of: &Subscription) -> bool {
    let mut messages = of.messages.iter();
    messages.any(|message| matches!(message.is, Is::Delayed(_)))
}

fn only(features: &[(bool, Feature)]) -> Vec<Feature> {
    let met = features.iter().filter(|(is_met, _)| *is_met);
    met.map(|(_, feature)| *feature).collect()
}

/// What a record did to a subscription as a whole.
fn of_kind(kind: u8, old: &Subscription, after: &Subscription) -> Vec<Feature> {
    match kind {
        record_kind::CONFIGURE => vec![Feature::Configure],
        record_kind::PAUSE if after.about.paused => vec![Feature::Pause],
        record_kind::PAUSE if old.about.paused => vec![Feature::Resume],
        record_kind::SEEK if has_due(after) => vec![Feature::Seek, Feature::DueBefore],
        record_kind::SEEK => vec![Feature::Seek],
        _ => Vec::new(),
    }
}

/// What a record did to a message.
fn of_message(kind: u8, old: &Message, new: &Message) -> Vec<Feature> {
    let is_delayed = matches!(new.is, Is::Delayed(_));
    match kind {
        record_kind::LEASE if old.attempts > 0 => vec![Feature::Redelivery],
        record_kind::TAKE => vec![Feature::AtMostOnce],
        record_kind::ACK => vec![Feature::Ack],
        record_kind::EXTEND => vec![Feature::Extend],
        record_kind::RELEASE => vec![Feature::SessionRelease],
        record_kind::NACK => only(&[
            (!is_delayed, Feature::Nack),
            (is_delayed, Feature::NackDelayed),
            (new.attempts < old.attempts, Feature::NackUncounted),
            (is_aside(new, Aside::Dead), Feature::AttemptsUsed),
        ]),
        record_kind::REJECT => only(&[
            (is_parked(new), Feature::Parked),
            (is_rejected(new), Feature::Dead),
            (!is_parked(new) && !is_rejected(new), Feature::Reject),
            (
                is_aside(new, Aside::Dead) && !is_rejected(new),
                Feature::AttemptsUsed,
            ),
            (is_delayed, Feature::BackOff),
        ]),
        record_kind::TICK => only(&[
            (old.lease().is_some(), Feature::LeaseExpiry),
            (is_aside(new, Aside::Dead), Feature::AttemptsExpired),
            (is_delayed, Feature::BackOff),
            (
                old.lease().is_none() && old.attempts > 0,
                Feature::DelayOver,
            ),
            (old.lease().is_none() && old.attempts == 0, Feature::CameDue),
        ]),
        record_kind::RETURN => only(&[
            (is_aside(old, Aside::Dead), Feature::Redrive),
            (is_parked(old), Feature::Kick),
        ]),
        record_kind::RESCHEDULE if is_delayed => vec![Feature::Moved],
        record_kind::RESCHEDULE => vec![Feature::Cancelled],
        record_kind::PURGE => only(&[
            (is_aside(old, Aside::Dead), Feature::PurgeDead),
            (is_parked(old), Feature::PurgeParked),
            (
                !is_aside(old, Aside::Dead) && !is_parked(old),
                Feature::PurgeWaiting,
            ),
        ]),
        _ => Vec::new(),
    }
}

fn is_aside(message: &Message, aside: Aside) -> bool {
    matches!(&message.is, Is::SetAside(of, _) if *of == aside)
}

fn is_parked(message: &Message) -> bool {
    is_aside(message, Aside::Parked)
}

fn is_rejected(message: &Message) -> bool {
    let is_cause = |cause| cause == AsideCause::Rejected;
    matches!(&message.is, Is::SetAside(Aside::Dead, info) if is_cause(info.cause))
}
