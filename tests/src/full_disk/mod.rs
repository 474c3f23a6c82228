//! A real broker on a disk that it fills: refused, drained, healed, started again and accounted for.
//!
//! `namespace` gives the run mounts of its own, which end with it; `small` is the disk; `fill` enqueues until nothing
//! more is taken, and `meanwhile` does what must go on then; `run` is the whole, `report` what it comes to.
//! Messages and their ledger are those of a [backlog](crate::backlog).

mod fill;
mod meanwhile;
pub mod namespace;
mod report;
mod run;
mod small;

pub use report::{Outcome, Report, summary};
pub use run::run;
pub use small::{Kind, Missing, SmallDisk};

#[cfg(test)]
mod tests;
