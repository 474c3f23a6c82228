//! Writing a checkpoint: what the core cut becomes a file of the storage, off the shard's thread.
//!
//! A shard makes the job and gets it back with its outcome. Called by: the drivers, on a thread that may block for
//! long; in the simulation, as one step. Invariant: (C1) a job is made only when everything below the cut's end is
//! committed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use corelane_core::{ChunkSink, Cut, LiveStretch, SparseStretch};
use corelane_storage::{
    CheckpointConfig, CheckpointMeta, CheckpointWriter, SegmentEntry, SegmentNumber, SegmentTable,
    Volume,
};
use corelane_wire::{ChunkPlace, Lsn};

/// A checkpoint to be written.
#[derive(Debug)]
pub struct CheckpointJob {
    cut: Cut,
    config: CheckpointConfig,
    /// The generation before.
    previous: Option<CheckpointMeta>,
    table: SegmentTable,
    outcome: Option<CheckpointOutcome>,
}

/// What a checkpoint that was written says.
#[derive(Debug)]
pub struct CheckpointOutcome {
    /// For the next one.
    pub meta: CheckpointMeta,
    /// The segments that hold messages which the state needs, with about how many bytes of them.
    pub live: BTreeMap<SegmentNumber, u64>,
    /// What is to be relocated.
    pub relocation: RelocationPlan,
}

/// What a partition has to relocate to keep its log short, and how urgent that is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RelocationPlan {
    /// The live messages of the segments that are to go.
    pub stretches: Vec<SparseStretch>,
    /// How much of the room between the goal and the bound is used up, in percent up to 100.
    pub pressure: u32,
}

struct Sink<'v>(CheckpointWriter<'v>);

impl ChunkSink for Sink<'_> {
    type Error = io::Error;

    fn put(&mut self, chunk: &[u8]) -> io::Result<ChunkPlace> {
        self.0.put(chunk)
    }

    fn keep(&mut self, place: ChunkPlace) -> io::Result<ChunkPlace> {
        self.0.keep(place)
    }
}

impl CheckpointJob {
    /// The checkpoint of this cut; `table` is the log's at its end.
    pub fn new(
        cut: Cut,
        config: CheckpointConfig,
        previous: Option<CheckpointMeta>,
        table: SegmentTable,
    ) -> Self {
        Self {
            cut,
            config,
            previous,
            table,
            outcome: None,
        }
    }

    /// Writes and publishes it.
    ///
    /// # Errors
    /// That of the file operation that failed; the earlier generations are whole then.
    pub fn run(&mut self, volume: &mut dyn Volume) -> io::Result<()> {
        let previous = self.previous.as_ref();
        let mut sink = Sink(CheckpointWriter::begin(volume, self.config, previous)?);
        let written = self.cut.write(&mut sink)?;
        let mut table = Vec::new();
        self.table.encode(&mut table);
        let meta = sink.0.finish(&written.root, self.cut.end(), &table)?;
        written.publish();
        let live = needed_segments(&self.cut, &self.table);
        let relocation = plan_relocation(&self.cut, &self.table, &live);
        self.outcome = Some(CheckpointOutcome {
            meta,
            live,
            relocation,
        });
        Ok(())
    }

    /// What came of it, once it was written.
    pub fn into_outcome(self) -> Option<CheckpointOutcome> {
        self.outcome
    }
}

/// The segments that hold messages which the state needs, with about how many bytes of them.
pub(crate) fn needed_segments(cut: &Cut, table: &SegmentTable) -> BTreeMap<SegmentNumber, u64> {
    let mut needed = BTreeMap::new();
    for stretch in cut.live() {
        for entry in segments_of(&stretch, table) {
            *needed.entry(entry.number).or_default() += stretch.bytes;
        }
    }
    needed
}

/// The segments that hold records of a stretch: one, unless it was relocated or its segment began after the cut.
fn segments_of<'t>(stretch: &LiveStretch, table: &'t SegmentTable) -> &'t [SegmentEntry] {
    // The place of the segment that holds the record, or of the one before, which it would follow.
    let segment_of = |lsn: Lsn| {
        let behind = table.segments.partition_point(|entry| entry.base <= lsn);
        behind.saturating_sub(1)
    };
    let (first, last) = (segment_of(stretch.first_lsn), segment_of(stretch.last_lsn));
    table.segments.get(first..=last).unwrap_or_default()
}

/// What has to move so that a log is not longer than twice what is live in it and [`GOAL_SEGMENTS`]: out of the closed
/// segments that are less than half live, the emptiest first.
pub(crate) fn plan_relocation(
    cut: &Cut,
    table: &SegmentTable,
    live: &BTreeMap<SegmentNumber, u64>,
) -> RelocationPlan {
    let segments = &table.segments;
    let segment_bytes = segments.iter().map(|entry| entry.bytes).max().unwrap_or(0);
    let all: u64 = segments.iter().map(|entry| entry.bytes).sum();
    let goal = 2 * live.values().sum::<u64>() + GOAL_SEGMENTS * segment_bytes;
    if all <= goal {
        return RelocationPlan::default();
    }
    let closed = segments.iter().filter(|entry| entry.end < cut.end());
    let sparse = closed.filter_map(|entry| Some((entry, *live.get(&entry.number)?)));
    let mut sparse: Vec<_> = sparse.filter(|(of, live)| 2 * live < of.bytes).collect();
    sparse.sort_by_key(|(of, live)| (live * 1_000 / of.bytes, of.number));
    let mut victims = BTreeSet::new();
    let mut left = all;
    for (of, live) in sparse {
        if left <= goal {
            break;
        }
        left -= of.bytes - live;
        victims.insert(of.number);
    }
    let is_sparse = |stretch: &LiveStretch| {
        let mut segments = segments_of(stretch, table).iter();
        stretch.last_lsn < cut.end() && segments.any(|of| victims.contains(&of.number))
    };
    let stretches = cut.live().filter(is_sparse);
    let stretches = stretches.map(|stretch| SparseStretch::of(&stretch, cut.end()));
    let room = (BOUND_SEGMENTS - GOAL_SEGMENTS) * segment_bytes;
    let pressure = 100 * (all - goal) / room.max(1);
    RelocationPlan {
        stretches: stretches.collect(),
        pressure: u32::try_from(pressure.min(100)).unwrap_or(100),
    }
}

/// A log may be as long as twice what is live in it, and so many segments.
const BOUND_SEGMENTS: u64 = 4;
/// Beyond so many, messages are relocated.
const GOAL_SEGMENTS: u64 = 2;

#[cfg(test)]
mod tests;
