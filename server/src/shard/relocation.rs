//! Relocation: live messages of nearly dead segments are written again, a slice at a time, so that the segments can go.
//!
//! What has to move is said by the last checkpoint; the engine says which records it needs for that, and they are read
//! like those of deliveries. Invariants: (M1) one slice at a time: the next one waits until the records of the last one
//! are appended, and its time has come. (M2) nothing moves while the log has no segment to go on in, or the disk is
//! full: what room is left is for records that gate something.

use std::collections::VecDeque;
use std::time::Duration;

use corelane_core::Input;
use corelane_storage::{Lookup, SegmentNumber};
use corelane_wire::{Batch, Lsn, Offset, Timestamp};

use super::partition::{Partition, Step};
use super::state::State;
use super::tokens::{ReadFor, ReadSite};
use crate::checkpoint::RelocationPlan;

/// Length of the records that move at once.
const SLICE_BYTES: u64 = 64 << 10;
/// The time from one slice to the next while there is no hurry: 3.2 MB/s of a partition's log.
const PACE: Duration = Duration::from_millis(20);
/// The same where the bound is reached.
const PACE_MIN: Duration = Duration::from_millis(1);

/// Where the relocation of a partition stands.
#[derive(Debug, Default)]
pub(super) struct Relocation {
    /// Records that the engine wants, each with the first message of its batch.
    fetches: VecDeque<(Lsn, Offset)>,
    /// What the first of them waits for.
    waits: Option<Wait>,
    /// It cannot be read.
    has_failed: bool,
    /// From one slice to the next.
    pace: Duration,
    /// When the next slice may begin; none while there is nothing to move.
    next: Option<Timestamp>,
    /// Memory for one batch.
    batch: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Open(SegmentNumber),
    Read,
}

impl Relocation {
    /// The engine wants a record.
    pub(super) fn fetch(&mut self, lsn: Lsn, first: Offset) {
        self.fetches.push_back((lsn, first));
    }

    /// The messages `first..first + count` of the batch that the engine is given now, as a batch of their own.
    pub(super) fn part<'a>(
        &self,
        (first, count): (Offset, u32),
        batch: &[u8],
        part: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        part.clear();
        let of = self.fetches.front().map_or(first, |(_, of)| *of);
        let batch = Batch::trusted(batch).ok();
        let index = u32::try_from(first.0 - of.0).ok();
        let found = batch.zip(index).and_then(|(of, at)| of.part(at, count));
        found
            .expect("the engine looked at the same batch")
            .encode(part);
        part
    }

    /// A file was opened.
    pub(super) fn opened(&mut self, segment: SegmentNumber) {
        self.waits.take_if(|wait| *wait == Wait::Open(segment));
    }

    /// A file could not be opened.
    pub(super) fn not_opened(&mut self, segment: SegmentNumber) {
        let waited = self.waits.take_if(|wait| *wait == Wait::Open(segment));
        self.has_failed |= waited.is_some();
    }

    /// The read that the first record waited for ended.
    pub(super) fn read_done(&mut self, is_good: bool) {
        self.waits = None;
        self.has_failed |= !is_good;
    }

    /// When something is to be done; at once while records are at hand.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        match (self.waits, self.fetches.is_empty()) {
            (Some(_), _) => None,
            (None, true) => self.next,
            (None, false) => Some(Timestamp(0)),
        }
    }
}

/// What the record at the front is.
enum Front {
    /// Its batch is in memory.
    Here,
    /// It has to be read.
    Away(SegmentNumber, u64, usize),
    /// It cannot be read.
    Lost,
}

impl Partition {
    /// A checkpoint says what has to move.
    fn plan_relocation(&mut self, plan: &RelocationPlan, at: &mut Step<'_>) {
        let stretches = &plan.stretches;
        self.step(Input::Relocate { stretches }, at);
        let pace = PACE / 100 * (100 - plan.pressure.min(100));
        self.relocation.pace = pace.max(PACE_MIN);
        self.relocation.next = (!stretches.is_empty()).then_some(at.now);
    }

    /// Begins the next slice if its time has come; whether the last one is done.
    fn begin_slice(&mut self, at: &mut Step<'_>) -> bool {
        let is_due = self.relocation.next.is_some_and(|next| next <= at.now);
        if !is_due || !self.relocation.fetches.is_empty() {
            return false;
        }
        if !self.engine.is_relocating() {
            self.relocation.next = None;
            return true;
        }
        self.relocation.next = Some(at.now.add(self.relocation.pace));
        let bytes = SLICE_BYTES;
        self.step(Input::Move { bytes }, at);
        false
    }

    /// Looks for the record that the engine waits for.
    fn find_front(&mut self, lsn: Lsn) -> Front {
        if std::mem::take(&mut self.relocation.has_failed) {
            return Front::Lost;
        }
        match self.log.reader().read(lsn) {
            Lookup::Cached(record) => {
                self.relocation.batch.clear();
                self.relocation.batch.extend_from_slice(record.batch());
                Front::Here
            }
            Lookup::OnDisk {
                segment,
                position,
                bytes,
            } => Front::Away(segment, position, bytes),
            Lookup::Damaged(_) | Lookup::Unknown => Front::Lost,
        }
    }

    /// Gives the record at the front to the engine.
    fn give_front(&mut self, is_here: bool, at: &mut Step<'_>) {
        let batch = std::mem::take(&mut self.relocation.batch);
        let fetched = is_here.then_some(batch.as_slice());
        self.step(Input::Fetched { batch: fetched }, at);
        self.relocation.fetches.pop_front();
        self.relocation.batch = batch;
    }
}

impl State {
    /// A checkpoint says what has to move.
    pub(super) fn plan_relocation(&mut self, slot: usize, plan: &RelocationPlan) {
        let (partitions, mut at) = self.step_parts();
        if let Some(partition) = partitions[slot].serving_mut() {
            partition.plan_relocation(plan, &mut at);
        }
    }

    /// Moves what can be moved now.
    pub(super) fn relocate(&mut self, slot: usize) {
        // Mostly there is nothing to move, and that is found out first.
        let hosted = self.partitions[slot].serving();
        if hosted.is_none_or(|it| it.relocation.next_deadline().is_none()) {
            return;
        }
        let is_full = self.spares.is_full() || self.stopping.is_some();
        let (partitions, mut at) = self.step_parts();
        let Some(partition) = partitions[slot].serving_mut() else {
            return;
        };
        if is_full || partition.poisoned || partition.lacks_segment() {
            return;
        }
        if partition.begin_slice(&mut at) {
            // Two checkpoints let the segments go.
            self.frees_segments = true;
            return;
        }
        while partition.relocation.waits.is_none()
            && let Some(&(lsn, _)) = partition.relocation.fetches.front()
        {
            match partition.find_front(lsn) {
                Front::Here => partition.give_front(true, &mut at),
                Front::Lost => partition.give_front(false, &mut at),
                Front::Away(segment, position, bytes) => {
                    self.read_to_relocate(slot, (segment, position, bytes));
                    return;
                }
            }
        }
    }

    fn read_to_relocate(
        &mut self,
        slot: usize,
        (segment, position, bytes): (SegmentNumber, u64, usize),
    ) {
        let site = ReadSite {
            slot,
            segment,
            position,
            purpose: ReadFor::Relocation,
        };
        let wait = if self.read_at(site, bytes) {
            Wait::Read
        } else {
            Wait::Open(segment)
        };
        if let Some(partition) = self.partitions[slot].serving_mut() {
            partition.relocation.waits = Some(wait);
        }
    }
}
