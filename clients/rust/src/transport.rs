//! What a link moves its bytes through, when that is not TCP.
//!
//! The protocol core does not know how its bytes travel, and the tokio face only reads and writes them. A broker
//! inside the same program is reached this way without a socket.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes to a broker and back: anything that reads and writes the tokio way.
///
/// Only one task uses it, and never split.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Opens streams to one broker, in place of an address.
pub trait Connect: fmt::Debug + Send + Sync {
    /// Opens a stream to the shard that answers on `port`, or to any shard for `None`. Ports are those that the
    /// broker names in its metadata; where nothing listens they are mere names. Must not block.
    ///
    /// # Errors
    /// If there is no way to the broker now; the client tries again after a pause.
    fn connect(&self, port: Option<u16>) -> io::Result<Box<dyn Transport>>;

    /// What stands for the address in errors.
    fn name(&self) -> &str;
}
