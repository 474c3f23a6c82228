//! Ephemeral subscriptions between everything else: they are checked by what their own clients see, and nothing else
//! may show that they are there.

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::{
    Aside, ConsumerId, Contract, Extend, Fate, Lane, LeaseId, Nack, Offset, OnSubscription,
    PurgeStates, Reject, Request, Settle, SettleEntries, SettleOutcome, Settled, Start, Subscribe,
    SubscriptionConfig, SubscriptionVerb,
};

use super::super::node::*;
use super::{Asked, QUEUES, Run};
use crate::state::SubscriptionKey;
use crate::{DeliverTo, Delivery, Input};

const LIVE: [&str; 2] = ["one#ephemeral", "two#ephemeral"];

/// What clients of ephemeral subscriptions know.
#[derive(Default)]
pub(super) struct Beside {
    held: Vec<(Names, LeaseId, u64, u32)>,
    /// Whose messages the leases hold.
    leases: BTreeMap<LeaseId, SubscriptionKey>,
    /// What was given out last, and how often it was.
    attempts: BTreeMap<(SubscriptionKey, u64), u32>,
    /// Acks that are not answered: what of.
    asked: BTreeMap<u64, SubscriptionKey>,
    done: BTreeSet<(SubscriptionKey, u64)>,
    pub(super) delivered: u32,
    /// Those of broadcasts included.
    pub(super) missed: u64,
}

type Names = (&'static str, &'static str);

impl Beside {
    /// A crash: all are gone, and others get their numbers; but leases stay what they were.
    pub(super) fn begin_anew(&mut self, missed: u64) {
        self.missed += missed;
        self.asked.clear();
        self.attempts.clear();
        self.done.clear();
    }
}

impl Run {
    pub(super) fn ephemeral(&mut self) {
        let names = (self.random.name(QUEUES), self.random.name(LIVE));
        match self.random.below(12) {
            0..3 => {
                let from = self.requester(Asked::Other);
                self.dequeues.insert(from.correlation.0, names);
                let count = 1 + self.random.small(10);
                let request = dequeue_from(names.0, names.1, count, 0);
                self.step(Input::Request { from, request });
                self.step(Input::TurnEnd);
            }
            3..5 => self.listen_beside(names),
            5..9 => self.settle_beside(),
            9 if self.with_deletes => self.administrate_beside(names),
            _ => self.step(Input::TurnEnd),
        }
    }

    fn listen_beside(&mut self, (queue, subscription): Names) {
        let from = self.requester(Asked::Other);
        let consumer = ConsumerId(100 + self.random.small(2));
        let credit = self.random.small(6);
        let request = match self.random.below(3) {
            0 => Request::Unsubscribe { consumer },
            _ => Request::Subscribe(Subscribe {
                queue,
                lane: Lane(0),
                subscription,
                consumer,
                credit,
                lease_ms: 2_000,
            }),
        };
        self.step(Input::Request { from, request });
    }

    fn settle_beside(&mut self) {
        let many = self.beside.held.len() as u64;
        if many == 0 {
            return;
        }
        let at = usize::try_from(self.random.below(many)).unwrap();
        let ((queue, subscription), lease, first, count) = self.beside.held[at];
        let skipped = self.random.small(count);
        let first = first + u64::from(skipped);
        let bytes = entries(&[(lease, first, 1 + self.random.small(count - skipped))]);
        let settle = Settle {
            queue,
            lane: Lane(0),
            subscription,
            entries: SettleEntries::read(&bytes).unwrap(),
        };
        let from = self.requester(Asked::Other);
        let request = match self.random.below(6) {
            0..3 => {
                let key = self.beside.leases[&lease];
                self.beside.asked.insert(from.correlation.0, key);
                Request::Ack(settle)
            }
            3 => Request::Nack(Nack {
                settle,
                delay_ms: self.random.pick([0, 1_500]),
                count_attempt: self.random.below(2) == 0,
            }),
            4 => Request::Reject(Reject {
                settle,
                fate: self.random.pick([Fate::Retry, Fate::Dead, Fate::Park]),
                text: "why",
            }),
            _ => Request::Extend(Extend {
                settle,
                lease_ms: 4_000,
            }),
        };
        self.step(Input::Request { from, request });
        self.step(Input::TurnEnd);
    }

    fn administrate_beside(&mut self, (queue, subscription): Names) {
        let at = Offset(self.random.below(40));
        let start = self
            .random
            .pick([Start::Earliest, Start::Latest, Start::At(at)]);
        let config = SubscriptionConfig {
            contract: self
                .random
                .pick([Contract::Competing, Contract::SingleActive]),
            attempts_max: self.random.small(4),
            backoff_ms: self.random.below(2) * 1_000,
            ..SubscriptionConfig::PLAIN
        };
        let bits = 1 + u8::try_from(self.random.below(7)).unwrap();
        let states = PurgeStates::from_bits(bits).unwrap();
        let verb = match self.random.below(8) {
            0..3 => SubscriptionVerb::Create {
                start: Some(start),
                config,
            },
            3 => SubscriptionVerb::Configure { config },
            4 => SubscriptionVerb::Purge { states },
            5 => SubscriptionVerb::Return {
                aside: self.random.pick([Aside::Dead, Aside::Parked]),
                first: at,
                end: Offset(at.0 + 20),
                max: 5,
            },
            6 => SubscriptionVerb::Delete,
            _ => SubscriptionVerb::Show,
        };
        let from = self.requester(Asked::Other);
        let request = Request::Subscription(OnSubscription {
            queue,
            lane: Lane(0),
            subscription,
            verb,
        });
        self.step(Input::Request { from, request });
    }

    /// Whether the delivery is one of an ephemeral subscription; that attempts follow one another then, and nothing
    /// comes again that is done.
    pub(super) fn check_beside(&mut self, delivery: &Delivery) -> bool {
        let engine = &self.node.engine;
        let lease = delivery.lease;
        // It may be over already: what a step gives out, it may end.
        let Some(of) = engine.ephemerals.state.leases.get(lease) else {
            return false;
        };
        let key = of.key;
        if let DeliverTo::Dequeue(to) = delivery.to {
            self.asked.remove(&to.correlation.0);
        }
        assert!(engine.state.leases.get(lease).is_none(), "X1: {lease}");
        let of_queue = engine.state.queues.get(key.0).unwrap();
        let queue = QUEUES.into_iter().find(|name| **name == *of_queue.name);
        let name = &engine.subscription(key).unwrap().name;
        let name = LIVE.into_iter().find(|it| it == name);
        let names = (queue.unwrap(), name.unwrap());
        let known = self.beside.leases.insert(lease, key);
        assert_eq!(known, None, "X1: {lease} is given twice");
        for run in &delivery.runs {
            self.beside.delivered += run.count;
            let held = (names, lease, run.first.0, run.count);
            self.beside.held.push(held);
            for offset in run.first.0..run.first.0 + u64::from(run.count) {
                assert!(!self.beside.done.contains(&(key, offset)), "{offset} again");
                let before = self.beside.attempts.insert((key, offset), run.attempt);
                assert!(
                    run.attempt <= before.unwrap_or(0) + 1,
                    "{offset} of {key:?}"
                );
            }
        }
        true
    }

    /// An ack was answered: what is done stays so.
    pub(super) fn note_beside(&mut self, correlation: u64, settled: &[Settled]) {
        let Some(key) = self.beside.asked.remove(&correlation) else {
            return;
        };
        for piece in settled {
            if piece.outcome == SettleOutcome::Done {
                let offsets = piece.range.first.0..piece.range.end().0;
                self.beside.done.extend(offsets.map(|offset| (key, offset)));
            }
        }
    }
}
