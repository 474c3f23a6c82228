//! Spare segments of one shard: made ahead, installed when a log asks.
//!
//! Owns the spares of the data directory whose number falls to this shard. Invariants:
//! (S1) A spare has one owner: number `n` belongs to shard `n % shards`, so shards need not agree.
//! (S2) One spare is made at a time, and each spare is installed at most once.
//! (S3) While no spare can be made, logs that must roll get the small ones kept in reserve, so
//!      that acks still find a place (STORAGE item 5).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corelane_storage::{SegmentNumber, SpareId, Task};
use corelane_wire::{PartitionId, ShardId, Timestamp};

/// Small spares that are kept ready.
const SMALL_READY: usize = 2;
/// After a failure nothing is made for so long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The spares out of `all` that belong to a shard (S1).
pub fn spares_of(shard: ShardId, shards: u16, all: &[(SpareId, u64)]) -> Vec<(SpareId, u64)> {
    let is_own = |spare: &SpareId| spare.0 % u32::from(shards) == u32::from(shard.0);
    all.iter()
        .copied()
        .filter(|(spare, _)| is_own(spare))
        .collect()
}

/// A log that needs a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Wanted {
    partition: PartitionId,
    segment: SegmentNumber,
    bytes: u64,
}

/// The spares of one shard.
#[derive(Debug)]
pub(super) struct Spares {
    ready: BTreeMap<SpareId, u64>,
    /// The number that the next spare gets, and the step to the one after.
    next: SpareId,
    step: u32,
    small_bytes: u64,
    /// The larger size that logs have asked for; one of it is kept ready from then on.
    large_bytes: Option<u64>,
    making: bool,
    wanted: VecDeque<Wanted>,
    /// Set after a failure to make one.
    retry_at: Option<Timestamp>,
}

impl Spares {
    pub(super) fn new(
        shard: ShardId,
        shards: u16,
        small_bytes: u64,
        ready: Vec<(SpareId, u64)>,
    ) -> Self {
        let step = u32::from(shards);
        let highest = ready.iter().map(|(spare, _)| spare.0).max();
        let first = match highest {
            Some(highest) => highest + step,
            None => u32::from(shard.0),
        };
        Self {
            next: SpareId(first),
            step,
            small_bytes,
            large_bytes: None,
            making: false,
            wanted: VecDeque::new(),
            retry_at: None,
            ready: ready.into_iter().collect(),
        }
    }

    /// A log needs this segment.
    pub(super) fn want(&mut self, partition: PartitionId, segment: SegmentNumber, bytes: u64) {
        if bytes > self.small_bytes {
            self.large_bytes = Some(bytes);
        }
        self.wanted.push_back(Wanted {
            partition,
            segment,
            bytes,
        });
    }

    /// Whether the last attempt to make a spare failed.
    pub(super) fn is_full(&self) -> bool {
        self.retry_at.is_some()
    }

    /// When to try again after a failure.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// The next thing to do, with the length of the spare; asked again until it is `None`.
    pub(super) fn next_task(&mut self, now: Timestamp) -> Option<(Task, u64)> {
        self.install().or_else(|| self.make(now))
    }

    /// A spare was made, or could not be.
    pub(super) fn made(&mut self, now: Timestamp, spare: SpareId, bytes: u64, is_made: bool) {
        self.making = false;
        if is_made {
            self.ready.insert(spare, bytes);
            self.retry_at = None;
        } else {
            self.retry_at = Some(now.add(RETRY_AFTER));
        }
    }

    fn install(&mut self) -> Option<(Task, u64)> {
        let wanted = *self.wanted.front()?;
        // S3: in need a small one is better than none.
        let bytes_min = if self.is_full() { 0 } else { wanted.bytes };
        let (bytes, spare) = self
            .ready
            .iter()
            .filter(|(_, bytes)| **bytes >= bytes_min)
            .map(|(spare, bytes)| (*bytes, *spare))
            .min()?;
        self.wanted.pop_front();
        self.ready.remove(&spare);
        let task = Task::Install {
            spare,
            partition: wanted.partition,
            segment: wanted.segment,
        };
        Some((task, bytes))
    }

    fn make(&mut self, now: Timestamp) -> Option<(Task, u64)> {
        if self.making || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let Some(bytes) = self.missing() else {
            // The reserve is whole again.
            self.retry_at = None;
            return None;
        };
        let spare = self.next;
        self.next = SpareId(spare.0 + self.step);
        self.making = true;
        if self.retry_at.is_some() {
            // Still counts as full until this one is there.
            self.retry_at = Some(now.add(RETRY_AFTER));
        }
        Some((Task::MakeSpare { spare, bytes }, bytes))
    }

    /// The size of the spare that is missed most.
    fn missing(&self) -> Option<u64> {
        let small = self.small_bytes;
        let count = |of: u64| self.ready.values().filter(|bytes| **bytes == of).count();
        if let Some(wanted) = self.wanted.front() {
            return Some(if self.is_full() { small } else { wanted.bytes });
        }
        if count(small) < SMALL_READY {
            return Some(small);
        }
        self.large_bytes.filter(|large| count(*large) == 0)
    }
}

#[cfg(test)]
mod tests;
