//! The watchdog: a shard that stands still cannot be helped, so the process ends and is started
//! again by whoever supervises it.

use std::time::{Duration, Instant};

/// Judges the turn counters of the shards.
///
/// Invariant: (W1) an interval counts against a shard only if the watchdog itself woke on time:
/// where the whole machine stood still (a suspended laptop, a stopped container, a debugger)
/// nobody is to blame.
#[derive(Debug)]
pub(super) struct Watchdog {
    limit: Duration,
    period: Duration,
    last_look: Option<Instant>,
    shards: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    turns: u64,
    stood: Duration,
}

/// A shard that stood still for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stuck {
    pub(super) shard: usize,
    pub(super) stood: Duration,
}

impl Watchdog {
    /// A watchdog that looks every `period` and gives a shard `limit`; zero gives it for ever.
    pub(super) fn new(shards: usize, limit: Duration, period: Duration) -> Self {
        Self {
            limit,
            period,
            last_look: None,
            shards: vec![Seen::default(); shards],
        }
    }

    /// Takes note of the turn counters. `Some` when a shard has used up its time.
    pub(super) fn look(&mut self, now: Instant, turns: &[u64]) -> Option<Stuck> {
        let interval = self
            .last_look
            .map(|last| now.saturating_duration_since(last));
        self.last_look = Some(now);
        // (W1) Late by half a period or more does not count.
        let counted = match interval {
            Some(interval) if interval < self.period.mul_f64(1.5) => interval,
            Some(_) | None => Duration::ZERO,
        };
        for (seen, turns) in self.shards.iter_mut().zip(turns) {
            if seen.turns == *turns {
                seen.stood += counted;
            } else {
                seen.stood = Duration::ZERO;
            }
            seen.turns = *turns;
        }
        if self.limit.is_zero() {
            return None;
        }
        self.slowest().filter(|slowest| slowest.stood >= self.limit)
    }

    /// The shard that has stood still the longest, for `/livez`.
    pub(super) fn slowest(&self) -> Option<Stuck> {
        let longest = self
            .shards
            .iter()
            .enumerate()
            .max_by_key(|(_, seen)| seen.stood);
        longest.map(|(shard, seen)| Stuck {
            shard,
            stood: seen.stood,
        })
    }
}

#[cfg(test)]
mod tests;
