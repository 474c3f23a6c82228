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

/// The atomics under the mailbox; `loom` puts its own here to try every interleaving.
#[allow(
    unexpected_cfgs,
    reason = "the loom build sets this cfg by flag; loom is no dependency of the ordinary build"
)]
mod atomic {
    #[cfg(loom)]
    pub(super) use loom::sync::Arc;
    #[cfg(loom)]
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    #[cfg(not(loom))]
    pub(super) use std::sync::Arc;
    #[cfg(not(loom))]
    pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
}

#[cfg(test)]
mod tests;
