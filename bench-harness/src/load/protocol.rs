//! What a broker is to the generator: bytes that ask it for something, and what its bytes mean.
//!
//! Schedule, window, ledger and histograms are the generator's, the same for every broker. A protocol only encodes
//! and decodes; the generator owns the sockets and hands over what came.

use std::time::Duration;

use anyhow::Result;

use super::connection::Connection;
use super::plan::Plan;

/// A broker that can be loaded.
pub trait Broker {
    /// The producers of one connection.
    type Producers: Producers;
    /// The consumers of one connection.
    type Consumers: Consumers;

    /// Makes the queues of the plan, and returns what the broker calls itself.
    ///
    /// # Errors
    /// If it cannot be reached or refuses.
    fn prepare(&mut self, plan: &Plan) -> Result<String>;

    /// Opens a connection for the producers with these numbers.
    ///
    /// # Errors
    /// If it cannot be reached or refuses.
    fn producers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(Connection, Self::Producers)>;

    /// Opens a connection for the consumers with these numbers, to which messages may come from now on.
    ///
    /// # Errors
    /// If it cannot be reached or refuses.
    fn consumers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(Connection, Self::Consumers)>;

    /// Time that the broker's processes have used so far, if they are known.
    ///
    /// # Errors
    /// If the system does not tell.
    fn cpu(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Deletes the queues of the plan.
    ///
    /// # Errors
    /// If it cannot be reached or refuses.
    fn clear(&mut self, plan: &Plan) -> Result<()>;
}

/// What the producers of one connection say, and how their answers read.
pub trait Producers: Send {
    /// Encodes one enqueue.
    fn enqueue(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>);

    /// A batch of this producer was refused and nothing of it is unanswered: it goes on as a new one.
    fn renew(&mut self, _producer: usize) {}

    /// Reads what is whole in `bytes`, appends its answers, and returns how many bytes were used.
    ///
    /// # Errors
    /// If the bytes are not the protocol's.
    fn read(&mut self, bytes: &[u8], out: &mut Vec<u8>, answers: &mut Vec<Answer>)
    -> Result<usize>;
}

/// What the consumers of one connection say, and how deliveries read.
pub trait Consumers: Send {
    /// Reads what is whole in `bytes`, hands on what arrived, and returns how many bytes were used.
    ///
    /// # Errors
    /// If the bytes are not the protocol's.
    fn read(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> Result<usize>;

    /// Encodes the acks of what came since the last call, as far as the broker reads ahead.
    fn ack(&mut self, out: &mut Vec<u8>);

    /// Encodes, once, the request for no more messages.
    fn leave(&mut self, out: &mut Vec<u8>);

    /// Whether everything is acked and nothing can come any more.
    fn has_left(&self) -> bool;
}

/// One enqueue.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Names the enqueue until it is answered; smaller than the plan's window.
    pub slot: u32,
    /// The place of its producer among those of the connection.
    pub producer: usize,
    /// The bodies of its messages, one after the other.
    pub bodies: &'a [u8],
    /// Bytes of each.
    pub body_bytes: usize,
}

/// What became of an enqueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is confirmed: this is the receipt of the slot.
    Confirmed(u32),
    /// The broker refused it, with these words.
    Refused(u32, String),
}

/// What came to a consumer.
#[derive(Clone, Copy, Debug)]
pub enum Arrival<'a> {
    /// A message.
    Message(Delivered<'a>),
    /// A message, and perhaps others behind it, that cannot be read.
    Unreadable,
    /// So many acks came too late for their leases.
    Stale(u64),
}

/// A message on its way to a consumer.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// The place of the consumer among those of the connection.
    pub consumer: usize,
    /// The bytes that were enqueued.
    pub body: &'a [u8],
    /// Its place in the queue's order, if the broker says it.
    pub offset: Option<u64>,
    /// Whether it may have been delivered before.
    pub is_again: bool,
}
