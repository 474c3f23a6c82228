//! Backups of a real broker that is under load, each restored, started, drained and judged by the ledger.
//!
//! `run` fills the plan; called by the integration tests in small and by `cargo xtask backup-rounds`. The broker is
//! never killed: it goes on under load while a backup is taken, restored and judged.

mod command;
mod probe;
mod run;
mod watch;

pub use command::{backup, corelane, restore};
pub use probe::Waits;
pub use run::{Plan, Report, run};
pub use watch::Seen;
