//! Subscriptions under credit; acks of ranges of offsets.

use anyhow::{Result, bail};
use corelane_wire::{
    ConsumerId, Correlation, Deliveries, Lane, OffsetRange, Request, Response, Settle,
    SettleEntries, SettleEntry, SettleOutcome, Subscribe,
};

use super::{Found, ask, each_frame};
use crate::load::connection::Connection;
use crate::load::plan::Plan;
use crate::load::protocol::{Arrival, Consumers, Delivered};

/// One consumer of the connection; its number there is its place.
#[derive(Debug)]
struct Consumer {
    queue: String,
    /// Entries of the next ack.
    entries: Vec<u8>,
    messages: u32,
}

/// The consumers of one connection.
#[derive(Debug)]
pub struct CorelaneConsumers {
    consumers: Vec<Consumer>,
    /// Acks that are unanswered.
    acks: u32,
    /// Of the last request.
    correlation: u64,
    /// Unsubscribes that are unanswered; `None` before the end.
    leaving: Option<usize>,
}

impl CorelaneConsumers {
    pub(super) fn new(plan: &Plan, indices: &[u32]) -> Self {
        let consumer = |&index: &u32| Consumer {
            queue: plan.queue(index % plan.queues),
            entries: Vec::new(),
            messages: 0,
        };
        Self {
            consumers: indices.iter().map(consumer).collect(),
            acks: 0,
            correlation: 0,
            leaving: None,
        }
    }

    /// Subscribes all, on a connection that still blocks.
    ///
    /// Messages that wait in the queue may come before the answer; they stay where they are, and are as good as one.
    pub(super) fn subscribe(&self, plan: &Plan, connection: &mut Connection) -> Result<()> {
        for (consumer, place) in self.consumers.iter().zip(0..) {
            let subscribe = Subscribe {
                queue: &consumer.queue,
                lane: Lane(0),
                subscription: "",
                consumer: ConsumerId(place),
                credit: plan.credit,
                lease_ms: plan.lease_ms,
            };
            ask(connection, &Request::Subscribe(subscribe), |answer| {
                if matches!(answer, Response::Delivery { .. }) {
                    return Ok(Found::Early(()));
                }
                if *answer != Response::Subscribed {
                    bail!("a subscribe is answered by {answer:?}");
                }
                Ok(Found::Answer(()))
            })?;
        }
        Ok(())
    }

    fn ack_one(&mut self, place: usize, out: &mut Vec<u8>) {
        let consumer = &mut self.consumers[place];
        if consumer.messages == 0 {
            return;
        }
        let entries =
            SettleEntries::read(&consumer.entries).expect("the entries are bounded as they come");
        let settle = Settle {
            queue: &consumer.queue,
            lane: Lane(0),
            subscription: "",
            entries,
        };
        self.correlation += 1;
        Request::Ack(settle).encode(Correlation(self.correlation), out);
        consumer.entries.clear();
        consumer.messages = 0;
        self.acks += 1;
    }
}

impl Consumers for CorelaneConsumers {
    fn read(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> Result<usize> {
        each_frame(bytes, |_, answer| {
            if let Response::Delivery {
                consumer,
                deliveries,
            } = answer
            {
                let place = consumer.0 as usize;
                let Some(consumer) = self.consumers.get_mut(place) else {
                    bail!("a delivery for consumer {consumer}, which does not exist");
                };
                if consumer.take(place, deliveries, arrivals) {
                    self.ack_one(place, out);
                }
            } else if let Response::Settled(rows) = answer {
                self.acks = self.acks.saturating_sub(1);
                let stale = rows
                    .iter()
                    .filter(|row| row.outcome == SettleOutcome::Stale);
                let stale = stale.map(|row| u64::from(row.range.count)).sum();
                arrivals(Arrival::Stale(stale));
            } else if *answer == Response::Unsubscribed {
                self.leaving = self.leaving.map(|left| left.saturating_sub(1));
            } else if *answer != Response::Subscribed {
                bail!("a consumer's connection gets {answer:?}");
            }
            Ok(())
        })
    }

    fn ack(&mut self, out: &mut Vec<u8>) {
        for place in 0..self.consumers.len() {
            if self.acks < ACKS_MAX {
                self.ack_one(place, out);
            }
        }
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        if self.leaving.is_none() {
            for (place, _) in (0..).zip(&self.consumers) {
                let request = Request::Unsubscribe {
                    consumer: ConsumerId(place),
                };
                self.correlation += 1;
                request.encode(Correlation(self.correlation), out);
            }
            self.leaving = Some(self.consumers.len());
        }
    }

    fn has_left(&self) -> bool {
        self.leaving == Some(0) && self.acks == 0
    }
}

impl Consumer {
    /// Hands the messages on and notes what to ack; true if the ack cannot wait for more.
    fn take(
        &mut self,
        place: usize,
        deliveries: &Deliveries<'_>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> bool {
        for delivered in deliveries {
            let Ok(delivered) = delivered else {
                // Nothing behind it can be read either; what is missing for it will count as lost.
                arrivals(Arrival::Unreadable);
                break;
            };
            arrivals(Arrival::Message(Delivered {
                consumer: place,
                body: delivered.message.body,
                offset: Some(delivered.offset.0),
                is_again: delivered.attempt > 1,
            }));
        }
        for run in &deliveries.runs {
            let range = OffsetRange {
                first: run.first,
                count: run.count,
            };
            let lease = deliveries.lease;
            SettleEntry { lease, range }.put(&mut self.entries);
            self.messages += run.count;
        }
        self.messages > ACK_MESSAGES_MAX || self.entries.len() > ACK_BYTES_MAX
    }
}

/// The broker reads 1,024 requests ahead.
const ACKS_MAX: u32 = 1_000;
/// An ack names 65,536 messages at most, and one delivery adds fewer than half of that.
const ACK_MESSAGES_MAX: u32 = 30_000;
/// An ack has 10,000 entries of 28 bytes at most, and one delivery adds up to 2,048.
const ACK_BYTES_MAX: usize = 7_000 * 28;
