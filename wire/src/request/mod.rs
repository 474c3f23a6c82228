//! What a client asks for.
//!
//! Owns the request types; `decode` and `encode` are next door, byte tables are in `docs/protocol.md`.
//! Called by connections (decode), by shards that got a frame through a mailbox, and by clients (encode).
//!
//! Invariant: (Q1) a request that was decoded has valid names and every number within its range.

mod decode;
mod encode;
mod error;
mod queue;
mod schedule;
mod settle;
mod subscription;

pub use error::RequestError;
pub use queue::{Overflow, QueueConfig, Storage};
pub use schedule::{OffsetRanges, OnSchedule, ScheduleVerb};
pub use settle::{SettleEntries, SettleEntriesIter, SettleEntry};
pub use subscription::{
    Aside, Contract, DeadLetters, OnSubscription, PurgeStates, ReturnTo, Start, SubscriptionConfig,
    SubscriptionVerb,
};

use crate::ids::{ConsumerId, Lane, Offset, PartitionId, SessionId};
use crate::kind;

/// A request, borrowing its names and bulk from the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// Greets; the first request on every connection.
    Hello(Hello<'a>),
    /// Asks for a sign of life.
    Ping,
    /// Asks where the partitions are.
    Metadata,
    /// Adds a message batch to a lane.
    Enqueue(Enqueue<'a>),
    /// Takes messages under lease.
    Dequeue(Dequeue<'a>),
    /// Asks for pushed deliveries.
    Subscribe(Subscribe<'a>),
    /// Says how many messages a consumer is willing to hold.
    Credit {
        /// A consumer of this connection.
        consumer: ConsumerId,
        /// Absolute, not an increment; 0 stops deliveries.
        credit: u32,
    },
    /// Ends pushed deliveries; what is leased stays leased.
    Unsubscribe {
        /// A consumer of this connection.
        consumer: ConsumerId,
    },
    /// Finishes messages.
    Ack(Settle<'a>),
    /// Gives messages back.
    Nack(Nack<'a>),
    /// Gives messages back because an attempt failed, or sets them aside.
    Reject(Reject<'a>),
    /// Lengthens leases.
    Extend(Extend<'a>),
    /// Looks at messages without taking them.
    Peek(Peek<'a>),
    /// Creates a queue; succeeds if it exists with the same properties.
    QueueCreate {
        /// Its name.
        queue: &'a str,
        /// How many lanes; only 1 is served now.
        lanes: u32,
    },
    /// Lists the queues of one partition.
    QueueList(QueueList<'a>),
    /// Shows one queue.
    QueueShow {
        /// Its name.
        queue: &'a str,
    },
    /// Deletes a queue with its messages.
    QueueDelete {
        /// Its name.
        queue: &'a str,
    },
    /// Replaces the configuration of a queue, and makes the queue if there is none; or only asks for it.
    QueueConfigure {
        /// Its name.
        queue: &'a str,
        /// The new configuration; `None` leaves everything as it is.
        config: Option<QueueConfig>,
    },
    /// Asks something about one subscription.
    Subscription(OnSubscription<'a>),
    /// Asks something about messages that are not due yet.
    Schedule(OnSchedule<'a>),
}

/// The greeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello<'a> {
    /// Lowest version of the protocol that the client speaks.
    pub version_min: u8,
    /// Highest version of the protocol that the client speaks.
    pub version_max: u8,
    /// One bit per feature that the client wants; none is defined in version 1.
    pub features: u64,
    /// The session to join; [`SessionId::NONE`] asks for a new one.
    pub session: SessionId,
    /// Whether the client expects the session to exist, with its leases; the answer says whether it did.
    pub resume: bool,
    /// What the client calls itself, for logs and lists of connections; up to 256 bytes.
    pub client_name: &'a str,
    /// Whose queues; empty stands for the default tenant.
    pub tenant: &'a str,
    /// Proof of who it is; empty as long as the broker asks for none.
    pub token: &'a [u8],
}

/// Adds a message batch to a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enqueue<'a> {
    /// The queue; made on first use.
    pub queue: &'a str,
    /// The lane.
    pub lane: Lane,
    /// The batch as the client encoded it; not looked into by `decode`: see [`crate::Batch::read`].
    pub batch: &'a [u8],
}

/// Takes up to `count` messages under lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dequeue<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The lane.
    pub lane: Lane,
    /// The subscription; empty stands for the default one.
    pub subscription: &'a str,
    /// 1 to 10,000.
    pub count: u32,
    /// Lease duration in milliseconds: 1 s to 1 day.
    pub lease_ms: u32,
    /// How long to wait for the first message, in milliseconds: up to 30 s; 0 answers at once.
    pub wait_ms: u32,
}

/// Asks for pushed deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The lane.
    pub lane: Lane,
    /// The subscription; empty stands for the default one.
    pub subscription: &'a str,
    /// Chosen by the client, unique on the connection.
    pub consumer: ConsumerId,
    /// How many messages the consumer is willing to hold: up to 100,000.
    pub credit: u32,
    /// Lease duration in milliseconds: 1 s to 1 day.
    pub lease_ms: u32,
}

/// Which leased messages are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settle<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The lane.
    pub lane: Lane,
    /// The subscription; empty stands for the default one.
    pub subscription: &'a str,
    /// Lease and offsets, 1 to 10,000 entries.
    pub entries: SettleEntries<'a>,
}

/// Gives messages back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nack<'a> {
    /// Which messages.
    pub settle: Settle<'a>,
    /// Milliseconds until they are ready again: up to 366 days; 0 makes them ready at once.
    pub delay_ms: u64,
    /// Whether this delivery counts as an attempt.
    pub count_attempt: bool,
}

/// Gives messages back because an attempt failed, or sets them aside; the attempt counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reject<'a> {
    /// Which messages.
    pub settle: Settle<'a>,
    /// What becomes of them.
    pub fate: Fate,
    /// Why; up to 256 bytes, kept with a message that is set aside.
    pub text: &'a str,
}

/// What becomes of a rejected message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Fate {
    /// It is given out again after the subscription's back-off, or is dead if its attempts are used up.
    Retry = 0,
    /// It is dead at once.
    Dead = 1,
    /// It is parked.
    Park = 2,
}

impl Fate {
    /// The fate with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Retry),
            1 => Some(Self::Dead),
            2 => Some(Self::Park),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

/// Lengthens leases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extend<'a> {
    /// Which messages.
    pub settle: Settle<'a>,
    /// The new lease duration in milliseconds, from now on: 1 s to 1 day.
    pub lease_ms: u32,
}

/// Looks at messages without taking them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peek<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The lane.
    pub lane: Lane,
    /// The first offset of interest; one before the first message kept begins there.
    pub from: Offset,
    /// 1 to 1,000.
    pub count: u32,
}

/// Lists the queues of one partition, in the order of their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueList<'a> {
    /// The partition.
    pub partition: PartitionId,
    /// Only queues after this name; empty begins at the first.
    pub after: &'a str,
    /// 1 to 1,000.
    pub limit: u32,
}

impl<'a> Request<'a> {
    /// The kind byte of its frame.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Ping => kind::PING,
            Self::Metadata => kind::METADATA,
            Self::Enqueue(_) => kind::ENQUEUE,
            Self::Dequeue(_) => kind::DEQUEUE,
            Self::Subscribe(_) => kind::SUBSCRIBE,
            Self::Credit { .. } => kind::CREDIT,
            Self::Unsubscribe { .. } => kind::UNSUBSCRIBE,
            Self::Ack(_) => kind::ACK,
            Self::Nack(_) => kind::NACK,
            Self::Reject(_) => kind::REJECT,
            Self::Extend(_) => kind::EXTEND,
            Self::Peek(_) => kind::PEEK,
            Self::QueueCreate { .. } => kind::QUEUE_CREATE,
            Self::QueueList(_) => kind::QUEUE_LIST,
            Self::QueueShow { .. } => kind::QUEUE_SHOW,
            Self::QueueDelete { .. } => kind::QUEUE_DELETE,
            Self::QueueConfigure { .. } => kind::QUEUE_CONFIGURE,
            Self::Subscription(on) => on.kind(),
            Self::Schedule(on) => on.kind(),
        }
    }

    /// The queue and lane whose partition must answer.
    ///
    /// `None` for what the connection answers itself, for what follows its consumer (credit, unsubscribe), and for
    /// a list, which names its partition.
    pub const fn queue(&self) -> Option<(&'a str, Lane)> {
        match self {
            Self::Hello(_) | Self::Ping | Self::Metadata => None,
            Self::Credit { .. } | Self::Unsubscribe { .. } | Self::QueueList(_) => None,
            Self::Enqueue(enqueue) => Some((enqueue.queue, enqueue.lane)),
            Self::Dequeue(dequeue) => Some((dequeue.queue, dequeue.lane)),
            Self::Subscribe(subscribe) => Some((subscribe.queue, subscribe.lane)),
            Self::Ack(settle) => Some((settle.queue, settle.lane)),
            Self::Nack(nack) => Some((nack.settle.queue, nack.settle.lane)),
            Self::Reject(reject) => Some((reject.settle.queue, reject.settle.lane)),
            Self::Subscription(on) => Some((on.queue, on.lane)),
            Self::Schedule(on) => Some((on.queue, on.lane)),
            Self::Extend(extend) => Some((extend.settle.queue, extend.settle.lane)),
            Self::Peek(peek) => Some((peek.queue, peek.lane)),
            Self::QueueCreate { queue, .. }
            | Self::QueueShow { queue }
            | Self::QueueDelete { queue }
            | Self::QueueConfigure { queue, .. } => Some((queue, Lane(0))),
        }
    }
}

#[cfg(test)]
mod tests;
