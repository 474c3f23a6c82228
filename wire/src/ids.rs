//! Numbers that name things, each with a type of its own so that two of them cannot be exchanged.
//!
//! Owns the newtypes only; who hands the numbers out is said at each type.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Declares one newtype over an unsigned integer; `Display` prints with the given format.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, $format, self.0)
            }
        }
    };
}

id!(
    /// Dense number of a record in a partition's log; internal, but visible inside a [`LeaseId`].
    Lsn(u64), "{}"
);
id!(
    /// Dense number of a message within its lane, from 0.
    Offset(u64), "{}"
);
id!(
    /// Number of a chain configuration, only grows; the only fencing number.
    Epoch(u64), "{}"
);
id!(
    /// Number of a message batch of one producer in one lane, from 0.
    Sequence(u64), "{}"
);
id!(
    /// Chosen by the client for a request and repeated in its answer.
    Correlation(u64), "{}"
);
id!(
    /// A partition of a node's or cluster's fixed set, from 0.
    PartitionId(u32), "{}"
);
id!(
    /// A running broker.
    NodeId(u32), "{}"
);
id!(
    /// A strict FIFO strand of a queue, from 0.
    Lane(u32), "{}"
);
id!(
    /// Chosen by the client for a subscribed consumer; unique on its connection.
    ConsumerId(u32), "{}"
);
id!(
    /// A pinned core of one node; never on the wire.
    ShardId(u16), "{}"
);
id!(
    /// A client's session; 0 stands for none. Drawn by the server, resumable in HELLO.
    SessionId(u128), "{:032x}"
);
id!(
    /// Drawn at random by the client; makes an enqueue idempotent. 0 stands for none.
    ProducerId(u128), "{:032x}"
);
id!(
    /// Nanoseconds since the Unix epoch; enough until the year 2554.
    Timestamp(u64), "{}"
);

impl ProducerId {
    /// The absence of a producer: the batch is not deduplicated.
    pub const NONE: Self = Self(0);
}

impl SessionId {
    /// The absence of a session.
    pub const NONE: Self = Self(0);
}

/// The exclusive, expiring right of one consumer to the messages of one Lease record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LeaseId {
    /// Epoch in which the lease was given; fences leases of a lost configuration.
    pub epoch: Epoch,
    /// Number of the Lease record in the partition's log.
    pub lsn: Lsn,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.epoch, self.lsn)
    }
}

/// `count` messages of a lane from `first` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct OffsetRange {
    /// The first offset, inclusive.
    pub first: Offset,
    /// How many; ranges that come from a decoder have at least one.
    pub count: u32,
}

impl OffsetRange {
    /// The end, exclusive; saturates (a decoded range never reaches that).
    pub const fn end(self) -> Offset {
        Offset(self.first.0.saturating_add(self.count as u64))
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{}", self.first, self.end())
    }
}

impl Timestamp {
    /// From whole milliseconds since the Unix epoch; saturates.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / NANOS_PER_MILLI
    }

    /// Later by `duration`; saturates at the end of time.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the trait is implemented too; this form needs no import"
    )]
    pub fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Earlier by `duration`; saturates at the Unix epoch.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the trait is implemented too; this form needs no import"
    )]
    pub fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// Time passed since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self::add(self, duration)
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self::sub(self, duration)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests;
