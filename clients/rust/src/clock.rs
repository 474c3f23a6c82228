//! The one place where the client reads a clock.

use std::time::{Duration, SystemTime};

use corelane_wire::Timestamp;
use tokio::time::Instant;

/// Wall time at the start, monotonic from then on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    base: Timestamp,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
        Self {
            origin: Instant::now(),
            base: Timestamp(0).add(wall),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.base.add(self.origin.elapsed())
    }

    /// When `time` will be, for the runtime's timers.
    pub(crate) fn instant(&self, time: Timestamp) -> Instant {
        self.origin + time.since(self.base)
    }
}
