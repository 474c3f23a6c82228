//! A ledger run against a real broker: every enqueue with its answer, every delivery and ack.
//!
//! `Ledger` is the book and knows the verdict; `producer` and `consumer` are the threads that fill it
//! over raw connections; `check_copy` judges a copy that was made meanwhile; `Rendezvous` tells them where the broker is now and when to stop.

mod book;
mod consumer;
mod copied;
mod producer;
mod rendezvous;
mod trouble;

pub use book::{Ledger, MessageId, Moment, Verdict};
pub use consumer::{Deferral, consume};
pub use copied::{CopyVerdict, check_copy};
pub use producer::produce;
pub use rendezvous::{Phase, Rendezvous};

#[cfg(test)]
mod tests;
