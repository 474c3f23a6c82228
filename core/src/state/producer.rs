//! What is remembered of producers, so that a batch sent again is not taken twice.
//!
//! One window per producer and queue: the receipts of its last batches, kept as runs, because a producer that is
//! alone in its queue gets consecutive offsets.
//! Invariants: (P1) sequences within a window are dense. (P2) a window spans at most `PRODUCER_WINDOW` sequences.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

use corelane_wire::{Offset, OffsetRange, ProducerId, Sequence};

use super::chunk::Chunk;
use super::pages::{FrozenPage, Page, Pages};
use crate::ids::QueueId;
use crate::limits::{PRODUCER_IDLE, PRODUCER_WINDOW};
use crate::time::LeaseTime;

/// All windows of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    windows: Pages<(QueueId, ProducerId), Window>,
    /// When to look whether a window is idle; never later than its true end, so that an enqueue need not move it.
    checks: BTreeSet<(LeaseTime, QueueId, ProducerId)>,
}

/// What to do with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is the first one of a producer of which nothing is known: take it, if there is room for a window.
    First,
    /// It is the next one: take it.
    Next,
    /// It was taken before, under these offsets.
    Duplicate(OffsetRange),
    /// Nothing is known of its producer, and it is not the first batch.
    UnknownProducer,
    /// It leaves a gap or lies before the window.
    OutOfSequence {
        /// The sequence that would be taken next.
        next: Sequence,
    },
}

impl Producers {
    /// Judges a batch without changing anything.
    pub(crate) fn judge(
        &self,
        queue: QueueId,
        producer: ProducerId,
        sequence: Sequence,
    ) -> Verdict {
        match self.windows.get(&(queue, producer)) {
            Some(window) => window.judge(sequence),
            None if sequence == Sequence(0) => Verdict::First,
            None => Verdict::UnknownProducer,
        }
    }

    /// Remembers a batch that was taken.
    pub(crate) fn record(
        &mut self,
        (queue, producer): (QueueId, ProducerId),
        sequence: Sequence,
        range: OffsetRange,
        now: LeaseTime,
    ) -> Result<(), &'static str> {
        if sequence == Sequence(0) && self.windows.get(&(queue, producer)).is_none() {
            self.checks
                .insert((now.later(PRODUCER_IDLE), queue, producer));
            self.windows.insert((queue, producer), Window::default());
        }
        let window = self
            .windows
            .get_mut(&(queue, producer))
            .filter(|window| window.judge(sequence) == Verdict::Next)
            .ok_or("the batch is not the next one of its producer")?;
        window.push(range);
        window.used = now;
        Ok(())
    }

    /// Forgets windows that were idle for long enough; handles at most `work` and returns what is left of it.
    pub(crate) fn sweep(&mut self, now: LeaseTime, mut work: usize) -> usize {
        while work > 0
            && let Some(&(due, queue, producer)) = self.checks.first()
            && due <= now
        {
            self.checks.pop_first();
            if let Some(window) = self.windows.get(&(queue, producer)) {
                let end = window.used.later(PRODUCER_IDLE);
                // Only what is forgotten counts as work: how often a window was looked at is no part of the state.
                if end <= now {
                    work -= 1;
                    self.windows.remove(&(queue, producer));
                } else {
                    self.checks.insert((end, queue, producer));
                }
            }
        }
        work
    }

    /// Forgets the windows of a queue that is deleted.
    pub(crate) fn forget(&mut self, queue: QueueId) {
        let first = (queue, ProducerId::NONE);
        let of_queue = self.windows.from(first).map(|(key, _)| *key);
        let gone: Vec<_> = of_queue.take_while(|key| key.0 == queue).collect();
        for key in gone {
            self.windows.remove(&key);
        }
        self.checks.retain(|&(_, of, _)| of != queue);
    }

    /// When the next window has to be looked at.
    pub(crate) fn next_check(&self) -> Option<LeaseTime> {
        self.checks.first().map(|&(due, _, _)| due)
    }

    /// The windows as of now, in pages.
    pub(crate) fn freeze(&mut self) -> Vec<FrozenPage<(QueueId, ProducerId), Window>> {
        self.windows.freeze(|_| {})
    }

    /// Takes in a page that was read from a checkpoint; false if it does not follow those before.
    pub(crate) fn push_page(&mut self, page: Chunk<Page<(QueueId, ProducerId), Window>>) -> bool {
        for ((queue, producer), window) in page.get() {
            let due = window.used.later(PRODUCER_IDLE);
            self.checks.insert((due, *queue, *producer));
        }
        self.windows.push_page(page)
    }

    /// How many windows there are.
    pub(crate) fn len(&self) -> usize {
        self.windows.len()
    }
}

/// The receipts of the last batches of one producer in one queue.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Window {
    pub(crate) next: Sequence,
    pub(crate) used: LeaseTime,
    pub(crate) runs: VecDeque<WindowRun>,
}

/// Consecutive batches of the same size with consecutive offsets.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) struct WindowRun {
    pub(crate) sequence: u64,
    pub(crate) first: Offset,
    /// Messages of each batch.
    pub(crate) count: u32,
    pub(crate) batches: u64,
}

impl Hash for Producers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // When a window is looked at again follows from when it was used, but for how often that was.
        self.windows.hash(state);
    }
}

impl Window {
    fn judge(&self, sequence: Sequence) -> Verdict {
        let out_of_sequence = Verdict::OutOfSequence { next: self.next };
        if sequence == self.next {
            // The last number of all is never given, so that `next` cannot overflow.
            return if sequence.0 == u64::MAX {
                out_of_sequence
            } else {
                Verdict::Next
            };
        }
        self.receipt(sequence)
            .map_or(out_of_sequence, Verdict::Duplicate)
    }

    fn receipt(&self, sequence: Sequence) -> Option<OffsetRange> {
        let behind = self.runs.partition_point(|run| run.sequence <= sequence.0);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let batch = sequence.0 - run.sequence;
        (batch < run.batches).then(|| OffsetRange {
            first: Offset(run.first.0 + batch * u64::from(run.count)),
            count: run.count,
        })
    }

    fn push(&mut self, range: OffsetRange) {
        let sequence = self.next.0;
        self.next = Sequence(sequence + 1);
        match self.runs.back_mut() {
            Some(run) if run.count == range.count && run.end() == range.first => run.batches += 1,
            Some(_) | None => self.runs.push_back(WindowRun {
                sequence,
                first: range.first,
                count: range.count,
                batches: 1,
            }),
        }
        // P2: one batch came, so at most one has to go.
        let oldest = self.next.0.saturating_sub(PRODUCER_WINDOW);
        if let Some(run) = self.runs.front_mut()
            && run.sequence < oldest
        {
            run.sequence += 1;
            run.first = Offset(run.first.0 + u64::from(run.count));
            run.batches -= 1;
            if run.batches == 0 {
                self.runs.pop_front();
            }
        }
    }
}

impl WindowRun {
    const fn end(&self) -> Offset {
        Offset(self.first.0 + self.batches * self.count as u64)
    }
}

#[cfg(test)]
mod tests;
