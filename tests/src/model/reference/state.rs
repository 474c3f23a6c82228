//! What the log says: one entry for each message in each subscription, changed by one plain fact after the other.

use std::collections::BTreeMap;

use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::{
    Aside, AsideCause, Epoch, Fate, LeaseId, Lsn, Offset, OffsetRange, PurgeStates, SettleOutcome,
    SubscriptionConfig,
};

/// A subscription: the number of its queue and its own.
pub(crate) type Key = (usize, usize);

/// One thing that a record says; most are about one message.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// The epoch, and by how much log time jumped.
    Epoch(u64, u64),
    Create(String),
    Enqueue {
        queue: usize,
        count: u32,
        producer: u128,
    },
    /// To a queue, under a name, from an offset on.
    Subscribe(usize, String, usize),
    Lease {
        key: Key,
        offset: usize,
        session: u128,
        lease_ms: u32,
    },
    Settle(Key, usize, Settling),
    Tick,
    /// A session ended.
    Release(u128),
    Delete(usize),
    Life(Key, Life),
    /// There is a record of this time.
    Record,
}

/// What happens to a subscription as a whole.
#[derive(Clone, Debug)]
pub(crate) enum Life {
    Configure(SubscriptionConfig),
    /// Why, or that it is over.
    Pause(Option<String>),
    Purge(PurgeStates),
    /// A message that was set aside is ready.
    Return(usize),
    Seek(usize),
    Unsubscribe,
}

/// What becomes of a message that is held; the order is that in which a turn does it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Settling {
    Ack,
    Nack {
        delay_ms: u64,
        is_counted: bool,
    },
    /// The second counts the texts of a turn.
    Reject(Fate, usize, String),
    Extend {
        lease_ms: u32,
    },
}

/// Everything that survives a crash.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    pub(crate) log_time: u64,
    pub(crate) jumps: u64,
    /// By number; one that was deleted stays, and is marked.
    pub(crate) queues: Vec<Queue>,
    pub(crate) producers: BTreeMap<(usize, u128), Producer>,
    /// Which session holds a lease, and when it was given; those that ended may be among them.
    pub(crate) holders: BTreeMap<LeaseId, (u128, u64)>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) is_deleted: bool,
    pub(crate) created: u64,
    /// Everything before is done in every subscription.
    pub(crate) start: usize,
    /// By offset.
    pub(crate) messages: Vec<Enqueued>,
    /// By number; one that was deleted stays, and is marked.
    pub(crate) subscriptions: Vec<Subscription>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Enqueued {
    pub(crate) lsn: u64,
    pub(crate) time: u64,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) name: String,
    pub(crate) is_deleted: bool,
    pub(crate) begin: usize,
    /// No message from here on was given out.
    pub(crate) position: usize,
    pub(crate) config: SubscriptionConfig,
    /// Why it gives nothing out, and since when.
    pub(crate) pause: Option<(String, u64)>,
    /// By offset; one for each of the queue.
    pub(crate) messages: Vec<Message>,
}

/// A message in a subscription.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) is: Is,
    pub(crate) attempts: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Is {
    Ready,
    /// Until an instant of lease time.
    Leased {
        lease: LeaseId,
        until: u64,
    },
    /// Until an instant of log time.
    Delayed {
        until: u64,
    },
    SetAside(Aside, Box<Story>),
    Acked,
    Purged,
    /// Before the subscription began, or nobody had it any more then.
    Gone,
}

/// Why a message was set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Story {
    pub(crate) cause: AsideCause,
    pub(crate) since: u64,
    pub(crate) leased: u64,
    pub(crate) session: u128,
    pub(crate) text: String,
}

/// How a lease of a message ends.
struct Ending<'a> {
    /// `None`: the attempt does not count.
    fate: Option<Fate>,
    cause: AsideCause,
    text: &'a str,
    /// `None` stands for the back-off.
    delay_ms: Option<u64>,
}

/// What is remembered of a producer in a queue.
#[derive(Debug, Default)]
pub(crate) struct Producer {
    /// By sequence.
    pub(crate) receipts: Vec<OffsetRange>,
    /// When its last batch was taken, in lease time.
    pub(crate) used: u64,
}

/// How many messages of a subscription are in each state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) ready: u64,
    pub(crate) leased: u64,
    pub(crate) delayed: u64,
    pub(crate) dead: u64,
    pub(crate) parked: u64,
    pub(crate) acked: u64,
    pub(crate) purged: u64,
    pub(crate) gone: u64,
}

impl State {
    /// Lease time: log time less all jumps.
    pub(crate) const fn lease_time(&self) -> u64 {
        self.log_time - self.jumps
    }

    /// The number of the queue of this name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let mut queues = self.queues.iter();
        queues.position(|queue| queue.name == name && !queue.is_deleted)
    }

    /// The subscription of this name.
    pub(crate) fn find_in(&self, queue: usize, name: &str) -> Option<Key> {
        let mut all = self.queues[queue].live();
        all.find_map(|(number, of)| (of.name == name).then_some((queue, number)))
    }

    /// All subscriptions that there are.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let queues = self.queues.iter().enumerate();
        let queues = queues.filter(|(_, queue)| !queue.is_deleted);
        queues.flat_map(|(at, queue)| queue.live().map(move |(number, _)| (at, number)))
    }

    pub(crate) fn subscription(&self, key: Key) -> &Subscription {
        &self.queues[key.0].subscriptions[key.1]
    }

    pub(crate) fn messages(&self, key: Key) -> impl Iterator<Item = (usize, &Message)> {
        let start = self.queues[key.0].start;
        let messages = self.subscription(key).messages.iter().enumerate();
        messages.skip(start)
    }

    /// All messages that are not done, of every subscription.
    pub(crate) fn all_messages(&self) -> impl Iterator<Item = (Key, &Message)> {
        self.keys().flat_map(|key| {
            let messages = self.messages(key);
            messages.map(move |(_, message)| (key, message))
        })
    }

    pub(crate) fn counts(&self, key: Key) -> Counts {
        let mut counts = Counts::default();
        for message in &self.subscription(key).messages {
            match message.is {
                Is::Ready => counts.ready += 1,
                Is::Leased { .. } => counts.leased += 1,
                Is::Delayed { .. } => counts.delayed += 1,
                Is::SetAside(Aside::Dead, _) => counts.dead += 1,
                Is::SetAside(Aside::Parked, _) => counts.parked += 1,
                Is::Acked => counts.acked += 1,
                Is::Purged => counts.purged += 1,
                Is::Gone => counts.gone += 1,
            }
        }
        counts
    }

    /// Whether some subscription is not done with a message; without subscriptions all are needed.
    pub(crate) fn is_needed(&self, queue: usize, offset: usize) -> bool {
        let queue = &self.queues[queue];
        offset >= queue.start && !queue.is_gone(offset, None)
    }

    /// What a settlement of one message under a lease is answered with.
    pub(crate) fn judge(&self, key: Key, offset: u64, under: LeaseId) -> SettleOutcome {
        let messages = &self.subscription(key).messages;
        let message = usize::try_from(offset).ok().and_then(|at| messages.get(at));
        match message {
            Some(message) if message.is_done() => SettleOutcome::AlreadyDone,
            Some(message) if message.lease() == Some(under) => SettleOutcome::Done,
            Some(_) | None => SettleOutcome::Stale,
        }
    }

    /// Whether a Tick has something to do now.
    pub(crate) fn due(&self) -> Option<u64> {
        let messages = self.all_messages();
        let in_messages = messages.filter_map(|(_, message)| message.until(self.jumps));
        let producers = self.producers.values();
        let idle = producers.map(|producer| producer.used + PRODUCER_IDLE + self.jumps);
        in_messages.chain(idle).min()
    }

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

    fn subscription_mut(&mut self, key: Key) -> &mut Subscription {
        &mut self.queues[key.0].subscriptions[key.1]
    }
}

impl Queue {
    /// The subscriptions that were not deleted, by number.
    pub(crate) fn live(&self) -> impl Iterator<Item = (usize, &Subscription)> {
        let all = self.subscriptions.iter().enumerate();
        all.filter(|(_, subscription)| !subscription.is_deleted)
    }

    /// Whether there are subscriptions, but for `not`, and all are done with a message.
    fn is_gone(&self, offset: usize, not: Option<usize>) -> bool {
        let mut others = self
            .live()
            .filter(|(number, _)| Some(*number) != not)
            .peekable();
        others.peek().is_some() && others.all(|(_, other)| other.messages[offset].is_done())
    }

    /// A subscription begins at `from`, or begins there again, without what is gone.
    fn begin(&mut self, number: usize, from: usize, is_again: bool) {
        let not = (!is_again).then_some(number);
        let offsets = 0..self.messages.len();
        let is_gone = |offset| offset < from || self.is_gone(offset, not);
        let messages = offsets.map(|offset| if is_gone(offset) { GONE } else { READY });
        let messages: Vec<Message> = messages.collect();
        let behind_gone = messages.iter().rposition(|message| message.is == Is::Gone);
        let subscription = &mut self.subscriptions[number];
        subscription.begin = from;
        subscription.position = behind_gone.map_or(from, |last| from.max(last + 1));
        subscription.messages = messages;
        self.advance();
    }

    fn advance(&mut self) {
        while self.start < self.messages.len() && self.is_gone(self.start, None) {
            self.start += 1;
        }
    }
}

impl Message {
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.is, Is::Acked | Is::Purged | Is::Gone)
    }

    /// The lease that holds it.
    pub(crate) const fn lease(&self) -> Option<LeaseId> {
        if let Is::Leased { lease, .. } = self.is {
            Some(lease)
        } else {
            None
        }
    }

    /// When something happens to it by itself, in log time.
    const fn until(&self, jumps: u64) -> Option<u64> {
        match self.is {
            Is::Leased { until, .. } => Some(until + jumps),
            Is::Delayed { until } => Some(until),
            Is::Ready | Is::SetAside(..) | Is::Acked | Is::Purged | Is::Gone => None,
        }
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

/// Milliseconds in nanoseconds.
pub(crate) const fn millis(count: u64) -> u64 {
    count * 1_000_000
}

const READY: Message = Message {
    is: Is::Ready,
    attempts: 0,
};
const GONE: Message = Message {
    is: Is::Gone,
    attempts: 0,
};
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
/// A producer is forgotten so long after its last batch.
pub(crate) const PRODUCER_IDLE: u64 = millis(600_000);
