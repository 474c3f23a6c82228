//! What clients, time and the disk do at random.

use std::time::Duration;

use corelane_wire::{
    Aside, BatchBuilder, ConsumerId, Contract, Fate, Lane, Lsn, Offset, OnSubscription,
    OutgoingMessage, ProducerId, PurgeStates, Request, Sequence, Start, SubscriptionConfig,
    SubscriptionVerb,
};

use super::super::node::*;
use super::{Asked, QUEUES, Run, SUBSCRIPTIONS};
use crate::{ConnectionId, Input, SparseStretch};

impl Run {
    pub(super) fn enqueue(&mut self) {
        let queue = self.random.name(QUEUES);
        let producer = ProducerId(self.random.below(3).into());
        let next = self.sequences.entry((queue, producer)).or_default();
        let mut sequence = *next;
        // Sometimes a retry, sometimes a gap.
        match self.random.below(5) {
            0 => sequence = sequence.saturating_sub(1 + self.random.below(3)),
            1 => sequence += 1,
            _ => *next += 1,
        }
        if producer == ProducerId::NONE {
            sequence = 0;
        }
        let count = 1 + u32::try_from(sequence % 4).unwrap();
        let from = self.requester(Asked::Enqueue {
            queue,
            producer,
            sequence,
        });
        let bytes = self.unlike_others(count, producer, sequence);
        let request = enqueue(queue, &bytes);
        self.step(Input::Request { from, request });
    }

    /// A batch of messages that no other has.
    fn unlike_others(&mut self, count: u32, producer: ProducerId, sequence: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        let now = self.node.now.as_millis();
        let is_scheduled = self.random.below(4) == 0;
        for at in 0..count {
            let body = format!("{}.{at}", self.correlation);
            let due = now + self.random.pick([0, 1, 1_500, 1_500, 3_000]);
            let message = OutgoingMessage {
                body: body.as_bytes(),
                due_ms: is_scheduled.then_some(due),
                ..OutgoingMessage::default()
            };
            builder.push(&message).unwrap();
        }
        builder.finish(producer, Sequence(sequence))
    }

    /// Some of what is committed is to move.
    pub(super) fn relocate(&mut self) {
        let committed = self.node.engine.positions().committed;
        let below = Lsn(self.random.below(committed.0 + 1));
        let cut = self.node.engine.cut();
        let stretches = cut.live().filter(|stretch| stretch.last_lsn < below);
        let stretches: Vec<_> = stretches
            .filter(|_| self.random.below(3) > 0)
            .map(|stretch| SparseStretch::of(&stretch, below))
            .collect();
        self.cut = None;
        self.step(Input::Relocate {
            stretches: &stretches,
        });
    }

    pub(super) fn move_some(&mut self) {
        let bytes = 1 + self.random.below(400);
        self.step(Input::Move { bytes });
    }

    /// A record is read to be relocated, or cannot be.
    pub(super) fn fetched(&mut self) {
        if let Some((lsn, _)) = self.node.fetches.front() {
            let batch = self.node.batches[lsn].clone();
            let is_read = self.random.below(20) > 0;
            self.step(Input::Fetched {
                batch: is_read.then_some(&batch),
            });
        }
    }

    /// Takes a cut; one that was not published is forgotten.
    pub(super) fn cut(&mut self) {
        self.cut = Some(self.node.engine.cut());
        self.node.engine.state.assert_consistent();
    }

    /// Publishes the cut once everything below it is committed.
    pub(super) fn publish(&mut self) {
        let committed = self.node.engine.positions().committed;
        if let Some(cut) = self.cut.take_if(|cut| cut.end() <= committed) {
            self.node.chunks.checkpoint(&cut);
        }
    }

    /// A segment begins somewhere in what is not committed.
    pub(super) fn roll(&mut self) {
        let positions = self.node.engine.positions();
        let behind = positions.end.0 - positions.committed.0;
        let base = positions.committed.0 + self.random.below(behind + 1);
        self.node.engine.segment_begins(Lsn(base));
        self.node.engine.state.assert_consistent();
    }

    /// The first chunk that was asked for is read.
    pub(super) fn read_one(&mut self) {
        let producers = self.node.engine.stats().producers;
        if let Some(outputs) = self.node.read_one() {
            self.read += 1;
            self.take_in(outputs, producers);
        }
    }

    pub(super) fn dequeue(&mut self) {
        let from = self.requester(Asked::Other);
        let (queue, subscription) = (self.random.name(QUEUES), self.random.name(SUBSCRIPTIONS));
        self.dequeues
            .insert(from.correlation.0, (queue, subscription));
        let (count, wait_ms) = (1 + self.random.small(10), self.random.small(2) * 500);
        let request = dequeue_from(queue, subscription, count, wait_ms);
        self.step(Input::Request { from, request });
    }

    pub(super) fn settle(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = usize::try_from(self.random.below(self.held.len() as u64)).unwrap();
        let held = self.held[index];
        let first = held.first + u64::from(self.random.small(held.count));
        let left = u32::try_from(held.first + u64::from(held.count) - first).unwrap();
        // Now and then one message too many, or a lease that never was.
        let beyond = u32::from(self.random.below(8) == 0);
        let count = 1 + self.random.small(left + beyond);
        let mut lease = held.lease;
        lease.lsn.0 += u64::from(self.random.below(20) == 0);
        let bytes = entries(&[(lease, first, count)]);
        let mut settle = settle(held.queue, &bytes);
        settle.subscription = held.subscription;
        let fate = self.random.pick([Fate::Retry, Fate::Dead, Fate::Park]);
        let ways = if self.with_deletes { 8 } else { 6 };
        let (asked, request) = match self.random.below(ways) {
            0..3 => {
                let asked = Asked::Ack {
                    queue: held.queue,
                    subscription: held.subscription,
                };
                (asked, Request::Ack(settle))
            }
            3 | 4 => {
                let nack = corelane_wire::Nack {
                    settle,
                    delay_ms: self.random.below(2) * 3_000,
                    count_attempt: self.random.below(2) == 0,
                };
                (Asked::Other, Request::Nack(nack))
            }
            6.. => {
                let text = self.random.pick(["", "why"]);
                let reject = corelane_wire::Reject { settle, fate, text };
                (Asked::Other, Request::Reject(reject))
            }
            _ => {
                let lease_ms = 1_000 + self.random.small(60_000);
                let extend = corelane_wire::Extend { settle, lease_ms };
                (Asked::Other, Request::Extend(extend))
            }
        };
        let from = self.requester(asked);
        self.step(Input::Request { from, request });
    }

    pub(super) fn consume(&mut self) {
        let from = self.requester(Asked::Other);
        let consumer = self.random.small(4);
        let (queue, subscription) = (
            QUEUES[(consumer % 2) as usize],
            SUBSCRIPTIONS[(consumer / 2) as usize],
        );
        let credit = self.random.small(6);
        let consumer = ConsumerId(consumer);
        let request = match self.random.below(4) {
            0 | 1 => Request::Subscribe(corelane_wire::Subscribe {
                queue,
                lane: Lane(0),
                subscription,
                consumer,
                credit,
                lease_ms: 5_000,
            }),
            2 => Request::Credit { consumer, credit },
            _ => Request::Unsubscribe { consumer },
        };
        self.step(Input::Request { from, request });
    }

    pub(super) fn some_durable(&mut self) {
        let positions = self.node.engine.positions();
        let behind = positions.end.0 - positions.durable.0;
        let end = Lsn(positions.durable.0 + self.random.below(behind + 1));
        self.step(Input::Durable { end });
    }

    /// Time passes to the next deadline, or beyond it.
    pub(super) fn pass(&mut self) {
        let next = self.node.engine.next_deadline();
        let millis = self.random.below(12_000);
        let to_deadline = self.random.below(2) == 0;
        self.node.now = match next.filter(|_| to_deadline) {
            Some(next) => self.node.now.max(next),
            None => self.node.now.add(Duration::from_millis(millis)),
        };
        let due = next.is_some_and(|next| next <= self.node.now);
        let before = self.node.engine.positions().end;
        self.step(Input::Deadline);
        let after = self.node.engine.positions().end;
        assert!(
            due || before == after,
            "something was done before its deadline"
        );
        self.step(Input::TurnEnd);
        let next = self.node.engine.next_deadline();
        let rider = next.is_none_or(|next| next > self.node.now || next.0 == 0);
        assert!(
            rider,
            "the deadline {next:?} is not served at {}",
            self.node.now
        );
    }

    pub(super) fn connections(&mut self) {
        let number = 1 + self.random.below(3);
        let connection = ConnectionId(number);
        let session = corelane_wire::SessionId(number.into());
        let writable = self.random.below(2) == 0;
        match self.random.below(6) {
            4 | 5 => self.step(Input::GiveOut { allowed: writable }),
            0 => {
                self.step(Input::Disconnected { connection });
                self.step(Input::SessionLost { session });
            }
            1 => self.step(Input::SessionResumed { session }),
            _ => self.step(Input::Writable {
                connection,
                writable,
            }),
        }
    }

    pub(super) fn look(&mut self) {
        let from = self.requester(Asked::Other);
        let queue = self.random.name(QUEUES);
        let request = match self.random.below(2) {
            0 => peek(queue, self.random.below(20), 10),
            _ => Request::QueueShow { queue },
        };
        self.step(Input::Request { from, request });
    }

    /// Something about a subscription as a whole.
    pub(super) fn administrate(&mut self) {
        if !self.with_deletes {
            return;
        }
        let bits = 1 + u8::try_from(self.random.below(7)).unwrap();
        let states = PurgeStates::from_bits(bits).unwrap();
        let aside = self.random.pick([Aside::Dead, Aside::Parked]);
        let at = Offset(self.random.below(40));
        let start = self
            .random
            .pick([Start::Earliest, Start::Latest, Start::At(at)]);
        let contracts = [
            Contract::Competing,
            Contract::Competing,
            Contract::AtMostOnce,
            Contract::SingleActive,
        ];
        let config = SubscriptionConfig {
            contract: self.random.pick(contracts),
            in_flight_max: self.random.pick([0, 0, 3]),
            rate_max: self.random.pick([0, 0, 1, 100]),
            attempts_max: self.random.small(4),
            backoff_ms: self.random.below(2) * 1_000,
            backoff_max_ms: 1,
        };
        let verb = match self.random.below(16) {
            0 | 1 => SubscriptionVerb::Create {
                start: Some(start).filter(|_| bits > 2),
                config,
            },
            2 | 3 => SubscriptionVerb::Configure { config },
            4 => SubscriptionVerb::Pause { reason: "why" },
            5..8 => SubscriptionVerb::Resume,
            8 => SubscriptionVerb::Seek { start },
            9 if bits > 4 => SubscriptionVerb::Delete,
            10 => SubscriptionVerb::Purge { states },
            11 | 12 => SubscriptionVerb::Return {
                aside,
                first: at,
                end: Offset(at.0 + 1 + self.random.below(20)),
                max: 1 + self.random.small(8),
            },
            13 => SubscriptionVerb::ListAside {
                aside,
                from: at,
                limit: 3,
            },
            _ => SubscriptionVerb::Show,
        };
        let from = self.requester(Asked::Other);
        let on = OnSubscription {
            queue: self.random.name(QUEUES),
            lane: Lane(0),
            subscription: self.random.name(SUBSCRIPTIONS),
            verb,
        };
        let request = Request::Subscription(on);
        self.step(Input::Request { from, request });
    }

    pub(super) fn forget_or_delete(&mut self) {
        if self.random.below(4) == 0 {
            self.held.clear();
        } else if self.with_deletes && self.random.below(4) == 0 {
            let from = self.requester(Asked::Other);
            let queue = self.random.name(QUEUES);
            let request = Request::QueueDelete { queue };
            self.step(Input::Request { from, request });
        }
    }
}
