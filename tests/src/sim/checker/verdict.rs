//! The last judgement: the ledger of the clients against the evidence of the logs.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Place, QueueLog, SubscriptionLog};
use super::history::{QueueIndex, SubscriptionKey};
use super::{Checker, Verdict, violation};

/// How the seed's numbers and the broker's names go together.
#[derive(Clone, Debug)]
pub struct Names {
    /// Name of each queue.
    pub queues: Vec<String>,
    /// Name of each subscription.
    pub subscriptions: Vec<String>,
    /// Partition of each queue.
    pub partitions: Vec<u32>,
}

/// Judges the history by the logs of all partitions, by partition number.
///
/// # Errors
/// The rule that is broken.
pub fn judge(checker: &Checker, logs: &BTreeMap<u32, Evidence>, names: &Names) -> Verdict {
    let court = Court {
        checker,
        logs,
        names,
    };
    court.messages()?;
    court.deliveries()?;
    court.acks()?;
    court.arrivals()?;
    court.deletions()?;
    court.emptiness()
}

struct Court<'a> {
    checker: &'a Checker,
    logs: &'a BTreeMap<u32, Evidence>,
    names: &'a Names,
}

impl Court<'_> {
    fn queue(&self, queue: QueueIndex) -> Option<&QueueLog> {
        let partition = self.names.partitions.get(queue as usize)?;
        let name = self.names.queues.get(queue as usize)?;
        self.logs.get(partition)?.queue(name)
    }

    fn subscription(&self, of: SubscriptionKey) -> Option<&SubscriptionLog> {
        let name = self.names.subscriptions.get(of.subscription as usize)?;
        self.queue(of.queue)?
            .subscriptions
            .values()
            .find(|subscription| subscription.name == *name)
    }

    /// Everything that a client knows an offset of lies there in the log.
    fn messages(&self) -> Verdict {
        for (token, message) in self.checker.messages() {
            let queue = message.batch.queue;
            let Some(offset) = message.offset else {
                continue;
            };
            if self.checker.is_deleted(queue) {
                continue;
            }
            let found = self
                .queue(queue)
                .and_then(|log| log.tokens.get(&offset).copied());
            if found != Some(token) {
                let rule = if message.is_confirmed { "C1" } else { "C2" };
                return violation(
                    rule,
                    format!(
                        "message {token:x} at offset {offset} of queue {queue}: the log has {found:x?}"
                    ),
                );
            }
        }
        Ok(())
    }

    /// A delivery's lease is in the log with the same attempt; only a crash after it may have undone it.
    fn deliveries(&self) -> Verdict {
        for delivered in self.checker.delivered() {
            let of = delivered.of;
            if self.checker.is_deleted(of.queue) {
                continue;
            }
            let partition = self.names.partitions[of.queue as usize];
            let known = self
                .logs
                .get(&partition)
                .and_then(|log| log.leases.get(&delivered.lease));
            let Some(known) = known else {
                if self.checker.current_epoch(of.queue) == Some(delivered.lease.epoch) {
                    return violation("C4", format!("{delivered:?}: its lease is not in the log"));
                }
                continue;
            };
            let attempt = known.attempts.get(&delivered.offset).copied();
            if attempt != Some(delivered.attempt) {
                return violation(
                    "C5",
                    format!("{delivered:?}: the log has attempt {attempt:?}"),
                );
            }
        }
        Ok(())
    }

    /// Every confirmed ack is in the log.
    fn acks(&self) -> Verdict {
        for (of, offset, is_own) in self.checker.acked() {
            if self.checker.is_deleted(of.queue) {
                continue;
            }
            let log = self.subscription(of);
            let place = log
                .and_then(|log| log.facts.get(&offset))
                .map(|fact| fact.place);
            // A subscription made anew after a crash may begin later: what is before counts as done.
            let is_before = !is_own && log.is_some_and(|log| offset < log.from);
            if place != Some(Place::Done) && !is_before {
                return violation(
                    "C3",
                    format!(
                        "the ack of offset {offset} of {of:?} was confirmed, the log has {place:?}"
                    ),
                );
            }
        }
        Ok(())
    }

    /// Every confirmed message came to every subscription that covers it.
    fn arrivals(&self) -> Verdict {
        for (token, message) in self.checker.messages() {
            let queue = message.batch.queue;
            let (true, Some(offset)) = (message.is_confirmed, message.offset) else {
                continue;
            };
            if self.checker.is_deleted(queue) {
                continue;
            }
            for subscription in 0..self.names.subscriptions.len() as u32 {
                let of = SubscriptionKey {
                    queue,
                    subscription,
                };
                let covers = self.subscription(of).is_some_and(|log| log.from <= offset);
                if covers && !self.checker.has_come(of, offset) {
                    return violation(
                        "C1",
                        format!(
                            "message {token:x}, confirmed at offset {offset}, never came to {of:?}"
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    /// Every confirmed deletion is in the log.
    fn deletions(&self) -> Verdict {
        for (queue, confirmed) in self.checker.deletions() {
            let (index, name) = (queue as usize, &self.names.queues[queue as usize]);
            let log = self.logs.get(&self.names.partitions[index]);
            let known = log.and_then(|log| log.deletions.get(name).copied());
            let known = known.unwrap_or_default();
            if known < confirmed {
                return violation(
                    "delete",
                    format!("{name}: {confirmed} deletions were confirmed, the log has {known}"),
                );
            }
        }
        Ok(())
    }

    /// After the drain every message of every subscription is done.
    fn emptiness(&self) -> Verdict {
        let logs = self.logs.iter();
        let queues = logs
            .flat_map(|(partition, log)| log.queues.values().map(move |queue| (partition, queue)));
        for (partition, queue) in queues {
            for subscription in queue.subscriptions.values() {
                if let Some(what) = undone(queue, subscription) {
                    let (queue, subscription) = (&queue.name, &subscription.name);
                    let text = format!("partition {partition}, {queue}/{subscription}: {what}");
                    return violation("C1", text);
                }
            }
        }
        Ok(())
    }
}

/// What a drained subscription still has, if anything.
fn undone(queue: &QueueLog, subscription: &SubscriptionLog) -> Option<String> {
    let mut facts = subscription.facts.iter();
    if let Some((offset, fact)) = facts.find(|(_, fact)| fact.place != Place::Done) {
        return Some(format!("offset {offset} is {fact:?} after the drain"));
    }
    let (cursor, end) = (subscription.cursor, queue.end);
    (cursor != end).then(|| format!("drained to {cursor} of {end}"))
}
