//! The load generator behind `corelane-bench run`.
//!
//! # What it is made of
//!
//! | type | what it is |
//! |---|---|
//! | [`Plan`] | what is asked for, checked: loop, rate, sizes, counts, times |
//! | [`Schedule`] | when each batch of one producer is meant to leave; integer arithmetic, no drift |
//! | [`Payload`] | what a body says about itself, and the check of it |
//! | [`Ledger`] | one byte per message: confirmed, refused, delivered |
//! | [`Broker`] | how a broker is spoken to: [`Producers`] and [`Consumers`] encode and decode, and nothing else |
//! | [`Corelane`] | the broker of this project |
//! | [`Connection`] | a non-blocking socket with its two buffers |
//! | `Sender`, `Receiver` | what producers and consumers do on one connection, whatever the broker |
//! | `Book` | what one thread saw |
//! | `Generator` | one pinned thread: emit what is due, flush, read, wait |
//! | [`Report`] | histograms, account, verdicts; printed as text or JSON |
//!
//! A generator's turn: encode what is due and fits into the window, hand it to the kernel, read what is there,
//! then sleep in `ppoll` until shortly before the next due instant and poll without sleeping from there on.
//! There is no async runtime and no timer but that sleep.
//!
//! # Invariants
//!
//! (G1) A latency in an open loop counts from the instant in the schedule, whatever happened before it; no instant is
//! skipped, and a batch that is late is sent at once, in the drain too.
//! (G2) What was never answered, or never sent because the window stayed full, enters the response histogram with its
//! age when the run ends, and is counted as censored.
//! (G3) Lateness that the full window caused is the broker's and counts in *response*; lateness while there was room
//! is the generator's own, and makes the run unfit to be believed (exit code 21).
//! (G4) Every message is in the ledger before its bytes can leave, so a delivery of what is not there is a phantom.
//! (G5) A confirmed message that no consumer got is lost; one that came twice, came out of its lane's order or with
//! other bytes than it was sent with is a breach too. A breach gives exit code 22 whatever the speed.
//! (G6) A quantile stands in the report only with 100 samples beyond it; a closed loop has none at all.
//!
//! # Tests
//!
//! Unit: the schedule neither drifts nor skips; a payload with any changed byte is refused; the ledger tells loss,
//! duplicate and phantom apart, also over threads; judgement of reports, exit codes and their order; the JSON agrees
//! with the schema. With a responder over TCP: an intact run has exit code 0 and all counts equal; a message lost,
//! duplicated, delivered out of order, with a spoiled byte, or with other bytes under a right checksum gives 22;
//! a pause of the responder is in *response* although only one batch waited (no coordinated omission); a rate that
//! the window cannot carry gives 23. With the real broker, in `tests/it/bench.rs`: open and closed loops are intact.

mod book;
mod connection;
mod corelane;
mod generator;
mod ledger;
mod payload;
mod plan;
mod protocol;
mod receiver;
mod report;
mod run;
mod schedule;
mod sender;
mod text;

pub use connection::Connection;
pub use corelane::{Corelane, CorelaneConsumers, CorelaneProducers};
pub use ledger::{Account, Ledger, Mark};
pub use payload::{Payload, STAMP_BYTES, Stamp};
pub use plan::{Loop, Pacing, Plan};
pub use protocol::{Answer, Arrival, Batch, Broker, Consumers, Delivered, Producers};
pub use report::{
    Floors, Hiccups, Quantiles, Report, SCHEMA, Series, ThreadReport, Verdict, exit_code,
};
pub use run::{run, run_on};
pub use schedule::Schedule;

#[cfg(test)]
mod tests;
