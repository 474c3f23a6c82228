//! Letters with dead messages, on their way to the partitions of their dead-letter queues.
//!
//! The shard is the client of these enqueues: they go the way that any request goes, and their answers come back to a
//! connection of the shard's own, which no client has. Invariant: (B1) every letter is answered once, unless the
//! process ends.

use std::collections::BTreeMap;

use corelane_core::{Input, Outgoing, QueueId, Requester, SubscriptionId};
use corelane_wire::{Correlation, Enqueue, ErrorCode, Lane, Lsn, Request, SessionId};

use super::state::State;
use crate::mail::Mail;

/// The letters of one shard.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// Those that have no answer.
    sent: BTreeMap<Correlation, Sent>,
    next: u64,
}

/// A letter that has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sent {
    slot: usize,
    from: (QueueId, SubscriptionId),
    lsn: Lsn,
}

impl State {
    /// Whether letters or their answers are to be passed on.
    pub(super) fn has_letters(&self) -> bool {
        let mut serving = self
            .partitions
            .iter()
            .filter_map(super::partition::Hosted::serving);
        !self.outlets.letters_answered.is_empty() || serving.any(|it| !it.letters.is_empty())
    }

    /// Passes answers on to those who wrote, and new letters to their queues.
    pub(super) fn carry_letters(&mut self) {
        for (correlation, code) in std::mem::take(&mut self.outlets.letters_answered) {
            if let Some(Sent { slot, from, lsn }) = self.letters.sent.remove(&correlation) {
                self.step(slot, Input::LetterAnswered { from, lsn, code });
            }
        }
        for slot in 0..self.partitions.len() {
            let partition = self.partitions[slot].serving_mut();
            let letters = partition.map(|it| std::mem::take(&mut it.letters));
            for letter in letters.unwrap_or_default() {
                self.carry(slot, &letter);
            }
        }
    }

    fn carry(&mut self, slot: usize, letter: &Outgoing) {
        self.letters.next += 1;
        let correlation = Correlation(self.letters.next);
        let sent = Sent {
            slot,
            from: letter.from,
            lsn: letter.lsn,
        };
        self.letters.sent.insert(correlation, sent);
        let from = Requester {
            connection: self.outlets.own_connection(),
            session: SessionId::NONE,
            correlation,
        };
        let request = Request::Enqueue(Enqueue {
            queue: &letter.to,
            lane: Lane(0),
            batch: &letter.batch,
        });
        let partition = self.topology.partition_of(&letter.to, Lane(0));
        let shard = self.topology.shard_of(partition);
        if shard == self.outlets.shard {
            self.serve(partition, from, request);
        } else if self.outlets.mail.is_full(shard) {
            let full = (correlation, ErrorCode::Busy);
            self.outlets.letters_answered.push(full);
        } else {
            self.outlets.mail.to(shard).push_with(
                |out| request.encode(correlation, out),
                |bytes| Mail::Request {
                    from,
                    partition,
                    bytes,
                },
            );
        }
    }
}
