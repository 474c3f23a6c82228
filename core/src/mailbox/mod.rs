//! The mailbox between two shards: a bounded ring with one sender and one receiver, and the flag that says whether
//! the receiver must be woken.
//!
//! Owns the only memory that two shards share. How a sleeping shard is woken is the driver's business.
//!
//! Invariants: (B1) what is sent is received exactly once, in order. (B2) a full ring is an answer, not a wait.
//! (B3) a receiver that parks after its last look at the ring is woken by whoever sends after that look.

mod parked;
mod ring;

pub use parked::Parked;
pub use ring::{Receiver, Sender, ring};

/// What the two threads share, and, in the loom build, loom's own in its place, to try the interleavings.
mod shared;

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod models;
