//! The consuming half of a client: what it holds, and what it makes of it.

use std::collections::BTreeMap;

use corelane_wire::{
    Deliveries, Extend, Fate, Lane, LeaseId, Nack, Offset, OffsetRange, Reject, Request, Settle,
    SettleEntries, SettleEntry, SettleOutcome, Settled,
};

use super::{ANSWER_WAIT, Asked, Client, Scope, SettleAsked};
use crate::sim::body;
use crate::sim::checker::{Body, Delivered, Event, Receiver, SubscriptionKey, Verb};
use crate::sim::clock::{MILLISECOND, Moment, SECOND};

/// A consumer of the link.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(super) of: SubscriptionKey,
    pub(super) credit: u32,
    pub(super) is_confirmed: bool,
    /// Correlation of the subscribe that made it.
    pub(super) made_by: u64,
    /// Subscribes in flight: any of them may make it.
    pub(super) asked: u32,
    /// What it holds for sure until these moments, as long as it does not settle it.
    held: Vec<(LeaseId, u64, Moment)>,
}

impl Consumer {
    pub(super) fn new(of: SubscriptionKey, credit: u32) -> Self {
        Self {
            of,
            credit,
            is_confirmed: false,
            made_by: 0,
            asked: 0,
            held: Vec::new(),
        }
    }
}

/// What will be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Will {
    Ack,
    Nack { delay_ms: u64, count_attempt: bool },
    Reject { fate: Fate },
    Extend { lease_ms: u32 },
    Forget,
}

/// A message in the client's hands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    of: SubscriptionKey,
    lease: LeaseId,
    offset: u64,
    will: Will,
    at: Moment,
}

impl Client {
    /// Messages arrived under a lease.
    pub(super) fn on_messages(
        &mut self,
        scope: &mut Scope<'_>,
        of: SubscriptionKey,
        by: Receiver,
        deliveries: &Deliveries<'_>,
    ) {
        let lease = deliveries.lease;
        let mut offsets = Vec::new();
        for item in deliveries {
            let Ok(item) = item else {
                let event = foreign(of, by, deliveries);
                scope.events.push(event);
                return;
            };
            if item.attempt > 1 {
                scope.met.redelivered += 1;
            }
            offsets.push(item.offset.0);
            scope.events.push(Event::Delivered(Delivered {
                of,
                by,
                lease,
                attempt: item.attempt,
                offset: item.offset.0,
                body: body::judge(&item.message),
            }));
        }
        scope.met.deliveries += offsets.len() as u64;
        self.note_held(scope, by, deliveries, &offsets);
        for offset in offsets {
            let (will, at) = self.draw_will(scope, deliveries.lease_ms);
            self.holdings.push(Holding {
                of,
                lease,
                offset,
                will,
                at,
            });
        }
    }

    /// Tells the checker how much the consumer holds, where that is known for sure.
    fn note_held(
        &mut self,
        scope: &mut Scope<'_>,
        by: Receiver,
        deliveries: &Deliveries<'_>,
        offsets: &[u64],
    ) {
        let was_slow = self.connection.as_ref().is_none_or(|link| link.was_slow);
        let Some(consumer) = by
            .consumer
            .checked_sub(1)
            .and_then(|id| self.consumers.get_mut(&id))
        else {
            return;
        };
        let lease = Moment::from(deliveries.lease_ms) * MILLISECOND;
        let until = (scope.now + lease).saturating_sub(SECOND / 2);
        consumer.held.retain(|(_, _, until)| *until > scope.now);
        let fresh = offsets
            .iter()
            .map(|offset| (deliveries.lease, *offset, until));
        consumer.held.extend(fresh);
        // A deleted queue takes its leases with it, and nobody tells the client.
        let is_fleeting = scope.plan.fleeting == Some(consumer.of.queue);
        if scope.plan.is_prompt && !was_slow && !is_fleeting {
            scope.events.push(Event::Held {
                by,
                messages: consumer.held.len() as u32,
            });
        }
    }

    fn draw_will(&mut self, scope: &Scope<'_>, lease_ms: u32) -> (Will, Moment) {
        let habits = &scope.plan.habits;
        let r = &mut self.random;
        let lease = Moment::from(lease_ms) * MILLISECOND;
        let soon = scope.now + r.skewed(MILLISECOND / 10, lease / 20);
        if scope.is_draining || scope.plan.is_quiet {
            return (Will::Ack, soon);
        }
        if r.chance(habits.forget) {
            return (Will::Forget, scope.now);
        }
        if r.chance(habits.nack) {
            let will = Will::Nack {
                delay_ms: r.pick(&[0, 0, 1, 50, 700, 5_000]),
                count_attempt: r.one_in(2),
            };
            return (will, soon);
        }
        if r.chance(habits.reject) {
            let fate = r.pick(&[Fate::Retry, Fate::Dead, Fate::Park]);
            return (Will::Reject { fate }, soon);
        }
        if r.chance(habits.extend) {
            let lease_ms = scope.plan.lease_ms.0 + r.below(2_000) as u32;
            return (Will::Extend { lease_ms }, soon);
        }
        let at = if r.chance(habits.settle_late) {
            // Around the end of the lease, mostly after it.
            scope.now + lease - lease / 8 + r.below(lease / 2)
        } else {
            soon
        };
        (Will::Ack, at)
    }

    /// Settles what is due, together where it goes together.
    pub(super) fn settle_due(&mut self, scope: &mut Scope<'_>) {
        let now = scope.now;
        let is_draining = scope.is_draining;
        let mut due: BTreeMap<(SubscriptionKey, WillKey), Vec<Holding>> = BTreeMap::new();
        self.holdings.retain(|holding| {
            if holding.at > now {
                return true;
            }
            let will = if is_draining { Will::Ack } else { holding.will };
            if will != Will::Forget {
                due.entry((holding.of, will.key()))
                    .or_default()
                    .push(*holding);
            }
            false
        });
        for ((of, key), holdings) in due {
            let offsets = holdings
                .iter()
                .map(|holding| (holding.lease, holding.offset))
                .collect();
            self.settle(scope, of, key.will(), offsets);
            if let Will::Extend { lease_ms } = key.will() {
                self.hold_on(scope, &holdings, lease_ms);
            }
        }
    }

    /// After an extend the messages are settled for good later.
    fn hold_on(&mut self, scope: &Scope<'_>, holdings: &[Holding], lease_ms: u32) {
        for holding in holdings {
            let lease = Moment::from(lease_ms) * MILLISECOND;
            let at = scope.now + self.random.skewed(MILLISECOND, lease);
            let will = Will::Ack;
            self.holdings.push(Holding {
                will,
                at,
                ..*holding
            });
        }
    }

    /// The outcome of a settle is unknown: it is tried again.
    pub(super) fn hold_again(
        &mut self,
        scope: &Scope<'_>,
        of: SubscriptionKey,
        offsets: Vec<(LeaseId, u64)>,
    ) {
        let at = scope.now + self.random.skewed(MILLISECOND, SECOND);
        for (lease, offset) in offsets {
            self.holdings.push(Holding {
                of,
                lease,
                offset,
                will: Will::Ack,
                at,
            });
        }
    }

    /// Sends a settle.
    pub(super) fn settle(
        &mut self,
        scope: &mut Scope<'_>,
        of: SubscriptionKey,
        will: Will,
        mut offsets: Vec<(LeaseId, u64)>,
    ) {
        offsets.sort_unstable();
        offsets.dedup();
        let verb = will.verb();
        let mut bytes = Vec::new();
        for entry in entries(&offsets) {
            entry.put(&mut bytes);
        }
        let Ok(entries) = SettleEntries::read(&bytes) else {
            return;
        };
        for (lease, offset) in &offsets {
            scope.events.push(Event::SettleInvoked {
                of,
                verb,
                lease: *lease,
                offset: *offset,
            });
        }
        self.note_settled(scope, will, &offsets);
        let settle = Settle {
            queue: scope.plan.queue(of.queue),
            lane: Lane(0),
            subscription: scope.plan.subscription(of.subscription),
            entries,
        };
        let request = match will {
            Will::Nack {
                delay_ms,
                count_attempt,
            } => Request::Nack(Nack {
                settle,
                delay_ms,
                count_attempt,
            }),
            Will::Reject { fate } => {
                let text = "it does not work";
                Request::Reject(Reject { settle, fate, text })
            }
            Will::Extend { lease_ms } => Request::Extend(Extend { settle, lease_ms }),
            Will::Ack | Will::Forget => Request::Ack(settle),
        };
        let asked = Asked::Settle(SettleAsked { of, verb, offsets });
        self.ask(scope, &request, asked, ANSWER_WAIT);
    }

    /// What is settled is not held for sure any more; an extend may shorten a lease too.
    fn note_settled(&mut self, scope: &Scope<'_>, will: Will, offsets: &[(LeaseId, u64)]) {
        let until = match will {
            Will::Extend { lease_ms } => {
                let lease = Moment::from(lease_ms) * MILLISECOND;
                (scope.now + lease).saturating_sub(SECOND / 2)
            }
            Will::Ack | Will::Nack { .. } | Will::Reject { .. } | Will::Forget => 0,
        };
        let held = self
            .consumers
            .values_mut()
            .flat_map(|consumer| &mut consumer.held);
        for (lease, offset, end) in held {
            if offsets.contains(&(*lease, *offset)) {
                *end = until.min(*end);
            }
        }
    }

    pub(super) fn on_settled(
        &mut self,
        scope: &mut Scope<'_>,
        asked: &SettleAsked,
        outcomes: &[Settled],
    ) {
        let partition = scope.plan.names.partitions[asked.of.queue as usize];
        let end = scope.ends[partition as usize];
        let mut told = outcomes.iter().flat_map(|settled| {
            (0..u64::from(settled.range.count))
                .map(|index| (settled.range.first.0 + index, settled.outcome))
        });
        for (lease, offset) in &asked.offsets {
            let Some((told_offset, outcome)) = told.next() else {
                return self.protocol_error(scope, "a settle's answer covers too little");
            };
            if told_offset != *offset {
                return self.protocol_error(scope, "a settle's answer covers other offsets");
            }
            match (asked.verb, outcome) {
                (_, SettleOutcome::Stale) => scope.met.stale_refused += 1,
                (_, SettleOutcome::AlreadyDone) => scope.met.already_done += 1,
                (Verb::Ack, SettleOutcome::Done) => scope.met.acked += 1,
                (Verb::Nack, SettleOutcome::Done) => scope.met.nacked += 1,
                (Verb::Reject, SettleOutcome::Done) => scope.met.rejected += 1,
                (Verb::Extend, SettleOutcome::Done) => scope.met.extended += 1,
            }
            scope.events.push(Event::Settled {
                of: asked.of,
                verb: asked.verb,
                lease: *lease,
                offset: *offset,
                outcome,
                end,
            });
            if self.random.chance(scope.plan.habits.settle_late) {
                self.stale.push((asked.of, *lease, *offset));
            }
        }
        if told.next().is_some() {
            self.protocol_error(scope, "a settle's answer covers too much");
        }
    }

    /// Settles again, or what was never ours.
    pub(super) fn settle_oddly(&mut self, scope: &mut Scope<'_>) {
        let Some(index) = self.stale.len().checked_sub(1) else {
            return;
        };
        let index = self.random.index(index + 1);
        let (of, mut lease, mut offset) = self.stale[index];
        if self.random.one_in(8) {
            self.stale.swap_remove(index);
        }
        if self.random.chance(scope.plan.habits.settle_foreign) {
            match self.random.index(3) {
                0 => lease.lsn.0 += 10_000_000,
                1 => lease.epoch.0 += 1_000,
                _ => offset += 10_000_000,
            }
        }
        let will = match self.random.index(4) {
            0 => Will::Nack {
                delay_ms: 0,
                count_attempt: true,
            },
            1 => Will::Extend {
                lease_ms: scope.plan.lease_ms.0,
            },
            _ => Will::Ack,
        };
        scope.met.settled_again += 1;
        self.settle(scope, of, will, vec![(lease, offset)]);
    }
}

/// A `Will` that can be sorted.
type WillKey = (u8, u64, bool);

trait ToWill {
    fn will(self) -> Will;
}

impl ToWill for WillKey {
    fn will(self) -> Will {
        match self.0 {
            0 => Will::Ack,
            1 => Will::Nack {
                delay_ms: self.1,
                count_attempt: self.2,
            },
            2 => Will::Extend {
                lease_ms: self.1 as u32,
            },
            4 => Will::Reject { fate: Fate::Retry },
            5 => Will::Reject { fate: Fate::Dead },
            6 => Will::Reject { fate: Fate::Park },
            _ => Will::Forget,
        }
    }
}

impl Will {
    fn key(self) -> WillKey {
        match self {
            Self::Ack => (0, 0, false),
            Self::Nack {
                delay_ms,
                count_attempt,
            } => (1, delay_ms, count_attempt),
            Self::Extend { lease_ms } => (2, u64::from(lease_ms), false),
            Self::Forget => (3, 0, false),
            Self::Reject { fate: Fate::Retry } => (4, 0, false),
            Self::Reject { fate: Fate::Dead } => (5, 0, false),
            Self::Reject { fate: Fate::Park } => (6, 0, false),
        }
    }

    fn verb(self) -> Verb {
        match self {
            Self::Ack | Self::Forget => Verb::Ack,
            Self::Nack { .. } => Verb::Nack,
            Self::Reject { .. } => Verb::Reject,
            Self::Extend { .. } => Verb::Extend,
        }
    }
}

/// Neighbouring offsets under one lease become one entry.
fn entries(offsets: &[(LeaseId, u64)]) -> Vec<SettleEntry> {
    let mut entries: Vec<SettleEntry> = Vec::new();
    for (lease, offset) in offsets {
        match entries.last_mut() {
            Some(entry) if entry.lease == *lease && entry.range.end().0 == *offset => {
                entry.range.count += 1;
            }
            _ => entries.push(SettleEntry {
                lease: *lease,
                range: OffsetRange {
                    first: Offset(*offset),
                    count: 1,
                },
            }),
        }
    }
    entries
}

fn foreign(of: SubscriptionKey, by: Receiver, deliveries: &Deliveries<'_>) -> Event {
    Event::Delivered(Delivered {
        of,
        by,
        lease: deliveries.lease,
        attempt: 1,
        offset: deliveries.runs.first().map_or(0, |run| run.first.0),
        body: Body::Foreign,
    })
}
