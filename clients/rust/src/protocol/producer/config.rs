//! What a producer is told, and what it tells.

use std::fmt;
use std::time::Duration;

use corelane_wire::message::CLASS_DURABLE;
use corelane_wire::{BatchError, Epoch, ErrorCode, Lane, Receipt};

/// What a producer sends to, and its bounds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerConfig {
    /// The queue.
    pub queue: String,
    /// Its lane.
    pub lane: Lane,
    /// Class of the enqueues, [`CLASS_DURABLE`] by default.
    pub class: u8,
    /// Greatest number of messages that are not settled.
    pub messages_max: usize,
    /// Greatest length of the batches that are not settled; one message may pass it.
    pub bytes_max: usize,
    /// Greatest number of batches that are out at once; the broker remembers the last 1,024.
    pub batches_max: usize,
    /// A batch with so many messages is closed.
    pub batch_messages_max: u32,
    /// A batch of this length is closed.
    pub batch_bytes_max: usize,
    /// After how long an unsettled message is given up; at most five minutes, since the broker forgets after ten.
    pub give_up_after: Duration,
}

impl ProducerConfig {
    /// The usual bounds for one queue.
    pub fn new(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            lane: Lane(0),
            class: CLASS_DURABLE,
            messages_max: 65_536,
            bytes_max: 16 << 20,
            batches_max: 32,
            batch_messages_max: 4_096,
            batch_bytes_max: 256 << 10,
            give_up_after: GIVE_UP_AFTER_MAX,
        }
    }
}

/// The longest time that a batch is sent again and again.
pub const GIVE_UP_AFTER_MAX: Duration = Duration::from_mins(5);

/// Why a message was not taken by the producer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PushError {
    /// Too much is in flight; take what is settled and try again.
    Full,
    /// No broker would take the message.
    Message(BatchError),
}

impl From<BatchError> for PushError {
    fn from(error: BatchError) -> Self {
        Self::Message(error)
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(formatter, "too many messages are in flight"),
            Self::Message(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for PushError {}

/// A run of messages of which the outcome is known, or known to be unknown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// Ticket of the first message.
    pub ticket_first: u64,
    /// How many messages, with consecutive tickets.
    pub count: u32,
    /// What became of them.
    pub resolution: Resolution,
}

/// What became of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Resolution {
    /// It is on stable storage, by the class of the enqueue.
    Confirmed {
        /// The broker's receipt for the whole batch.
        receipt: Receipt,
        /// Epoch of the partition that gave it.
        epoch: Epoch,
    },
    /// The broker refused it, and no copy was taken.
    Refused {
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        text: String,
    },
    /// No copy was taken, since none left in time or each was refused.
    NotSent,
    /// It may have been taken or not.
    Unknown(UnknownReason),
}

/// Why nobody can say whether a batch was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UnknownReason {
    /// No answer came in time, over all connections.
    GaveUp {
        /// How long the producer tried.
        after: Duration,
    },
    /// The broker forgot the producer while an answer was missing.
    ProducerForgotten,
    /// A refusal that says nothing about an earlier copy, or a fatal one.
    Refused {
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        text: String,
    },
    /// The answer does not fit the batch.
    Contradiction,
    /// The client was closed before the answer came.
    Closed,
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GaveUp { after } => write!(formatter, "no answer came within {after:?}"),
            Self::ProducerForgotten => {
                write!(
                    formatter,
                    "the broker forgot the producer before it answered"
                )
            }
            Self::Refused { code, text } => write!(
                formatter,
                "a copy was refused ({}: {text}), which says nothing about an earlier one",
                code.name()
            ),
            Self::Contradiction => write!(formatter, "the broker's answer does not fit the batch"),
            Self::Closed => write!(formatter, "the client was closed before the answer came"),
        }
    }
}
