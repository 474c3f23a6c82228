//! A queue: its messages as runs, and its subscriptions.
//!
//! Invariants: (Q1) runs are dense: each begins where the one before ends, the last ends at `end`. (Q2) a run is kept
//! until all its messages are done in every subscription; without a subscription everything is kept.

use std::collections::{BTreeMap, VecDeque};

use corelane_wire::{Lsn, Offset, Timestamp};

use super::subscription::Subscription;
use crate::ids::{QueueId, SubscriptionId};

/// The queues of a partition, by number and by name.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Queues {
    by_id: BTreeMap<QueueId, Queue>,
    by_name: BTreeMap<String, QueueId>,
    /// The number of the next queue; never given twice.
    next: u32,
}

/// The replicated part of a queue.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Queue {
    /// Its name within the partition.
    pub(crate) name: String,
    /// When it was created, in log time.
    pub(crate) created: Timestamp,
    /// The offset of the next message.
    pub(crate) end: Offset,
    /// The Enqueue records whose messages are kept.
    pub(crate) runs: VecDeque<EnqueueRun>,
    /// By number.
    pub(crate) subscriptions: Vec<Subscription>,
}

/// What is kept of one Enqueue record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct EnqueueRun {
    /// Its number in the log.
    pub(crate) lsn: Lsn,
    /// Offset of its first message.
    pub(crate) first: Offset,
    /// How many messages.
    pub(crate) count: u32,
    /// Length of its entries together.
    pub(crate) bytes: u32,
    /// Length of its longest entry.
    pub(crate) largest: u32,
    /// Its log time.
    pub(crate) time: Timestamp,
}

impl Queues {
    /// The queue with this number.
    pub(crate) fn get(&self, id: QueueId) -> Option<&Queue> {
        self.by_id.get(&id)
    }

    /// The queue with this number, to change it.
    pub(crate) fn get_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        self.by_id.get_mut(&id)
    }

    /// The number of the queue with this name.
    pub(crate) fn find(&self, name: &str) -> Option<QueueId> {
        self.by_name.get(name).copied()
    }

    /// The number that the next queue gets; `None` when all are used up.
    pub(crate) const fn next_id(&self) -> Option<QueueId> {
        if self.next == u32::MAX {
            return None;
        }
        Some(QueueId(self.next))
    }

    /// Adds a queue under the next number.
    pub(crate) fn create(
        &mut self,
        id: QueueId,
        name: &str,
        created: Timestamp,
    ) -> Result<(), &'static str> {
        if self.next_id() != Some(id) {
            return Err("the number of the queue is not the next one");
        }
        if self.by_name.contains_key(name) {
            return Err("a queue of that name exists");
        }
        self.next += 1;
        self.by_name.insert(name.to_owned(), id);
        self.by_id.insert(
            id,
            Queue {
                name: name.to_owned(),
                created,
                end: Offset(0),
                runs: VecDeque::new(),
                subscriptions: Vec::new(),
            },
        );
        Ok(())
    }

    /// Takes a queue out.
    pub(crate) fn delete(&mut self, id: QueueId) -> Option<Queue> {
        let queue = self.by_id.remove(&id)?;
        self.by_name.remove(&queue.name);
        Some(queue)
    }

    /// How many queues there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The queues behind a name, in the order of their names.
    pub(crate) fn after<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Queue> {
        let behind = (
            std::ops::Bound::Excluded(name.to_owned()),
            std::ops::Bound::Unbounded,
        );
        self.by_name
            .range::<String, _>(behind)
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    /// All queues, by number.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueId, &Queue)> {
        self.by_id.iter().map(|(&id, queue)| (id, queue))
    }
}

impl Queue {
    /// The first message that is kept.
    pub(crate) fn start(&self) -> Offset {
        self.runs.front().map_or(self.end, |run| run.first)
    }

    /// The number of the subscription with this name.
    pub(crate) fn find(&self, name: &str) -> Option<SubscriptionId> {
        let index = self
            .subscriptions
            .iter()
            .position(|subscription| subscription.name == name)?;
        Some(SubscriptionId(u32::try_from(index).ok()?))
    }

    /// The number that the next subscription gets.
    pub(crate) fn next_subscription(&self) -> SubscriptionId {
        SubscriptionId(
            u32::try_from(self.subscriptions.len()).expect("limits.rs keeps it below 2^32"),
        )
    }

    /// The subscription with this number.
    pub(crate) fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(id.0 as usize)
    }

    /// The subscription with this number, to change it.
    pub(crate) fn subscription_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(id.0 as usize)
    }

    /// The end of the messages whose Enqueue record is below `committed`.
    pub(crate) fn visible_end(&self, committed: Lsn) -> Offset {
        if self.runs.back().is_none_or(|run| run.lsn < committed) {
            return self.end;
        }
        let visible = self.runs.partition_point(|run| run.lsn < committed);
        self.runs.get(visible).map_or(self.end, |run| run.first)
    }

    /// The runs from the one that holds `offset` on.
    pub(crate) fn runs_from(&self, offset: Offset) -> impl Iterator<Item = &EnqueueRun> {
        let at = self.runs.partition_point(|run| run.end() <= offset);
        self.runs.range(at..)
    }

    /// Forgets the runs that are done in every subscription; returns how many runs and messages that were.
    pub(crate) fn drop_done(&mut self) -> (usize, u64) {
        let Some(done) = self.subscriptions.iter().map(|each| each.done).min() else {
            return (0, 0);
        };
        let (mut runs, mut messages) = (0, 0);
        while let Some(run) = self.runs.front()
            && run.end() <= done
        {
            runs += 1;
            messages += u64::from(run.count);
            self.runs.pop_front();
        }
        (runs, messages)
    }
}

impl EnqueueRun {
    /// The end of its messages, exclusive.
    pub(crate) const fn end(&self) -> Offset {
        Offset(self.first.0 + self.count as u64)
    }
}
