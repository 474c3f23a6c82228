//! Where a partition stands, as its shell and its operator see it.

use corelane_wire::Lsn;

use super::Status;

/// The positions of the log; `start` is inclusive, the others exclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Positions {
    /// The first record.
    pub start: Lsn,
    /// Up to here everything is confirmed and visible.
    pub committed: Lsn,
    /// Up to here everything is on this node's disk.
    pub durable: Lsn,
    /// The number of the next record.
    pub end: Lsn,
}

/// Counters of a partition, for metrics and health.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// What the partition does.
    pub status: Status,
    /// A jump of more than 24 h was refused at the start: delays are late by it.
    pub time_jump_refused: bool,
    /// Queues.
    pub queues: usize,
    /// Subscriptions of all queues, ephemeral ones included, as in all counts by subscription.
    pub subscriptions: usize,
    /// Messages that some subscription is not done with.
    pub messages: u64,
    /// Messages ready, once per subscription.
    pub ready: u64,
    /// Messages leased, once per subscription.
    pub leased: u64,
    /// Messages delayed, once per subscription.
    pub delayed: u64,
    /// Messages dead, once per subscription.
    pub dead: u64,
    /// Messages parked, once per subscription.
    pub parked: u64,
    /// Messages that a consumer finished, once per subscription.
    pub acked: u64,
    /// Messages whose time to live ended, or that made way, once per subscription.
    pub expired: u64,
    /// Messages that were purged, once per subscription.
    pub purged: u64,
    /// Messages that were gone before a consumer of a broadcast got them, once for each, or before an ephemeral
    /// subscription gave them out, since the start.
    pub missed: u64,
    /// Messages that the subscriptions are there for.
    pub enqueued: u64,
    /// How many of those are in no state, or in two: 0, unless messages were lost or made up.
    pub unaccounted: u64,
    /// Leases.
    pub leases: usize,
    /// Producer windows.
    pub producers: usize,
    /// Answers that wait for a commit.
    pub gated_replies: usize,
    /// Dequeues that wait for messages.
    pub waiters: usize,
    /// Consumers.
    pub consumers: usize,
    /// Bytes of messages that are not committed.
    pub uncommitted_bytes: u64,
    /// Messages given out by Lease records that are not committed.
    pub uncommitted_leases: u64,
}
