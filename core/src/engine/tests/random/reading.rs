//! What consumers of readers get: everything that is not finished, in order, from the checkpoint on; and those of
//! broadcasts: never the same, nor what is before it.

use std::collections::BTreeMap;

use corelane_wire::{ConsumerId, Contract, LeaseId};

use super::super::model::MessageState;
use super::{QUEUES, Run, SUBSCRIPTIONS};
use crate::ids::QueueId;
use crate::state::SubscriptionKey;
use crate::{ConnectionId, DeliverTo, Delivery};

#[derive(Default)]
pub(super) struct Reading {
    /// The end of what was given out last.
    next: BTreeMap<SubscriptionKey, u64>,
    pub(super) messages: u64,
    /// What each consumer of a broadcast got last.
    heard: BTreeMap<(ConnectionId, ConsumerId, SubscriptionKey), u64>,
    pub(super) heard_messages: u64,
}

impl Reading {
    pub(super) fn begin_anew(&mut self) {
        self.next.clear();
    }
}

impl Run {
    /// Whether the delivery is a reader's; that nothing was skipped then.
    pub(super) fn check_read(&mut self, delivery: &Delivery) -> bool {
        let DeliverTo::Consumer {
            connection,
            consumer,
        } = delivery.to
        else {
            return false;
        };
        let queue = QUEUES[(consumer.0 % 2) as usize];
        let name = SUBSCRIPTIONS[(consumer.0 / 2 % 2) as usize];
        let queues = &self.node.engine.state.queues;
        let Some(id) = queues.find(queue) else {
            return false;
        };
        let Some(of) = queues
            .get(id)
            .and_then(|of| of.subscription(of.find(name)?))
        else {
            return false;
        };
        let key = (id, of.id);
        if let Contract::Broadcast | Contract::Reader = of.config.contract {
            self.check_lives(id, delivery);
        }
        if of.config.contract == Contract::Broadcast {
            self.check_heard((connection, consumer, key), delivery);
            return true;
        }
        if of.config.contract != Contract::Reader {
            return false;
        }
        assert_eq!((delivery.lease, delivery.lease_ms), (LeaseId::default(), 0));
        let messages = &self.model.subscriptions[&key];
        let unfinished = |from: u64| {
            let mut behind = (0..).zip(messages).skip(usize::try_from(from).unwrap());
            let next = behind.find(|(_, message)| !message.state.is_over());
            next.map(|(offset, _)| offset)
        };
        for run in &delivery.runs {
            let first = run.first.0;
            // It goes on, or another one begins at the checkpoint.
            let next = self.reading.next.get(&key).copied();
            let goes_on = next.and_then(unfinished) == Some(first);
            let begins = unfinished(0) == Some(first);
            assert!(goes_on || begins, "{key:?} gets {first} after {next:?}");
            assert_eq!(run.attempt, 1);
            let end = first + u64::from(run.count);
            for offset in first..end {
                let state = messages[usize::try_from(offset).unwrap()].state;
                assert_eq!(state, MessageState::Ready, "{offset} of {key:?}");
            }
            self.reading.next.insert(key, end);
            self.reading.messages += u64::from(run.count);
        }
        true
    }

    /// What is given out without a record has not expired.
    fn check_lives(&self, queue: QueueId, delivery: &Delivery) {
        for run in &delivery.runs {
            for offset in run.first.0..run.first.0 + u64::from(run.count) {
                let expiry = self.model.expiry(queue, offset);
                let lives = expiry.is_none_or(|at| at > self.node.now.0);
                assert!(lives, "{offset} expired at {expiry:?}: {}", self.node.now);
            }
        }
    }

    fn check_heard(
        &mut self,
        whose: (ConnectionId, ConsumerId, SubscriptionKey),
        delivery: &Delivery,
    ) {
        assert_eq!(delivery.lease, LeaseId::default());
        for run in &delivery.runs {
            let before = self.reading.heard.get(&whose).copied().unwrap_or(0);
            assert!(
                before <= run.first.0,
                "{whose:?} gets {run:?} after {before}"
            );
            let end = run.first.0 + u64::from(run.count);
            self.reading.heard.insert(whose, end);
            self.reading.heard_messages += u64::from(run.count);
        }
    }
}
