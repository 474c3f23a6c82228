//! Answers that wait for a commit, in the order in which they were computed.
//!
//! Invariant: the ends do not fall from front to back, because the log's end only grows.

use std::collections::VecDeque;

use corelane_wire::{Lsn, ScheduleAnswer};

use super::{Delivery, Output, Reply, Requester, Run};
use crate::ids::ConnectionId;

/// The waiting answers of a partition.
#[derive(Debug, Default)]
pub(super) struct Gate {
    waiting: VecDeque<Gated>,
    bytes: usize,
}

#[derive(Debug)]
struct Gated {
    end: Lsn,
    to: Requester,
    answer: Answer,
}

/// What waits.
#[derive(Debug)]
pub(super) enum Answer {
    /// Without message bytes.
    Reply(Reply),
    /// Messages that a peek shows, or whose delivery waits for its record; boxed, because it is rare and large.
    Delivery(Box<Delivery>),
}

impl Gate {
    /// Keeps an answer until everything below `end` is committed.
    pub(super) fn push(&mut self, end: Lsn, to: Requester, answer: Answer) {
        assert!(self.last_end() <= end, "the end of the log went back");
        self.bytes += answer.bytes();
        self.waiting.push_back(Gated { end, to, answer });
    }

    /// Lets the answers leave that waited for `committed` or less.
    pub(super) fn open(&mut self, committed: Lsn, outputs: &mut VecDeque<Output>) {
        while self.first_end().is_some_and(|end| end <= committed)
            && let Some(gated) = self.waiting.pop_front()
        {
            self.bytes -= gated.answer.bytes();
            outputs.push_back(gated.answer.into_output(gated.to));
        }
    }

    /// Drops all answers: their outcome is unknown.
    pub(super) fn abandon(&mut self, outputs: &mut VecDeque<Output>) {
        self.bytes = 0;
        for gated in self.waiting.drain(..) {
            outputs.push_back(Output::Abandon { to: gated.to });
        }
    }

    /// The connection has gone: nobody waits for its messages.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        let is_wanted = |gated: &Gated| match gated.answer {
            Answer::Reply(_) => true,
            Answer::Delivery(_) => gated.to.connection != connection,
        };
        self.waiting.retain(is_wanted);
        self.bytes = self.waiting.iter().map(|it| it.answer.bytes()).sum();
    }

    /// What the first answer waits for.
    pub(super) fn first_end(&self) -> Option<Lsn> {
        self.waiting.front().map(|gated| gated.end)
    }

    /// What the last answer waits for; 0 if none waits.
    pub(super) fn last_end(&self) -> Lsn {
        self.waiting
            .back()
            .map(|gated| gated.end)
            .unwrap_or_default()
    }

    /// How many answers wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// About how many bytes the answers hold.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Answer {
    /// Sends it.
    pub(super) fn into_output(self, to: Requester) -> Output {
        match self {
            Self::Reply(reply) => Output::Reply { to, reply },
            Self::Delivery(delivery) => Output::Deliver(*delivery),
        }
    }

    /// About how much memory it holds.
    fn bytes(&self) -> usize {
        size_of::<Gated>()
            + match self {
                Self::Reply(reply) => bulk_bytes(reply),
                Self::Delivery(delivery) => delivery.runs.len() * size_of::<Run>(),
            }
    }
}

/// About how much memory a reply holds beside itself.
fn bulk_bytes(reply: &Reply) -> usize {
    match reply {
        Reply::Settled(settled) => size_of_val(settled.as_slice()),
        Reply::QueueList { queues, .. } => queues.iter().map(|info| 2 * info.encoded_bytes()).sum(),
        Reply::Queue(info) => 2 * info.encoded_bytes(),
        Reply::Schedule(answer) => match &**answer {
            ScheduleAnswer::List { rows, .. } => size_of_val(rows.as_slice()),
            ScheduleAnswer::Cancelled { .. } | ScheduleAnswer::Moved { .. } => 0,
        },
        Reply::Subscription(answer) => size_of_val(&**answer) + answer.bulk_bytes(),
        Reply::Refused { text, .. } => text.len(),
        Reply::Receipt(_)
        | Reply::Empty
        | Reply::EmptyPeek
        | Reply::Subscribed
        | Reply::CreditSet
        | Reply::Unsubscribed
        | Reply::QueueCreated { .. }
        | Reply::QueueDeleted => 0,
        Reply::QueueConfigured { config, .. } => size_of_val(&**config),
    }
}
