//! Floors: the same work without the broker.
//!
//! | type | what it measures |
//! |---|---|
//! | [`EchoProbe`] | a TCP echo between two threads, at a rate or one after the other |
//! | [`DiskProbe`] | commits through `io_uring` and by blocking calls, into pre-written blocks and into a growing file, at a rate or as fast as they go |
//! | [`hop`] | how long a cache line takes from one core to another |
//! | [`timer_lateness`], [`clock_read`] | how late a sleeping thread wakes, and what looking at the clock costs |
//!
//! # Invariants
//!
//! (P1) A commit counts as done when its synchronisation has completed without error, and a short write is an error.
//! (P2) The kernel never owns a buffer that is freed: a ring is dropped only after all of it has come back.
//! (P3) Pre-written blocks are written and synced before the first commit into them; a growing file is written only
//! beyond its end.
//! (P4) What cannot be measured here (no `io_uring`, one core) is left out and said, not guessed.
//!
//! # Tests
//!
//! Every way to commit leaves the bytes in the file, at the depth asked for; a growing file has grown by them; a
//! write that fails is an error and not a sample; a hop between two cores is counted; sleepers never wake early.

mod cpu;
mod disk;
mod echo;
mod uring;

pub use cpu::{clock_read, hop, timer_lateness};
pub use disk::{Cell, DiskProbe, Place, Way};
pub use echo::EchoProbe;

#[cfg(test)]
mod tests;
