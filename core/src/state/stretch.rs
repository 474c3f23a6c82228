//! Runs in a row: what is counted of them together, and the runs themselves, in memory or not.
//!
//! Invariants: (S1) `live` and `count` are not 0. (S2) runs ascend and, unless relocated, leave no gap; those of a chunk
//! of its own may reach beyond both ends.

use std::sync::Arc;

use corelane_wire::{Lsn, Offset};

use super::chunk::Place;
use super::runs::{EnqueueRun, Layout};

/// Runs in a row.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    /// The end of its messages, exclusive.
    pub(crate) end: Offset,
    /// Of its first run.
    pub(crate) first_lsn: Lsn,
    /// Of its last run.
    pub(crate) last_lsn: Lsn,
    /// Length of the records of all its runs together.
    pub(crate) bytes: u64,
    /// Messages of all its runs together, done or not.
    pub(crate) count: u64,
    /// Messages that some subscription is not done with.
    pub(crate) live: u64,
    /// Whether its messages were relocated: there may be gaps between its runs.
    pub(crate) is_relocated: bool,
    pub(crate) runs: StretchRuns,
}

/// The runs of a stretch.
#[derive(Clone, Debug)]
pub(crate) enum StretchRuns {
    /// Few, or still growing: kept with the queue.
    Inline(Vec<EnqueueRun>),
    /// A chunk of its own.
    Apart {
        place: Arc<Place>,
        /// Absent once they were dropped.
        loaded: Option<Arc<Vec<EnqueueRun>>>,
    },
}

impl Stretch {
    /// About how many bytes of its records are live.
    pub(crate) fn live_bytes(&self) -> u64 {
        let live = u128::from(self.bytes) * u128::from(self.live);
        u64::try_from(live / u128::from(self.count.max(1))).unwrap_or(u64::MAX)
    }

    /// The runs that are in memory.
    pub(super) fn loaded(&self) -> Option<&[EnqueueRun]> {
        match &self.runs {
            StretchRuns::Inline(runs) => Some(runs),
            StretchRuns::Apart { loaded, .. } => loaded.as_deref().map(Vec::as_slice),
        }
    }

    /// Adds a run behind its last one; false if it cannot grow.
    pub(super) fn grow(&mut self, run: EnqueueRun, layout: Layout) -> bool {
        match &mut self.runs {
            StretchRuns::Inline(runs)
                if self.first_lsn >= layout.segment_base && runs.len() < layout.runs_max =>
            {
                runs.push(run);
            }
            StretchRuns::Inline(_) | StretchRuns::Apart { .. } => return false,
        }
        self.end = run.end();
        self.last_lsn = run.lsn;
        self.bytes += run.record_bytes();
        self.count += u64::from(run.count);
        self.live += u64::from(run.count);
        true
    }

    /// What is left of it between two offsets. A chunk of its own stays whole.
    pub(super) fn window(&self, first: Offset, end: Offset, live: u64) -> Self {
        let mut window = self.clone();
        window.end = end;
        window.live = live;
        if let StretchRuns::Inline(runs) = &mut window.runs {
            runs.retain(|run| run.first < end && first < run.end());
            window.bytes = runs.iter().map(EnqueueRun::record_bytes).sum();
            window.count = runs.iter().map(|run| u64::from(run.count)).sum();
        }
        window
    }

    /// It grows no more; its runs become a chunk of their own if they are worth it. Its last offset if they do.
    pub(super) fn close(&mut self, layout: Layout) -> Option<Offset> {
        match &mut self.runs {
            StretchRuns::Inline(runs) if runs.len() >= layout.apart_min() => {
                self.runs = StretchRuns::Apart {
                    place: Arc::default(),
                    loaded: Some(Arc::new(std::mem::take(runs))),
                };
                Some(Offset(self.end.0 - 1))
            }
            StretchRuns::Inline(_) | StretchRuns::Apart { .. } => None,
        }
    }

    /// A stretch of these runs, none of whose messages is done.
    pub(crate) fn of(runs: Vec<EnqueueRun>) -> Self {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            unreachable!("a stretch has runs")
        };
        Self {
            end: last.end(),
            first_lsn: first.lsn,
            last_lsn: last.lsn,
            bytes: runs.iter().map(EnqueueRun::record_bytes).sum(),
            count: last.end().0 - first.first.0,
            live: last.end().0 - first.first.0,
            is_relocated: false,
            runs: StretchRuns::Inline(runs),
        }
    }

    /// Whether these can be its runs if it begins at `first`.
    pub(crate) fn is_of(&self, runs: &[EnqueueRun], first: Offset) -> bool {
        let mut count = 0;
        let mut end = Offset(0);
        for run in runs {
            if run.first < end || run.count == 0 {
                return false;
            }
            end = run.end();
            count += u64::from(run.count);
        }
        let Some(begin) = runs.first().map(|run| run.first) else {
            return false;
        };
        let is_dense = begin.0 + count == end.0;
        let covers = is_dense && begin <= first && end >= self.end;
        count == self.count && (self.is_relocated || covers)
    }

    /// The first offset of a stretch whose runs are in memory.
    pub(super) fn first(&self) -> Offset {
        self.loaded()
            .and_then(|runs| runs.first())
            .map_or(self.end, |run| run.first)
    }
}
