//! Virtual time: a queue of events ordered by their moment, ties broken by the order of insertion.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Nanoseconds of virtual time since the begin of the seed.
pub type Moment = u64;

/// One microsecond.
pub const MICROSECOND: Moment = 1_000;
/// One millisecond.
pub const MILLISECOND: Moment = 1_000_000;
/// One second.
pub const SECOND: Moment = 1_000_000_000;

/// Wall time at the begin of every seed: 2026-01-01, in nanoseconds since the Unix epoch.
pub const WALL_AT_BEGIN: u64 = 1_767_225_600 * SECOND;

#[derive(Debug)]
struct Entry<E> {
    at: Moment,
    order: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.order == other.order
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: the heap gives its greatest, the schedule its earliest.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What will happen, and when.
#[derive(Debug)]
pub struct Schedule<E> {
    now: Moment,
    order: u64,
    heap: BinaryHeap<Entry<E>>,
}

impl<E> Schedule<E> {
    /// An empty schedule at moment 0.
    pub fn new() -> Self {
        Self {
            now: 0,
            order: 0,
            heap: BinaryHeap::new(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Lets `event` happen `delay` from now.
    pub fn after(&mut self, delay: Moment, event: E) {
        self.at(self.now + delay, event);
    }

    /// Lets `event` happen at `at`, or now if that is past.
    pub fn at(&mut self, at: Moment, event: E) {
        self.order += 1;
        self.heap.push(Entry {
            at: at.max(self.now),
            order: self.order,
            event,
        });
    }

    /// Moves time to the next event and takes it.
    pub fn take_next(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self::new()
    }
}
