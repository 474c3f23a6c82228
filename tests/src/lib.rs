//! What tests the whole of Corelane: the deterministic simulation, and fixtures for the integration tests.

pub mod backlog;
pub mod by_key;
pub mod control;
pub mod copies;
pub mod crash;
pub mod crowd;
pub mod figures;
pub mod fixture;
pub mod full_disk;
pub mod instructions;
pub mod ledger;
pub mod lossy;
pub mod model;
pub mod mutants;
pub mod page;
pub mod process;
pub mod raw;
pub mod sim;

/// The examples of the manual, which run as written.
#[cfg(doctest)]
#[doc = include_str!("../../docs/client-rust.md")]
struct ClientRustPage;
