//! The history of a seed, as clients saw it: what the checker judges.

use corelane_wire::{Epoch, LeaseId, Lsn, SettleOutcome};

/// Identity of one message, carried in its body; unique within a seed.
pub type Token = u64;

/// Index of a queue within a seed.
pub type QueueIndex = u32;

/// Index of a subscription name within a seed.
pub type SubscriptionIndex = u32;

/// A (producer, sequence) pair of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey {
    /// The queue.
    pub queue: QueueIndex,
    /// The producer's id.
    pub producer: u128,
    /// The batch's number.
    pub sequence: u64,
}

/// A subscription of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionKey {
    /// The queue.
    pub queue: QueueIndex,
    /// The subscription.
    pub subscription: SubscriptionIndex,
}

/// Who received a delivery: a consumer or a dequeue of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receiver {
    /// The link.
    pub link: u32,
    /// The consumer's number plus one, or 0 for an answer to a dequeue.
    pub consumer: u32,
    /// The correlation of the dequeue, or 0.
    pub correlation: u64,
}

/// What a body proved to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The body of this message, every byte as it was sent.
    Intact(Token),
    /// Not a body that any client has made.
    Foreign,
}

/// A verb that names leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Done with it.
    Ack,
    /// Give it back.
    Nack,
    /// Give it back because it failed, or set it aside.
    Reject,
    /// Keep it longer.
    Extend,
}

/// One message in a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Of which subscription.
    pub of: SubscriptionKey,
    /// Who received it.
    pub by: Receiver,
    /// Under which lease.
    pub lease: LeaseId,
    /// Which time it was given out.
    pub attempt: u32,
    /// Its offset.
    pub offset: u64,
    /// Its body.
    pub body: Body,
}

/// What is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A batch was sent, perhaps again.
    EnqueueInvoked {
        /// Which.
        key: BatchKey,
        /// Its messages.
        tokens: Vec<Token>,
    },
    /// A batch was confirmed.
    EnqueueConfirmed {
        /// Which.
        key: BatchKey,
        /// Offset of its first message.
        first: u64,
        /// Count of its messages.
        count: u32,
        /// Whether the broker called it a duplicate.
        duplicate: bool,
    },
    /// Every sending of a batch was refused: it has no effect.
    EnqueueRefused {
        /// Which.
        key: BatchKey,
    },
    /// A message arrived.
    Delivered(Delivered),
    /// A message was seen without being taken.
    Peeked {
        /// Of which queue.
        queue: QueueIndex,
        /// Its offset.
        offset: u64,
        /// Its body.
        body: Body,
    },
    /// A settle was sent.
    SettleInvoked {
        /// Of which subscription.
        of: SubscriptionKey,
        /// What it asks.
        verb: Verb,
        /// Under which lease.
        lease: LeaseId,
        /// For which offset.
        offset: u64,
    },
    /// A settle was answered.
    Settled {
        /// Of which subscription.
        of: SubscriptionKey,
        /// What it asked.
        verb: Verb,
        /// Under which lease.
        lease: LeaseId,
        /// For which offset.
        offset: u64,
        /// How it was judged.
        outcome: SettleOutcome,
        /// Epoch and end of the partition's log when the answer arrived, or when it was last seen.
        end: (Epoch, Lsn),
    },
    /// Credit was asked for; takes effect at any time from now.
    CreditInvoked {
        /// Whose.
        by: Receiver,
        /// How much.
        credit: u32,
    },
    /// The credit asked for is in force, and no older one.
    CreditConfirmed {
        /// Whose.
        by: Receiver,
        /// How much.
        credit: u32,
    },
    /// A delivery to a consumer, with the count of messages that it then surely held.
    Held {
        /// Whose.
        by: Receiver,
        /// How many messages.
        messages: u32,
    },
    /// The node stopped without warning.
    Crashed,
    /// The partition serves in this epoch.
    Started {
        /// The partition.
        partition: u32,
        /// The epoch.
        epoch: Epoch,
    },
    /// The queue is to be deleted: what it held may be gone.
    DeleteInvoked {
        /// Which.
        queue: QueueIndex,
    },
    /// A deletion of the queue was confirmed.
    DeleteConfirmed {
        /// Which.
        queue: QueueIndex,
    },
    /// The broker sent what the protocol does not allow.
    ProtocolError {
        /// What.
        text: String,
    },
    /// Everything is healed and every subscription was emptied.
    Drained,
}
