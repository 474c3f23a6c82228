//! What the consumers of one connection do: check what comes, and ack it at once.

use anyhow::Result;

use super::book::Book;
use super::payload::Stamp;
use super::plan::Plan;
use super::protocol::{Arrival, Consumers, Delivered};
use super::sender::Terms;

/// The order in which messages came to one consumer.
#[derive(Debug)]
struct Order {
    /// Whether the queue has no other consumer, so that its order can be seen.
    is_alone: bool,
    /// The next offset on a first attempt is not below this.
    offset_min: u64,
    /// The same for the sequences of each producer.
    sequence_min: Vec<u64>,
}

/// The consumers of one connection.
#[derive(Debug)]
pub(super) struct Receiver<C> {
    protocol: C,
    orders: Vec<Order>,
}

impl<C: Consumers> Receiver<C> {
    /// A receiver for the consumers with these numbers.
    pub(super) fn new(plan: &Plan, indices: &[u32], protocol: C) -> Self {
        let order = |&index: &u32| Order {
            is_alone: consumers_of(plan, index % plan.queues) == 1,
            offset_min: 0,
            sequence_min: vec![0; plan.producers as usize],
        };
        Self {
            protocol,
            orders: indices.iter().map(order).collect(),
        }
    }

    /// Takes what is in `bytes`, which came at `now_ns`, and encodes the acks; returns how many bytes were whole.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        terms: &Terms<'_>,
        (book, out): (&mut Book, &mut Vec<u8>),
    ) -> Result<usize> {
        let orders = &mut self.orders;
        let used = self
            .protocol
            .read(bytes, out, &mut |arrival| match arrival {
                Arrival::Message(delivered) => take(&delivered, now_ns, terms, (book, orders)),
                Arrival::Unreadable => book.corrupt += 1,
                Arrival::Stale(count) => book.stale += count,
            })?;
        self.protocol.ack(out);
        Ok(used)
    }

    /// Asks for no more messages; what is on its way still comes.
    pub(super) fn leave(&mut self, out: &mut Vec<u8>) {
        self.protocol.leave(out);
    }

    /// Whether everything is acked and nothing can come any more.
    pub(super) fn has_left(&self) -> bool {
        self.protocol.has_left()
    }
}

/// Checks a message and enters it in the book.
fn take(
    delivered: &Delivered<'_>,
    now_ns: u64,
    terms: &Terms<'_>,
    (book, orders): (&mut Book, &mut [Order]),
) {
    let Some(stamp) = terms.payload.read(delivered.body) else {
        book.on_arrived();
        book.corrupt += 1;
        return;
    };
    let is_first = book.on_delivered(stamp, now_ns, terms);
    if let Some(order) = orders.get_mut(delivered.consumer)
        && is_first
        && order.is_alone
        && !delivered.is_again
    {
        book.reordered += u64::from(!order.is_kept(delivered.offset, stamp));
    }
}

impl Order {
    /// Whether nothing with a later offset, or sent later by the same producer, came before; (G5).
    fn is_kept(&mut self, offset: Option<u64>, stamp: Stamp) -> bool {
        let Some(sequence_min) = self.sequence_min.get_mut(stamp.producer as usize) else {
            return true;
        };
        let offset = offset.unwrap_or(self.offset_min);
        let is_kept = offset >= self.offset_min && stamp.sequence >= *sequence_min;
        self.offset_min = self.offset_min.max(offset + 1);
        *sequence_min = (*sequence_min).max(stamp.sequence + 1);
        is_kept
    }
}

/// How many consumers a queue has.
const fn consumers_of(plan: &Plan, queue: u32) -> u32 {
    plan.consumers / plan.queues + (queue < plan.consumers % plan.queues) as u32
}
