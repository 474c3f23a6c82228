//! Everything that can happen to a partition.

use corelane_wire::{
    Correlation, Epoch, ErrorCode, Lsn, Offset, QueueConfig, QueueInfo, Request, ScheduleVerb,
    SessionId, SubscriptionVerb,
};

use super::output::FetchFor;
use crate::checkpoint::LiveStretch;
use crate::ids::{ConnectionId, QueueId, SubscriptionId};

/// Who asked, and under which number the answer is awaited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Requester {
    /// The connection that the answer goes to.
    pub connection: ConnectionId,
    /// The session on whose behalf leases are held.
    pub session: SessionId,
    /// The client's number of the request.
    pub correlation: Correlation,
}

/// Messages in a row, some of them live, whose records lie in a segment that could go but for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SparseStretch {
    /// Of the messages.
    pub queue: QueueId,
    /// The first message.
    pub first: Offset,
    /// The end of the messages, exclusive.
    pub end: Offset,
    /// The records are below; those of messages that were relocated since are not.
    pub below: Lsn,
}

impl SparseStretch {
    /// All of a stretch as a cut saw it.
    pub const fn of(stretch: &LiveStretch, below: Lsn) -> Self {
        Self {
            queue: stretch.queue,
            first: stretch.first,
            end: stretch.end,
            below,
        }
    }
}

/// What enters one step of the engine; see `Engine::step` for the order in which the shell feeds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// First input after the replay: the partition serves in this epoch.
    Start {
        /// Greater than every epoch in the log.
        epoch: Epoch,
    },
    /// A request about this partition's queues. Hello, ping and metadata are the shell's and are refused here.
    Request {
        /// Who asked.
        from: Requester,
        /// What is asked; names and ranges were checked when it was decoded.
        request: Request<'a>,
    },
    /// A dead-letter queue has answered an `Output::Letter`.
    LetterAnswered {
        /// As in the letter.
        from: (QueueId, SubscriptionId),
        /// As in the letter.
        lsn: Lsn,
        /// Ok: the messages are there.
        code: ErrorCode,
    },
    /// What a memory-only queue is, as the partition says that has its name; `None` if it is gone. Only a volatile
    /// partition is told.
    Define {
        /// Its name.
        queue: &'a str,
        /// Its configuration.
        config: Option<QueueConfig>,
    },
    /// How memory-only queues stand that are in a volatile partition: for the list that is asked for next.
    Beside {
        /// Those whose names this partition has.
        queues: &'a [QueueInfo],
    },
    /// A connection is gone: its waiting dequeues and its consumers vanish, its leases stay.
    Disconnected {
        /// Which one.
        connection: ConnectionId,
    },
    /// The last connection of a session on this node is gone: its leases return after 5 s of log time.
    SessionLost {
        /// Which one.
        session: SessionId,
    },
    /// A lost session has a connection again: its leases stay.
    SessionResumed {
        /// Which one.
        session: SessionId,
    },
    /// A delivery to a connection waits for room in its out-buffer (false: push nothing more to it, so that no
    /// lease runs while its messages wait here), or none does any more (true). Dequeues are answered all the same:
    /// their client asked for each of them.
    Writable {
        /// Which one.
        connection: ConnectionId,
        /// Whether consumers on it are given messages.
        writable: bool,
    },
    /// What was given out before still has to be read from the disk (false: give nothing out, so that no lease
    /// runs meanwhile, and let the dequeues wait that would get something), or all of it has left (true).
    GiveOut {
        /// Whether messages are given out.
        allowed: bool,
    },
    /// A chunk that `Output::Load` asked for was read, or cannot be.
    Loaded {
        /// As in the output.
        queue: QueueId,
        /// As in the output.
        first: Offset,
        /// Its bytes, if their checksum is right.
        chunk: Option<&'a [u8]>,
    },
    /// Segments hold little that is needed: what is live in these stretches gets a new place, a slice with each
    /// `Input::Move`. Replaces what is left of earlier ones.
    Relocate {
        /// As [`crate::Cut::live`] gave them.
        stretches: &'a [SparseStretch],
    },
    /// The next messages that have to move are asked for with `Output::Fetch`, up to about this many bytes.
    Move {
        /// Of their records.
        bytes: u64,
    },
    /// The first record that `Output::Fetch` asked for with this `whose` and that was not given yet was read, or cannot
    /// be.
    Fetched {
        /// As in the output.
        whose: FetchFor,
        /// Its batch.
        batch: Option<&'a [u8]>,
    },
    /// Storage made every record below `end` durable.
    Durable {
        /// Exclusive.
        end: Lsn,
    },
    /// A write to the log failed: nothing more is ever confirmed before the next start.
    Poisoned,
    /// In place of `Start`: records behind the last one that was replayed are damaged, so nothing more is ever appended.
    ReadOnly,
    /// The instant of `Engine::next_deadline` has come. Harmless at any other time.
    Deadline,
    /// The turn of the shard's loop ends: what was collected becomes records, and messages are given out.
    TurnEnd,
}

/// Whether a request takes and changes nothing, so that a read-only partition answers it.
pub fn only_looks(request: &Request<'_>) -> bool {
    if let Request::Subscription(on) = request {
        return matches!(
            on.verb,
            SubscriptionVerb::Show | SubscriptionVerb::ListAside { .. }
        );
    }
    if let Request::Schedule(on) = request {
        return matches!(on.verb, ScheduleVerb::List { .. });
    }
    matches!(
        request,
        Request::Peek(_)
            | Request::QueueShow { .. }
            | Request::QueueList(_)
            | Request::QueueConfigure { config: None, .. }
    )
}
