//! Load harness of Corelane: what it costs, beside what the machine itself costs.
//!
//! A figure without its ratio to a floor is not a result, so every measurement here stands beside
//! two probes of the same run: a raw commit on the same disk and a raw echo with the same frame
//! size. Load is open-loop: latency counts from the instant at which a message was meant to leave.

pub mod broker;
pub mod clock;
#[cfg(feature = "peers")]
pub mod compare;
pub mod floor_ratio;
pub mod load;
pub mod machine;
pub mod pace;
#[cfg(feature = "peers")]
pub mod peers;
pub mod probe;
pub mod process;
pub mod record;
pub mod responder;

#[cfg(test)]
mod schema;
