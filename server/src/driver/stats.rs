//! What one driver counts, read by the control thread at each scrape.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one driver; every field only grows.
#[derive(Debug, Default)]
pub struct DriverStats {
    /// Commits (write and fdatasync) by duration.
    pub commit: Durations,
    /// File reads by duration.
    pub read: Durations,
    /// Connections closed at once because the shard had its maximum.
    pub refused: AtomicU64,
    /// Times that accepting paused because the process had no file descriptor left.
    pub accept_paused: AtomicU64,
    /// Times that a socket was left unread because all receive buffers were lent.
    pub starved: AtomicU64,
}

/// A histogram of durations with fixed bounds.
#[derive(Debug, Default)]
pub struct Durations {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// A reading of [`Durations`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DurationsRead {
    /// Upper bound in seconds and count of each bucket (not cumulative); the last bound is
    /// infinite.
    pub buckets: Vec<(f64, u64)>,
    /// How many were recorded.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

impl Durations {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < duration);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The counts as they are now, each by itself.
    #[must_use]
    pub fn read(&self) -> DurationsRead {
        let bounds = BOUNDS.iter().map(Duration::as_secs_f64);
        let buckets: Vec<_> = bounds
            .chain([f64::INFINITY])
            .zip(&self.counts)
            .map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
            .collect();
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        DurationsRead {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            sum: sum.as_secs_f64(),
        }
    }
}

/// Upper bounds of the buckets: a commit takes 100 us on a good disk and 10 ms on a busy one.
const BOUNDS: [Duration; 16] = [
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(300),
    Duration::from_micros(500),
    Duration::from_micros(750),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
];
