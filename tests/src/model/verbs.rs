//! Random requests about one subscription as a whole.

use corelane_wire::{
    Aside, Contract, Lane, Offset, OnSubscription, PurgeStates, Request, ReturnTo, Start,
    SubscriptionConfig, SubscriptionVerb,
};

use super::operations::{Mood, Operation};
use super::side_by_side::Pair;

impl Mood {
    pub(super) fn about_subscription(
        &mut self,
        pair: &Pair,
        verb: impl Fn(&mut Self, u64) -> SubscriptionVerb<'static>,
    ) -> Operation {
        let (queue, state) = (self.queue(), &pair.model.state);
        let end = state
            .find(queue)
            .map(|queue| state.queues[queue].messages.len());
        let subscription = self.subscription();
        let mut verb = verb(self, end.unwrap_or_default() as u64);
        if let SubscriptionVerb::Create { config, .. } | SubscriptionVerb::Configure { config } =
            &mut verb
            && config.contract == Contract::KeyOrdered
            && (queue, subscription) != ORDERED
        {
            config.contract = Contract::Competing;
        }
        Operation::Ask(Request::Subscription(OnSubscription {
            queue,
            lane: Lane(0),
            subscription,
            verb,
        }))
    }

    /// In a queue that ends at `end`.
    pub(super) fn life(&mut self, end: u64) -> SubscriptionVerb<'static> {
        match self.random.below(20) {
            0..5 => SubscriptionVerb::Create {
                start: (!self.random.one_in(4)).then(|| self.start(end)),
                config: self.config(),
            },
            5..9 => SubscriptionVerb::Configure {
                config: self.config(),
            },
            9..11 => SubscriptionVerb::Pause {
                reason: self.random.pick(&["", "night"]),
            },
            11..17 => SubscriptionVerb::Resume,
            17 => SubscriptionVerb::Seek {
                start: self.start(end),
            },
            _ => SubscriptionVerb::Delete,
        }
    }

    pub(super) fn aside(&mut self, end: u64) -> SubscriptionVerb<'static> {
        let aside = self.random.pick(&[Aside::Dead, Aside::Parked]);
        let from = Offset(self.random.between(0, end) / 2);
        match self.random.below(8) {
            0 => SubscriptionVerb::Purge {
                states: PurgeStates {
                    waiting: self.random.one_in(3),
                    parked: self.random.one_in(2),
                    dead: true,
                },
            },
            1 => SubscriptionVerb::Purge {
                states: PurgeStates {
                    waiting: false,
                    parked: true,
                    dead: false,
                },
            },
            2 | 3 => SubscriptionVerb::ListAside {
                aside,
                from,
                limit: 1_000,
            },
            _ => SubscriptionVerb::Return {
                aside,
                first: from,
                end: Offset(from.0 + self.random.skewed(1, 500)),
                max: self.number(1, 10),
            },
        }
    }

    pub(super) fn start(&mut self, end: u64) -> Start {
        match self.random.below(4) {
            0 => Start::Earliest,
            1 => Start::Latest,
            _ => Start::At(Offset(self.random.between(0, end + 1))),
        }
    }

    /// Back-offs that are over within seconds.
    pub(super) fn config(&mut self) -> SubscriptionConfig {
        let backoff_ms = self.random.pick(&[0, 0, 1, 4, 100, 700]);
        let uncapped = if backoff_ms > 4 { 5_000 } else { 0 };
        let contract = match self.random.below(10) {
            0 | 1 => Contract::AtMostOnce,
            2 | 3 if !self.has_few_loads => Contract::SingleActive,
            4..7 => Contract::KeyOrdered,
            _ => Contract::Competing,
        };
        let is_back = contract != Contract::KeyOrdered && self.random.one_in(3);
        SubscriptionConfig {
            returned: if is_back {
                ReturnTo::Back
            } else {
                ReturnTo::Front
            },
            contract,
            in_flight_max: self.random.pick(&[0, 0, 0, 1, 3]),
            rate_max: self.random.pick(&[0, 0, 0, 0, 1, 7, 50, 3_000, u32::MAX]),
            attempts_max: self.random.pick(&[0, 0, 1, 2, 3]),
            backoff_ms,
            backoff_max_ms: self.random.pick(&[uncapped, 3, 50, 5_000]),
        }
    }
}

/// The only subscription with keys in order: of what such ones still have to read only the engine knows, which shows in how
/// many dequeues wait, if they are all of one.
const ORDERED: (&str, &str) = ("a", "other");
