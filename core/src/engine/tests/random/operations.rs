//! What clients, time and the disk do at random.

use std::time::Duration;

use corelane_wire::{
    Aside, Batch, BatchBuilder, ConsumerId, Contract, DeadLetters, ErrorCode, Fate, Lane, Lsn,
    Offset, OffsetRange, OffsetRanges, OnSchedule, OnSubscription, OutgoingMessage, Overflow,
    ProducerId, PurgeStates, QueueConfig, Request, ReturnTo, ScheduleVerb, Sequence, Start,
    SubscriptionConfig, SubscriptionVerb,
};

use super::super::node::*;
use super::{Asked, QUEUES, Run, SUBSCRIPTIONS};
use crate::{ConnectionId, FetchFor, Input, Outgoing, SparseStretch};

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
        let expires = self.random.below(6) == 0;
        for at in 0..count {
            let body = format!("{}.{at}", self.correlation);
            let key = self.random.pick([None, Some("a"), Some("b"), Some("c")]);
            let due = now + self.random.pick([0, 1, 1_500, 1_500, 3_000]);
            let ttl_ms = self.random.pick([1, 1_000, 2_500, 2_500, 9_000]);
            let message = OutgoingMessage {
                ttl_ms: expires.then_some(ttl_ms),
                key: key.map(str::as_bytes),
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
                whose: FetchFor::Relocation,
                batch: is_read.then_some(&batch),
            });
        }
    }

    /// A record is read for its keys.
    pub(super) fn keys_fetched(&mut self) {
        if let Some(lsn) = self.node.key_reads.front() {
            let batch = self.node.batches[lsn].clone();
            self.keys_read += 1;
            self.step(Input::Fetched {
                whose: FetchFor::Keys,
                batch: Some(&batch),
            });
        }
    }

    /// A record is read because messages of it are dead, or cannot be.
    pub(super) fn letter_read(&mut self) {
        if let Some(lsn) = self.node.letter_reads.front() {
            let batch = self.node.batches[lsn].clone();
            let is_read = self.random.below(20) > 0;
            self.step(Input::Fetched {
                whose: FetchFor::DeadLetters,
                batch: is_read.then_some(&batch),
            });
        }
    }

    /// A letter that is sent again is the same.
    pub(super) fn on_letter(&mut self, letter: Outgoing) {
        let producer = Batch::read(&letter.batch).unwrap().producer;
        let first = self.sent.entry(producer).or_insert_with(|| letter.clone());
        assert_eq!(*first, letter);
        self.letters.push(letter);
    }

    /// A dead-letter queue answers.
    pub(super) fn letter_answered(&mut self) {
        if let Some(letter) = self.letters.pop() {
            let codes = [ErrorCode::Ok, ErrorCode::Ok, ErrorCode::Busy];
            let code = match self.random.below(8) {
                0 => ErrorCode::ClassNotAvailable,
                _ => self.random.pick(codes),
            };
            self.forwarded += u32::from(code == ErrorCode::Ok);
            let (from, lsn) = (letter.from, letter.lsn);
            self.step(Input::LetterAnswered { from, lsn, code });
        }
    }

    /// Dead messages of a subscription shall go to a queue.
    pub(super) fn forward_dead(&mut self) {
        if self.random.below(3) == 0 {
            let change = match self.random.below(8) {
                0 => None,
                1 => Some(DeadLetters::Stay),
                _ => Some(DeadLetters::To("graves")),
            };
            let from = self.requester(Asked::Other);
            let request = Request::Subscription(OnSubscription {
                queue: self.random.name(QUEUES),
                lane: Lane(0),
                subscription: self.random.name(SUBSCRIPTIONS),
                verb: SubscriptionVerb::DeadLetters { change },
            });
            self.step(Input::Request { from, request });
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
        let config = self.configuration();
        let verb = match self.random.below(20) {
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
            14..18 => SubscriptionVerb::Checkpoint { offset: at },
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

    /// A configuration that is allowed.
    fn configuration(&mut self) -> SubscriptionConfig {
        let contracts = [
            Contract::Competing,
            Contract::Competing,
            Contract::AtMostOnce,
            Contract::SingleActive,
            Contract::KeyOrdered,
            Contract::KeyOrdered,
            Contract::Reader,
            Contract::Reader,
            Contract::Broadcast,
        ];
        let mut config = SubscriptionConfig {
            contract: self.random.pick(contracts),
            returned: self.random.pick([ReturnTo::Front, ReturnTo::Back]),
            in_flight_max: self.random.pick([0, 0, 3]),
            rate_max: self.random.pick([0, 0, 1, 100]),
            attempts_max: self.random.small(4),
            backoff_ms: self.random.below(2) * 1_000,
            backoff_max_ms: 1,
        };
        if config.contract == Contract::Reader {
            config.attempts_max = 0;
            (config.backoff_ms, config.backoff_max_ms) = (0, 0);
        }
        if config.contract == Contract::Broadcast {
            let contract = config.contract;
            config = SubscriptionConfig {
                contract,
                ..SubscriptionConfig::PLAIN
            };
        }
        if matches!(config.contract, Contract::Reader | Contract::KeyOrdered) {
            config.returned = ReturnTo::Front;
        }
        config
    }

    /// One subscription has this configuration from the beginning.
    pub(super) fn create(&mut self, config: SubscriptionConfig) {
        let from = self.requester(Asked::Other);
        let on = OnSubscription {
            queue: QUEUES[0],
            lane: Lane(0),
            subscription: SUBSCRIPTIONS[1],
            verb: SubscriptionVerb::Create {
                start: None,
                config,
            },
        };
        let request = Request::Subscription(on);
        self.step(Input::Request { from, request });
    }

    /// Messages that are not due yet are cancelled, moved, or only listed.
    pub(super) fn reschedule(&mut self) {
        let queue = self.random.name(QUEUES);
        let mut bytes = Vec::new();
        let mut next = self.random.below(20);
        for _ in 0..=self.random.below(2) {
            let count = 1 + self.random.small(6);
            let first = Offset(next + self.random.below(4));
            OffsetRanges::put(OffsetRange { first, count }, &mut bytes);
            next = first.0 + u64::from(count);
        }
        let ranges = OffsetRanges::read(&bytes).unwrap();
        let due_ms = self.node.now.as_millis() + self.random.pick([0, 1_000, 4_000]);
        let verb = match self.random.below(5) {
            0 if self.with_deletes => ScheduleVerb::Cancel { ranges },
            0..3 => ScheduleVerb::Move { due_ms, ranges },
            _ => ScheduleVerb::List {
                from: Offset(next),
                limit: 3,
            },
        };
        let from = self.requester(Asked::Other);
        let lane = Lane(0);
        let request = Request::Schedule(OnSchedule { queue, lane, verb });
        self.step(Input::Request { from, request });
    }

    /// What a queue keeps and takes.
    pub(super) fn configure_queue(&mut self) {
        let mut config = QueueConfig::PLAIN;
        if self.with_deletes && self.random.below(3) == 0 {
            config = QueueConfig {
                retention_ms: self.random.pick([0, 0, 3_000, 20_000]),
                retention_bytes: self.random.pick([0, 0, 600, 3_000]),
                retention_count: self.random.pick([0, 0, 3, 20]),
                messages_max: self.random.pick([0, 0, 5, 15]),
                bytes_max: self.random.pick([0, 0, 1_500]),
                overflow: self.random.pick([
                    Overflow::Refuse,
                    Overflow::DropOldest,
                    Overflow::Dead,
                ]),
                slow_down_at: self.random.pick([0, 4]),
                ..QueueConfig::PLAIN
            };
        }
        config.ttl_ms = self.random.pick([0, 0, 0, 5_000]);
        let from = self.requester(Asked::Other);
        let queue = self.random.name(QUEUES);
        let config = Some(config);
        let request = Request::QueueConfigure { queue, config };
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
