//! Checkpoints of the partitions of one shard, and the segments that become free by them.
//!
//! A cut is taken when enough was logged since the last one, or after a while if anything was; it is written by a
//! thread of the driver once everything below it is committed. Invariants:
//! (K1) A partition has one cut or one write of a checkpoint at a time.
//! (K2) A segment goes only when the checkpoint before the newest needs nothing in it and was cut behind its end: so
//!      neither of the two that are kept needs it, for messages or for a replay. Nor does it go while messages that
//!      were given out of it wait to be sent.

use std::collections::BTreeMap;
use std::time::Duration;

use corelane_core::{Cut, Input, QueueId};
use corelane_storage::{CheckpointConfig, CheckpointMeta, SegmentNumber, Task};
use corelane_wire::{ChunkPlace, Lsn, Offset, PartitionId, Timestamp};

use super::files::Closed;
use super::partition::{Hosted, Partition};
use super::state::State;
use super::tokens::Work;
use crate::checkpoint::CheckpointJob;
use crate::driver::{Chore, Data, Errno, Op};
use crate::stats::Illness;

/// When checkpoints are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointPace {
    /// After so many bytes were written to a partition's log.
    pub bytes: u64,
    /// After so long if anything was written at all.
    pub interval: Duration,
}

impl Default for CheckpointPace {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            interval: Duration::from_secs(30),
        }
    }
}

/// While the disk is full, room is looked for this often.
const INTERVAL_WHEN_FULL: Duration = Duration::from_secs(1);
/// So soon after a checkpoint that needs a segment no more comes the one that lets it go.
const INTERVAL_WHEN_FREEING: Duration = Duration::from_secs(5);

/// The checkpoints of one partition.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// The newest one.
    meta: Option<CheckpointMeta>,
    /// What it holds.
    end: Lsn,
    /// Bytes written to the log since the last cut.
    bytes: u64,
    stage: Stage,
    /// Closed segments of which the newest one needs nothing.
    dead: Vec<SegmentNumber>,
    /// Segments that go as soon as nothing reads them, with their lengths.
    leaving: Vec<(SegmentNumber, u64)>,
    /// Segment files that were not needed any more at the start.
    leftovers: Vec<SegmentNumber>,
    /// Chunks that the engine wants.
    pub(super) wanted: Vec<(QueueId, Offset, ChunkPlace)>,
}

/// How far a checkpoint has come.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// What is below its end is not all committed.
    Cut(Cut),
    /// It is being written.
    Writing,
}

impl Checkpoints {
    /// After a start from this checkpoint, or from the beginning of the log.
    pub(super) fn new(meta: Option<CheckpointMeta>, leftovers: Vec<SegmentNumber>) -> Self {
        Self {
            leftovers,
            end: meta.as_ref().map_or(Lsn(0), |meta| meta.end),
            meta,
            ..Self::default()
        }
    }

    /// So many bytes were written to the log.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Whether segments wait for the end of a read.
    pub(super) fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }
}

impl Partition {
    /// Takes a cut if there is anything new to keep, or segments wait for the next checkpoint to go (K2).
    fn cut(&mut self) {
        let has_news = self.checkpoints.end < self.log.end() || !self.checkpoints.dead.is_empty();
        if self.checkpoints.is_idle() && has_news && self.is_started() && !self.poisoned {
            self.checkpoints.bytes = 0;
            self.checkpoints.stage = Stage::Cut(self.engine.cut());
        }
    }

    /// After so many bytes of log it takes a checkpoint. That of a volatile one only lets segments go, and those are
    /// memory.
    fn checkpoint_bytes(&self, usual: u64) -> u64 {
        if self.is_volatile {
            usual.min(self.log.config().segment_bytes)
        } else {
            usual
        }
    }

    /// A checkpoint was written whose state needs these segments: of the others, those go that the one before did not
    /// need either (K2).
    fn free_segments(&mut self, live: &BTreeMap<SegmentNumber, u64>) {
        let end = self.checkpoints.end;
        let closed = self.log.sealed().filter(|segment| segment.end < end);
        let dead = closed.filter(|segment| !live.contains_key(&segment.number));
        let dead: Vec<_> = dead.collect();
        let before = std::mem::take(&mut self.checkpoints.dead);
        for segment in dead {
            let number = segment.number;
            let is_awaited = || self.pending.reads_from(segment.base..segment.end);
            if before.contains(&number) && !is_awaited() {
                self.log.forget_segment(number);
                self.checkpoints.leaving.push((number, segment.bytes));
            } else {
                self.checkpoints.dead.push(number);
            }
        }
    }

    /// Bytes in the segment that is being written which a checkpoint does not need.
    fn dead_in_current(&self, live: &BTreeMap<SegmentNumber, u64>) -> u64 {
        let current = self.log.current();
        current.map_or(0, |(number, bytes)| {
            bytes.saturating_sub(live.get(&number).copied().unwrap_or(0))
        })
    }

    /// The segments that wait to go.
    fn take_leaving(&mut self) -> Vec<(SegmentNumber, u64)> {
        std::mem::take(&mut self.checkpoints.leaving)
    }

    /// The cut, once everything below it is committed (C1).
    fn ripe_cut(&mut self) -> Option<Cut> {
        let committed = self.engine.positions().committed;
        match std::mem::take(&mut self.checkpoints.stage) {
            Stage::Cut(cut) if cut.end() <= committed => Some(cut),
            stage @ (Stage::Cut(_) | Stage::Idle | Stage::Writing) => {
                self.checkpoints.stage = stage;
                None
            }
        }
    }
}

impl State {
    /// When the next checkpoints are due.
    pub(super) fn next_checkpoints(&self) -> Timestamp {
        let interval = self.config.checkpoints.interval;
        let sooner = if self.spares.is_full() {
            INTERVAL_WHEN_FULL
        } else if self.frees_segments {
            INTERVAL_WHEN_FREEING
        } else {
            interval
        };
        self.last_checkpoints.add(sooner.min(interval))
    }

    /// Takes the cuts whose time has come.
    pub(super) fn take_cuts(&mut self) {
        if self.stopping.is_some() || self.now < self.next_checkpoints() {
            return;
        }
        self.last_checkpoints = self.now;
        for slot in 0..self.partitions.len() {
            if let Some(partition) = self.partitions[slot].serving_mut() {
                partition.cut();
            }
            self.write_checkpoint(slot);
        }
    }

    /// Something became durable: the log may be long enough for a cut, or a cut may be written now.
    pub(super) fn checkpoint(&mut self, slot: usize) {
        let bytes_max = self.config.checkpoints.bytes;
        if let Some(partition) = self.partitions[slot].serving_mut()
            && partition.checkpoints.bytes >= partition.checkpoint_bytes(bytes_max)
            && self.stopping.is_none()
        {
            partition.cut();
        }
        self.write_checkpoint(slot);
    }

    fn write_checkpoint(&mut self, slot: usize) {
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        let Some(cut) = partition.ripe_cut() else {
            return;
        };
        partition.checkpoints.stage = Stage::Writing;
        let config = CheckpointConfig {
            partition: partition.id,
            log_id: partition.log.config().log_id,
        };
        let table = partition.log.segment_table(cut.end());
        let previous = partition.checkpoints.meta.clone();
        let job = CheckpointJob::new(cut, config, previous, table);
        let op = Op::Housekeeping(Chore::Checkpoint(Box::new(job)));
        self.submit(Work::Checkpoint { slot }, op);
    }

    /// A checkpoint was written, or could not be.
    pub(super) fn on_checkpoint(&mut self, slot: usize, result: Result<usize, Errno>, data: Data) {
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        let checkpoints = &mut partition.checkpoints;
        checkpoints.stage = Stage::Idle;
        let outcome = data.into_checkpoint().and_then(|job| job.into_outcome());
        let (Ok(_), Some(outcome)) = (result, outcome) else {
            self.counters.checkpoint_failures_total += 1;
            let error = result.err().map(|errno| errno.to_string());
            tracing::warn!(
                partition = partition.id.0,
                error = error.as_deref().unwrap_or("it was lost"),
                "checkpoint could not be written: the next start replays more of the log, and no segment becomes free"
            );
            return;
        };
        self.counters.checkpoints_total += 1;
        checkpoints.end = outcome.meta.end;
        checkpoints.meta = Some(outcome.meta);
        partition.free_segments(&outcome.live);
        if partition.dead_in_current(&outcome.live) > self.config.first_segment_bytes {
            let (id, is_volatile) = (partition.id, partition.is_volatile);
            self.spares_for_mut(is_volatile).lend(id);
        }
        self.plan_relocation(slot, &outcome.relocation);
        let mut serving = self.partitions.iter().filter_map(Hosted::serving);
        self.frees_segments = serving.any(|it| !it.checkpoints.dead.is_empty());
        self.retire_segments(slot);
    }

    /// Sends segments away that nothing reads any more; the others are looked at again when a read ends.
    pub(super) fn retire_segments(&mut self, slot: usize) {
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        let id = partition.id;
        for (segment, bytes) in partition.take_leaving() {
            self.retire(slot, id, (segment, bytes));
        }
    }

    fn retire(&mut self, slot: usize, partition: PartitionId, segment: (SegmentNumber, u64)) {
        let Some(hosted) = self.partitions[slot].serving_mut() else {
            return;
        };
        let is_volatile = hosted.is_volatile;
        match hosted.files.close(segment.0) {
            Closed::InUse => {
                hosted.checkpoints.leaving.push(segment);
                return;
            }
            Closed::Open(file) => {
                self.submit(Work::CloseFile, Op::CloseFile { file });
            }
            Closed::NotOpen => {}
        }
        let task = self.spares_for_mut(is_volatile).retire(partition, segment);
        self.counters.segments_freed_total += 1;
        self.submit(
            Work::Housekeeping(task),
            Op::Housekeeping(Chore::Task(task)),
        );
    }

    /// Segments that an earlier start was about to send away.
    pub(super) fn remove_leftovers(&mut self, slot: usize) {
        let Some(hosted) = self.partitions[slot].serving_mut() else {
            return;
        };
        let partition = hosted.id;
        for segment in std::mem::take(&mut hosted.checkpoints.leftovers) {
            let task = Task::RemoveSegment { partition, segment };
            self.submit(
                Work::Housekeeping(task),
                Op::Housekeeping(Chore::Task(task)),
            );
        }
    }

    /// Has the chunks read that an engine wants.
    pub(super) fn load_chunks(&mut self, slot: usize) {
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        if partition.checkpoints.wanted.is_empty() {
            return;
        }
        let id = partition.id;
        for (queue, first, place) in std::mem::take(&mut partition.checkpoints.wanted) {
            self.counters.chunk_reads_total += 1;
            let chore = Chore::ReadChunk {
                partition: id,
                place,
            };
            let work = Work::LoadChunk { slot, queue, first };
            self.submit(work, Op::Housekeeping(chore));
        }
    }

    /// A chunk was read, or cannot be.
    pub(super) fn on_chunk(
        &mut self,
        slot: usize,
        (queue, first): (QueueId, Offset),
        (result, data): (Result<usize, Errno>, Data),
    ) {
        let chunk = data.into_chunk();
        // A file that is not there any more means that a checkpoint moved the chunk: the engine asks again.
        if result == Err(Errno::IO)
            && let Some(partition) = self.partitions[slot].serving()
        {
            self.counters.damaged_reads_total += 1;
            self.stats.add_ill(partition.id, Illness::PartlyDamaged);
        }
        let input = Input::Loaded {
            queue,
            first,
            chunk: chunk.as_deref(),
        };
        self.step(slot, input);
    }
}
