//! What is remembered of producers, so that a batch sent again is not taken twice.
//!
//! One window per producer and queue: the receipts of its last batches, kept as runs, because a producer that is
//! alone in its queue gets consecutive offsets.
//! Invariants: (P1) sequences within a window are dense. (P2) a window spans at most `PRODUCER_WINDOW` sequences.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use corelane_wire::{Offset, OffsetRange, ProducerId, Sequence};

use crate::ids::QueueId;
use crate::limits::{PRODUCER_IDLE, PRODUCER_WINDOW};
use crate::time::LeaseTime;

/// All windows of a partition.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Producers {
    windows: BTreeMap<(QueueId, ProducerId), Window>,
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
        let window = match self.windows.entry((queue, producer)) {
            Entry::Occupied(entry) if entry.get().judge(sequence) == Verdict::Next => {
                entry.into_mut()
            }
            Entry::Vacant(entry) if sequence == Sequence(0) => {
                self.checks
                    .insert((now.later(PRODUCER_IDLE), queue, producer));
                entry.insert(Window::default())
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {
                return Err("the batch is not the next one of its producer");
            }
        };
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
            work -= 1;
            self.checks.pop_first();
            if let Some(window) = self.windows.get(&(queue, producer)) {
                let end = window.used.later(PRODUCER_IDLE);
                if end <= now {
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
        let after = QueueId(queue.0.saturating_add(1));
        let mut of_queue = self.windows.split_off(&(queue, ProducerId::NONE));
        let mut behind = of_queue.split_off(&(after, ProducerId::NONE));
        self.windows.append(&mut behind);
        self.checks.retain(|&(_, of, _)| of != queue);
    }

    /// When the next window has to be looked at.
    pub(crate) fn next_check(&self) -> Option<LeaseTime> {
        self.checks.first().map(|&(due, _, _)| due)
    }

    /// How many windows there are.
    pub(crate) fn len(&self) -> usize {
        self.windows.len()
    }
}

/// The receipts of the last batches of one producer in one queue.
#[derive(Clone, Hash, Debug, Default)]
struct Window {
    next: Sequence,
    used: LeaseTime,
    runs: VecDeque<WindowRun>,
}

/// Consecutive batches of the same size with consecutive offsets.
#[derive(Clone, Copy, Hash, Debug)]
struct WindowRun {
    sequence: u64,
    first: Offset,
    /// Messages of each batch.
    count: u32,
    batches: u64,
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
