//! Fills one delivery: which runs of which batches go together without exceeding what a frame may hold.

use corelane_wire::limits::DELIVERY_RUNS_MAX;
use corelane_wire::{ChunkPlace, Lsn, Offset, OffsetRange};

use super::Run;
use crate::state::runs::RunsAt;
use crate::state::{EnqueueRun, Fragment, Queue, Standing, Subscription};

/// The messages chosen so far.
#[derive(Debug)]
pub(super) struct Pack {
    /// What the client gets.
    pub(super) runs: Vec<Run>,
    /// What the Lease record says; each lies within one fragment of the subscription.
    pub(super) ranges: Vec<OffsetRange>,
    /// A stretch whose runs have to be read before anything else can be chosen.
    pub(super) away: Option<(Offset, ChunkPlace)>,
    count_left: u32,
    bytes_left: u64,
}

impl Pack {
    /// An empty pack for up to `count_max` messages of `bytes_max` bytes together, or one that is longer.
    pub(super) const fn new(count_max: u32, bytes_max: usize) -> Self {
        Self {
            runs: Vec::new(),
            ranges: Vec::new(),
            away: None,
            count_left: count_max,
            bytes_left: bytes_max as u64,
        }
    }

    /// Chooses what a subscription gives out next: returned messages first, then new ones unless `returned_only`.
    pub(super) fn fill(
        &mut self,
        queue: &Queue,
        subscription: &Subscription,
        committed: Lsn,
        returned_only: bool,
    ) {
        let visible = queue.visible_end(committed);
        for (&first, fragment) in subscription.returned.iter() {
            // What was scheduled may be due before it is committed.
            if first >= visible {
                break;
            }
            let end = Offset(first.0 + fragment.count).min(visible);
            if !self.take(queue, first, end, fragment.attempts.saturating_add(1)) {
                return self.sort();
            }
        }
        self.fill_in_turn(queue, subscription, visible, returned_only);
        self.sort();
    }

    /// Chooses new messages, and between them those that came back behind others; the latter only, if `returned_only`.
    fn fill_in_turn(
        &mut self,
        queue: &Queue,
        subscription: &Subscription,
        visible: Offset,
        returned_only: bool,
    ) -> Option<()> {
        let new_end = if returned_only {
            subscription.cursor
        } else {
            visible
        };
        let mut unread = subscription.unread(new_end);
        let mut next = unread.next();
        for (first, row) in subscription.behind.in_turn() {
            let turn = row.back.queue_end;
            while let Some((first, end)) = next
                && first < turn
            {
                let to = end.min(turn);
                self.take(queue, first, to, 1).then_some(())?;
                next = if to < end {
                    Some((to, end))
                } else {
                    unread.next()
                };
            }
            if turn > visible {
                return None;
            }
            let Fragment { count, attempts } = row.fragment;
            let end = Offset(first.0 + count);
            let attempt = attempts.saturating_add(1);
            self.take(queue, first, end, attempt).then_some(())?;
        }
        for (first, end) in next.into_iter().chain(unread) {
            self.take(queue, first, end, 1).then_some(())?;
        }
        Some(())
    }

    /// Chooses among these messages, which are ready and in order; of those that were never given out none if
    /// `returned_only`.
    pub(super) fn fill_with(
        &mut self,
        queue: &Queue,
        subscription: &Subscription,
        offsets: impl Iterator<Item = Offset>,
        returned_only: bool,
    ) {
        let mut next: Option<(Offset, Offset, Standing)> = None;
        for offset in offsets {
            let standing = subscription.standing(offset);
            if returned_only && standing == Standing::New {
                break;
            }
            let after = Offset(offset.0 + 1);
            match &mut next {
                Some((first, end, of))
                    if *end == offset
                        && *of == standing
                        && offset.0 - first.0 < self.count_left.into() =>
                {
                    *end = after;
                }
                Some(_) | None => {
                    let before = next.replace((offset, after, standing));
                    if before.is_some_and(|before| !self.take_alike(queue, before)) {
                        return;
                    }
                }
            }
        }
        if let Some(last) = next {
            self.take_alike(queue, last);
        }
    }

    /// Adds what fits of messages that stand alike; false if not all of it did.
    fn take_alike(
        &mut self,
        queue: &Queue,
        (first, end, standing): (Offset, Offset, Standing),
    ) -> bool {
        match standing {
            Standing::New => self.take(queue, first, end, 1),
            Standing::Returned(attempts) => {
                self.take(queue, first, end, attempts.saturating_add(1))
            }
            Standing::Held | Standing::Over => false,
        }
    }

    /// A Lease record has its ranges in order; what was scheduled may be given out before what stands before it.
    fn sort(&mut self) {
        if !self.ranges.is_sorted() {
            self.ranges.sort_unstable();
        }
    }

    /// Whether nothing is chosen, and no read would change that.
    pub(super) const fn is_stuck(&self) -> bool {
        self.runs.is_empty() && self.away.is_none()
    }

    /// How many messages are chosen.
    pub(super) fn count(&self) -> u32 {
        self.ranges.iter().map(|range| range.count).sum()
    }

    /// Adds what fits of `first..end`; false if not all of it did.
    pub(super) fn take(&mut self, queue: &Queue, first: Offset, end: Offset, attempt: u32) -> bool {
        let mut next = first;
        while next < end {
            let (runs, stretch_end) = match queue.runs.at(next) {
                RunsAt::Here(runs, end) => (runs, end),
                RunsAt::Away(first, place) => {
                    self.away = Some((first, place));
                    break;
                }
                RunsAt::Nothing => break,
            };
            let to = end.min(stretch_end);
            next = self.take_runs(runs, next, to, attempt);
            let is_full = next < to;
            if is_full {
                break;
            }
        }
        if next > first {
            self.ranges.push(OffsetRange {
                first,
                count: small(next.0 - first.0),
            });
        }
        next >= end
    }

    /// Adds what fits of `first..end` in runs of one stretch; says how far that is.
    fn take_runs(
        &mut self,
        runs: &[EnqueueRun],
        first: Offset,
        end: Offset,
        attempt: u32,
    ) -> Offset {
        let mut next = first;
        for run in runs {
            if next >= end || next < run.first {
                break;
            }
            let wanted = run.end().min(end).0 - next.0;
            let fitting = self.fitting(run, wanted);
            if fitting > 0 {
                self.runs.push(Run {
                    lsn: run.lsn,
                    index: small(next.0 - run.first.0),
                    first: next,
                    count: small(fitting),
                    attempt,
                    enqueued: run.time,
                });
                next = Offset(next.0 + fitting);
            }
            if fitting < wanted {
                break;
            }
        }
        next
    }

    /// How many of `wanted` messages of a run still fit; pays for them.
    ///
    /// Lengths of single messages are not known here, so that they count as the longest of their batch, but all of
    /// them never more than the whole batch.
    fn fitting(&mut self, run: &EnqueueRun, wanted: u64) -> u64 {
        if self.runs.len() == DELIVERY_RUNS_MAX {
            return 0;
        }
        let wanted = wanted.min(self.count_left.into());
        let (all, largest) = (u64::from(run.bytes), u64::from(run.largest.max(1)));
        let mut fitting = if all <= self.bytes_left {
            wanted
        } else {
            wanted.min(self.bytes_left / largest)
        };
        if fitting == 0 && wanted > 0 && self.runs.is_empty() {
            fitting = 1;
        }
        self.bytes_left = self.bytes_left.saturating_sub(all.min(fitting * largest));
        self.count_left -= small(fitting);
        fitting
    }
}

fn small(count: u64) -> u32 {
    u32::try_from(count).expect("a pack is bounded by a count of 32 bits")
}
