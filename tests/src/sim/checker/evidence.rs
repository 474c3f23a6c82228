//! The evidence: a partition's committed log, replayed into a model of its own and held against the ledger.
//!
//! What clients cannot see is judged here: leases disjoint in log time (C4), attempts that grow by one per
//! committed lease (C5), one Enqueue per producer and sequence (C7), no lease after an ack (C3), nothing early (C8).

mod records;
mod subscription;

use std::collections::BTreeMap;

use corelane_core::record::Record;
use corelane_wire::{Epoch, LeaseId, Lsn, Timestamp};

use super::history::Token;
use super::{Verdict, violation};

use records::{offsets, settlement, tokens_of};
pub use subscription::{Fact, Place, SubscriptionLog};

/// One record of the log, decoded.
#[derive(Clone, Debug)]
pub struct LogRecord<'a> {
    /// Its number.
    pub lsn: Lsn,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its log time.
    pub time: Timestamp,
    /// What it says.
    pub record: Record,
    /// The batch of an Enqueue or Relocate.
    pub batch: &'a [u8],
}

/// A queue, by the log.
#[derive(Clone, Debug, Default)]
pub struct QueueLog {
    /// Its name.
    pub name: String,
    /// The offset of its next message.
    pub end: u64,
    /// Its messages.
    pub tokens: BTreeMap<u64, Token>,
    /// The records that hold them, where that is not their Enqueue record any more.
    pub relocated: BTreeMap<u64, u64>,
    /// Its subscriptions, by number.
    pub subscriptions: BTreeMap<u32, SubscriptionLog>,
    producers: BTreeMap<(u128, u64), u64>,
}

/// What one Lease record gave out: the offsets, each with its attempt.
#[derive(Clone, Debug, Default)]
pub struct LeaseLog {
    /// Number of the queue.
    pub queue: u32,
    /// Number of the subscription.
    pub subscription: u32,
    /// Offset to attempt.
    pub attempts: BTreeMap<u64, u32>,
}

/// How often the log shows what a run must meet.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvidenceMet {
    /// Messages whose lease expired.
    pub expired: u64,
    /// Messages released with their session.
    pub released: u64,
    /// Messages given back with a delay.
    pub delayed: u64,
    /// Messages given out again in a later epoch than before.
    pub again_in_later_epoch: u64,
    /// Relocate records.
    pub relocated: u64,
}

/// The model of one partition.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Queues by number; deleted ones are gone.
    pub queues: BTreeMap<u32, QueueLog>,
    /// How often a queue of the name was deleted.
    pub deletions: BTreeMap<String, u64>,
    /// Every Lease record.
    pub leases: BTreeMap<LeaseId, LeaseLog>,
    next: u64,
    epoch: Epoch,
    time: u64,
    jumps: u64,
    queues_ever: u32,
    /// What was met.
    pub met: EvidenceMet,
}

impl Evidence {
    /// Judges the next record.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn observe(&mut self, entry: &LogRecord<'_>) -> Verdict {
        if entry.lsn.0 != self.next {
            let next = self.next;
            return violation("log", format!("lsn {} where {next} is next", entry.lsn));
        }
        if entry.time.0 < self.time {
            let time = self.time;
            return violation("log", format!("log time {} after {time}", entry.time));
        }
        self.next += 1;
        self.time = entry.time.0;
        match &entry.record {
            Record::Epoch { epoch, jump_ns } => {
                if *epoch <= self.epoch || *epoch != entry.epoch {
                    let old = self.epoch;
                    return violation("C5", format!("epoch {epoch} follows {old}"));
                }
                self.epoch = *epoch;
                self.jumps += jump_ns;
                Ok(())
            }
            Record::Tick => {
                self.expire();
                Ok(())
            }
            Record::Release { session } => {
                self.release(session.0);
                Ok(())
            }
            Record::Create { queue, name } => self.on_create(queue.0, name),
            Record::Delete { queue } => match self.queues.remove(&queue.0) {
                Some(log) => {
                    *self.deletions.entry(log.name).or_default() += 1;
                    Ok(())
                }
                None => violation("log", format!("queue {queue} deleted, it is not there")),
            },
            Record::Enqueue { .. } => self.on_enqueue(entry),
            Record::Relocate { .. } => self.on_relocate(entry),
            Record::Subscribe { .. } => self.on_subscribe(&entry.record),
            Record::Lease { .. } => self.on_lease(entry),
            Record::Ack { .. }
            | Record::Nack { .. }
            | Record::Reject { .. }
            | Record::Extend { .. } => self.on_settle(entry),
            Record::Change {
                queue,
                subscription,
                change,
            } => match self.subscription(queue.0, subscription.0) {
                Some((_, target)) => target.change(change),
                None => violation(
                    "log",
                    format!("change of {queue}/{subscription}, not there"),
                ),
            },
            Record::Take { .. }
            | Record::ConfigureQueue { .. }
            | Record::Trim { .. }
            | Record::Reschedule { .. } => {
                let record = &entry.record;
                violation("log", format!("nobody asked for {record:?}"))
            }
        }
        .and_then(|()| self.check_epoch(entry))
    }

    fn check_epoch(&self, entry: &LogRecord<'_>) -> Verdict {
        if entry.epoch == self.epoch {
            return Ok(());
        }
        let (found, own) = (entry.epoch, self.epoch);
        violation(
            "C5",
            format!("lsn {} is of epoch {found}, now is {own}", entry.lsn),
        )
    }

    fn lease_time(&self) -> u64 {
        self.time.saturating_sub(self.jumps)
    }

    fn facts(&mut self) -> impl Iterator<Item = &mut Fact> {
        self.queues
            .values_mut()
            .flat_map(|queue| queue.subscriptions.values_mut())
            .flat_map(|subscription| subscription.facts.values_mut())
    }

    fn expire(&mut self) {
        let (now, time) = (self.lease_time(), self.time);
        let mut expired = 0;
        for fact in self.facts() {
            match fact.place {
                Place::Leased { deadline, .. } if deadline <= now => {
                    expired += 1;
                    fact.place = Place::Ready;
                }
                Place::Delayed { due } if due <= time => fact.place = Place::Ready,
                Place::Leased { .. }
                | Place::Delayed { .. }
                | Place::Ready
                | Place::Dead
                | Place::Parked
                | Place::Done => {}
            }
        }
        self.met.expired += expired;
    }

    fn release(&mut self, ended: u128) {
        let mut released = 0;
        for fact in self.facts() {
            if let Place::Leased { session, .. } = fact.place
                && session == ended
            {
                released += 1;
                fact.place = Place::Ready;
                fact.attempts -= 1;
            }
        }
        self.met.released += released;
    }

    fn on_create(&mut self, id: u32, name: &str) -> Verdict {
        if self.queues.values().any(|queue| queue.name == name) {
            return violation("log", format!("queue {name} created twice"));
        }
        if id != self.queues_ever {
            return violation("log", format!("queue {name} got the number {id}"));
        }
        self.queues_ever += 1;
        let queue = QueueLog {
            name: name.to_owned(),
            ..QueueLog::default()
        };
        self.queues.insert(id, queue);
        Ok(())
    }

    /// What got a new place is what was enqueued.
    fn on_relocate(&mut self, entry: &LogRecord<'_>) -> Verdict {
        let Record::Relocate {
            queue: id,
            first,
            count,
            ..
        } = &entry.record
        else {
            return Ok(());
        };
        let offsets = first.0..first.0 + u64::from(*count);
        if let Some(queue) = self.queues.get_mut(&id.0) {
            let tokens = offsets.clone().map(|offset| queue.tokens.get(&offset));
            if tokens.eq(tokens_of(entry)?.iter().map(Some)) {
                self.met.relocated += 1;
                queue
                    .relocated
                    .extend(offsets.map(|offset| (offset, entry.lsn.0)));
                return Ok(());
            }
        }
        violation(
            "C2",
            format!(
                "lsn {} gives others for {count} messages from {first} of queue {id}",
                entry.lsn
            ),
        )
    }

    fn on_enqueue(&mut self, entry: &LogRecord<'_>) -> Verdict {
        let Record::Enqueue {
            queue: id,
            first,
            count,
            producer,
            sequence,
            ..
        } = &entry.record
        else {
            return Ok(());
        };
        let Some(queue) = self.queues.get_mut(&id.0) else {
            return violation("log", format!("enqueue to queue {id}, which is not there"));
        };
        if first.0 != queue.end {
            let end = queue.end;
            return violation(
                "C7",
                format!("enqueue at {first}, queue {id} ends at {end}"),
            );
        }
        let key = (producer.0, sequence.0);
        if producer.0 != 0
            && let Some(old) = queue.producers.insert(key, first.0)
        {
            return violation(
                "C7",
                format!("{key:?} of queue {id} is at {old} and at {first}"),
            );
        }
        let mut offset = first.0;
        for token in tokens_of(entry)? {
            queue.tokens.insert(offset, token);
            offset += 1;
        }
        queue.end = offset;
        if offset != first.0 + u64::from(*count) {
            return violation("C7", format!("lsn {} counts {count} messages", entry.lsn));
        }
        Ok(())
    }

    fn on_subscribe(&mut self, record: &Record) -> Verdict {
        let Record::Subscribe {
            queue: id,
            subscription,
            name,
            from,
        } = record
        else {
            return Ok(());
        };
        let Some(queue) = self.queues.get_mut(&id.0) else {
            return violation(
                "log",
                format!("subscription to queue {id}, which is not there"),
            );
        };
        if queue.subscriptions.is_empty() && from.0 != 0 {
            return violation(
                "C1",
                format!("the first subscription of {id} begins at {from}"),
            );
        }
        let subscription_log = SubscriptionLog {
            name: name.clone(),
            from: from.0,
            cursor: from.0,
            facts: BTreeMap::new(),
            is_paused: false,
        };
        if queue
            .subscriptions
            .insert(subscription.0, subscription_log)
            .is_some()
        {
            return violation(
                "log",
                format!("subscription {subscription} of {id} made twice"),
            );
        }
        Ok(())
    }

    fn on_lease(&mut self, entry: &LogRecord<'_>) -> Verdict {
        let Record::Lease {
            queue,
            subscription,
            session,
            lease_ms,
            ranges,
        } = &entry.record
        else {
            return Ok(());
        };
        let lease = LeaseId {
            epoch: entry.epoch,
            lsn: entry.lsn,
        };
        let deadline = self.lease_time() + u64::from(*lease_ms) * 1_000_000;
        let place = Place::Leased {
            lease,
            deadline,
            session: session.0,
        };
        let time = self.time;
        let Some((end, target)) = self.subscription(queue.0, subscription.0) else {
            return violation("log", format!("lease of {queue}/{subscription}, not there"));
        };
        let mut attempts = BTreeMap::new();
        let mut again = 0;
        for offset in ranges.iter().flat_map(offsets) {
            if offset >= end {
                return violation(
                    "C2",
                    format!("{lease:?} gives {offset} out, the end is {end}"),
                );
            }
            let old = target.facts.get(&offset).map(|fact| fact.epoch);
            again += u64::from(old.is_some_and(|old| old < lease.epoch));
            let attempt = target.give_out(offset, place, time)?;
            attempts.insert(offset, attempt);
        }
        let given = LeaseLog {
            queue: queue.0,
            subscription: subscription.0,
            attempts,
        };
        self.leases.insert(lease, given);
        self.met.again_in_later_epoch += again;
        Ok(())
    }

    fn subscription(&mut self, queue: u32, id: u32) -> Option<(u64, &mut SubscriptionLog)> {
        let queue = self.queues.get_mut(&queue)?;
        Some((queue.end, queue.subscriptions.get_mut(&id)?))
    }

    fn on_settle(&mut self, entry: &LogRecord<'_>) -> Verdict {
        let Some((queue, subscription, entries)) = settlement(&entry.record) else {
            return Ok(());
        };
        let (time, lease_time) = (self.time, self.lease_time());
        if let Record::Nack { delay_ms: 1.., .. } = &entry.record {
            self.met.delayed += 1;
        }
        let Some((_, target)) = self.subscription(queue.0, subscription.0) else {
            return violation(
                "log",
                format!("settle of {queue}/{subscription}, not there"),
            );
        };
        for settled in entries {
            for offset in offsets(&settled.range) {
                let Some(fact) = target.facts.get_mut(&offset) else {
                    return violation("C3", format!("settle of {offset}, never given out"));
                };
                match fact.place {
                    Place::Leased { lease, .. } if lease == settled.lease => {}
                    place @ (Place::Leased { .. }
                    | Place::Ready
                    | Place::Delayed { .. }
                    | Place::Dead
                    | Place::Parked
                    | Place::Done) => {
                        let stale = settled.lease;
                        return violation(
                            "C3",
                            format!(
                                "lsn {}: {stale:?} settles {offset}, which is {place:?}",
                                entry.lsn
                            ),
                        );
                    }
                }
                fact.settle(&entry.record, time, lease_time);
            }
        }
        Ok(())
    }

    /// The queue of this name.
    pub fn queue(&self, name: &str) -> Option<&QueueLog> {
        self.queues.values().find(|queue| queue.name == name)
    }
}
