//! Every consumer gets everything: each has a place of its own in the queue, and nothing is written for it.
//!
//! A consumer that has all there is is *level* and costs nothing until there is more. What is gone before a consumer came
//! to it is missed, and counted.

use std::collections::{BTreeMap, VecDeque};

use corelane_wire::{ErrorCode, LeaseId, Offset, SubscriptionConfig};

use super::deliver::Served;
use super::demand::Taker;
use super::pack::Pack;
use super::request::Refusal;
use super::{DeliverTo, Delivery, Engine, Output};
use crate::limits::{LEASE_MESSAGES_MAX, PUSH_BYTES_MAX};
use crate::state::SubscriptionKey;

/// What consumers of broadcasts, and ephemeral subscriptions, missed.
#[derive(Debug, Default)]
pub(super) struct Missed {
    of: BTreeMap<SubscriptionKey, u64>,
    /// Those of subscriptions that have gone included.
    pub(super) all: u64,
}

impl Missed {
    pub(super) fn add(&mut self, key: SubscriptionKey, count: u64) {
        if count > 0 {
            *self.of.entry(key).or_default() += count;
            self.all += count;
        }
    }

    /// Those of one subscription.
    pub(super) fn of(&self, key: SubscriptionKey) -> u64 {
        self.of.get(&key).copied().unwrap_or(0)
    }

    /// These subscriptions have gone.
    pub(super) fn forget(&mut self, is_gone: impl Fn(SubscriptionKey) -> bool) {
        self.of.retain(|key, _| !is_gone(*key));
    }
}

/// How far a consumer comes with one delivery.
struct Heard {
    pack: Pack,
    /// The next message that it gets then.
    next: Offset,
    /// Messages before that are gone.
    missed: u64,
}

impl Engine {
    /// Gives every consumer of a broadcast what is next for it, at most once.
    pub(super) fn serve_broadcast(
        &mut self,
        key: SubscriptionKey,
        budget: &mut usize,
        outputs: &mut VecDeque<Output>,
    ) -> Served {
        let mark = self.demand.mark();
        let visible = self.visible_in(key).unwrap_or_default();
        while let Some(Taker::Consumer(serial, consumer, wanted)) =
            self.demand.next_taker(key, mark)
        {
            if *budget == 0 {
                return Served::More;
            }
            let Heard { pack, next, missed } = self.hear(key, (consumer.next, visible), wanted);
            self.missed.add(key, missed);
            if let Some(away) = pack.away {
                self.load(key.0, away, outputs);
            }
            // Who waits for a read is level too: it is woken by what was read.
            let is_level = next >= visible || pack.runs.is_empty();
            self.demand.hear(serial, next, is_level);
            if pack.runs.is_empty() {
                continue;
            }
            *budget -= 1;
            outputs.push_back(Output::Deliver(Delivery {
                to: DeliverTo::Consumer {
                    connection: consumer.connection,
                    consumer: consumer.id,
                },
                lease: LeaseId::default(),
                lease_ms: 0,
                runs: pack.runs,
            }));
        }
        if self.demand.wanting_consumers(key) > 0 {
            return Served::More;
        }
        Served::All
    }

    /// Chooses what a consumer gets from `from` on; what is gone is passed by.
    fn hear(&self, key: SubscriptionKey, (from, visible): (Offset, Offset), wanted: u32) -> Heard {
        let mut pack = Pack::new(wanted.min(LEASE_MESSAGES_MAX), PUSH_BYTES_MAX);
        let mut next = from;
        if let Some(queue) = self.state.queues.get(key.0) {
            loop {
                let kept = queue.heard_from(next);
                let Some((first, end)) = kept.filter(|(first, _)| *first < visible) else {
                    next = next.max(visible);
                    break;
                };
                let before = pack.count();
                let is_whole = pack.take(queue, first, end.min(visible), 1);
                next = Offset(first.0 + u64::from(pack.count() - before));
                if !is_whole {
                    break;
                }
            }
            self.moves.resolve(&mut pack.runs);
        }
        let missed = next.0 - from.0 - u64::from(pack.count());
        Heard { pack, next, missed }
    }

    /// Where a consumer that comes now begins, if its subscription is a broadcast.
    pub(super) fn broadcast_end(&self, key: SubscriptionKey) -> Option<Offset> {
        let subscription = self.subscription(key)?;
        if subscription.is_kept_for() {
            return None;
        }
        self.visible_in(key)
    }

    /// Refuses what is about messages that are kept, where none are.
    pub(super) fn check_kept_for(&self, key: SubscriptionKey) -> Result<(), Refusal> {
        let subscription = self.subscription(key);
        if subscription.is_some_and(|of| !of.is_kept_for()) {
            let text =
                "nothing is kept for a broadcast: it cannot be sought, purged or returned to";
            return Err((ErrorCode::NotSupported, text.to_owned()));
        }
        Ok(())
    }
}

/// Whether a broadcast can have this configuration: only the contract says anything.
pub(super) fn is_plain(config: &SubscriptionConfig) -> bool {
    let contract = SubscriptionConfig::PLAIN.contract;
    SubscriptionConfig {
        contract,
        ..*config
    } == SubscriptionConfig::PLAIN
}
