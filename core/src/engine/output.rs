//! Everything that a partition can want done.

use corelane_wire::{
    ChunkPlace, ConsumerId, ErrorCode, LeaseId, Lsn, Offset, QueueConfig, QueueInfo, Receipt,
    ScheduleAnswer, Settled, SubscriptionAnswer, Timestamp,
};

use super::input::Requester;
use super::outbox::Outgoing;
use crate::ids::{ConnectionId, QueueId};
use crate::record::Record;

/// What the shell has to do, in this order, before the next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Append this record to the log; lsns are dense.
    ///
    /// If `Record::has_batch`, the batch bytes are those of the request being stepped, or for a Relocate record the
    /// part of the batch being stepped that its messages are.
    Append {
        /// Its number.
        lsn: Lsn,
        /// Its log time.
        time: Timestamp,
        /// What it says.
        record: Record,
    },
    /// Records below `end` gate something: write them as soon as the disk is ready to take a write.
    Flush {
        /// Exclusive; the end of the log at this moment.
        end: Lsn,
    },
    /// Send an answer now.
    Reply {
        /// Whose answer it is.
        to: Requester,
        /// The answer.
        reply: Reply,
    },
    /// Send messages now.
    Deliver(Delivery),
    /// Read this chunk of a checkpoint and give it back with `Input::Loaded`.
    Load {
        /// Whose messages it is about.
        queue: QueueId,
        /// Names the chunk in `Input::Loaded`.
        first: Offset,
        /// Where it lies.
        place: ChunkPlace,
    },
    /// Enqueue dead messages elsewhere, and say with `Input::LetterAnswered` what came of it.
    Letter(Box<Outgoing>),
    /// Read this record and give its batch back with `Input::Fetched`, in the order of these outputs with the same
    /// `whose`.
    Fetch {
        /// What for.
        whose: FetchFor,
        /// Its number.
        lsn: Lsn,
        /// The first message of its batch.
        first: Offset,
    },
    /// The outcome of this request is unknown and stays so: close the connection instead of answering.
    Abandon {
        /// Whose request it was.
        to: Requester,
    },
}

/// What a record is read for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchFor {
    /// Its messages get a new place.
    Relocation,
    /// A subscription has to know their keys.
    Keys,
    /// They are dead, and go to another queue.
    DeadLetters,
}

/// An answer without message bytes; mirrors the responses of the wire protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// An enqueue is confirmed.
    Receipt(Receipt),
    /// A dequeue found nothing within its wait.
    Empty,
    /// A peek found nothing.
    EmptyPeek,
    /// A consumer is subscribed.
    Subscribed,
    /// A consumer's credit is set.
    CreditSet,
    /// A consumer is gone.
    Unsubscribed,
    /// An ack, nack or extend was judged; covers its entries in order, run-length.
    Settled(Vec<Settled>),
    /// A queue exists now.
    QueueCreated {
        /// False if it existed before.
        created: bool,
    },
    /// Queues in the order of their names.
    QueueList {
        /// The queues.
        queues: Vec<QueueInfo>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// One queue; boxed, because it is rare and large, and every answer is moved several times.
    Queue(Box<QueueInfo>),
    /// A queue is deleted.
    QueueDeleted,
    /// A queue has this configuration; boxed like a queue.
    QueueConfigured {
        /// Whether it was made by that.
        created: bool,
        /// All of it.
        config: Box<QueueConfig>,
    },
    /// About one subscription; boxed like a queue.
    Subscription(Box<SubscriptionAnswer>),
    /// About messages that are not due yet.
    Schedule(Box<ScheduleAnswer>),
    /// The request had no effect.
    Refused {
        /// The class of the code says who has to act.
        code: ErrorCode,
        /// Why, with the values.
        text: String,
    },
}

/// Messages for a client; the shell slices their bytes out of the log.
///
/// The messages never exceed `DELIVERY_BYTES_MAX` together, nor `PUSH_BYTES_MAX` if they go to a consumer, unless
/// there is only one; nor do the runs exceed `DELIVERY_RUNS_MAX`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Who gets them.
    pub to: DeliverTo,
    /// Under which lease; zero for a peek.
    pub lease: LeaseId,
    /// How long the lease runs; 0 for a peek.
    pub lease_ms: u32,
    /// The messages, in the order of their offsets.
    pub runs: Vec<Run>,
}

/// Who gets a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliverTo {
    /// A subscribed consumer: pushed.
    Consumer {
        /// Its connection.
        connection: ConnectionId,
        /// Its number on the connection.
        consumer: ConsumerId,
    },
    /// The answer to a dequeue.
    Dequeue(Requester),
    /// The answer to a peek.
    Peek(Requester),
}

/// Messages of one batch that go to a client together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Of the Enqueue record.
    pub lsn: Lsn,
    /// Of the first message within its batch.
    pub index: u32,
    /// Of the first message.
    pub first: Offset,
    /// How many messages.
    pub count: u32,
    /// How often they were given out, this time included; 0 for a peek.
    pub attempt: u32,
    /// When they were enqueued, in log time.
    pub enqueued: Timestamp,
}

/// A refusal that leaves at once: nothing is, or will be, confirmed.
pub(super) fn poisoned(to: Requester) -> Output {
    Output::Reply {
        to,
        reply: Reply::Refused {
            code: ErrorCode::Poisoned,
            text: "a write to the partition's log failed".to_owned(),
        },
    }
}
