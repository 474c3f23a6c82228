//! What may be delivered, to whom, and in which order.

use corelane_core::{DeliverTo, Delivery, Run};
use corelane_wire::{Epoch, LeaseId, Lsn, record_kind};

use super::Model;
use super::state::{Fact, Is, Key};

/// Who gets messages.
#[derive(Debug)]
struct Taker {
    key: Key,
    session: u128,
    lease_ms: u32,
    count_max: u32,
}

impl Model {
    /// Messages of a subscription that can be given out, in the order in which they have to be: all that are ready and
    /// committed, by offset. Those that came back lie before those that never were given out.
    pub(crate) fn ready(&self, key: Key) -> Vec<usize> {
        let enqueued = &self.state.queues[key.0].messages;
        let messages = self.state.messages(key);
        let ready = messages
            .filter(|(at, message)| message.is == Is::Ready && enqueued[*at].lsn < self.committed);
        let allowed = self.allowed(key);
        ready.map(|(at, _)| at).take(allowed).collect()
    }

    /// How many messages may be given out: none while it is paused, and never more than its bound in flight.
    fn allowed(&self, key: Key) -> usize {
        let subscription = self.state.subscription(key);
        let leased = subscription
            .messages
            .iter()
            .filter(|it| it.lease().is_some());
        match subscription.config.in_flight_max as usize {
            _ if subscription.pause.is_some() => 0,
            0 => usize::MAX,
            max => max.saturating_sub(leased.count()),
        }
    }

    /// Checks a delivery and takes note of it.
    pub(crate) fn deliver(&mut self, now: u64, delivery: &Delivery) -> Result<Key, String> {
        let taker = self.taker(delivery.to)?;
        let key = taker.key;
        let (epoch, lsn) = (Epoch(self.state.epoch), Lsn(self.end));
        let lease = LeaseId { epoch, lsn };
        if delivery.lease != lease || delivery.lease_ms != taker.lease_ms {
            return Err(format!(
                "lease {lease:?} of {} ms is wanted",
                taker.lease_ms
            ));
        }
        if self.is_withheld {
            return Err("something is given out while nothing may be".to_owned());
        }
        let offsets = self.check_runs(key, &delivery.runs)?;
        if offsets.is_empty() || offsets.len() > taker.count_max as usize {
            return Err(format!(
                "{} messages, wanted are {}",
                offsets.len(),
                taker.count_max
            ));
        }
        let first_ready = self.ready(key);
        if !first_ready.starts_with(&offsets) {
            return Err(format!("{offsets:?} come, and first are {first_ready:?}"));
        }
        self.observe_delivery(key, delivery);
        self.write(now, record_kind::LEASE);
        for offset in offsets {
            self.note(Fact::Lease {
                key,
                offset,
                session: taker.session,
                lease_ms: taker.lease_ms,
            });
        }
        match delivery.to {
            DeliverTo::Consumer {
                connection,
                consumer,
            } => {
                let mut consumers = self.consumers.iter_mut();
                let of = consumers.find(|it| (it.connection, it.id) == (connection.0, consumer.0));
                of.expect("the taker was found").leases.push(lease.lsn.0);
            }
            DeliverTo::Dequeue(from) | DeliverTo::Peek(from) => {
                self.waiters.retain(|waiter| waiter.from != from);
            }
        }
        Ok(key)
    }

    /// Dequeues come first, in the order of their arrival.
    fn taker(&self, to: DeliverTo) -> Result<Taker, String> {
        match to {
            DeliverTo::Dequeue(from) => {
                let waiter = self.waiters.iter().find(|waiter| waiter.from == from);
                let waiter = waiter.ok_or("nobody waits for this delivery")?;
                let first = self.waiters.iter().find(|other| other.key == waiter.key);
                if first.is_some_and(|first| first.from != from) {
                    return Err(format!("{:?} came before", first.map(|first| first.from)));
                }
                Ok(Taker {
                    key: waiter.key,
                    session: from.session.0,
                    lease_ms: waiter.lease_ms,
                    count_max: waiter.count,
                })
            }
            DeliverTo::Consumer {
                connection,
                consumer,
            } => {
                let mut consumers = self.consumers.iter();
                let of = consumers.find(|it| (it.connection, it.id) == (connection.0, consumer.0));
                let of = of.ok_or("there is no such consumer")?;
                if self.unwritable.contains(&connection.0) {
                    return Err("the connection takes nothing".to_owned());
                }
                if self.waiters.iter().any(|waiter| waiter.key == of.key) {
                    return Err("a dequeue waits, and a consumer gets messages".to_owned());
                }
                Ok(Taker {
                    key: of.key,
                    session: of.session.0,
                    lease_ms: of.lease_ms,
                    count_max: of.credit.saturating_sub(self.held(of)),
                })
            }
            DeliverTo::Peek(_) => Err("a peek at the end of a turn".to_owned()),
        }
    }

    /// The offsets of runs whose messages exist, with the right attempt and time.
    fn check_runs(&self, key: Key, runs: &[Run]) -> Result<Vec<usize>, String> {
        let subscription = self.state.subscription(key);
        let mut offsets = Vec::new();
        for run in runs {
            for at in run.first.0..run.first.0 + u64::from(run.count) {
                let offset = usize::try_from(at).map_err(|error| error.to_string())?;
                let message = subscription.messages.get(offset);
                let message = message.ok_or_else(|| format!("there is no message {at}"))?;
                let time = self.state.queues[key.0].messages[offset].time;
                let wanted = (message.attempts + 1, time);
                if (run.attempt, run.enqueued.0) != wanted {
                    return Err(format!("attempt and time of {at} are {wanted:?}: {run:?}"));
                }
                offsets.push(offset);
            }
        }
        Ok(offsets)
    }
}
