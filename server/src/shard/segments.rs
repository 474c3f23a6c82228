//! Spare segments of one shard: made ahead, installed when a log asks.
//!
//! Owns the spares of the data directory whose number falls to this shard. Invariants:
//! (S1) A spare has one owner: number `n` belongs to shard `n % shards`, so shards need not agree.
//! (S2) One spare is made at a time, and each spare is installed at most once.
//! (S3) Where there is no room for a large spare, logs get small ones. Where there is none for a
//!      small one either, the disk counts as full: enqueues are refused, and the last
//!      [`SMALL_READY`] spares go only to logs with records that wait, so that acks still find a
//!      place (STORAGE item 5).
//! (S4) Making a spare takes its time, but not once records wait for it: then it is hastened.
//! (S5) Segments that are not needed any more become spares, so that few are made of zeros.
//! (S6) A log whose segment is large and mostly done with could hold all the room of a full disk for ever, because it
//!      takes nothing that would fill that segment: so it gets one of the reserve to go on in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corelane_storage::{SegmentNumber, SpareId, Task, VOLATILE_SPARES};
use corelane_wire::{PartitionId, ShardId, Timestamp};

use crate::driver::Token;

/// Small spares that are kept ready.
const SMALL_READY: usize = 2;
/// Spares of one length beyond which segments that are not needed any more are removed.
const ALIKE_MAX: usize = 3;
/// How soon a small spare that found no room is tried again.
const SMALL_AGAIN: Duration = Duration::from_secs(1);
/// How soon a large one is; meanwhile logs have small ones.
const LARGE_AGAIN: Duration = Duration::from_secs(10);

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
    /// Whether records wait that cannot be written before it is there.
    is_pressing: bool,
}

/// The spares of one shard.
#[derive(Debug)]
pub(super) struct Spares {
    ready: BTreeMap<SpareId, u64>,
    /// The number that the next spare gets, and the step to the one after.
    next: SpareId,
    step: u32,
    small_bytes: u64,
    /// Small spares that are kept ready.
    reserve: usize,
    /// The larger size that logs have asked for; one of it is kept ready from then on.
    large_bytes: Option<u64>,
    making: bool,
    /// Spares that segments are being made into, with their lengths.
    retiring: BTreeMap<SpareId, u64>,
    /// The operation that makes it, until it is hastened.
    leisurely: Option<Token>,
    wanted: VecDeque<Wanted>,
    /// When a small spare is tried again that found no room; the disk is full until one does.
    small_again: Option<Timestamp>,
    /// When a large spare is tried again that found no room.
    large_again: Option<Timestamp>,
    /// When installing is tried again that found no room for a name.
    install_again: Option<Timestamp>,
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
            reserve: SMALL_READY,
            large_bytes: None,
            making: false,
            retiring: BTreeMap::new(),
            leisurely: None,
            wanted: VecDeque::new(),
            small_again: None,
            large_again: None,
            install_again: None,
            ready: ready.into_iter().collect(),
        }
    }

    /// Those of a volatile partition: none is made before it is needed.
    pub(super) fn volatile(shard: ShardId, shards: u16, bytes: u64) -> Self {
        let first = SpareId(VOLATILE_SPARES.0 + u32::from(shard.0));
        Self {
            next: first,
            reserve: 0,
            ..Self::new(shard, shards, bytes, Vec::new())
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
            is_pressing: false,
        });
    }

    /// Records of a log that waits for its segment cannot be written any more.
    pub(super) fn press(&mut self, partition: PartitionId) {
        for wanted in &mut self.wanted {
            wanted.is_pressing |= wanted.partition == partition;
        }
    }

    /// A log would let go of more than a small spare takes if it went on in another segment: on a full disk it gets
    /// one of the reserve, unless that were the last (S6).
    pub(super) fn lend(&mut self, partition: PartitionId) {
        let is_pressing = self.wanted.iter().any(|wanted| wanted.is_pressing);
        if self.is_full() && self.count_small() >= self.reserve && !is_pressing {
            self.press(partition);
        }
    }

    /// Whether the disk had no room when a spare was last tried (S3).
    pub(super) fn is_full(&self) -> bool {
        self.small_again.is_some()
    }

    /// Whether the disk had no room when a large spare was last tried (S3).
    pub(super) fn is_short(&self) -> bool {
        self.large_again.is_some()
    }

    /// When to ask again after a failure.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let making = [self.small_again, self.large_again];
        // What is being made now ends by itself.
        let making = making.into_iter().flatten().filter(|_| !self.making);
        making.chain(self.install_again).min()
    }

    /// The next thing to do, with the length of the spare; asked again until it is `None`.
    pub(super) fn next_task(&mut self, now: Timestamp) -> Option<(Task, u64)> {
        self.install(now).or_else(|| self.make(now))
    }

    /// The spare is being made by this operation.
    pub(super) fn being_made(&mut self, token: Token) {
        self.leisurely = Some(token);
    }

    /// The operation to hasten, once, because records wait for a spare (S4).
    pub(super) fn hasten(&mut self) -> Option<Token> {
        let is_pressing = self.wanted.iter().any(|wanted| wanted.is_pressing);
        self.leisurely.take_if(|_| is_pressing)
    }

    /// What becomes of a segment that is not needed any more: a spare unless there are enough of its length (S5).
    pub(super) fn retire(
        &mut self,
        partition: PartitionId,
        (segment, bytes): (SegmentNumber, u64),
    ) -> Task {
        let lengths = self.ready.values().chain(self.retiring.values());
        if lengths.filter(|other| **other == bytes).count() >= ALIKE_MAX {
            return Task::RemoveSegment { partition, segment };
        }
        let spare = self.draw();
        self.retiring.insert(spare, bytes);
        Task::Retire {
            partition,
            segment,
            spare,
        }
    }

    /// A segment became a spare, or could not, or was removed because a backup reads it.
    pub(super) fn retired(&mut self, spare: SpareId, is_ready: bool) {
        if let Some(bytes) = self.retiring.remove(&spare)
            && is_ready
        {
            self.ready.insert(spare, bytes);
        }
    }

    /// The number of a new spare.
    fn draw(&mut self) -> SpareId {
        let spare = self.next;
        self.next = SpareId(spare.0 + self.step);
        spare
    }

    /// A spare was made, or could not be.
    pub(super) fn made(&mut self, now: Timestamp, spare: SpareId, bytes: u64, is_made: bool) {
        self.making = false;
        self.leisurely = None;
        let is_large = bytes > self.small_bytes;
        if is_made {
            self.ready.insert(spare, bytes);
            self.small_again = None;
            if is_large {
                self.large_again = None;
            }
        } else if is_large {
            self.large_again = Some(now.add(LARGE_AGAIN));
        } else {
            self.small_again = Some(now.add(SMALL_AGAIN));
        }
    }

    /// A spare could not be installed for want of room: it is kept, and tried again later.
    pub(super) fn not_installed(
        &mut self,
        now: Timestamp,
        (spare, bytes): (SpareId, u64),
        (partition, segment): (PartitionId, SegmentNumber),
    ) {
        self.ready.insert(spare, bytes);
        self.wanted.push_front(Wanted {
            partition,
            segment,
            bytes,
            is_pressing: true,
        });
        let again = now.add(SMALL_AGAIN);
        self.install_again = Some(again);
        self.small_again = Some(again);
    }

    fn install(&mut self, now: Timestamp) -> Option<(Task, u64)> {
        if self.install_again.is_some_and(|at| now < at) {
            return None;
        }
        self.install_again = None;
        let found = |(at, wanted)| self.spare_for(wanted).map(|found| (at, found));
        let (at, (bytes, spare)) = self.wanted.iter().enumerate().find_map(found)?;
        let wanted = self.wanted.remove(at)?;
        self.ready.remove(&spare);
        let task = Task::Install {
            spare,
            partition: wanted.partition,
            segment: wanted.segment,
        };
        Some((task, bytes))
    }

    /// The smallest spare that this log may have now (S3).
    fn spare_for(&self, wanted: &Wanted) -> Option<(u64, SpareId)> {
        let sizes = self.ready.iter().map(|(spare, bytes)| (*bytes, *spare));
        let fits = sizes.clone().filter(|(bytes, _)| *bytes >= wanted.bytes);
        let is_reserve = |(bytes, _): &(u64, SpareId)| *bytes <= self.small_bytes;
        // The last small ones of a full disk are for records that wait.
        let is_allowed = wanted.is_pressing || self.count_small() > self.reserve;
        let of_its_size = fits.filter(|it| is_allowed || !self.is_full() || !is_reserve(it));
        // In need a small one is better than none.
        let is_in_need = self.is_short() || self.is_full();
        let smalls = sizes.filter(|it| is_in_need && is_allowed && is_reserve(it));
        of_its_size.min().or_else(|| smalls.min())
    }

    fn make(&mut self, now: Timestamp) -> Option<(Task, u64)> {
        if self.making {
            return None;
        }
        let Some(bytes) = self.missing(now) else {
            // What could be tried again and is not missing any more needs no trying.
            self.small_again.take_if(|at| *at <= now);
            self.large_again.take_if(|at| *at <= now);
            return None;
        };
        let spare = self.draw();
        self.making = true;
        Some((Task::MakeSpare { spare, bytes }, bytes))
    }

    /// The size of the spare that is missed most and may be tried now.
    fn missing(&self, now: Timestamp) -> Option<u64> {
        let small = self.small_bytes;
        let may_try = |at: Option<Timestamp>| at.is_none_or(|at| now >= at);
        let (try_small, try_large) = (may_try(self.small_again), may_try(self.large_again));
        let first = self.wanted.front().map(|wanted| wanted.bytes);
        if let Some(bytes) = first.filter(|bytes| *bytes > small && try_large) {
            return Some(bytes);
        }
        // One for the log that waits, beyond the reserve.
        let smalls = self.reserve + usize::from(first.is_some());
        if self.count_small() < smalls {
            return try_small.then_some(small);
        }
        let is_ready = |large: &u64| self.ready.values().any(|bytes| bytes >= large);
        let large = self.large_bytes.filter(|large| !is_ready(large));
        large.filter(|_| try_large)
    }

    pub(super) fn count_small(&self) -> usize {
        let sizes = self.ready.values();
        sizes.filter(|bytes| **bytes <= self.small_bytes).count()
    }
}

#[cfg(test)]
mod tests;
