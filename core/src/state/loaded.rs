//! Which stretches have their runs in memory, so that those which no consumer is near can drop them.
//!
//! Not replicated: whether runs are in memory changes nothing but when they can be given out.

use std::collections::VecDeque;

use corelane_wire::Offset;

use super::queues::Queues;
use super::runs::Unloaded;
use crate::ids::QueueId;

/// Stretches of the partition that are chunks of their own and in memory, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Each by its last offset, which stays, and with its runs.
    order: VecDeque<(QueueId, Offset, usize)>,
    runs: usize,
}

impl Loaded {
    /// The stretch that ends with the message `last` has so many runs in memory.
    pub(crate) fn push(&mut self, queue: QueueId, last: Offset, runs: usize) {
        self.runs += runs;
        self.order.push_back((queue, last, runs));
    }

    /// How many runs are in memory.
    pub(crate) const fn runs(&self) -> usize {
        self.runs
    }

    /// Drops runs that no consumer is near until at most `runs_max` are left; looks at each stretch once at most, and
    /// at no more than [`LOOKS_MAX`].
    pub(crate) fn shrink(&mut self, queues: &mut Queues, runs_max: usize) {
        let looks = self.order.len().min(LOOKS_MAX);
        for _ in 0..looks {
            if self.runs <= runs_max {
                return;
            }
            let Some((id, last, runs)) = self.order.pop_front() else {
                return;
            };
            if queues.get(id).is_some_and(|queue| queue.is_near(last)) {
                self.order.push_back((id, last, runs));
                continue;
            }
            let unloaded = queues.get_mut(id).map(|queue| queue.runs.unload(last));
            if unloaded == Some(Unloaded::NotWritten) {
                self.order.push_back((id, last, runs));
            } else {
                self.runs -= runs;
            }
        }
    }
}

/// Stretches that are looked at in one go.
const LOOKS_MAX: usize = 64;
