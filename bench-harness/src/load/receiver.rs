//! What the consumers of one connection do: check what comes, and ack it at once.

use anyhow::{Result, bail};
use corelane_wire::{
    ConsumerId, Correlation, Deliveries, Lane, OffsetRange, Request, Response, Settle,
    SettleEntries, SettleEntry, SettleOutcome, Subscribe,
};

use super::connection::Connection;
use super::generator::Book;
use super::payload::Stamp;
use super::plan::Plan;
use super::sender::Terms;

/// One consumer of the connection; its number there is its place.
#[derive(Debug)]
struct Consumer {
    queue: String,
    /// Whether the queue has no other, so that its order can be seen.
    is_alone: bool,
    /// Entries of the next ack.
    entries: Vec<u8>,
    messages: u32,
    /// The next offset on a first attempt is not below this.
    offset_min: u64,
    /// The same for the sequences of each producer.
    sequence_min: Vec<u64>,
}

/// The consumers of one connection.
#[derive(Debug)]
pub(super) struct Receiver {
    consumers: Vec<Consumer>,
    /// Acks that are unanswered.
    acks: u32,
    /// Of the last request.
    correlation: u64,
    /// Unsubscribes that are unanswered; `None` before the end.
    leaving: Option<usize>,
}

impl Receiver {
    /// A receiver for the consumers with these numbers.
    pub(super) fn new(plan: &Plan, indices: &[u32]) -> Self {
        let consumer = |&index: &u32| Consumer {
            queue: plan.queue(index % plan.queues),
            is_alone: consumers_of(plan, index % plan.queues) == 1,
            entries: Vec::new(),
            messages: 0,
            offset_min: 0,
            sequence_min: vec![0; plan.producers as usize],
        };
        Self {
            consumers: indices.iter().map(consumer).collect(),
            acks: 0,
            correlation: 0,
            leaving: None,
        }
    }

    /// Subscribes all, on a connection that still blocks; before the first message, so that nothing can come.
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
            connection.call(&Request::Subscribe(subscribe), |_| Ok(()))?;
        }
        Ok(())
    }

    /// A frame came at `now_ns`.
    pub(super) fn on_frame(
        &mut self,
        answer: &Response<'_>,
        now_ns: u64,
        terms: &Terms<'_>,
        (book, out): (&mut Book, &mut Vec<u8>),
    ) -> Result<()> {
        if let Response::Delivery {
            consumer,
            deliveries,
        } = answer
        {
            let place = consumer.0 as usize;
            let Some(consumer) = self.consumers.get_mut(place) else {
                bail!("a delivery for consumer {consumer}, which does not exist");
            };
            if consumer.take(deliveries, now_ns, terms, book) {
                self.ack_one(place, out);
            }
        } else if let Response::Settled(rows) = answer {
            self.acks = self.acks.saturating_sub(1);
            let stale = rows
                .iter()
                .filter(|row| row.outcome == SettleOutcome::Stale);
            book.stale += stale.map(|row| u64::from(row.range.count)).sum::<u64>();
        } else if *answer == Response::Unsubscribed {
            self.leaving = self.leaving.map(|left| left.saturating_sub(1));
        } else {
            bail!("a consumer's connection gets {answer:?}");
        }
        Ok(())
    }

    /// Encodes the acks of what came in this turn, if the broker reads as many.
    pub(super) fn ack(&mut self, out: &mut Vec<u8>) {
        for place in 0..self.consumers.len() {
            if self.acks < ACKS_MAX {
                self.ack_one(place, out);
            }
        }
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

    /// Unsubscribes all: once answered, nothing can come any more.
    pub(super) fn leave(&mut self, out: &mut Vec<u8>) {
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

    /// Whether everything is acked and nobody is subscribed.
    pub(super) fn has_left(&self) -> bool {
        self.leaving == Some(0) && self.acks == 0
    }
}

impl Consumer {
    /// Checks the messages and notes what to ack; true if the ack cannot wait for more.
    fn take(
        &mut self,
        deliveries: &Deliveries<'_>,
        now_ns: u64,
        terms: &Terms<'_>,
        book: &mut Book,
    ) -> bool {
        for delivered in deliveries {
            let Ok(delivered) = delivered else {
                // Nothing behind it can be read either; what is missing for it will count as lost.
                book.corrupt += 1;
                break;
            };
            book.on_delivered();
            let Some(stamp) = terms.payload.read(delivered.message.body) else {
                book.corrupt += 1;
                continue;
            };
            if terms.is_measured(stamp.intended_ns) {
                let age_ns = now_ns.saturating_sub(stamp.intended_ns);
                book.series.end_to_end.record_ns(age_ns, 1);
            }
            if book.deliver(stamp) && self.is_alone && delivered.attempt == 1 {
                book.reordered += u64::from(!self.is_in_order(delivered.offset.0, stamp));
            }
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

    /// Whether nothing with a later offset, or sent later by the same producer, came before; (G5).
    fn is_in_order(&mut self, offset: u64, stamp: Stamp) -> bool {
        let Some(sequence_min) = self.sequence_min.get_mut(stamp.producer as usize) else {
            return true;
        };
        let is_in_order = offset >= self.offset_min && stamp.sequence >= *sequence_min;
        self.offset_min = self.offset_min.max(offset + 1);
        *sequence_min = (*sequence_min).max(stamp.sequence + 1);
        is_in_order
    }
}

/// How many consumers a queue has.
const fn consumers_of(plan: &Plan, queue: u32) -> u32 {
    plan.consumers / plan.queues + (queue < plan.consumers % plan.queues) as u32
}

/// The broker reads 1,024 requests ahead.
const ACKS_MAX: u32 = 1_000;
/// An ack names 65,536 messages at most, and one delivery adds fewer than half of that.
const ACK_MESSAGES_MAX: u32 = 30_000;
/// An ack has 10,000 entries of 28 bytes at most, and one delivery adds up to 2,048.
const ACK_BYTES_MAX: usize = 7_000 * 28;
