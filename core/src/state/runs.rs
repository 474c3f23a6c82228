//! The messages of a queue as runs, in stretches that need not be in memory.
//!
//! A run is what is kept of one Enqueue record; a *stretch* is some runs in a row. What is decided about messages
//! needs only the stretches; giving messages out needs their runs. A stretch that a checkpoint has written may
//! drop its runs, and is read back before a consumer gets there.
//! Invariants: (R1) stretches do not overlap and ascend in offsets and, unless relocated, in lsn. (R2) a stretch lies
//! within one segment of the log. (R3) `live` of a stretch is the number of its messages that some subscription is not
//! done with; a stretch without any does not exist. (R4) only the last stretch grows.

use std::collections::BTreeMap;
use std::sync::Arc;

use corelane_wire::{ChunkPlace, Lsn, Offset, Timestamp};

use super::chunk::Place;

/// What is kept of one Enqueue record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct EnqueueRun {
    /// Its number in the log.
    pub(crate) lsn: Lsn,
    /// Offset of its first message.
    pub(crate) first: Offset,
    /// How many messages.
    pub(crate) count: u32,
    /// Length of its entries together.
    pub(crate) bytes: u32,
    /// Length of its longest entry.
    pub(crate) largest: u32,
    /// Its log time.
    pub(crate) time: Timestamp,
}

impl EnqueueRun {
    /// The end of its messages, exclusive.
    pub(crate) const fn end(&self) -> Offset {
        Offset(self.first.0 + self.count as u64)
    }
}

/// How runs are put into stretches; not replicated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Where the log's newest segment begins.
    pub(crate) segment_base: Lsn,
    /// Runs of one stretch.
    pub(crate) runs_max: usize,
}

impl Layout {
    /// Fewer runs are kept with their queue.
    const fn apart_min(self) -> usize {
        self.runs_max / 256
    }

    /// Runs that a cut does not copy.
    const fn freeze_min(self) -> usize {
        self.runs_max / 4
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            segment_base: Lsn(0),
            runs_max: RUNS_MAX,
        }
    }
}

/// The runs of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    stretches: BTreeMap<Offset, Stretch>,
}

/// Runs in a row.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    /// The end of its messages, exclusive.
    pub(crate) end: Offset,
    /// Of its first run.
    pub(crate) first_lsn: Lsn,
    /// Of its last run.
    pub(crate) last_lsn: Lsn,
    /// Length of the entries of all its runs together.
    pub(crate) bytes: u64,
    /// Messages that some subscription is not done with.
    pub(crate) live: u64,
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

/// What is there at an offset.
#[derive(Debug)]
pub(crate) enum RunsAt<'a> {
    /// The run that holds the offset, and those behind it in the same stretch.
    Here(&'a [EnqueueRun]),
    /// The stretch that begins there must be read first.
    Away(Offset, ChunkPlace),
    /// Nothing: the messages are done, or do not exist yet.
    Nothing,
}

impl Stretch {
    /// How many messages it has, done or not.
    pub(crate) const fn count(&self, first: Offset) -> u64 {
        self.end.0 - first.0
    }

    /// About how many bytes of its messages are live.
    pub(crate) fn live_bytes(&self, first: Offset) -> u64 {
        let live = u128::from(self.bytes) * u128::from(self.live);
        u64::try_from(live / u128::from(self.count(first).max(1))).unwrap_or(u64::MAX)
    }

    /// The runs that are in memory.
    fn loaded(&self) -> Option<&[EnqueueRun]> {
        match &self.runs {
            StretchRuns::Inline(runs) => Some(runs),
            StretchRuns::Apart { loaded, .. } => loaded.as_deref().map(Vec::as_slice),
        }
    }

    /// It grows no more; its runs become a chunk of their own if they are worth it.
    fn close(&mut self, layout: Layout) {
        if let StretchRuns::Inline(runs) = &mut self.runs
            && runs.len() >= layout.apart_min()
        {
            self.runs = StretchRuns::Apart {
                place: Arc::default(),
                loaded: Some(Arc::new(std::mem::take(runs))),
            };
        }
    }
}

impl Runs {
    /// The stretches by first offset.
    pub(crate) const fn stretches(&self) -> &BTreeMap<Offset, Stretch> {
        &self.stretches
    }

    /// Takes in a stretch that was read from a checkpoint; false if it does not follow those before.
    pub(crate) fn push_stretch(&mut self, first: Offset, stretch: Stretch) -> bool {
        let last = self.stretches.last_key_value();
        let follows = last.is_none_or(|(_, last)| last.end <= first);
        let is_whole = first < stretch.end
            && (1..=stretch.count(first)).contains(&stretch.live)
            && stretch.first_lsn <= stretch.last_lsn;
        if follows && is_whole {
            self.stretches.insert(first, stretch);
        }
        follows && is_whole
    }

    /// Adds a run behind all others. One of the newest segment does not share a stretch with an older one (R2).
    ///
    /// Returns the first offset of a stretch that became a chunk of its own by that.
    pub(crate) fn push(&mut self, run: EnqueueRun, layout: Layout) -> Option<Offset> {
        let mut closed = None;
        if let Some(mut last) = self.stretches.last_entry() {
            let first = *last.key();
            let stretch = last.get_mut();
            if let StretchRuns::Inline(runs) = &mut stretch.runs
                && stretch.first_lsn >= layout.segment_base
                && stretch.end == run.first
                && runs.len() < layout.runs_max
            {
                runs.push(run);
                stretch.end = run.end();
                stretch.last_lsn = run.lsn;
                stretch.bytes += u64::from(run.bytes);
                stretch.live += u64::from(run.count);
                return None;
            }
            if matches!(stretch.runs, StretchRuns::Inline(_)) {
                stretch.close(layout);
                closed = matches!(stretch.runs, StretchRuns::Apart { .. }).then_some(first);
            }
        }
        self.stretches.insert(run.first, Stretch::of(vec![run]));
        closed
    }

    /// The newest segment has begun: runs from there on do not share a stretch with those before (R2).
    pub(crate) fn cut(&mut self, layout: Layout) {
        let base = layout.segment_base;
        let mut behind = self.stretches.iter_mut().rev();
        let spanning = behind.find(|(_, stretch)| stretch.first_lsn < base);
        let Some((&first, stretch)) = spanning.filter(|(_, stretch)| stretch.last_lsn >= base)
        else {
            return;
        };
        let Some(runs) = stretch.loaded() else {
            return;
        };
        let at = runs.partition_point(|run| run.lsn < base);
        let (before, behind) = (runs[..at].to_vec(), runs[at..].to_vec());
        let rest = Stretch::of(behind);
        let next = rest.first();
        // Nothing of the rest was committed, so nothing of it is done.
        let live = stretch.live - rest.live;
        *stretch = Stretch::of(before);
        stretch.live = live;
        stretch.close(layout);
        if live == 0 {
            self.stretches.remove(&first);
        }
        self.stretches.insert(next, rest);
    }

    /// Messages of `first..end` are done for good; each is told once.
    pub(crate) fn kill(&mut self, first: Offset, end: Offset) {
        let mut next = first;
        if let Some(mut last) = self.stretches.last_entry()
            && *last.key() <= first
            && last.get().live > end.0 - first.0
        {
            // Mostly they are some of the last stretch.
            last.get_mut().live -= end.0 - first.0;
            return;
        }
        while next < end {
            let holder = self.stretches.range_mut(..=next).next_back();
            let Some((&start, stretch)) = holder.filter(|(_, stretch)| next < stretch.end) else {
                return;
            };
            let to = end.min(stretch.end);
            stretch.live -= to.0 - next.0;
            if stretch.live == 0 {
                self.stretches.remove(&start);
            }
            next = to;
        }
    }

    /// The stretch that holds the offset. Mostly it is the last one, which is found without a search.
    fn holder(&self, offset: Offset) -> Option<(&Offset, &Stretch)> {
        match self.stretches.last_key_value() {
            Some(last) if *last.0 <= offset => Some(last),
            Some(_) => self.stretches.range(..=offset).next_back(),
            None => None,
        }
    }

    /// The run that holds `offset`, and those behind it.
    pub(crate) fn at(&self, offset: Offset) -> RunsAt<'_> {
        let holder = self.holder(offset);
        let Some((&first, stretch)) = holder.filter(|(_, stretch)| offset < stretch.end) else {
            return RunsAt::Nothing;
        };
        match stretch.loaded() {
            Some(runs) => RunsAt::Here(&runs[runs.partition_point(|run| run.end() <= offset)..]),
            None => match &stretch.runs {
                StretchRuns::Apart { place, .. } => match place.get() {
                    Some(place) => RunsAt::Away(first, place),
                    None => unreachable!("runs are dropped only when a checkpoint holds them"),
                },
                StretchRuns::Inline(_) => unreachable!("inline runs are always in memory"),
            },
        }
    }

    /// The first messages from `offset` on that are kept: where they begin and end.
    pub(crate) fn kept_from(&self, offset: Offset) -> Option<(Offset, Offset)> {
        let before = self.stretches.range(..=offset).next_back();
        let holder = before.filter(|(_, stretch)| offset < stretch.end);
        let (&first, stretch) = holder.or_else(|| self.stretches.range(offset..).next())?;
        Some((first.max(offset), stretch.end))
    }

    /// The first offset of the stretch behind the one that holds `offset`, if it has to be read.
    pub(crate) fn away_behind(&self, offset: Offset) -> Option<(Offset, ChunkPlace)> {
        if self.stretches.len() < 2 {
            return None;
        }
        let (&first, _) = self.stretches.range(..=offset).next_back()?;
        let behind = (std::ops::Bound::Excluded(first), std::ops::Bound::Unbounded);
        let (&next, _) = self.stretches.range(behind).next()?;
        match self.at(next) {
            RunsAt::Away(first, place) => Some((first, place)),
            RunsAt::Here(_) | RunsAt::Nothing => None,
        }
    }

    /// How many runs of the stretch at `first` are in memory.
    pub(crate) fn loaded_at(&self, first: Offset) -> usize {
        let stretch = self.stretches.get(&first);
        let loaded = stretch.and_then(Stretch::loaded);
        loaded.map_or(0, <[EnqueueRun]>::len)
    }

    /// The first offset of the first run that is not below `committed`.
    pub(crate) fn first_from(&self, committed: Lsn) -> Option<Offset> {
        // What is not committed was appended lately: it stands at the end, in memory.
        let last = self.stretches.last_key_value()?.1;
        if last.last_lsn < committed {
            return None;
        }
        let mut found = None;
        for stretch in self.stretches.values().rev() {
            if stretch.last_lsn < committed {
                break;
            }
            let runs = stretch.loaded()?;
            let at = runs.partition_point(|run| run.lsn < committed);
            found = runs.get(at).map(|run| run.first);
            if at > 0 {
                break;
            }
        }
        found
    }

    /// Puts back what was read; false if it is not what was dropped.
    pub(crate) fn load(&mut self, first: Offset, runs: Vec<EnqueueRun>) -> bool {
        let Some(stretch) = self.stretches.get_mut(&first) else {
            return false;
        };
        if !is_dense(&runs, first, stretch.end) {
            return false;
        }
        if let StretchRuns::Apart { loaded, .. } = &mut stretch.runs {
            loaded.get_or_insert_with(|| Arc::new(runs));
        }
        true
    }

    /// Drops the runs of a stretch that can be read back; false if they cannot be.
    pub(crate) fn unload(&mut self, first: Offset) -> Unloaded {
        match self
            .stretches
            .get_mut(&first)
            .map(|stretch| &mut stretch.runs)
        {
            Some(StretchRuns::Apart { place, loaded }) if place.get().is_some() => {
                Unloaded::Dropped(loaded.take().map_or(0, |runs| runs.len()))
            }
            Some(StretchRuns::Apart { .. }) => Unloaded::NotWritten,
            Some(StretchRuns::Inline(_)) | None => Unloaded::Dropped(0),
        }
    }

    /// The last stretch is closed if it is worth a chunk of its own, so that a cut need not copy it.
    pub(crate) fn freeze(&mut self, layout: Layout) -> Option<Offset> {
        let mut last = self.stretches.last_entry()?;
        let first = *last.key();
        match &last.get().runs {
            StretchRuns::Inline(runs) if runs.len() >= layout.freeze_min() => {}
            StretchRuns::Inline(_) | StretchRuns::Apart { .. } => return None,
        }
        last.get_mut().close(layout);
        Some(first)
    }
}

/// What became of a wish to drop runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unloaded {
    /// So many are not in memory any more.
    Dropped(usize),
    /// No checkpoint holds them yet.
    NotWritten,
}

impl Stretch {
    /// A stretch of these runs, none of whose messages is done.
    pub(crate) fn of(runs: Vec<EnqueueRun>) -> Self {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            unreachable!("a stretch has runs")
        };
        Self {
            end: last.end(),
            first_lsn: first.lsn,
            last_lsn: last.lsn,
            bytes: runs.iter().map(|run| u64::from(run.bytes)).sum(),
            live: last.end().0 - first.first.0,
            runs: StretchRuns::Inline(runs),
        }
    }

    /// The first offset of a stretch whose runs are in memory.
    fn first(&self) -> Offset {
        self.loaded()
            .and_then(|runs| runs.first())
            .map_or(self.end, |run| run.first)
    }
}

/// Whether runs cover `first..end` without a gap.
pub(crate) fn is_dense(runs: &[EnqueueRun], first: Offset, end: Offset) -> bool {
    let mut next = first;
    for run in runs {
        if run.first != next || run.count == 0 {
            return false;
        }
        next = run.end();
    }
    next == end && !runs.is_empty()
}

/// Runs of one stretch: some 30 KiB of a checkpoint.
pub(crate) const RUNS_MAX: usize = 4_096;

#[cfg(test)]
mod tests;
