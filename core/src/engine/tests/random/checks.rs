//! What is compared with each record: with the reference, and with what is promised about the order of messages.

use corelane_wire::message::Messages;
use corelane_wire::{Batch, Contract, Lsn, Timestamp};

use super::super::model::{Message, MessageState};
use super::Run;
use crate::record::{Change, Record};

impl Run {
    pub(super) fn compare_counts(&self) {
        let stats = self.node.engine.state.counts;
        let leased = |state| matches!(state, MessageState::Leased { .. });
        let delayed = |state| matches!(state, MessageState::Delayed { .. });
        assert_eq!(stats.leased, self.model.count(leased));
        assert_eq!(stats.delayed, self.model.count(delayed));
        let ready = self.model.count(|state| state == MessageState::Ready);
        assert_eq!(stats.ready, ready);
        let dead = |state| matches!(state, MessageState::Dead | MessageState::Forwarded);
        let dead = self.model.count(dead);
        let parked = self.model.count(|state| state == MessageState::Parked);
        assert_eq!((stats.dead, stats.parked), (dead, parked));
        let expired = self.model.count(|state| state == MessageState::Expired);
        assert_eq!(stats.expired, expired);
        assert_eq!(self.node.engine.stats().unaccounted, 0, "the law");
    }

    /// C3: what was confirmed as done is never leased again.
    pub(super) fn check_lease(&self, record: &Record) {
        let Record::Lease {
            queue,
            subscription,
            ranges,
            ..
        } = record
        else {
            return;
        };
        if self.with_deletes {
            return;
        }
        let state = &self.node.engine.state.queues;
        let queue = state.get(*queue).unwrap();
        let name = &queue.subscription(*subscription).unwrap().name;
        for (acked_queue, acked_subscription, offset) in &self.acked {
            let again = queue.name == *acked_queue
                && name == acked_subscription
                && ranges
                    .iter()
                    .any(|range| (range.first.0..range.end().0).contains(offset));
            assert!(!again, "C3: {offset} of {acked_queue} was done");
        }
    }

    /// What waits behind others is leased with them or after them, and before what was enqueued since.
    pub(super) fn check_turns(&mut self, record: &Record) {
        let Record::Lease {
            queue,
            subscription,
            ranges,
            ..
        } = record
        else {
            return;
        };
        let key = (*queue, *subscription);
        if self.model.contract(key) == Contract::KeyOrdered {
            return;
        }
        let messages = &self.model.subscriptions[&key];
        let is_given = |offset: u64| {
            let mut ranges = ranges.iter();
            ranges.any(|range| (range.first.0..range.end().0).contains(&offset))
        };
        let numbered = || (0..).zip(messages);
        let mut given = numbered().filter(|(offset, _)| is_given(*offset));
        let last = given.clone().filter_map(|(_, message)| message.turn).max();
        let waits = |message: &Message| message.state == MessageState::Ready;
        let mut left = numbered().filter(|(offset, of)| waits(of) && !is_given(*offset));
        let before =
            |(offset, of): (u64, &Message)| of.is_new && last.is_some_and(|last| offset < last);
        assert!(
            !left.clone().any(before),
            "something new comes before what is given"
        );
        let first = left.find_map(|(_, of)| of.turn);
        self.behind += u32::from(last.is_some());
        if !self.by_keys.contains(&key) {
            let after = |(offset, of): (u64, &Message)| {
                of.is_new && first.is_some_and(|first| first <= offset)
            };
            assert!(
                !given.any(after),
                "something that came back comes before what is given"
            );
        }
    }

    /// Nothing is leased while an earlier message of its key is unfinished, where that is promised.
    pub(super) fn check_keys(&mut self, record: &Record) {
        let Record::Lease {
            queue,
            subscription,
            ranges,
            ..
        } = record
        else {
            return;
        };
        let key = (*queue, *subscription);
        if self.model.contract(key) != Contract::KeyOrdered {
            return;
        }
        let key_of = |offset: u64| {
            let (_, bytes) = &self.messages[&(*queue, offset)];
            let message = Messages::new(bytes).next().unwrap().unwrap();
            message.key.map(<[u8]>::to_vec)
        };
        let messages = &self.model.subscriptions[&key];
        for offset in ranges.iter().flat_map(|range| range.first.0..range.end().0) {
            self.by_key += 1;
            let Some(of) = key_of(offset) else {
                continue;
            };
            let mut before = (0..offset).filter(|at| {
                messages[usize::try_from(*at).unwrap()].is_unfinished()
                    && key_of(*at).as_ref() == Some(&of)
            });
            let first = before.next();
            assert_eq!(
                first, None,
                "{first:?} has the key of {offset} and is unfinished"
            );
        }
    }

    pub(super) fn note_keys(&mut self, record: &Record) {
        if let Record::Change {
            queue,
            subscription,
            change: Change::Configure(config),
        } = record
            && config.contract == Contract::KeyOrdered
        {
            self.by_keys.insert((*queue, *subscription));
        }
    }

    /// Counts messages that were cancelled or moved.
    pub(super) fn note_rescheduled(&mut self, record: &Record) {
        if let Record::Reschedule { ranges, .. } = record {
            self.rescheduled += ranges.iter().map(|range| range.count).sum::<u32>();
        }
    }

    /// Keeps what is enqueued to be compared with what is delivered.
    pub(super) fn keep_messages(&mut self, lsn: Lsn, time: Timestamp, record: &Record) {
        self.relocated += u32::from(matches!(record, Record::Relocate { .. }));
        let &Record::Enqueue {
            queue,
            first,
            count,
            ..
        } = record
        else {
            return;
        };
        let batch = Batch::read(&self.node.batches[&lsn]).unwrap();
        for at in 0..count {
            let message = batch.messages(at, 1).unwrap().to_vec();
            let key = (queue, first.0 + u64::from(at));
            self.messages.insert(key, (time, message));
        }
    }
}
