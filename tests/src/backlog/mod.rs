//! A long backlog in a real broker: filled, killed, started again with a cold page cache, drained and accounted for.
//!
//! `layout` says which messages there are and `book` what became of each; `fill`, `before` and `drain` are the
//! clients, in the order in which they come; `disk` looks at the data directory; `run` is the whole, `report` what it
//! comes to.

mod before;
pub(crate) mod book;
mod disk;
pub(crate) mod drain;
pub(crate) mod fill;
pub(crate) mod layout;
mod report;
mod run;
pub(crate) mod taken;

pub use report::Report;
pub use run::{Plan, run};

#[cfg(test)]
mod tests;
