//! The engine beside a reference model, operation by operation.
//!
//! `reference` says what the manual says, with one plain entry for each message and subscription: no runs, no pages,
//! no index, and no code of `corelane-core`. A seed draws 500 operations of every kind, with crashes that lose what is
//! not committed and starts from the log or from a checkpoint. After each operation both sides must agree: in the
//! records that were appended, the answers that left, what was delivered and in which order, and in how many messages
//! of every state each subscription has. The model never decides what is packed into a delivery: it says what must
//! not come, what must come first, and when something must come.

mod answers;
mod coverage;
mod node;
mod observe;
mod operations;
mod peeks;
mod perform;
mod reference;
pub mod run;
mod schedule;
mod side_by_side;
mod tally;
mod verbs;

#[cfg(test)]
mod tests;
