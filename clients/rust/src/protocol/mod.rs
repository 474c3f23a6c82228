//! The client without sockets, tasks and clocks, which the tokio face drives and tests can step.
//!
//! Owns: the meaning of every byte that a client sends and receives. Nothing in here does I/O, reads a clock or
//! draws a random number that does not come from a seed, so that a run with the same inputs has the same outputs.
//!
//! [`Protocol`] is one connection. [`ProducerCore`], [`ConsumerCore`] and [`SettleCore`] outlive connections: they
//! are told when one opens and closes, write their requests into it in `drive`, and take the answers that
//! [`Protocol::next_event`] yields. A shell does, after every change:
//!
//! ```
//! use corelane_client::protocol::{Event, ProducerCore, Protocol, ProtocolError};
//! use corelane_wire::Timestamp;
//!
//! /// Bytes arrived: returns whether the connection may go on.
//! fn on_bytes(
//!     now: Timestamp,
//!     mut chunk: &[u8],
//!     protocol: &mut Protocol,
//!     producer: &mut ProducerCore,
//! ) -> Result<(), ProtocolError> {
//!     while let Some(event) = protocol.next_event(now, &mut chunk)? {
//!         match event {
//!             Event::Open(_) => producer.on_connected(),
//!             Event::Answer { correlation, epoch, response } => {
//!                 producer.on_answer(now, correlation, epoch, &response);
//!             }
//!             _ => {}
//!         }
//!     }
//!     producer.drive(now, protocol);
//!     Ok(()) // now write `protocol.outgoing()`, and wait until `next_deadline` of both
//! }
//! ```

mod backoff;
mod batch;
mod connection;
mod consumer;
mod error;
mod producer;
mod random;
mod received;
#[cfg(test)]
pub(crate) mod scripted;
mod settle;
mod unpack;

pub use backoff::Backoff;
pub use connection::{Event, Protocol, ProtocolConfig};
pub use consumer::{ConsumerConfig, ConsumerCore, ConsumerEnd};
pub use error::{NoRoom, ProtocolError};
pub use producer::{
    GIVE_UP_AFTER_MAX, ProducerConfig, ProducerCore, PushError, Resolution, Resolved, UnknownReason,
};
pub use random::Random;
pub use received::Received;
pub use settle::{SettleAction, SettleCore, SettleError, SettleResolved, SettleTarget};
pub use unpack::Unreadable;
pub(crate) use unpack::{Unpacked, lease_end, unpack};
