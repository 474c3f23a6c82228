//! The records of a partition's log, and their payloads as bytes (`docs/records.md`).
//!
//! Owns what a record says and how it is encoded; what it *does* is in `state::apply`, and the header before the
//! payload is `wire`'s. A record never changes after it was applied.

mod change;
mod codec;
mod error;

use corelane_wire::record::record_kind;
use corelane_wire::{
    Epoch, Fate, Offset, OffsetRange, ProducerId, QueueConfig, Sequence, SessionId, SettleEntry,
    Timestamp,
};

use crate::ids::{QueueId, SubscriptionId};

pub use change::Change;
pub use error::RecordDecodeError;

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A start: a new epoch.
    Epoch {
        /// Greater than every earlier one.
        epoch: Epoch,
        /// By how many nanoseconds log time jumps; lease time does not.
        jump_ns: u64,
    },
    /// A queue comes into being.
    Create {
        /// Its number from now on; dense.
        queue: QueueId,
        /// Its name.
        name: String,
    },
    /// A message batch; its bytes follow the head in the log and are not in here.
    Enqueue {
        /// Where to.
        queue: QueueId,
        /// Offset of the first message: the end of the queue.
        first: Offset,
        /// How many messages.
        count: u32,
        /// Length of the entries together.
        bytes: u32,
        /// Length of the longest entry.
        largest: u32,
        /// Who sent it; `ProducerId::NONE` if retries are not recognised.
        producer: ProducerId,
        /// The number of the batch within its producer and queue.
        sequence: Sequence,
        /// Which of the messages are due later or have a time to live, ascending; `None` if none is.
        schedule: Option<Box<[Scheduled]>>,
    },
    /// Messages get a new place, so that the segment with their old record can go; their bytes follow the head in the
    /// log, as a batch of their own.
    Relocate {
        /// Of the messages.
        queue: QueueId,
        /// Offset of the first message.
        first: Offset,
        /// How many messages; they came in one batch.
        count: u32,
        /// Length of the entries together.
        bytes: u32,
        /// Length of the longest entry.
        largest: u32,
        /// The log time of their Enqueue record.
        enqueued: Timestamp,
    },
    /// Messages are given out; the lease's id is (epoch, lsn of this record).
    Lease {
        /// Of the messages.
        queue: QueueId,
        /// On whose behalf.
        subscription: SubscriptionId,
        /// Which session holds them.
        session: SessionId,
        /// How long, in lease time from the record's time on.
        lease_ms: u32,
        /// Which; each is the next first delivery or lies within one returned fragment.
        ranges: Vec<OffsetRange>,
    },
    /// Messages are done, to be given out at most once when that is committed.
    Take {
        /// Of the messages.
        queue: QueueId,
        /// On whose behalf.
        subscription: SubscriptionId,
        /// Which, as with a lease.
        ranges: Vec<OffsetRange>,
    },
    /// Messages are done.
    Ack {
        /// Of the messages.
        queue: QueueId,
        /// In which subscription.
        subscription: SubscriptionId,
        /// Which, each held under its lease.
        entries: Vec<SettleEntry>,
    },
    /// Messages are given back.
    Nack {
        /// Of the messages.
        queue: QueueId,
        /// In which subscription.
        subscription: SubscriptionId,
        /// 0: ready at once; else delayed until this much later than the record's time.
        delay_ms: u64,
        /// Whether the attempt counts.
        count_attempt: bool,
        /// Which, each held under its lease.
        entries: Vec<SettleEntry>,
    },
    /// Leases run on.
    Extend {
        /// Of the messages.
        queue: QueueId,
        /// In which subscription.
        subscription: SubscriptionId,
        /// How long, in lease time from the record's time on.
        lease_ms: u32,
        /// Which, each held under its lease.
        entries: Vec<SettleEntry>,
    },
    /// Time passes: leases expire, delays come due, producer windows are forgotten.
    Tick,
    /// A session ended: its leases return, without counting the attempt.
    Release {
        /// Which one.
        session: SessionId,
    },
    /// A queue goes, with everything in it.
    Delete {
        /// Which one.
        queue: QueueId,
    },
    /// A queue has another configuration.
    ConfigureQueue {
        /// Which one.
        queue: QueueId,
        /// The whole of it.
        config: Box<QueueConfig>,
    },
    /// The oldest messages of a queue make way, but for what is leased or under way to a dead-letter queue.
    Trim {
        /// Of which queue.
        queue: QueueId,
        /// Everything before.
        end: Offset,
        /// What becomes of them.
        how: Trimmed,
    },
    /// A subscription comes into being.
    Subscribe {
        /// Of which queue.
        queue: QueueId,
        /// Its number from now on; dense within the queue.
        subscription: SubscriptionId,
        /// Its name.
        name: String,
        /// The first message that it gets.
        from: Offset,
    },
    /// Attempts failed, or messages are set aside.
    Reject {
        /// Of the messages.
        queue: QueueId,
        /// In which subscription.
        subscription: SubscriptionId,
        /// What becomes of them.
        fate: Fate,
        /// Why.
        text: Box<str>,
        /// Which, each held under its lease.
        entries: Vec<SettleEntry>,
    },
    /// Scheduled messages are due at another time, or done without a delivery.
    Reschedule {
        /// Of the messages.
        queue: QueueId,
        /// When, in log time; `None`: they are done, in every subscription.
        due: Option<Timestamp>,
        /// Which; the messages of each are due at the same time before.
        ranges: Vec<OffsetRange>,
    },
    /// A subscription changes as a whole.
    Change {
        /// Of which queue.
        queue: QueueId,
        /// Which one.
        subscription: SubscriptionId,
        /// What changes.
        change: Change,
    },
}

/// What becomes of messages that make way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Trimmed {
    /// They go.
    Gone = 0,
    /// Those that are ready are dead.
    Dead = 1,
}

impl Trimmed {
    const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Gone),
            1 => Some(Self::Dead),
            _ => None,
        }
    }
}

/// Messages of a batch in a row that are due at the same time and live equally long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheduled {
    /// Of the first one within the batch.
    pub index: u32,
    /// How many.
    pub count: u32,
    /// When, in log time; [`AT_ONCE`] if not later.
    pub due: Timestamp,
    /// How long they live from then on, in milliseconds; 0 if for ever.
    pub ttl_ms: u64,
}

impl Scheduled {
    /// Whether messages follow that are as these are.
    pub(crate) fn goes_on_with(&self, next: Self) -> bool {
        let end = self.index + self.count;
        end == next.index && self.due == next.due && self.ttl_ms == next.ttl_ms
    }
}

/// The due time of what is not due later.
pub const AT_ONCE: Timestamp = Timestamp(0);

impl Record {
    /// The number in the record's header.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Epoch { .. } => record_kind::EPOCH,
            Self::Create { .. } => record_kind::CREATE,
            Self::Enqueue { schedule: None, .. } => record_kind::ENQUEUE,
            Self::Enqueue {
                schedule: Some(schedule),
                ..
            } => {
                let expires = schedule.iter().any(|each| each.ttl_ms > 0);
                if expires {
                    record_kind::EXPIRE
                } else {
                    record_kind::SCHEDULE
                }
            }
            Self::Lease { .. } => record_kind::LEASE,
            Self::Take { .. } => record_kind::TAKE,
            Self::Ack { .. } => record_kind::ACK,
            Self::Nack { .. } => record_kind::NACK,
            Self::Extend { .. } => record_kind::EXTEND,
            Self::Tick => record_kind::TICK,
            Self::Release { .. } => record_kind::RELEASE,
            Self::Delete { .. } => record_kind::DELETE,
            Self::ConfigureQueue { .. } => record_kind::QUEUE_CONFIGURE,
            Self::Trim { .. } => record_kind::TRIM,
            Self::Subscribe { .. } => record_kind::SUBSCRIBE,
            Self::Relocate { .. } => record_kind::RELOCATE,
            Self::Reject { .. } => record_kind::REJECT,
            Self::Reschedule { .. } => record_kind::RESCHEDULE,
            Self::Change { change, .. } => change.kind(),
        }
    }

    /// Whether a message batch follows the head in the log.
    pub const fn has_batch(&self) -> bool {
        matches!(self, Self::Enqueue { .. } | Self::Relocate { .. })
    }
}

#[cfg(test)]
mod tests;
