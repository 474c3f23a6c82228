//! Relocation: live messages of segments with little else get a new place, so that the segments can go.
//!
//! The shell says which stretches, and when; the engine says which records it needs for that, and appends their live
//! messages again. Invariant: (M1) until a Relocate record is committed, its messages are read at their old place.

use std::collections::VecDeque;
use std::ops::Range;

use corelane_wire::{Batch, Lsn, Offset, Timestamp};

use super::output::FetchFor;
use super::{Engine, Output, Run, SparseStretch, Status};
use crate::ids::QueueId;
use crate::record::Record;
use crate::state::runs::RunsAt;
use crate::state::{EnqueueRun, Queue};

/// What has to move, and how far that is.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// What no record was asked for yet; the first one may be begun.
    stretches: VecDeque<SparseStretch>,
    /// Records that were asked for, and for which stretch.
    fetching: VecDeque<(SparseStretch, EnqueueRun)>,
    /// Relocate records that are not committed, and where their messages lay before.
    uncommitted: VecDeque<(Lsn, EnqueueRun)>,
}

impl Moves {
    /// Everything below `end` is committed.
    pub(super) fn commit(&mut self, end: Lsn) {
        while self.uncommitted.front().is_some_and(|(lsn, _)| *lsn < end) {
            self.uncommitted.pop_front();
        }
    }

    /// Where the messages of a stretch lie cannot be read: they stay until the next plan.
    pub(super) fn give_up(&mut self, queue: QueueId, messages: Range<Offset>) {
        self.stretches
            .retain(|it| it.queue != queue || it.end <= messages.start || messages.end <= it.first);
    }

    /// Lets what is not committed be read at its old place (M1).
    pub(super) fn resolve(&self, runs: &mut [Run]) {
        if self.uncommitted.is_empty() {
            return;
        }
        for run in runs {
            // One that moved twice meanwhile lies at the place before the first of its moves.
            while let Ok(at) = self.uncommitted.binary_search_by_key(&run.lsn, |it| it.0) {
                let (_, old) = self.uncommitted[at];
                run.lsn = old.lsn;
                run.index = u32::try_from(run.first.0 - old.first.0)
                    .expect("a batch has fewer than 2^32 messages");
            }
        }
    }
}

impl Engine {
    /// These stretches are to move instead of those before.
    pub(super) fn on_relocate(&mut self, stretches: &[SparseStretch]) {
        self.moves.stretches = stretches.iter().copied().collect();
    }

    /// Whether anything is left to move, or on its way.
    pub fn is_relocating(&self) -> bool {
        !self.moves.stretches.is_empty() || !self.moves.fetching.is_empty()
    }

    /// Asks for the next records that have to move.
    pub(super) fn on_move(&mut self, bytes: u64, outputs: &mut VecDeque<Output>) {
        if self.status != Status::Serving || !self.moves.fetching.is_empty() {
            return;
        }
        let mut left = bytes;
        while left > 0
            && let Some(stretch) = self.moves.stretches.pop_front()
        {
            if let Some(rest) = self.fetch(stretch, &mut left, outputs) {
                self.moves.stretches.push_front(rest);
                return;
            }
        }
    }

    /// Asks for records of one stretch; gives back what is left of it.
    fn fetch(
        &mut self,
        mut stretch: SparseStretch,
        left: &mut u64,
        outputs: &mut VecDeque<Output>,
    ) -> Option<SparseStretch> {
        let queue = self.state.queues.get(stretch.queue)?;
        while let Some((first, end)) = queue.runs.kept_from(stretch.first)
            && first < stretch.end
        {
            let (_, holder) = queue.runs.stretch_of(first)?;
            if holder.last_lsn >= stretch.below {
                // It has moved already.
                stretch.first = end;
                continue;
            }
            match queue.runs.at(first) {
                RunsAt::Here(runs, end) => {
                    let runs = runs.iter().take_while(|run| run.first < end);
                    let asked = ask_for(queue, runs, (&mut stretch, left), outputs);
                    self.moves.fetching.extend(asked);
                    if *left == 0 {
                        return Some(stretch);
                    }
                }
                RunsAt::Away(first, place) => {
                    self.load(stretch.queue, (first, place), outputs);
                    return Some(stretch);
                }
                RunsAt::Nothing => stretch.first = end,
            }
        }
        None
    }

    /// A record that has to move was read, or cannot be.
    pub(super) fn on_fetched(
        &mut self,
        now: Timestamp,
        batch: Option<&[u8]>,
        outputs: &mut VecDeque<Output>,
    ) {
        let Some((of, run)) = self.moves.fetching.pop_front() else {
            return;
        };
        // What cannot be read stays where it is.
        if let Some(batch) = batch.and_then(|bytes| Batch::trusted(bytes).ok())
            && self.status == Status::Serving
        {
            self.relocate(now, (of, run), &batch, outputs);
        }
    }

    /// Appends what is live of a run again; `None` if its queue has gone, or the batch is another one.
    fn relocate(
        &mut self,
        now: Timestamp,
        (of, run): (SparseStretch, EnqueueRun),
        batch: &Batch<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Option<()> {
        let queue = self.state.queues.get(of.queue)?;
        for (first, end) in queue.live_in(run) {
            let holder = self.state.queues.get(of.queue)?.runs.stretch_of(first);
            if holder.is_none_or(|(_, holder)| holder.last_lsn >= of.below) {
                // A part of the batch moved before a crash.
                continue;
            }
            let index = u32::try_from(first.0 - run.first.0).ok()?;
            let count = u32::try_from(end.0 - first.0).ok()?;
            let part = batch.part(index, count)?;
            let record = Record::Relocate {
                queue: of.queue,
                first,
                count,
                bytes: u32::try_from(part.entries.len()).ok()?,
                largest: part.largest_bytes,
                enqueued: run.time,
            };
            let lsn = self.append(now, record, outputs);
            self.moves.uncommitted.push_back((lsn, run));
        }
        Some(())
    }
}

/// Asks for the records of runs in which anything is live, while there is room; `stretch` begins behind them then.
fn ask_for<'a>(
    queue: &Queue,
    runs: impl Iterator<Item = &'a EnqueueRun>,
    (stretch, left): (&mut SparseStretch, &mut u64),
    outputs: &mut VecDeque<Output>,
) -> Vec<(SparseStretch, EnqueueRun)> {
    let mut asked = Vec::new();
    for run in runs {
        if *left == 0 {
            break;
        }
        stretch.first = run.end();
        if queue.live_in(*run).is_empty() {
            continue;
        }
        *left = left.saturating_sub(run.record_bytes());
        asked.push((*stretch, *run));
        outputs.push_back(Output::Fetch {
            whose: FetchFor::Relocation,
            lsn: run.lsn,
            first: run.first,
        });
    }
    asked
}
