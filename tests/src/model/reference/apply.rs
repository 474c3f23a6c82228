//! What each fact changes.

use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::{
    Aside, AsideCause, Epoch, Fate, LeaseId, Lsn, Offset, OffsetRange, PurgeStates,
    SubscriptionConfig,
};

use super::state::{
    Enqueued, Fact, Is, Key, Life, Message, PRODUCER_IDLE, Queue, READY, Settling, State, Story,
    Subscription, millis,
};

/// How a lease of a message ends.
struct Ending<'a> {
    /// `None`: the attempt does not count.
    fate: Option<Fate>,
    cause: AsideCause,
    text: &'a str,
    /// `None` stands for the back-off.
    delay_ms: Option<u64>,
}

impl State {
    /// The one place in which anything changes.
    pub(crate) fn apply(&mut self, lsn: u64, time: u64, fact: &Fact) {
        self.log_time = time;
        match fact {
            Fact::Epoch(epoch, jump) => {
                self.epoch = *epoch;
                self.jumps += jump;
            }
            Fact::Create(name) => self.queues.push(Queue {
                name: name.clone(),
                is_deleted: false,
                created: time,
                start: 0,
                messages: Vec::new(),
                subscriptions: Vec::new(),
            }),
            Fact::Enqueue {
                queue,
                count,
                producer,
            } => self.enqueue(*queue, *count, *producer, Enqueued { lsn, time }),
            Fact::Subscribe(queue, name, from) => {
                let queue = &mut self.queues[*queue];
                queue.subscriptions.push(Subscription {
                    name: name.clone(),
                    is_deleted: false,
                    begin: 0,
                    position: 0,
                    config: SubscriptionConfig::default(),
                    pause: None,
                    messages: Vec::new(),
                });
                queue.begin(queue.subscriptions.len() - 1, *from, false);
            }
            Fact::Lease {
                key,
                offset,
                session,
                lease_ms,
            } => {
                let (epoch, lsn) = (Epoch(self.epoch), Lsn(lsn));
                let lease = LeaseId { epoch, lsn };
                self.holders.insert(lease, (*session, time));
                let until = self.lease_time() + millis((*lease_ms).into());
                let subscription = self.subscription_mut(*key);
                subscription.position = subscription.position.max(offset + 1);
                let message = &mut subscription.messages[*offset];
                message.attempts += 1;
                message.is = Is::Leased { lease, until };
            }
            Fact::Settle(key, offset, how) => self.settle(*key, *offset, how),
            Fact::Tick => self.tick(),
            Fact::Release(session) => self.release(*session),
            Fact::Delete(queue) => {
                self.queues[*queue].is_deleted = true;
                self.producers.retain(|key, _| key.0 != *queue);
            }
            Fact::Life(key, life) => self.live(*key, life),
            Fact::Record => {}
        }
    }

    fn live(&mut self, key: Key, life: &Life) {
        let time = self.log_time;
        let queue = &mut self.queues[key.0];
        let subscription = &mut queue.subscriptions[key.1];
        match life {
            Life::Configure(config) => subscription.config = *config,
            Life::Pause(reason) => subscription.pause = reason.clone().map(|reason| (reason, time)),
            Life::Purge(states) => self.purge(key, *states),
            Life::Return(offset) => {
                let message = &mut subscription.messages[*offset];
                if matches!(message.is, Is::SetAside(Aside::Dead, _)) {
                    message.attempts = 0;
                }
                message.is = Is::Ready;
            }
            Life::Seek(from) => queue.begin(key.1, *from, true),
            Life::Unsubscribe => {
                subscription.is_deleted = true;
                if queue.live().count() == 0 {
                    queue.start = queue.messages.len();
                }
                queue.advance();
            }
        }
    }

    fn enqueue(&mut self, at: usize, count: u32, producer: u128, enqueued: Enqueued) {
        let now = self.lease_time();
        let queue = &mut self.queues[at];
        let first = queue.messages.len();
        let end = first + count as usize;
        queue.messages.resize(end, enqueued);
        for subscription in &mut queue.subscriptions {
            subscription.messages.resize(end, READY);
        }
        if producer != 0 {
            let producer = self.producers.entry((at, producer)).or_default();
            producer.used = now;
            producer.receipts.push(OffsetRange {
                first: Offset(first as u64),
                count,
            });
        }
    }

    fn settle(&mut self, key: Key, offset: usize, how: &Settling) {
        let lease_time = self.lease_time();
        let message = &mut self.subscription_mut(key).messages[offset];
        let (fate, cause, text, delay_ms) = match how {
            Settling::Ack => {
                message.is = Is::Acked;
                return self.queues[key.0].advance();
            }
            Settling::Extend { lease_ms } => {
                if let Is::Leased { until, .. } = &mut message.is {
                    *until = lease_time + millis((*lease_ms).into());
                }
                return;
            }
            Settling::Nack {
                delay_ms,
                is_counted,
            } => {
                let fate = is_counted.then_some(Fate::Retry);
                (fate, AsideCause::Attempts, "", Some(*delay_ms))
            }
            Settling::Reject(fate @ Fate::Retry, _, text) => {
                (Some(*fate), AsideCause::Attempts, text.as_str(), None)
            }
            Settling::Reject(fate, _, text) => {
                (Some(*fate), AsideCause::Rejected, text.as_str(), None)
            }
        };
        let ending = Ending {
            fate,
            cause,
            text,
            delay_ms,
        };
        self.end_lease(key, offset, &ending);
    }

    fn tick(&mut self) {
        let (log_time, lease_time) = (self.log_time, self.lease_time());
        let expires = |is: &Is| matches!(is, Is::Leased { until, .. } if *until <= lease_time);
        self.end_leases(|_, message| expires(&message.is), &EXPIRED);
        let comes_due = |is: &Is| matches!(is, Is::Delayed { until } if *until <= log_time);
        for queue in self.queues.iter_mut().filter(|queue| !queue.is_deleted) {
            let subscriptions = queue.subscriptions.iter_mut();
            let messages = subscriptions.flat_map(|it| &mut it.messages);
            for message in messages.filter(|message| comes_due(&message.is)) {
                message.is = Is::Ready;
            }
        }
        self.producers
            .retain(|_, producer| producer.used + PRODUCER_IDLE > lease_time);
    }

    fn release(&mut self, session: u128) {
        let is_of = |state: &Self, lease: LeaseId| state.holders[&lease].0 == session;
        let is_over = |state: &Self, message: &Message| {
            message.lease().is_some_and(|lease| is_of(state, lease))
        };
        self.end_leases(is_over, &RELEASED);
    }

    fn end_leases(&mut self, is_over: impl Fn(&Self, &Message) -> bool, ending: &Ending<'_>) {
        for key in self.keys().collect::<Vec<Key>>() {
            for offset in self.queues[key.0].start..self.queues[key.0].messages.len() {
                if is_over(self, &self.subscription(key).messages[offset]) {
                    self.end_lease(key, offset, ending);
                }
            }
        }
    }

    /// A message comes back: it is set aside, or ready, at once or later.
    fn end_lease(&mut self, key: Key, offset: usize, ending: &Ending<'_>) {
        let log_time = self.log_time;
        let config = self.subscription(key).config;
        let lease = self.subscription(key).messages[offset].lease();
        let (session, leased) = self.holders[&lease.expect("it was held")];
        let message = &mut self.subscription_mut(key).messages[offset];
        let is_last = config.attempts_max > 0 && message.attempts >= config.attempts_max;
        let aside = match ending.fate {
            Some(Fate::Dead) => Some(Aside::Dead),
            Some(Fate::Park) => Some(Aside::Parked),
            Some(Fate::Retry) if is_last => Some(Aside::Dead),
            Some(Fate::Retry) | None => None,
        };
        let backoff_ms = backoff_ms(config, message.attempts);
        let delay_ms = ending.delay_ms.unwrap_or(backoff_ms);
        message.is = match aside {
            Some(aside) => {
                let story = Story {
                    cause: ending.cause,
                    since: log_time,
                    leased,
                    session,
                    text: ending.text.to_owned(),
                };
                Is::SetAside(aside, Box::new(story))
            }
            None if delay_ms == 0 => Is::Ready,
            None => Is::Delayed {
                until: log_time + millis(delay_ms),
            },
        };
        message.attempts -= u32::from(ending.fate.is_none());
    }

    fn purge(&mut self, key: Key, states: PurgeStates) {
        let subscription = self.subscription_mut(key);
        for message in &mut subscription.messages {
            let is_meant = match message.is {
                Is::Ready | Is::Delayed { .. } => states.waiting,
                Is::SetAside(Aside::Dead, _) => states.dead,
                Is::SetAside(Aside::Parked, _) => states.parked,
                Is::Leased { .. } | Is::Acked | Is::Purged | Is::Gone => false,
            };
            if is_meant {
                message.is = Is::Purged;
            }
        }
        if states.waiting {
            subscription.position = subscription.messages.len();
        }
        self.queues[key.0].advance();
    }
}

/// The delay after a failed attempt. Its random part is that of `core`, of which there is none below 4 ms.
fn backoff_ms(config: SubscriptionConfig, attempts: u32) -> u64 {
    let cap = match config.backoff_max_ms {
        0 => DELAY_MS_MAX,
        max => max,
    };
    let doubled = config.backoff_ms << attempts.saturating_sub(1).min(20);
    assert!(doubled.min(cap) < 4, "the model knows no random part");
    doubled.min(cap)
}

const EXPIRED: Ending<'_> = Ending {
    fate: Some(Fate::Retry),
    cause: AsideCause::LeaseExpired,
    text: "",
    delay_ms: None,
};
/// A session ended, which is nobody's fault.
const RELEASED: Ending<'_> = Ending {
    fate: None,
    delay_ms: Some(0),
    ..EXPIRED
};
