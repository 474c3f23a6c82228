//! Writes of logs that the disk does not give back.
//!
//! Invariants: (W2) a write that is not back within the bound poisons its partition as one that failed does (W1). What
//! it says later changes nothing, and its buffer stays with the driver until then. (W3) a turn counts for
//! [`WAIT_MAX`] at most: time in which the whole process stood still is not the disk's.

use std::time::Duration;

use corelane_wire::Timestamp;

use super::partition::Partition;
use super::state::{State, WAIT_MAX};
use crate::stats::Illness;

/// From so long on a write that is not back is told about.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// A write of a log that the driver has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Writing {
    waited: Duration,
}

impl Writing {
    /// Whether it has been told about.
    pub(super) fn is_stalled(&self) -> bool {
        self.waited >= STALLED_AFTER
    }
}

impl Partition {
    /// When the write that the driver has counts as stalled, or poisons the partition, if it is not back before.
    pub(super) fn next_stall(&self, now: Timestamp, bound: Duration) -> Option<Timestamp> {
        let writing = self.writing?;
        let limit = if !writing.is_stalled() {
            STALLED_AFTER
        } else if self.poisoned || bound.is_zero() {
            return None;
        } else {
            bound
        };
        Some(now.add(limit.saturating_sub(writing.waited)))
    }
}

impl State {
    /// Looks at the writes that are not back; `before` is when the turn before began.
    pub(super) fn watch_writes(&mut self, before: Timestamp) {
        let passed = self.now.since(before).min(WAIT_MAX);
        for slot in 0..self.partitions.len() {
            self.watch_write(slot, passed);
        }
    }

    fn watch_write(&mut self, slot: usize, passed: Duration) {
        let bound = self.config.write_timeout;
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        let Some(writing) = &mut partition.writing else {
            return;
        };
        let was_stalled = writing.is_stalled();
        writing.waited += passed;
        let waited = writing.waited;
        if writing.is_stalled() && !was_stalled {
            tracing::warn!(
                partition = partition.id.0,
                "a write of the log does not return; what it confirms waits, see `dmesg`"
            );
            self.counters.commit_stalls_total += 1;
            self.stats.add_ill(partition.id, Illness::Stalled);
        }
        if !partition.poisoned && !bound.is_zero() && waited >= bound {
            let text = format!("a write of the log has not returned for {bound:?}");
            self.poison(slot, &text);
        }
    }
}
