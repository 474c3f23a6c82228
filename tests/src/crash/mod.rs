//! Crash states: what a crash at any moment can leave on the disk, and what the broker makes of it.
//!
//! A script of client operations runs once, over the unchanged shard loop, engine and log, on the disk of
//! [`crate::sim`]; every change of the disk is recorded with the disk before it and with what clients had been told by
//! then. A *state* is one of these moments and one choice of which unsynced writes, or pieces of them, reach the
//! media. From each state the node starts as a real one does; what it has is held against what was confirmed and
//! against the records that were written, then it serves a little, loses its power, and starts once more.
//!
//! Where [`crate::sim`] draws one crash after the other from a seed, this enumerates them.
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of a script are small, and the harness runs on 64-bit machines"
)]

mod choice;
mod client;
mod driver;
pub mod flips;
mod harm;
mod judge;
mod machine;
mod reference;
pub mod run;
mod script;
mod serve;
mod setup;
mod state;
mod written;

#[cfg(test)]
mod space;
#[cfg(test)]
mod tests;
