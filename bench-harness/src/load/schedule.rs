//! When the batches of one producer are meant to leave.
//!
//! Batch `k` of producer `p` of `P` has the ordinal `k * P + p` among all batches, and batch `n` of all is due
//! `n * batch / rate` after the start. So producers take turns at equal distances, nothing adds up, and lateness never
//! moves a later instant.

use super::plan::{Loop, Plan};

/// The instants of one producer.
#[derive(Clone, Debug)]
pub struct Schedule {
    ordinal: u64,
    step: u64,
    batch: u64,
    mode: Loop,
    end_ns: u64,
}

impl Schedule {
    /// The schedule of producer `index` in `plan`.
    pub fn new(plan: &Plan, index: u32) -> Self {
        Self {
            ordinal: u64::from(index),
            step: u64::from(plan.producers),
            batch: u64::from(plan.batch),
            mode: plan.mode,
            end_ns: plan.end_ns(),
        }
    }

    /// Place of the next batch among those of all producers; the order in which producers take turns.
    pub const fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// When the next batch is meant to leave, in nanoseconds from the start; `None` at the end of the schedule.
    ///
    /// Without instants every batch is due at once, and the end of a closed loop is the caller's to see.
    pub fn due(&self) -> Option<u64> {
        let first = u128::from(self.ordinal) * u128::from(self.batch);
        match self.mode {
            Loop::Open { per_second } => {
                let due = first * NANOS_PER_SECOND / u128::from(per_second);
                u64::try_from(due).ok().filter(|&due| due < self.end_ns)
            }
            Loop::Closed => Some(0),
            Loop::Backlog { messages } => (first < u128::from(messages)).then_some(0),
        }
    }

    /// Goes on to the next batch.
    pub const fn advance(&mut self) {
        self.ordinal += self.step;
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;
