//! Every bound of one partition, with the relations between them.
//!
//! The constants are part of what `apply` means and are the same on every replica; [`Limits`] only decides what a
//! step takes on, so that it may differ from start to start.

use std::time::Duration;

use corelane_wire::Lsn;
use corelane_wire::limits::{
    CREDIT_MAX, DELIVERY_BYTES_MAX, DEQUEUE_MESSAGES_MAX, NAME_BYTES_MAX, SETTLE_ENTRIES_MAX,
    SETTLE_MESSAGES_MAX, SUBSCRIPTIONS_MAX,
};

use crate::state::Layout;
use crate::state::runs::RUNS_MAX;

/// How many of a producer's last batches in a queue are recognised when they are sent again.
pub const PRODUCER_WINDOW: u64 = 1_024;
/// A producer's window is forgotten this long after its last batch, in lease time.
pub const PRODUCER_IDLE: Duration = Duration::from_mins(10);
/// A session lives this long after its last connection, in log time.
pub const SESSION_GRACE: Duration = Duration::from_secs(5);
/// An ephemeral subscription lives this long after its last user, in node time.
pub const EPHEMERAL_GRACE: Duration = Duration::from_secs(3);
/// While a lease or a delayed message lives, the log learns the time at least this often.
pub const TICK_INTERVAL: Duration = Duration::from_secs(10);
/// A longer pause between log and wall is not taken over without an operator's word.
pub const JUMP_MAX: Duration = Duration::from_hours(24);
/// Records that gate nothing are flushed after this long.
pub const RIDER_DELAY: Duration = Duration::from_millis(10);
/// Rows of dead, and of parked messages of a subscription: neighbours with the same history share one. Beyond it nothing
/// more is set aside.
pub const ASIDE_ROWS_MAX: usize = 262_144;
/// Leases, windows and subscriptions that one Tick or Release record handles at most; the next record goes on.
pub const SWEEP_MAX: usize = 4_096;
/// Messages of one Lease record.
pub const LEASE_MESSAGES_MAX: u32 = DEQUEUE_MESSAGES_MAX;
/// Bytes of the messages of one pushed delivery, unless there is only one: a client that does not read is found out
/// by what waits for it, and this much more may wait by then.
pub const PUSH_BYTES_MAX: usize = DELIVERY_BYTES_MAX / 2;
/// Entries of an Ack, Nack or Extend record after which the next record begins.
///
/// It is looked at after each settled entry, which may come apart into one for every second of its
/// messages, so a record holds fewer than twice as many.
pub const RECORD_ENTRIES_MAX: usize = 32_768;

/// What one partition takes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Queues.
    pub queues_max: usize,
    /// Subscriptions of one queue.
    pub subscriptions_max: usize,
    /// Subscriptions of all queues together.
    pub subscriptions_total_max: usize,
    /// Enqueue records whose places are kept, written and read back together; at most 4,096.
    pub stretch_runs_max: usize,
    /// Enqueue records whose place is kept in memory because no checkpoint holds it yet; each costs 40 bytes.
    pub runs_max: usize,
    /// The same, beyond which those are dropped from memory that a checkpoint holds and no consumer is near.
    pub runs_loaded_max: usize,
    /// Producer windows.
    pub producers_max: usize,
    /// Leases at a time.
    pub leases_max: usize,
    /// Fragments of one subscription between its done prefix and its cursor: stretches that are ready again or delayed,
    /// and pages of 4,096 messages that are done out of order. At this many, messages are neither given out for the
    /// first time nor delayed, so that only what was given out can break it up further. Each costs up to 600 bytes,
    /// mostly 50.
    pub ranges_max: usize,
    /// Unfinished messages of one subscription whose keys are known, where they are given out in the order of their
    /// keys; each costs some 100 bytes. What is behind them waits until one of them is finished.
    pub keys_max: usize,
    /// Messages given out by Lease records that are not committed; at half of it Lease records gate a flush.
    pub uncommitted_leases_max: u64,
    /// Bytes of messages that are not committed.
    pub uncommitted_bytes_max: u64,
    /// Answers that wait for a commit.
    pub gated_replies_max: usize,
    /// Bytes of answers that wait for a commit, and of settlements that wait for the end of the turn.
    pub gated_bytes_max: usize,
    /// Peeks that wait for a chunk of a checkpoint, and chunks that are being read.
    pub loads_max: usize,
    /// Dequeues that wait for messages.
    pub waiters_max: usize,
    /// Consumers of one connection.
    pub consumers_per_connection_max: usize,
    /// Consumers.
    pub consumers_max: usize,
    /// Deliveries of one turn; the next turn goes on.
    pub turn_deliveries_max: usize,
}

impl Limits {
    pub(crate) fn layout(&self) -> Layout {
        assert!((1..=RUNS_MAX).contains(&self.stretch_runs_max), "{self:?}");
        Layout {
            segment_base: Lsn(0),
            runs_max: self.stretch_runs_max,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        DEFAULT
    }
}

const DEFAULT: Limits = Limits {
    queues_max: 131_072,
    subscriptions_max: 256,
    subscriptions_total_max: 262_144,
    stretch_runs_max: RUNS_MAX,
    runs_max: 1 << 21,
    runs_loaded_max: 1 << 16,
    producers_max: 16_384,
    leases_max: 262_144,
    ranges_max: 1 << 21,
    keys_max: 1 << 16,
    uncommitted_leases_max: 16_384,
    uncommitted_bytes_max: 64 << 20,
    gated_replies_max: 65_536,
    gated_bytes_max: 64 << 20,
    loads_max: 64,
    waiters_max: 65_536,
    consumers_per_connection_max: 1_024,
    consumers_max: 65_536,
    turn_deliveries_max: 1_024,
};

// One dequeue of the greatest size must be possible below the half at which Lease records begin to gate.
const _: () = assert!(LEASE_MESSAGES_MAX as u64 <= DEFAULT.uncommitted_leases_max);
const _: () = assert!(DEFAULT.subscriptions_max <= SUBSCRIPTIONS_MAX);
const _: () = assert!(DEFAULT.subscriptions_max <= DEFAULT.subscriptions_total_max);
const _: () = assert!(DEFAULT.queues_max <= u32::MAX as usize);
const _: () = assert!(DEFAULT.consumers_per_connection_max <= DEFAULT.consumers_max);
const _: () = assert!(DEFAULT.turn_deliveries_max >= 1);
const _: () = assert!(CREDIT_MAX >= LEASE_MESSAGES_MAX);
// The answer to the greatest settlement fits into the bytes of gated answers many times over.
const _: () = assert!(64 * (SETTLE_MESSAGES_MAX + SETTLE_ENTRIES_MAX) <= DEFAULT.gated_bytes_max);
// A session that is lost still holds its leases when its client comes back after one missed heartbeat.
const _: () = assert!(SESSION_GRACE.as_secs() < TICK_INTERVAL.as_secs());
// It has gone from the list within 5 s, and its leases never outlive it.
const _: () = assert!(EPHEMERAL_GRACE.as_secs() < SESSION_GRACE.as_secs());
const _: () = assert!(RIDER_DELAY.as_millis() < SESSION_GRACE.as_millis());
// With 28 bytes each, the most entries that a record can hold fit into a block of 2 MiB.
const _: () = assert!((RECORD_ENTRIES_MAX + SETTLE_MESSAGES_MAX / 2) * 28 < (2 << 20) - 4_096);
const _: () = assert!(NAME_BYTES_MAX <= u16::MAX as usize);
