//! Opening a socket: the shard's own port if it can be reached, else the address that the client was given.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, ToSocketAddrs};

use crate::error::Error;
use crate::topology::Topology;

/// Opens a connection for a link.
///
/// The address that the client was given is the one thing that survives a restart of a broker whose shard ports
/// are chosen by the system, so it stands in for a port that cannot be reached; any shard answers for all.
pub(super) async fn dial(
    address: &str,
    port: Option<u16>,
    topology: Option<&Topology>,
    timeout: Duration,
) -> Result<TcpStream, Error> {
    if let (Some(port), Some(topology)) = (port, topology) {
        match open((topology.host, port), timeout).await {
            Ok(stream) => return Ok(stream),
            Err(error) => tracing::debug!(port, %error, "shard port cannot be reached"),
        }
    }
    open(address, timeout)
        .await
        .map_err(|error| Error::Unreachable {
            address: address.to_owned(),
            reason: error.to_string(),
        })
}

async fn open(address: impl ToSocketAddrs, timeout: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connect"))??;
    // What is written is whole already; waiting for more would only add latency.
    stream.set_nodelay(true)?;
    Ok(stream)
}
