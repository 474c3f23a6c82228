//! What is left at the end: everything that was confirmed can be taken.

use std::time::Duration;

use corelane_wire::{LeaseId, Offset, Request};

use super::super::node::*;
use super::{Asked, QUEUES, Run, SUBSCRIPTIONS};
use crate::{ConnectionId, Input};

impl Run {
    /// C1: after healing, everything confirmed can be taken or is done.
    pub(super) fn drain(&mut self) {
        self.step(Input::GiveOut { allowed: true });
        for connection in 1..=3 {
            self.step(Input::Disconnected {
                connection: ConnectionId(connection),
            });
        }
        for _ in 0..40 {
            self.node.pass(Duration::from_secs(10));
            self.step(Input::Deadline);
            let end = self.node.engine.positions().end;
            self.step(Input::Durable { end });
        }
        for queue in QUEUES {
            if self.node.engine.state.queues.find(queue).is_none() {
                assert_eq!(self.confirmed.get(queue), None, "C1: {queue} is gone");
                continue;
            }
            for subscription in SUBSCRIPTIONS {
                self.drain_subscription(queue, subscription);
            }
            let id = self.node.engine.state.queues.find(queue).unwrap();
            let state = self.node.engine.state.queues.get(id).unwrap();
            let end = self.confirmed.get(queue).copied().unwrap_or(0);
            assert!(state.end >= Offset(end), "C1: {queue} lost messages");
            for subscription in &state.subscriptions {
                assert_eq!(subscription.done, state.end, "C1: {queue} is not drained");
            }
        }
    }

    fn drain_subscription(&mut self, queue: &'static str, subscription: &'static str) {
        loop {
            self.held.clear();
            let from = self.requester(Asked::Other);
            self.dequeues
                .insert(from.correlation.0, (queue, subscription));
            let request = dequeue_from(queue, subscription, 10_000, 0);
            self.step(Input::Request { from, request });
            self.step(Input::TurnEnd);
            while !(self.node.loads.is_empty() && self.node.key_reads.is_empty()) {
                self.read_one();
                self.keys_fetched();
                self.step(Input::TurnEnd);
            }
            let end = self.node.engine.positions().end;
            self.step(Input::Durable { end });
            if self.held.is_empty() {
                return;
            }
            let list: Vec<(LeaseId, u64, u32)> = self
                .held
                .iter()
                .map(|held| (held.lease, held.first, held.count))
                .collect();
            let bytes = entries(&list);
            let mut settle = settle(queue, &bytes);
            settle.subscription = subscription;
            let from = self.requester(Asked::Ack {
                queue,
                subscription,
            });
            let request = Request::Ack(settle);
            self.step(Input::Request { from, request });
            self.step(Input::TurnEnd);
            let end = self.node.engine.positions().end;
            self.step(Input::Durable { end });
        }
    }
}
