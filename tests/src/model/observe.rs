//! What takes effect on which subscription, as the model sees it: every fact and every answer passes here.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what has no effect on a subscription is no feature"
)]

use corelane_core::{DeliverTo, Delivery, Requester};
use corelane_wire::{Aside, AsideCause, ErrorCode, Fate, Request, SettleOutcome, SubscriptionVerb};

use super::coverage::Feature;
use super::reference::requests::{Outcome, or_default};
use super::reference::state::{Fact, Is, Key, Life, PRODUCER_IDLE, Settling, millis};
use super::reference::{Answer, Model};

impl Model {
    pub(super) fn meet(&mut self, key: Key, feature: Feature) {
        let queue = &self.state.queues[key.0];
        let subscription = &queue.subscriptions[key.1].name;
        self.coverage.meet((&queue.name, subscription), feature);
    }

    pub(super) fn meet_if(&mut self, is_met: bool, key: Key, feature: Feature) {
        if is_met {
            self.meet(key, feature);
        }
    }

    pub(super) fn meet_all(&mut self, queue: usize, feature: Feature) {
        for key in self.keys_of(queue) {
            self.meet(key, feature);
        }
    }

    /// A request is about to be served.
    pub(super) fn observe_request(&mut self, from: Requester, request: &Request<'_>) {
        match request {
            Request::Credit { consumer, .. } => {
                if let Ok(at) = self.consumer(from, consumer.0) {
                    self.meet(self.consumers[at].key, Feature::Credit);
                }
            }
            Request::Unsubscribe { consumer } => {
                if let Ok(at) = self.consumer(from, consumer.0) {
                    self.meet(self.consumers[at].key, Feature::Unsubscribe);
                }
            }
            Request::Subscription(on) if matches!(on.verb, SubscriptionVerb::ListAside { .. }) => {
                let found = self.state.find(on.queue);
                let name = or_default(on.subscription);
                if let Some(key) = found.and_then(|queue| self.state.find_in(queue, name)) {
                    self.meet(key, Feature::ListAside);
                }
            }
            _ => {}
        }
    }

    /// A request was served.
    pub(super) fn observe_outcome(&mut self, request: &Request<'_>, outcome: &Outcome) {
        let feature = match outcome {
            Ok(Some(Answer::Receipt(receipt))) if receipt.duplicate => Feature::Duplicate,
            Ok(Some(Answer::Subscribed)) => {
                let Some(last) = self.consumers.last().map(|consumer| consumer.key) else {
                    return;
                };
                let of_it = self
                    .consumers
                    .iter()
                    .filter(|consumer| consumer.key == last);
                let several = of_it.count() > 1;
                return self.meet_if(several, last, Feature::SeveralConsumers);
            }
            Err(ErrorCode::UnknownProducer) => Feature::UnknownProducer,
            Err(ErrorCode::OutOfSequence) => Feature::OutOfSequence,
            Ok(_) | Err(_) => return,
        };
        let queue = request
            .queue()
            .and_then(|(queue, _)| self.state.find(queue));
        if let Some(queue) = queue {
            self.meet_all(queue, feature);
        }
    }

    pub(super) fn observe_settled(&mut self, key: Key, outcome: SettleOutcome) {
        self.meet_if(
            outcome == SettleOutcome::AlreadyDone,
            key,
            Feature::AlreadyDone,
        );
        self.meet_if(outcome == SettleOutcome::Stale, key, Feature::Stale);
    }

    pub(super) fn observe_empty(&mut self, key: Key) {
        self.meet(key, Feature::DequeueEmpty);
    }

    pub(super) fn observe_delivery(&mut self, key: Key, delivery: &Delivery) {
        let feature = match delivery.to {
            DeliverTo::Consumer { .. } => Feature::Push,
            DeliverTo::Dequeue(_) | DeliverTo::Peek(_) => Feature::Dequeue,
        };
        self.meet(key, feature);
        let waits = |to| delivery.to == DeliverTo::Dequeue(to);
        let has_waited = self
            .waiters
            .iter()
            .any(|it| it.has_waited && waits(it.from));
        self.meet_if(has_waited, key, Feature::DequeueWaited);
        self.meet_if(delivery.runs.len() > 1, key, Feature::SeveralRuns);
        let max = self.state.subscription(key).config.in_flight_max;
        self.meet_if(max > 0, key, Feature::InFlight);
    }

    /// A fact is about to change something.
    pub(super) fn observe_before(&mut self, fact: &Fact) {
        match fact {
            Fact::Lease { key, offset, .. } => {
                let again = self.state.subscription(*key).messages[*offset].attempts > 0;
                self.meet_if(again, *key, Feature::Redelivery);
            }
            Fact::Settle(key, offset, how) => self.observe_settling(*key, *offset, how),
            Fact::Tick => self.observe_due(),
            Fact::Release(session) => {
                for key in self.keys_held_by(*session) {
                    self.meet(key, Feature::SessionRelease);
                }
            }
            Fact::Delete(queue) => self.meet_all(*queue, Feature::QueueDelete),
            Fact::Life(key, life) => self.observe_life(*key, life),
            Fact::Epoch(..) | Fact::Create(_) | Fact::Enqueue { .. } => {}
            Fact::Subscribe(..) | Fact::Record => {}
        }
    }

    fn observe_life(&mut self, key: Key, life: &Life) {
        let counts = self.state.counts(key);
        match life {
            Life::Configure(_) => self.meet(key, Feature::Configure),
            Life::Pause(Some(_)) => self.meet(key, Feature::Pause),
            Life::Pause(None) => {
                let was_paused = self.state.subscription(key).pause.is_some();
                self.meet_if(was_paused, key, Feature::Resume);
            }
            Life::Purge(states) => {
                let waiting = states.waiting && counts.ready + counts.delayed > 0;
                self.meet_if(waiting, key, Feature::PurgeWaiting);
                self.meet_if(
                    states.parked && counts.parked > 0,
                    key,
                    Feature::PurgeParked,
                );
                self.meet_if(states.dead && counts.dead > 0, key, Feature::PurgeDead);
            }
            Life::Return(offset) => {
                let is = &self.state.subscription(key).messages[*offset].is;
                let is_dead = matches!(is, Is::SetAside(Aside::Dead, _));
                let feature = if is_dead {
                    Feature::Redrive
                } else {
                    Feature::Kick
                };
                self.meet(key, feature);
            }
            Life::Seek(_) => self.meet(key, Feature::Seek),
            Life::Unsubscribe => self.meet(key, Feature::SubscriptionDelete),
        }
    }

    /// A fact has changed something.
    pub(super) fn observe_after(&mut self, fact: &Fact) {
        match fact {
            Fact::Epoch(_, jump) => {
                for key in self.keys() {
                    self.meet_if(*jump > 0, key, Feature::TimeJump);
                    self.meet_if(self.held_back > 0, key, Feature::JumpRefused);
                }
            }
            Fact::Enqueue { queue, count, .. } => {
                let several = *count > 1;
                let feature = if several {
                    Feature::EnqueueBatch
                } else {
                    Feature::Enqueue
                };
                self.meet_all(*queue, feature);
            }
            Fact::Subscribe(queue, _, from) => {
                let of = &self.state.queues[*queue];
                let key = (*queue, of.subscriptions.len() - 1);
                let is_between = *from > of.start && *from < of.messages.len();
                let is_several = of.live().count() > 1;
                self.meet_if(*from > 0, key, Feature::LateSubscription);
                self.meet_if(is_between, key, Feature::Begin);
                if is_several {
                    self.meet_all(*queue, Feature::SeveralSubscriptions);
                }
            }
            Fact::Settle(key, offset, _) => self.observe_end(*key, *offset),
            Fact::Tick => {
                for key in self.keys() {
                    for offset in 0..self.state.subscription(key).messages.len() {
                        self.observe_end(key, offset);
                    }
                }
            }
            _ => {}
        }
    }

    fn observe_settling(&mut self, key: Key, offset: usize, how: &Settling) {
        let feature = match how {
            Settling::Ack => Feature::Ack,
            Settling::Extend { .. } => Feature::Extend,
            Settling::Nack { delay_ms: 0, .. } => Feature::Nack,
            Settling::Nack { .. } => Feature::NackDelayed,
            Settling::Reject(Fate::Retry, ..) => Feature::Reject,
            Settling::Reject(Fate::Dead, ..) => Feature::Dead,
            Settling::Reject(Fate::Park, ..) => Feature::Parked,
        };
        self.meet(key, feature);
        let is_uncounted = matches!(
            how,
            Settling::Nack {
                is_counted: false,
                ..
            }
        );
        self.meet_if(is_uncounted, key, Feature::NackUncounted);
        let mut before = self.state.subscription(key).messages.iter().take(offset);
        let is_out_of_order = *how == Settling::Ack && before.any(|message| !message.is_done());
        self.meet_if(is_out_of_order, key, Feature::AckOutOfOrder);
    }

    fn observe_due(&mut self) {
        let (log_time, lease_time) = (self.state.log_time, self.state.lease_time());
        for key in self.keys() {
            let messages = &self.state.subscription(key).messages;
            let expires = |is: &Is| matches!(is, Is::Leased { until, .. } if *until <= lease_time);
            let comes_due = |is: &Is| matches!(is, Is::Delayed { until } if *until <= log_time);
            let some_expire = messages.iter().any(|message| expires(&message.is));
            let some_due = messages.iter().any(|message| comes_due(&message.is));
            self.meet_if(some_expire, key, Feature::LeaseExpiry);
            self.meet_if(some_due, key, Feature::DelayOver);
        }
        let producers = self.state.producers.iter();
        let idle = producers.filter(|(_, of)| of.used + PRODUCER_IDLE <= lease_time);
        for queue in idle.map(|((queue, _), _)| *queue).collect::<Vec<usize>>() {
            self.meet_all(queue, Feature::ProducerForgotten);
        }
    }

    /// What became of a message when its lease ended.
    fn observe_end(&mut self, key: Key, offset: usize) {
        let now = self.state.log_time;
        let feature = match &self.state.subscription(key).messages[offset].is {
            Is::SetAside(_, story) if story.since == now => match story.cause {
                AsideCause::Rejected => return,
                AsideCause::Attempts => Feature::AttemptsUsed,
                AsideCause::LeaseExpired => Feature::AttemptsExpired,
            },
            Is::Delayed { until } if *until <= now + millis(3) => Feature::BackOff,
            _ => return,
        };
        self.meet(key, feature);
    }
}
