//! The deterministic simulation: the unchanged shard loop over a simulated disk, network and clock, from a seed.
//!
//! One thread, virtual time. [`world`] runs one node with its shards and some clients through a phase of faults,
//! heals it, drains every subscription, and lets [`checker`] judge what the clients saw and what the logs say.
//! A seed and a build give the same trace for ever; `docs/testing.md` tells how to replay one.
#![allow(
    clippy::cast_possible_truncation,
    reason = "simulated sizes are small, and a cut number would only make another random world"
)]

pub mod body;
pub mod checker;
pub mod client;
pub mod clock;
pub mod coverage;
pub mod disk;
pub mod disk_flight;
pub mod driver;
pub mod hub;
pub mod judgement;
pub mod network;
pub mod node;
pub mod random;
pub mod rot;
pub mod run;
pub mod swarm;
pub mod trace;
pub mod volume;
pub mod workload;
pub mod world;

#[cfg(test)]
mod tests;
