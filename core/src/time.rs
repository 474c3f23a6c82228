//! The two times of a log.
//!
//! *Log time* is what the records carry: it never goes back and follows the wall clock.
//! *Lease time* is log time without the jumps of the Epoch records, so that no lease expires because the broker was
//! down, and a jump costs nothing however many leases there are.

use std::time::Duration;

use corelane_wire::Timestamp;

/// An instant of lease time, in nanoseconds; differs from log time by the sum of the jumps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct LeaseTime(pub(crate) u64);

impl LeaseTime {
    /// Later by `duration`; saturates at the end of time.
    pub(crate) fn later(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// Where a log stands in time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct LogClock {
    /// Log time of the last record.
    pub(crate) log: Timestamp,
    /// The sum of all jumps, in nanoseconds.
    pub(crate) jumps: u64,
}

impl LogClock {
    /// Lease time of the last record.
    pub(crate) const fn lease(self) -> LeaseTime {
        LeaseTime(self.log.0.saturating_sub(self.jumps))
    }

    /// The log time at which lease time is `time`, as long as there is no further jump.
    pub(crate) const fn log_time_of(self, time: LeaseTime) -> Timestamp {
        Timestamp(time.0.saturating_add(self.jumps))
    }
}

/// Whole nanoseconds; saturates after 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
