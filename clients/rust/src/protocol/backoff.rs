//! How long to wait before trying again: doubling pauses with jitter.
//!
//! Owns the count of failures in a row. Called by connections and cores; takes no clock.
//! Invariant: (B1) a pause is never longer than the bound it was made with.

use std::time::Duration;

use super::random::Random;

/// Doubling pauses between a least and a greatest, each drawn from the upper half of its step so that clients that
/// failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    pause_min: Duration,
    pause_max: Duration,
    failures: u32,
    random: Random,
}

impl Backoff {
    /// Pauses from about `pause_min` up to `pause_max`.
    pub const fn new(pause_min: Duration, pause_max: Duration, random: Random) -> Self {
        Self {
            pause_min,
            pause_max,
            failures: 0,
            random,
        }
    }

    /// Counts one failure and says how long to wait after it.
    pub fn pause(&mut self) -> Duration {
        let doublings = self.failures.min(DOUBLINGS_MAX);
        self.failures = self.failures.saturating_add(1);
        let step = self
            .pause_min
            .saturating_mul(1 << doublings)
            .min(self.pause_max);
        let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
        let half = nanos / 2;
        Duration::from_nanos(half.saturating_add(self.random.below(nanos - half + 1)))
    }

    /// Starts over after a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// 2^20 least pauses are beyond every greatest pause in use.
const DOUBLINGS_MAX: u32 = 20;
