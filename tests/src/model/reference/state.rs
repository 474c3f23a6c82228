//! What the log says: one entry for each message in each subscription, changed by one plain fact after the other.

use std::collections::BTreeMap;

use corelane_wire::{
    Aside, AsideCause, Fate, LeaseId, OffsetRange, PurgeStates, SettleOutcome, SubscriptionConfig,
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

    pub(super) fn subscription_mut(&mut self, key: Key) -> &mut Subscription {
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
    pub(super) fn is_gone(&self, offset: usize, not: Option<usize>) -> bool {
        let mut others = self
            .live()
            .filter(|(number, _)| Some(*number) != not)
            .peekable();
        others.peek().is_some() && others.all(|(_, other)| other.messages[offset].is_done())
    }

    /// A subscription begins at `from`, or begins there again, without what is gone.
    pub(super) fn begin(&mut self, number: usize, from: usize, is_again: bool) {
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

    pub(super) fn advance(&mut self) {
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

/// Milliseconds in nanoseconds.
pub(crate) const fn millis(count: u64) -> u64 {
    count * 1_000_000
}

pub(super) const READY: Message = Message {
    is: Is::Ready,
    attempts: 0,
};
const GONE: Message = Message {
    is: Is::Gone,
    attempts: 0,
};
/// A producer is forgotten so long after its last batch.
pub(crate) const PRODUCER_IDLE: u64 = millis(600_000);
