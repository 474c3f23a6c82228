//! How fast a producer sends to a queue that asks to slow down.
//!
//! At step n it has at most 1/2^n of its batches out, and at least one; a receipt that asks to slow down takes it one
//! step further, and lets it rest for 2^(n-1) ms before it sends again, 256 ms at most. While it rests such receipts
//! change nothing, as they answer what was sent before. One that does not ask takes it one step back.
//! `docs/keeping.md` says the same.

use std::time::Duration;

/// How many steps a producer was slowed down.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    step: u32,
}

impl Pace {
    /// Takes a receipt; how long to rest after it, if at all.
    pub(super) fn on_receipt(&mut self, slow_down: bool, is_resting: bool) -> Option<Duration> {
        if !slow_down {
            self.step = self.step.saturating_sub(1);
            return None;
        }
        if is_resting {
            return None;
        }
        self.step = (self.step + 1).min(STEPS_MAX);
        Some(Duration::from_millis(1 << (self.step - 1)))
    }

    /// How many batches may be out where usually so many may.
    pub(super) fn batches_max(self, usual: usize) -> usize {
        (usual >> self.step).max(1)
    }
}

/// The last step rests for 256 ms.
const STEPS_MAX: u32 = 9;
