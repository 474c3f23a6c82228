//! Numbers that only the core and its shell know; those of the protocol are in `wire`.

use std::fmt;

/// A client's connection, opaque to the core; the shell puts shard, slot and generation into it.
///
/// Never used again for another connection while anything of the old one is on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ConnectionId(pub u64);

/// A queue of one partition, in the order of the Create records; never used again after a Delete.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct QueueId(pub u32);

/// A subscription of one queue, in the order of its Subscribe records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SubscriptionId(pub u32);

impl SubscriptionId {
    /// From here on the numbers of ephemeral subscriptions, which are counted over a whole partition since its start.
    pub(crate) const EPHEMERAL: u32 = 1 << 31;

    /// Whether the subscription is ephemeral.
    pub(crate) const fn is_ephemeral(self) -> bool {
        self.0 >= Self::EPHEMERAL
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}
