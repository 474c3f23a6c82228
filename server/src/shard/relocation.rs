//! Relocation: live messages of nearly dead segments are written again, a slice at a time, so that the segments can go.
//!
//! What has to move is said by the last checkpoint; the engine says which records it needs for that, and they are read
//! like those of deliveries. Invariants: (M1) one slice at a time: the next one waits until the records of the last one
//! are appended, and its time has come. (M2) nothing moves while the log has no segment to go on in, or the disk is
//! full: what room is left is for records that gate something.

use std::time::Duration;

use corelane_core::{FetchFor, Input};
use corelane_wire::{Batch, Offset, Timestamp};

use super::fetches::Fetches;
use super::partition::{Partition, Step};
use super::state::State;
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
    /// Records that the engine wants to write again.
    pub(super) fetches: Fetches,
    /// From one slice to the next.
    pace: Duration,
    /// When the next slice may begin; none while there is nothing to move.
    next: Option<Timestamp>,
}

impl Relocation {
    /// The messages `first..first + count` of the batch that the engine is given now, as a batch of their own.
    pub(super) fn part<'a>(
        &self,
        (first, count): (Offset, u32),
        batch: &[u8],
        part: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        part.clear();
        let of = self.fetches.front().map_or(first, |(_, of)| of);
        let batch = Batch::trusted(batch).ok();
        let index = u32::try_from(first.0 - of.0).ok();
        let found = batch.zip(index).and_then(|(of, at)| of.part(at, count));
        found
            .expect("the engine looked at the same batch")
            .encode(part);
        part
    }

    /// When something is to be done; at once while records are at hand.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        if self.fetches.is_empty() {
            return self.next;
        }
        self.fetches.next_deadline()
    }
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
        let is_volatile = self.volatile == Some(slot);
        let is_full = self.spares_for(is_volatile).is_full() || self.stopping.is_some();
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
        self.fetch(slot, FetchFor::Relocation);
    }
}
