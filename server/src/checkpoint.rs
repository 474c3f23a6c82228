//! Writing a checkpoint: what the core cut becomes a file of the storage, off the shard's thread.
//!
//! A shard makes the job and gets it back with its outcome. Called by: the drivers, on a thread that may block for
//! long; in the simulation, as one step. Invariant: (C1) a job is made only when everything below the cut's end is
//! committed.

use std::collections::BTreeMap;
use std::io;

use corelane_core::{ChunkSink, Cut};
use corelane_storage::{
    CheckpointConfig, CheckpointMeta, CheckpointWriter, SegmentNumber, SegmentTable, Volume,
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
        self.outcome = Some(CheckpointOutcome { meta, live });
        Ok(())
    }

    /// What came of it, once it was written.
    pub fn into_outcome(self) -> Option<CheckpointOutcome> {
        self.outcome
    }
}

/// The segments that hold messages which the state needs, with about how many bytes of them.
pub(crate) fn needed_segments(cut: &Cut, table: &SegmentTable) -> BTreeMap<SegmentNumber, u64> {
    // The place of the segment that holds the record, or of the one before, which it would follow.
    let segment_of = |lsn: Lsn| {
        let behind = table.segments.partition_point(|entry| entry.base <= lsn);
        behind.saturating_sub(1)
    };
    let mut needed = BTreeMap::new();
    for (first, last, bytes) in cut.live() {
        // A stretch lies in one segment, unless the segment began after the cut.
        for at in segment_of(first)..=segment_of(last) {
            if let Some(entry) = table.segments.get(at) {
                *needed.entry(entry.number).or_default() += bytes;
            }
        }
    }
    needed
}
