//! The scrubber of one shard: reads closed segments and checkpoints of its partitions through, over and over.
//!
//! Invariants: (C1) one stretch at a time, and none before the bandwidth that the last one took is earned again.
//! (C2) within a pass everything is read once, so each block that is damaged is counted once.

use std::time::Duration;

use corelane_storage::{CheckpointConfig, SegmentNumber};
use corelane_wire::Timestamp;

use super::partition::{Hosted, Partition};
use super::state::State;
use super::tokens::Work;
use crate::driver::{Chore, Data, Errno, Op};
use crate::scrub::{CheckpointScrub, ScrubJob, Subject};
use crate::stats::Illness;

/// How fast a shard scrubs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubPace {
    /// Bytes per second at most; zero: nothing is scrubbed.
    pub bytes_per_second: u64,
    /// From the beginning of a pass to that of the next, if it does not take longer.
    pub interval: Duration,
}

impl ScrubPace {
    /// A share of what a node may read, with a pass a day.
    pub fn daily(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            interval: Duration::from_hours(24),
        }
    }

    /// When a stretch may follow one that began then and took so many bytes (C1).
    fn next(&self, begun: Timestamp, bytes: u64) -> Timestamp {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        begun.add(Duration::from_nanos(
            u64::try_from(nanoseconds).unwrap_or(u64::MAX),
        ))
    }
}

/// Where a shard's scrubbing stands.
#[derive(Debug)]
pub(super) struct Scrubber {
    pace: ScrubPace,
    /// When the next stretch may begin; `None` while one is being read, and if nothing is scrubbed.
    due: Option<Timestamp>,
    pass_begun: Timestamp,
    stretch_begun: Timestamp,
    /// The partition that is being read.
    slot: usize,
    stage: Stage,
    /// What is left of the segment, or of the checkpoints.
    rest: Option<Subject>,
}

/// How far a partition is read.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Up to this segment.
    Segments(Option<SegmentNumber>),
    Checkpoints,
}

impl Scrubber {
    pub(super) fn new(pace: ScrubPace) -> Self {
        Self {
            pace,
            due: None,
            pass_begun: Timestamp(0),
            stretch_begun: Timestamp(0),
            slot: 0,
            stage: Stage::Segments(None),
            rest: None,
        }
    }

    /// The shard begins; what a start has to read comes first.
    pub(super) fn begin(&mut self, now: Timestamp) {
        if self.pace.bytes_per_second > 0 {
            self.due = Some(now.add(FIRST_AFTER));
            self.pass_begun = now;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.due
    }

    /// What is to be read next, and of which partition; `None` at the end of a pass.
    fn next_subject(&mut self, partitions: &[Hosted]) -> Option<Subject> {
        while let Some(hosted) = partitions.get(self.slot) {
            let durable = hosted.serving().filter(|it| !it.is_volatile);
            let subject = durable.and_then(|it| self.stage.next(it));
            if subject.is_some() {
                return subject;
            }
            self.slot += 1;
            self.stage = Stage::Segments(None);
        }
        None
    }
}

impl Stage {
    fn next(&mut self, partition: &Partition) -> Option<Subject> {
        let Self::Segments(before) = self else {
            return None;
        };
        if let Some(segment) = partition.log.scrub_after(*before) {
            *before = Some(segment.segment());
            return Some(Subject::Segment(segment));
        }
        *self = Self::Checkpoints;
        let of = CheckpointConfig {
            partition: partition.id,
            log_id: partition.log.config().log_id,
        };
        Some(Subject::Checkpoints(CheckpointScrub::new(of)))
    }
}

impl State {
    /// Begins the next stretch if it is time.
    pub(super) fn scrub(&mut self) {
        let scrubber = &mut self.scrubber;
        if self.stopping.is_some() || scrubber.due.is_none_or(|due| due > self.now) {
            return;
        }
        let rest = scrubber.rest.take();
        let Some(subject) = rest.or_else(|| scrubber.next_subject(&self.partitions)) else {
            self.end_pass();
            return;
        };
        let slot = scrubber.slot;
        let Some(partition) = self.partitions[slot].serving() else {
            return;
        };
        scrubber.due = None;
        scrubber.stretch_begun = self.now;
        let job = ScrubJob::new(partition.id, subject);
        let op = Op::Housekeeping(Chore::Scrub(Box::new(job)));
        self.submit(Work::Scrub { slot }, op);
    }

    fn end_pass(&mut self) {
        let scrubber = &mut self.scrubber;
        scrubber.slot = 0;
        scrubber.stage = Stage::Segments(None);
        let next = scrubber.pass_begun.add(scrubber.pace.interval);
        scrubber.pass_begun = next.max(self.now);
        scrubber.due = Some(scrubber.pass_begun);
        self.counters.scrub_passes_total += 1;
        self.counters.scrub_pass_ended_nanoseconds = self.now.0;
    }

    /// A stretch was read, or could not be.
    pub(super) fn on_scrubbed(&mut self, slot: usize, result: Result<usize, Errno>, data: Data) {
        let now = self.now;
        let scrubber = &mut self.scrubber;
        let job = data.into_scrub();
        let bytes = job.as_ref().map_or(0, ScrubJob::bytes);
        let next = scrubber.pace.next(scrubber.stretch_begun, bytes);
        scrubber.due = Some(next.max(now));
        self.counters.scrubbed_bytes_total += bytes;
        let Some(partition) = self.partitions[slot].serving() else {
            return;
        };
        match (result, job) {
            (Ok(_), Some(job)) => {
                if job.damaged() > 0 {
                    self.counters.scrub_damaged_total += job.damaged();
                    self.stats.add_ill(partition.id, Illness::PartlyDamaged);
                }
                scrubber.rest = job.into_rest();
            }
            // It went meanwhile, since nobody needs it any more.
            (Err(Errno(libc::ENOENT)), _) => {}
            (result, _) => {
                let errno = result.err().unwrap_or(Errno::IO);
                tracing::warn!(
                    partition = partition.id.0,
                    %errno,
                    "scrubber: a file is left out of this pass"
                );
                scrubber.due = Some(now.add(AGAIN_AFTER));
            }
        }
    }
}

/// So long after the start of a shard its first pass begins.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// The pause after a read that failed for want of something else than a whole disk.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
