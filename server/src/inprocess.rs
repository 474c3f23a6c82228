//! Connections inside one program: a client and a shard joined by memory instead of a socket.
//!
//! A connection is two mailbox rings of byte chunks, one per direction (`pipe`). The shard has
//! its end behind the [`Driver`](crate::driver::Driver) seam: [`InProcess`] stands in front of the
//! real driver and serves the operations on such connections itself, so that the loop, the
//! protocol and every bound on a connection are those of a connection over TCP. The client has its
//! end under its protocol core, in place of a `TcpStream`.
//!
//! Invariants:
//! (I1) Bytes arrive in order, each once; those that were sent before an end went are read before
//!      the end is seen.
//! (I2) A full ring makes its writer wait; neither direction holds more than 1 MiB.
//! (I3) A side that sleeps has set its parked flag and looked once more after that; whoever
//!      changes what it waits for wakes it if it took the flag.

mod connector;
mod door;
mod driver;
mod pipe;

pub use self::connector::InProcessConnector;
pub use self::door::Door;
pub use self::driver::{IN_PROCESS, InProcess};

#[cfg(test)]
mod tests;
