//! Node time: the wall clock at process start, then the monotonic clock, slewed at most 500 ppm
//! towards the wall clock.
//!
//! Leases, delays and log times are judged by it, so it must never step: a wall clock set back by
//! an hour would otherwise stop every expiry for an hour, one set forward would expire every lease
//! at once. The control thread calls [`Clock::discipline`] about once a second; every shard
//! reads [`Clock::now`], which takes no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corelane_wire::Timestamp;

/// The clock of the process, shared by its threads.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Zero of the monotonic readings.
    origin: Instant,
    /// Counts the stretches; number `n` lies in slot `n % 2`. A reader whose stretch was replaced
    /// meanwhile reads again; it never waits for the writer, which may have lost its core.
    version: AtomicU64,
    slots: [Slot; 2],
}

/// A [`Stretch`] that one thread replaces while others read it.
#[derive(Debug, Default)]
struct Slot {
    anchor: AtomicU64,
    base: AtomicU64,
    rate_ppm: AtomicI64,
}

/// One straight stretch of node time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stretch {
    /// Monotonic nanoseconds since `origin` at which the stretch began.
    anchor: u64,
    /// Node time there, nanoseconds since the Unix epoch.
    base: u64,
    /// Slew in parts per million, positive while node time lags behind the wall.
    rate_ppm: i64,
}

impl Clock {
    /// A clock that reads the wall clock now and the monotonic clock from here on.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(wall_now())
    }

    fn start_at(wall: u64) -> Self {
        let shared = Shared {
            origin: Instant::now(),
            version: AtomicU64::new(0),
            slots: [Slot::default(), Slot::default()],
        };
        shared.slots[0].base.store(wall, Ordering::Relaxed);
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Node time now. Two threads may see it a few microseconds apart; a driver keeps its own
    /// reading from going backwards.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        loop {
            let version = self.shared.version.load(Ordering::Acquire);
            let stretch = self.shared.slot(version).load();
            let monotonic = self.monotonic();
            fence(Ordering::Acquire);
            if self.shared.version.load(Ordering::Relaxed) == version {
                return Timestamp(stretch.at(monotonic));
            }
        }
    }

    /// Measures the distance to the wall clock and sets the slew that shrinks it, at most
    /// 500 ppm either way. Returns wall minus node time in nanoseconds. Called by the control
    /// thread only.
    pub fn discipline(&self) -> i64 {
        let version = self.shared.version.load(Ordering::Relaxed);
        let present = self.shared.slot(version).load();
        let (next, distance) = present.towards(self.monotonic(), wall_now());
        // A reader that sees one of these stores also sees, in its second look at the version,
        // that its own stretch was replaced.
        fence(Ordering::Release);
        self.shared.slot(version + 1).store(next);
        self.shared.version.store(version + 1, Ordering::Release);
        distance
    }

    fn monotonic(&self) -> u64 {
        nanoseconds(self.shared.origin.elapsed())
    }
}

impl Shared {
    fn slot(&self, version: u64) -> &Slot {
        &self.slots[usize::from(!version.is_multiple_of(2))]
    }
}

impl Slot {
    fn load(&self) -> Stretch {
        Stretch {
            anchor: self.anchor.load(Ordering::Relaxed),
            base: self.base.load(Ordering::Relaxed),
            rate_ppm: self.rate_ppm.load(Ordering::Relaxed),
        }
    }

    fn store(&self, stretch: Stretch) {
        self.anchor.store(stretch.anchor, Ordering::Relaxed);
        self.base.store(stretch.base, Ordering::Relaxed);
        self.rate_ppm.store(stretch.rate_ppm, Ordering::Relaxed);
    }
}

impl Stretch {
    /// Node time at a monotonic reading. Continuous and rising: the slew is far below 100 %.
    fn at(self, monotonic: u64) -> u64 {
        let elapsed = i128::from(monotonic.saturating_sub(self.anchor));
        let slewed = elapsed + elapsed * i128::from(self.rate_ppm) / 1_000_000;
        self.base.saturating_add(u64::try_from(slewed).unwrap_or(0))
    }

    /// The stretch that follows at `monotonic` when the wall clock reads `wall`, and wall minus
    /// node time. A distance is worked off over [`CORRECTION_PERIOD_NS`], as far as the limit
    /// allows, so that small ones vanish without hunting.
    fn towards(self, monotonic: u64, wall: u64) -> (Self, i64) {
        let base = self.at(monotonic);
        let distance = i128::from(wall) - i128::from(base);
        let wanted = distance * 1_000_000 / i128::from(CORRECTION_PERIOD_NS);
        let limit = i128::from(SLEW_PPM_MAX);
        let rate_ppm = i64::try_from(wanted.clamp(-limit, limit)).unwrap_or(0);
        let next = Self {
            anchor: monotonic,
            base,
            rate_ppm,
        };
        (next, saturate(distance))
    }
}

fn saturate(value: i128) -> i64 {
    let bounded = value.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(bounded).unwrap_or(0)
}

fn wall_now() -> u64 {
    // A wall clock before 1970 is as good as none: start at zero and slew from there.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, nanoseconds)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Fastest slew, in parts per million.
const SLEW_PPM_MAX: i64 = 500;
/// Time over which a distance to the wall clock is worked off.
const CORRECTION_PERIOD_NS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests;
