//! What the server answers, and what it sends unasked.
//!
//! Owns the answer types; `decode` and `encode` are next door, byte tables are in `docs/protocol.md`.
//! Called by the shard that owns the queue (encode), and by clients (decode).
//!
//! Invariants:
//! (A1) The kind of an answer alone says what its fields are; a refusal has kind 0x80 whatever was asked.
//! (A2) The counts of a delivery's runs cannot exceed the entries for which there are bytes.

mod decode;
mod deliveries;
mod encode;
mod error;
mod schedule;
mod subscription;

pub use deliveries::{
    Delivered, DeliveredIter, Deliveries, DeliveryHead, DeliveryKind, DeliveryRun,
};
pub use error::ResponseError;
pub use schedule::{ScheduleAnswer, ScheduledInfo};
pub use subscription::{AsideCause, AsideInfo, SubscriptionAnswer, SubscriptionDetail};

use crate::error_code::ErrorCode;
use crate::ids::{ConsumerId, NodeId, Offset, OffsetRange, PartitionId, SessionId, Timestamp};
use crate::limits::NAME_BYTES_MAX;
use crate::request::QueueConfig;

/// An answer, or something that the server sends unasked; message bytes are borrowed from the frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response<'a> {
    /// To a greeting.
    Hello(HelloAnswer),
    /// To a ping.
    Pong,
    /// Where the partitions are.
    Metadata(Metadata),
    /// To an enqueue.
    Enqueued(Receipt),
    /// To a dequeue; no runs if nothing came within the wait.
    Dequeued(Deliveries<'a>),
    /// To a subscribe.
    Subscribed,
    /// To a credit.
    CreditSet,
    /// To an unsubscribe: no delivery for the consumer follows it.
    Unsubscribed,
    /// To ack, nack, reject and extend: covers the request's entries in order, neighbours with the same outcome merged.
    Settled(Vec<Settled>),
    /// To a peek; lease and attempts are 0.
    Peeked(Deliveries<'a>),
    /// To a queue create.
    QueueCreated {
        /// False if it existed before.
        created: bool,
    },
    /// To a queue list.
    QueueList {
        /// In the order of their names.
        queues: Vec<QueueInfo>,
        /// Whether to ask again, after the last of them.
        more: bool,
    },
    /// To a queue show.
    Queue(QueueInfo),
    /// To a queue delete.
    QueueDeleted,
    /// To a queue configure.
    QueueConfigured {
        /// Whether the queue was made by that.
        created: bool,
        /// The configuration that it has now.
        config: QueueConfig,
    },
    /// To a request about one subscription.
    Subscription(SubscriptionAnswer),
    /// To a request about messages that are not due yet.
    Schedule(ScheduleAnswer),
    /// Unasked: messages for a consumer.
    Delivery {
        /// The consumer's number on this connection.
        consumer: ConsumerId,
        /// The messages.
        deliveries: Deliveries<'a>,
    },
    /// To any request: refused.
    Error {
        /// Why.
        code: ErrorCode,
        /// The same in words, with the values; up to 512 bytes.
        text: String,
    },
    /// Unasked: the last frame before the server closes the connection.
    Fault {
        /// Why.
        code: ErrorCode,
        /// The same in words, with the values; up to 512 bytes.
        text: String,
    },
}

/// To a greeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelloAnswer {
    /// The version of the protocol to speak from now on.
    pub version: u8,
    /// Those of the wanted features that the broker has.
    pub features: u64,
    /// The client's session.
    pub session: SessionId,
    /// Whether the session existed already.
    pub resumed: bool,
    /// Who answers.
    pub node: NodeId,
    /// What the broker calls itself, with its version; up to 256 bytes.
    pub server_name: String,
    /// The greatest frame that the client may send from now on.
    pub frame_bytes_max: u32,
    /// How many requests may be unanswered before the broker stops reading from the connection.
    pub in_flight_max: u32,
}

/// Where the partitions are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// Who answers.
    pub node: NodeId,
    /// The port at which any shard answers.
    pub shared_port: u16,
    /// One place for each partition, in the order of their numbers; their count is that of the placement.
    pub partitions: Vec<PartitionPlace>,
}

/// Where one partition is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionPlace {
    /// Which partition.
    pub partition: PartitionId,
    /// The node that owns it.
    pub node: NodeId,
    /// The port at which its owner answers without a detour.
    pub port: u16,
}

/// Which offsets an enqueue got, and what protects them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The offsets of the batch's messages, in order.
    pub range: OffsetRange,
    /// [`crate::message::CLASS_DURABLE`] or [`crate::message::CLASS_MEMORY`].
    pub class: u8,
    /// On how many nodes' stable storage the messages are.
    pub copies: u8,
    /// Whether this answers a retry of a batch that was taken before.
    pub duplicate: bool,
    /// Whether so many messages wait in the queue that its producers are to slow down.
    pub slow_down: bool,
}

/// What became of some of a request's messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// Which messages.
    pub range: OffsetRange,
    /// What became of them.
    pub outcome: SettleOutcome,
}

/// What became of a message named by ack, nack or extend.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum SettleOutcome {
    /// The request took effect.
    Done = 0,
    /// The message was done before; for an ack that is a success too.
    AlreadyDone = 1,
    /// The lease is not held, or does not hold this message: no effect.
    Stale = 2,
}

/// What there is to know about a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// Its home partition.
    pub partition: PartitionId,
    /// How many lanes it has.
    pub lanes: u32,
    /// When it was created, in log time.
    pub created: Timestamp,
    /// The first offset kept, inclusive.
    pub start: Offset,
    /// The offset that the next message gets.
    pub end: Offset,
    /// Its subscriptions, in the order in which they were made.
    pub subscriptions: Vec<SubscriptionInfo>,
}

/// What there is to know about a subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscriptionInfo {
    /// Its name.
    pub name: String,
    /// Messages that wait for a consumer.
    pub ready: u64,
    /// Messages that a consumer holds.
    pub leased: u64,
    /// Messages that were given back with a delay.
    pub delayed: u64,
    /// Messages that are finished.
    pub done: u64,
    /// Consumers that are subscribed now.
    pub consumers: u32,
}

impl QueueInfo {
    /// The bytes it takes in an answer; a list stops before their sum exceeds [`crate::limits::LIST_BYTES_MAX`].
    pub fn encoded_bytes(&self) -> usize {
        let subscriptions: usize = self
            .subscriptions
            .iter()
            .map(|subscription| 2 + subscription.name.len() + SUBSCRIPTION_FIXED_BYTES)
            .sum();
        2 + self.name.len() + QUEUE_FIXED_BYTES + subscriptions
    }
}

impl SettleOutcome {
    /// The outcome with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Done),
            1 => Some(Self::AlreadyDone),
            2 => Some(Self::Stale),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

/// Queue: partition, lanes, created, start, end, count of subscriptions.
const QUEUE_FIXED_BYTES: usize = 36;
/// Subscription: four counts of messages and the count of consumers.
const SUBSCRIPTION_FIXED_BYTES: usize = 36;
const _: () = assert!(NAME_BYTES_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests;
