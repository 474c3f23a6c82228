//! What tests the whole of Corelane: the deterministic simulation, and fixtures for the integration tests.

pub mod ledger;
pub mod lossy;
pub mod mutants;
pub mod process;
pub mod raw;
pub mod sim;
