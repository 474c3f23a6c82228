//! What a message costs: instructions of the unchanged shard loop per enqueue, delivery and ack.
//!
//! A node over a driver that always does the same lives in one thread under Valgrind's Callgrind, which counts
//! instructions and not time, so that two runs give the same number on any machine, however busy.
//! `steps` is what is measured, `count` measures it, and `baseline` compares it with the figures on file.
//!
//! It is no scenario of [`crate::sim`]: there each operation draws a delay from the seed, so that one more
//! operation in the product makes another history with other batches, and other costs.

mod baseline;
mod client;
mod count;
mod driver;
mod node;
mod report;
mod steps;

pub use baseline::{Baseline, Origin};
pub use count::count;
pub use node::Placement;
pub use report::{Figures, Verdict, last_line, table};
pub use steps::{STEPS, walk};

#[cfg(test)]
mod tests;
