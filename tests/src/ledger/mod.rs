//! A ledger run against a real broker: every enqueue with its answer, every delivery and ack.
//!
//! `Ledger` is the book and knows the verdict; `producer` and `consumer` are the threads that fill it
//! over raw connections; `Rendezvous` tells them where the broker is now and when to stop.

mod book;
mod consumer;
mod producer;
mod rendezvous;
mod trouble;

pub use book::{Ledger, MessageId, Verdict};
pub use consumer::consume;
pub use producer::produce;
pub use rendezvous::{Phase, Rendezvous};

#[cfg(test)]
mod tests;
