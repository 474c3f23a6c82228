//! The replicated state of a partition, and `apply`, the only thing that changes it.
//!
//! Owns queues, subscriptions, leases, producer windows and log time. Called by `engine`, which decides, and by the
//! replay, which repeats. Nothing here knows connections, commits or the clock of the machine.

mod ahead;
mod apply;
pub(crate) mod aside;
pub(crate) mod behind;
mod broadcast;
pub(crate) mod chunk;
pub(crate) mod done_set;
mod ephemeral;
mod error;
pub(crate) mod expiry;
mod failure;
mod hash;
mod keep;
mod lease;
pub(crate) mod letter;
mod lives;
mod loaded;
mod overflow;
pub(crate) mod pages;
mod producer;
mod queue;
mod queues;
mod reader;
pub(crate) mod runs;
mod schedule;
mod standing;
pub(crate) mod stretch;
mod subscription;
mod trim;
pub(crate) mod waiting;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use corelane_wire::{Aside, Contract, Epoch, LeaseId, Lsn, Offset, Timestamp};

use crate::ids::{QueueId, SubscriptionId};
use crate::time::LogClock;

pub use error::ReplayError;
pub(crate) use hash::StateHasher;
pub(crate) use lease::{HeldRun, Lease, Leases};
pub(crate) use loaded::Loaded;
pub(crate) use producer::{Producers, Verdict, Window, WindowRun};
pub(crate) use queue::Queue;
pub(crate) use queues::{QueuePage, Queues};
pub(crate) use runs::{EnqueueRun, Layout};
pub(crate) use schedule::Group;
pub(crate) use standing::Standing;
pub(crate) use subscription::{Finished, Fragment, Pause, Subscription};

/// Why a record does not fit the state.
type Misfit = &'static str;

const NO_QUEUE: Misfit = "the queue does not exist";
const NO_SUBSCRIPTION: Misfit = "the subscription does not exist";
const NOT_HELD: Misfit = "a message is not held under its lease";
const WRONG_KIND: Misfit = "the record has another kind";

/// A subscription of the partition.
pub(crate) type SubscriptionKey = (QueueId, SubscriptionId);

/// Everything that follows from the log.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The number of the next record.
    pub(crate) end: Lsn,
    /// The last Epoch record's epoch.
    pub(crate) epoch: Epoch,
    /// The log's times.
    pub(crate) clock: LogClock,
    /// Queues and their subscriptions.
    pub(crate) queues: Queues,
    /// Who holds what.
    pub(crate) leases: Leases,
    /// The subscriptions with delayed messages, by the instant at which their first is due.
    pub(crate) due: BTreeSet<(Timestamp, SubscriptionKey)>,
    /// The queues with messages that expire, by the instant at which their first does.
    pub(crate) expiries: BTreeSet<(Timestamp, QueueId)>,
    /// Which batches were taken.
    pub(crate) producers: Producers,
    /// Sums over all queues.
    pub(crate) counts: Counts,
    /// How the places of messages are kept; not replicated.
    pub(crate) layout: Layout,
    /// Which runs are in memory; not replicated.
    pub(crate) loaded: Loaded,
    /// The stretch that relocated messages were added to last; not replicated.
    pub(crate) growing: Option<(QueueId, Offset)>,
}

/// Sums over all queues, kept up with every record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Counts {
    /// Messages that some subscription is not done with.
    pub(crate) messages: u64,
    /// Subscriptions.
    pub(crate) subscriptions: usize,
    /// Messages ready, once per subscription.
    pub(crate) ready: u64,
    /// Messages leased, once per subscription.
    pub(crate) leased: u64,
    /// Messages delayed, once per subscription.
    pub(crate) delayed: u64,
    /// Messages dead, once per subscription.
    pub(crate) dead: u64,
    /// Messages parked, once per subscription.
    pub(crate) parked: u64,
    /// Messages that the subscriptions were there for: the sum of the counts above and below, but for `messages`.
    pub(crate) enqueued: u64,
    /// Messages that a consumer finished, once per subscription.
    pub(crate) acked: u64,
    /// Messages whose time to live ended, or that made way, once per subscription.
    pub(crate) expired: u64,
    /// Messages that were purged, once per subscription.
    pub(crate) purged: u64,
}

impl Counts {
    /// These and others.
    pub(crate) const fn and(self, other: &Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            subscriptions: self.subscriptions + other.subscriptions,
            ready: self.ready + other.ready,
            leased: self.leased + other.leased,
            delayed: self.delayed + other.delayed,
            dead: self.dead + other.dead,
            parked: self.parked + other.parked,
            enqueued: self.enqueued + other.enqueued,
            acked: self.acked + other.acked,
            expired: self.expired + other.expired,
            purged: self.purged + other.purged,
        }
    }

    /// What is counted of the messages that were set aside in one way.
    const fn aside_mut(&mut self, aside: Aside) -> &mut u64 {
        match aside {
            Aside::Dead => &mut self.dead,
            Aside::Parked => &mut self.parked,
        }
    }

    /// The messages in all states together: `enqueued`, unless some were lost or made up.
    pub(crate) const fn accounted(&self) -> u64 {
        let waiting = self.ready + self.leased + self.delayed;
        waiting + self.dead + self.parked + self.acked + self.expired + self.purged
    }
}

/// What a record did that the engine must know beyond the state; no part of the state.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Messages that a lease does not hold any more.
    pub(crate) freed: Vec<(LeaseId, u32)>,
    /// Leases that ended.
    pub(crate) ended: Vec<LeaseId>,
    /// Subscriptions that may have messages ready which they could not give out before.
    pub(crate) ready: Vec<SubscriptionKey>,
    /// Messages that are not in the state any more in which they were, as ranges, ends exclusive; only of subscriptions
    /// that give them out by their key.
    pub(crate) changed: Vec<(SubscriptionKey, Offset, Offset)>,
    /// Scratch space of `apply`.
    removed: Vec<HeldRun>,
}

impl Effects {
    /// Forgets everything, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.freed.clear();
        self.ended.clear();
        self.ready.clear();
        self.changed.clear();
        self.removed.clear();
    }

    /// Messages of a subscription are in another state.
    fn change(&mut self, key: SubscriptionKey, of: &Subscription, first: Offset, end: Offset) {
        if of.config.contract == Contract::KeyOrdered {
            self.changed.push((key, first, end));
        }
    }

    /// The same of what was taken out of leases.
    fn change_removed(&mut self, key: SubscriptionKey, of: &Subscription) {
        if of.config.contract == Contract::KeyOrdered {
            let removed = self.removed.iter();
            self.changed
                .extend(removed.map(|run| (key, run.first, run.end())));
        }
    }
}

impl State {
    /// The subscription with this key.
    pub(crate) fn subscription(&self, key: SubscriptionKey) -> Option<&Subscription> {
        self.queues.get(key.0)?.subscription(key.1)
    }

    /// The same for the same state, on every machine.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = StateHasher::new();
        self.end.hash(&mut hasher);
        self.epoch.hash(&mut hasher);
        self.clock.hash(&mut hasher);
        self.queues.hash(&mut hasher);
        self.leases.hash(&mut hasher);
        self.producers.hash(&mut hasher);
        hasher.finish()
    }

    /// The log time at which something is due that a Tick record does; `None` if there is nothing.
    pub(crate) fn next_tick(&self) -> Option<Timestamp> {
        let lease = self.leases.next_deadline();
        let window = self.producers.next_check();
        let in_lease_time = lease.into_iter().chain(window).min();
        let delayed = self.due.first().map(|&(due, _)| due);
        let expiring = self.expiries.first().map(|&(at, _)| at);
        in_lease_time
            .map(|time| self.clock.log_time_of(time))
            .into_iter()
            .chain(delayed)
            .chain(expiring)
            .min()
    }

    /// A segment of the log begins at `base`; `behind` are the queues with messages from there on.
    pub(crate) fn segment_begins(&mut self, base: Lsn, behind: impl Iterator<Item = QueueId>) {
        self.layout.segment_base = base;
        for id in behind {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.cut(self.layout);
            }
        }
    }

    /// A stretch of relocated messages grows no more.
    fn close(&mut self, (id, first): (QueueId, Offset)) {
        if let Some(queue) = self.queues.get_mut(id)
            && let Some(last) = queue.runs.close(first, self.layout)
        {
            self.loaded.push(id, last, queue.runs.loaded_at(last));
        }
    }

    /// O(n) check of every invariant; for tests.
    #[cfg(test)]
    pub(crate) fn assert_consistent(&self) {
        check::assert_consistent(self);
    }

    /// The same of a state beside the replicated one, whose queues have no messages.
    #[cfg(test)]
    pub(crate) fn assert_consistent_beside(&self) {
        check::assert_subscriptions(self);
    }
}

#[cfg(test)]
mod check;
