//! The end of a seed: each subscription is emptied, and the broker is asked whether it agrees.

use std::collections::BTreeSet;

use corelane_wire::limits::RETURN_MAX;
use corelane_wire::{Aside, Offset, QueueInfo, SubscriptionVerb};

use super::{Asked, Client, Scope};
use crate::sim::checker::{QueueIndex, SubscriptionKey};
use crate::sim::clock::MILLISECOND;

impl Client {
    /// The queues that this client shows to be empty: it takes part in draining those that it wrote to, and the
    /// first client takes all.
    pub(super) fn responsibilities(&self, scope: &Scope<'_>) -> BTreeSet<QueueIndex> {
        if self.index == 0 {
            (0..scope.plan.queues()).collect()
        } else {
            BTreeSet::new()
        }
    }

    pub(super) fn drain(&mut self, scope: &mut Scope<'_>) {
        let wanted: Vec<SubscriptionKey> = scope
            .attempted
            .iter()
            .copied()
            .filter(|of| self.index == 0 || (of.queue + self.index).is_multiple_of(3))
            .collect();
        for of in wanted {
            let is_there = self
                .consumers
                .values()
                .any(|consumer| consumer.of == of && consumer.credit >= DRAIN_CREDIT);
            if !is_there {
                self.subscribe_to(scope, of, DRAIN_CREDIT, DRAIN_LEASE_MS);
            }
        }
        if scope.now < self.next_show {
            return;
        }
        self.next_show = scope.now + 300 * MILLISECOND;
        if self.index == 0 && !self.has_emptied(scope) {
            // One at a time: a small node is busy with more.
            let all: Vec<SubscriptionKey> = scope.attempted.iter().copied().collect();
            let of = self.random.pick(&all);
            let verbs = [
                SubscriptionVerb::Resume,
                all_of(Aside::Dead),
                all_of(Aside::Parked),
            ];
            let verb = self.random.pick(&verbs);
            self.ask_subscription(scope, of, verb);
        }
        for queue in self.responsibilities(scope) {
            let is_asked = self
                .pending
                .values()
                .any(|pending| {
                    matches!(pending.asked, Asked::Show { queue: asked, round } if asked == queue && round == self.round)
                });
            if !is_asked {
                self.show(scope, queue);
            }
        }
    }

    pub(super) fn on_shown(
        &mut self,
        scope: &Scope<'_>,
        (queue, round): (QueueIndex, u32),
        info: Option<&QueueInfo>,
    ) {
        if !scope.is_draining || round != self.round {
            return;
        }
        // A queue that was deleted under its consumers, and made again, has none of them: subscribe anew.
        let is_forgotten = |of: &SubscriptionKey| {
            let name = scope.plan.subscription(of.subscription);
            info.is_some_and(|info| {
                let found = info.subscriptions.iter().find(|it| it.name == name);
                found.is_none_or(|found| found.consumers == 0)
            })
        };
        let mut wanted = scope.attempted.iter().filter(|of| of.queue == queue);
        let is_whole = !wanted.any(is_forgotten);
        for consumer in self.consumers.values_mut() {
            if consumer.of.queue == queue && consumer.is_confirmed && is_forgotten(&consumer.of) {
                consumer.credit = 0;
            }
        }
        let is_empty = is_whole
            && info.is_none_or(|info| {
                let is_done = info.subscriptions.iter().all(|subscription| {
                    subscription.ready + subscription.leased + subscription.delayed == 0
                });
                // What is dead or parked keeps its place.
                is_done && info.start == info.end
            });
        if is_empty {
            self.empty.insert(queue);
        } else {
            self.empty.remove(&queue);
        }
    }
}

/// Brings everything back that was set aside in one way.
const fn all_of(aside: Aside) -> SubscriptionVerb<'static> {
    SubscriptionVerb::Return {
        aside,
        first: Offset(0),
        end: Offset(u64::MAX),
        max: RETURN_MAX,
    }
}

const DRAIN_CREDIT: u32 = 1_000;
const DRAIN_LEASE_MS: u32 = 10_000;
