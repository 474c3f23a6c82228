//! What survives a crash: one plain entry for each message in each subscription.

use std::collections::BTreeMap;
use std::rc::Rc;

use corelane_wire::{
    Aside, AsideInfo, Contract, LeaseId, Offset, OffsetRange, SettleOutcome, SubscriptionDetail,
};

/// A subscription: the number of its queue and its own.
pub(crate) type Key = (usize, usize);

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    /// The number of the last record, and its time.
    pub(crate) lsn: u64,
    pub(crate) log_time: u64,
    pub(crate) jumps: u64,
    /// The last message of which that record ended the lease, under which it was, and the first of its run.
    pub(super) ended: Option<(LeaseId, usize, usize)>,
    /// By number; one that was deleted stays, and is marked.
    pub(crate) queues: Vec<Rc<Queue>>,
    /// What is remembered of a producer in a queue: receipts by sequence, and when the last was given, in lease time.
    pub(crate) producers: BTreeMap<(usize, u128), (Vec<OffsetRange>, u64)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) is_deleted: bool,
    pub(crate) created: u64,
    /// Everything before is done in every subscription.
    pub(crate) start: usize,
    /// By offset.
    pub(crate) messages: Vec<Enqueued>,
    /// By number; one that was deleted stays, and is marked.
    pub(crate) subscriptions: Vec<Rc<Subscription>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Enqueued {
    pub(crate) lsn: u64,
    pub(crate) time: u64,
    /// Not to be given out before.
    pub(crate) due: u64,
    /// What it is about, if anything.
    pub(crate) key: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) is_deleted: bool,
    /// What is said of it, but for the counts.
    pub(crate) about: SubscriptionDetail,
    /// By offset; one for each of the queue.
    pub(crate) messages: Vec<Message>,
}

/// A message in a subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) is: Is,
    pub(crate) attempts: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Is {
    /// Ready, and never given out nor delayed before.
    New,
    /// Ready again: at once, or behind so many messages of the queue, and behind what an earlier record put there.
    Back(Option<(usize, u64)>),
    Leased(Lease),
    /// Until an instant of log time.
    Delayed(u64),
    SetAside(Aside, Rc<AsideInfo>),
    Acked,
    Purged,
    /// Before the subscription began, or nobody had it any more then.
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) session: u128,
    pub(super) given: u64,
    /// An instant of lease time.
    pub(crate) until: u64,
    /// Whether it is in one run with the message before.
    pub(super) is_joined: bool,
}

impl State {
    /// Log time less all jumps.
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
        let found = all.find(|(_, of)| of.about.name == or_default(name));
        found.map(|(number, _)| (queue, number))
    }

    /// All subscriptions that there are.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let queues = self.queues.iter().enumerate();
        let queues = queues.filter(|(_, queue)| !queue.is_deleted);
        let keys = queues.flat_map(|(at, queue)| queue.live().map(move |(number, _)| (at, number)));
        keys.collect()
    }

    pub(crate) fn subscription(&self, key: Key) -> &Subscription {
        &self.queues[key.0].subscriptions[key.1]
    }

    /// The session that holds a message, for each that is leased.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (Key, u128)> {
        let keys = self.keys().into_iter();
        let leases = keys.flat_map(|key| self.subscription(key).leases().map(move |it| (key, it)));
        leases.map(|(key, lease)| (key, lease.session))
    }

    /// Whether some subscription is not done with a message; without subscriptions all are needed.
    pub(crate) fn is_needed(&self, queue: usize, offset: usize) -> bool {
        let queue = &self.queues[queue];
        offset >= queue.start && !queue.is_gone(offset)
    }

    /// What a settlement of one message under a lease is answered with.
    pub(crate) fn judge(&self, key: Key, offset: u64, under: LeaseId) -> SettleOutcome {
        let messages = &self.subscription(key).messages;
        match messages.get(place(offset)) {
            Some(message) if message.is_done() => SettleOutcome::AlreadyDone,
            Some(of) if of.lease().is_some_and(|it| it.id == under) => SettleOutcome::Done,
            Some(_) | None => SettleOutcome::Stale,
        }
    }

    /// When a Tick has something to do, in log time.
    pub(crate) fn due(&self) -> Option<u64> {
        let keys = self.keys().into_iter();
        let messages = keys.flat_map(|key| &self.subscription(key).messages);
        let in_messages = messages.filter_map(|message| match message.is {
            Is::Leased(lease) => Some(lease.until + self.jumps),
            Is::Delayed(until) => Some(until),
            Is::New | Is::Back(_) | Is::SetAside(..) | Is::Acked | Is::Purged | Is::Gone => None,
        });
        let used = self.producers.values().map(|(_, used)| used);
        let idle = used.map(|used| used + PRODUCER_IDLE + self.jumps);
        in_messages.chain(idle).min()
    }
}

impl Queue {
    /// The subscriptions that were not deleted, by number.
    pub(crate) fn live(&self) -> impl Iterator<Item = (usize, &Subscription)> {
        let all = self.subscriptions.iter().map(|of| &**of).enumerate();
        all.filter(|(_, subscription)| !subscription.is_deleted)
    }

    /// Whether there are subscriptions, and all are done with a message.
    pub(crate) fn is_gone(&self, offset: usize) -> bool {
        let mut all = self.live().map(|(_, of)| &of.messages[offset]).peekable();
        all.peek().is_some() && all.all(Message::is_done)
    }
}

impl Subscription {
    /// What there is to know about it, with both sides of the law.
    pub(crate) fn detail(&self) -> SubscriptionDetail {
        let mut detail = self.about.clone();
        for message in &self.messages {
            detail.enqueued += u64::from(message.is != Is::Gone);
            match message.is {
                Is::New | Is::Back(_) => detail.ready += 1,
                Is::Leased(_) => detail.leased += 1,
                Is::Delayed(_) => detail.delayed += 1,
                Is::SetAside(Aside::Dead, _) => detail.dead += 1,
                Is::SetAside(Aside::Parked, _) => detail.parked += 1,
                Is::Acked => detail.done += 1,
                Is::Purged => detail.purged += 1,
                Is::Gone => {}
            }
        }
        detail.finished = self.first(|message| !message.is_done());
        detail.position = self.first(|message| message.is == Is::New);
        detail
    }

    /// Where the first message stands of which this is true, or the end.
    fn first(&self, is_it: impl Fn(&Message) -> bool) -> Offset {
        let found = self.messages.iter().position(is_it);
        Offset(found.unwrap_or(self.messages.len()) as u64)
    }

    /// The leases of its messages.
    pub(crate) fn leases(&self) -> impl Iterator<Item = Lease> {
        self.messages.iter().filter_map(Message::lease)
    }

    pub(crate) fn is(&self, contract: Contract) -> bool {
        self.about.config.contract == contract
    }
}

impl Message {
    pub(super) const fn new(due: u64, now: u64) -> Self {
        let is = if due > now { Is::Delayed(due) } else { Is::New };
        Self { is, attempts: 0 }
    }

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.is, Is::Acked | Is::Purged | Is::Gone)
    }

    pub(crate) const fn lease(&self) -> Option<Lease> {
        if let Is::Leased(lease) = self.is {
            Some(lease)
        } else {
            None
        }
    }

    pub(super) fn set_aside(&self) -> Option<(Aside, &AsideInfo)> {
        if let Is::SetAside(how, info) = &self.is {
            Some((*how, info))
        } else {
            None
        }
    }
}

/// The same, as a count of messages on the wire.
pub(super) fn count(count: usize) -> u32 {
    u32::try_from(count).expect("a seed is small")
}

/// The same, as an index.
pub(super) fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

pub(crate) const fn or_default(name: &str) -> &str {
    if name.is_empty() { "default" } else { name }
}

/// Milliseconds in nanoseconds.
pub(crate) const fn millis(count: u64) -> u64 {
    count * 1_000_000
}

/// A producer is forgotten so long after its last batch.
pub(crate) const PRODUCER_IDLE: u64 = millis(600_000);
