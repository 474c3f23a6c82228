//! The messages of a queue as runs, in stretches that need not be in memory.
//!
//! A run is what is kept of one Enqueue record; a *stretch* is some runs in a row. What is decided about messages
//! needs only the stretches; giving messages out needs their runs. A stretch that a checkpoint has written may
//! drop its runs, and is read back before a consumer gets there.
//! Invariants: (R1) stretches do not overlap and ascend in offsets and, unless relocated, in lsn. (R2) a stretch lies
//! within one segment of the log, or, if relocated, in few that follow one another. (R3) `live` of a stretch is the
//! number of its messages that some subscription is not done with; a stretch without any does not exist. (R4) only the
//! last stretch grows, and relocated ones. (R5) every live message lies in a run of its stretch; of a stretch from which
//! messages were relocated there is left what stands before and behind them, each with all of its runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use corelane_wire::message::BATCH_HEADER_BYTES;
use corelane_wire::record::RECORD_HEADER_BYTES;
use corelane_wire::{ChunkPlace, Lsn, Offset, Timestamp};

use super::stretch::{Stretch, StretchRuns};

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

    /// Length of its record in the log.
    pub(crate) const fn record_bytes(&self) -> u64 {
        record_bytes(self.bytes as u64)
    }
}

/// Length of a record with entries of this length together.
pub(crate) const fn record_bytes(bytes: u64) -> u64 {
    bytes + RECORD_OVERHEAD_BYTES
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
    pub(super) const fn apart_min(self) -> usize {
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

/// What is there at an offset.
#[derive(Debug)]
pub(crate) enum RunsAt<'a> {
    /// The run that holds the offset, and those behind it in the same stretch, which ends there.
    Here(&'a [EnqueueRun], Offset),
    /// The stretch that begins there must be read first.
    Away(Offset, ChunkPlace),
    /// Nothing: the messages are done, or do not exist yet.
    Nothing,
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
            && (1..=stretch.count.min(stretch.end.0 - first.0)).contains(&stretch.live)
            && stretch.first_lsn <= stretch.last_lsn;
        if follows && is_whole {
            self.stretches.insert(first, stretch);
        }
        follows && is_whole
    }

    /// Adds a run behind all others. One of the newest segment does not share a stretch with an older one (R2).
    ///
    /// Returns the last offset of a stretch that became a chunk of its own by that.
    pub(crate) fn push(&mut self, run: EnqueueRun, layout: Layout) -> Option<Offset> {
        let mut closed = None;
        if let Some(mut last) = self.stretches.last_entry() {
            let stretch = last.get_mut();
            if !stretch.is_relocated && stretch.end == run.first && stretch.grow(run, layout) {
                return None;
            }
            closed = stretch.close(layout);
        }
        self.stretches.insert(run.first, Stretch::of(vec![run]));
        closed
    }

    /// The newest segment has begun: runs from there on do not share a stretch with those before (R2). `live_in` counts
    /// the messages of a range that somebody needs.
    pub(crate) fn cut(&mut self, layout: Layout, live_in: impl FnOnce(Offset, Offset) -> u64) {
        let base = layout.segment_base;
        // What was relocated stands before everything that is new.
        let behind = self.stretches.iter_mut().rev();
        let mut behind = behind.take_while(|(_, stretch)| !stretch.is_relocated);
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
        let mut rest = Stretch::of(behind);
        let next = rest.first();
        // Nothing of the rest was committed, but some of it may have been purged.
        rest.live = live_in(next, stretch.end);
        let live = stretch.live - rest.live;
        *stretch = Stretch::of(before);
        stretch.live = live;
        stretch.close(layout);
        if live == 0 {
            self.stretches.remove(&first);
        }
        if rest.live > 0 {
            self.stretches.insert(next, rest);
        }
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
            Some(runs) => {
                let behind = &runs[runs.partition_point(|run| run.end() <= offset)..];
                match behind.first() {
                    Some(run) if run.first <= offset => RunsAt::Here(behind, stretch.end),
                    Some(_) | None => RunsAt::Nothing,
                }
            }
            None => match &stretch.runs {
                StretchRuns::Apart { place, .. } => match place.get() {
                    Some(place) => RunsAt::Away(first, place),
                    None => unreachable!("runs are dropped only when a checkpoint holds them"),
                },
                StretchRuns::Inline(_) => unreachable!("inline runs are always in memory"),
            },
        }
    }

    /// How many messages are kept, and about how many bytes of records.
    pub(crate) fn kept(&self) -> (u64, u64) {
        let stretches = self.stretches.values();
        let kept = stretches.map(|stretch| (stretch.live, stretch.live_bytes()));
        kept.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }

    /// About how many bytes the records from `offset` on have that are kept: exact where they are in memory.
    pub(crate) fn bytes_from(&self, offset: Offset) -> u64 {
        let holder = self.stretch_of(offset).map_or(0, |(first, stretch)| {
            let Some(runs) = stretch.loaded() else {
                let part = u128::from(stretch.end.0 - offset.0) * u128::from(stretch.live_bytes());
                let bytes = part / u128::from(stretch.end.0 - first.0);
                return u64::try_from(bytes).unwrap_or(u64::MAX);
            };
            let behind = &runs[runs.partition_point(|run| run.end() <= offset)..];
            let behind = behind.iter().take_while(|run| run.first < stretch.end);
            behind.map(EnqueueRun::record_bytes).sum()
        });
        let behind = (
            std::ops::Bound::Excluded(offset),
            std::ops::Bound::Unbounded,
        );
        let behind = self.stretches.range(behind);
        holder + behind.map(|(_, stretch)| stretch.live_bytes()).sum::<u64>()
    }

    /// The first messages from `offset` on that are kept: where they begin and end. Gaps in a stretch that is not in
    /// memory are not known.
    pub(crate) fn kept_from(&self, offset: Offset) -> Option<(Offset, Offset)> {
        let before = self.stretches.range(..=offset).next_back();
        let holder = before.filter(|(_, stretch)| offset < stretch.end);
        let (&first, stretch) = holder.or_else(|| self.stretches.range(offset..).next())?;
        let first = first.max(offset);
        let Some(runs) = stretch.loaded().filter(|_| stretch.is_relocated) else {
            return Some((first, stretch.end));
        };
        let behind = &runs[runs.partition_point(|run| run.end() <= first)..];
        let Some(next) = behind.first().filter(|run| run.first < stretch.end) else {
            // A gap up to the next stretch.
            return self.kept_from(stretch.end);
        };
        let first = first.max(next.first);
        let mut end = first;
        for run in behind {
            if run.first > end {
                break;
            }
            end = run.end().min(stretch.end);
        }
        Some((first, end))
    }

    /// Live messages got a new record; `live_before` says how many live ones of a range stay where they are. Says where
    /// the stretch stands in which they are now; `None` if they are not kept.
    pub(crate) fn relocate(
        &mut self,
        run: EnqueueRun,
        layout: Layout,
        live_in: impl FnOnce(Offset, Offset) -> u64,
    ) -> Option<Offset> {
        let (&first, stretch) = self.stretches.range(..=run.first).next_back()?;
        let before = live_in(first, run.first);
        let behind = stretch.live.checked_sub(before + u64::from(run.count))?;
        if run.end() > stretch.end || stretch.last_lsn >= run.lsn {
            return None;
        }
        let stretch = self.stretches.remove(&first)?;
        if behind > 0 {
            let rest = stretch.window(run.end(), stretch.end, behind);
            self.stretches.insert(run.end(), rest);
        }
        if before > 0 {
            let rest = stretch.window(first, run.first, before);
            self.stretches.insert(first, rest);
        }
        if let Some((&before, stretch)) = self.stretches.range_mut(..run.first).next_back()
            && stretch.is_relocated
            && stretch.grow(run, layout)
        {
            return Some(before);
        }
        let relocated = Stretch {
            is_relocated: true,
            ..Stretch::of(vec![run])
        };
        self.stretches.insert(run.first, relocated);
        Some(run.first)
    }

    /// The stretch at `first` grows no more. Its last offset if it became a chunk of its own by that.
    pub(crate) fn close(&mut self, first: Offset, layout: Layout) -> Option<Offset> {
        self.stretches.get_mut(&first)?.close(layout)
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
            RunsAt::Here(..) | RunsAt::Nothing => None,
        }
    }

    /// The stretch that holds the offset: where it begins, and itself.
    pub(crate) fn stretch_of(&self, offset: Offset) -> Option<(Offset, &Stretch)> {
        let (&first, stretch) = self.holder(offset)?;
        (offset < stretch.end).then_some((first, stretch))
    }

    /// How many runs of the stretch that holds `offset` are in memory.
    pub(crate) fn loaded_at(&self, offset: Offset) -> usize {
        let loaded = self.stretch_of(offset).and_then(|(_, of)| of.loaded());
        loaded.map_or(0, <[EnqueueRun]>::len)
    }

    /// The first offset of the first run that is not below `committed`.
    pub(crate) fn first_from(&self, committed: Lsn) -> Option<Offset> {
        // What is not committed was appended lately: it stands at the end, in memory.
        // What is relocated was committed before, whatever has become of its new record.
        let last = self.stretches.last_key_value()?.1;
        if last.last_lsn < committed {
            return None;
        }
        let mut found = None;
        for stretch in self.stretches.values().rev() {
            if stretch.is_relocated || stretch.last_lsn < committed {
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

    /// Puts back what was read, if it is what was dropped; says where the stretch ends: its last offset.
    pub(crate) fn load(&mut self, first: Offset, runs: Vec<EnqueueRun>) -> Option<Offset> {
        let stretch = self.stretches.get_mut(&first)?;
        if !stretch.is_of(&runs, first) {
            return None;
        }
        if let StretchRuns::Apart { loaded, .. } = &mut stretch.runs {
            loaded.get_or_insert_with(|| Arc::new(runs));
        }
        Some(Offset(stretch.end.0 - 1))
    }

    /// Drops the runs of the stretch that holds `offset`, if they can be read back.
    pub(crate) fn unload(&mut self, offset: Offset) -> Unloaded {
        let before = self.stretches.range_mut(..=offset).next_back();
        let holder = before.filter(|(_, stretch)| offset < stretch.end);
        match holder.map(|(_, stretch)| &mut stretch.runs) {
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
        match &last.get().runs {
            StretchRuns::Inline(runs) if runs.len() >= layout.freeze_min() => {
                last.get_mut().close(layout)
            }
            StretchRuns::Inline(_) | StretchRuns::Apart { .. } => None,
        }
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

/// Runs of one stretch: some 30 KiB of a checkpoint.
pub(crate) const RUNS_MAX: usize = 4_096;
/// What the record of a batch has besides the entries: its header, the head of its payload and that of the batch.
const RECORD_OVERHEAD_BYTES: u64 = RECORD_HEADER_BYTES as u64 + 48 + BATCH_HEADER_BYTES as u64;

#[cfg(test)]
mod tests;
