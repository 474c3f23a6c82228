//! Opening a stream: to the shard's own port if it can be reached, else to the address that the client was given;
//! or through what the client was given in place of an address.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, ToSocketAddrs};

use crate::error::Error;
use crate::topology::Topology;
use crate::transport::{Connect, Transport};

/// How a client reaches its broker.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// "host:port".
    Address(String),
    /// Whatever opens streams.
    Through(Arc<dyn Connect>),
}

/// An open stream.
pub(super) struct Dialed {
    /// What errors call its other end.
    pub(super) target: Target,
    pub(super) stream: Box<dyn Transport>,
    /// Who is at its other end, where that is a host.
    pub(super) host: Option<IpAddr>,
    /// What is read goes in here first.
    pub(super) chunk: Vec<u8>,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Address(address) => address,
            Self::Through(connect) => connect.name(),
        })
    }
}

/// Opens a stream for a link.
///
/// The address that the client was given is the one thing that survives a restart of a broker whose shard ports
/// are chosen by the system, so it stands in for a port that cannot be reached; any shard answers for all.
pub(super) async fn dial(
    target: &Target,
    port: Option<u16>,
    topology: Option<&Topology>,
    timeout: Duration,
) -> Result<Dialed, Error> {
    let opened = match target {
        Target::Through(connect) => connect.connect(port).map(|stream| (stream, None)),
        Target::Address(address) => {
            let host = topology.and_then(|topology| topology.host);
            let of_shard = match (host, port) {
                (Some(host), Some(port)) => open((host, port), timeout)
                    .await
                    .inspect_err(
                        |error| tracing::debug!(port, %error, "shard port cannot be reached"),
                    )
                    .ok(),
                (None, _) | (_, None) => None,
            };
            match of_shard {
                Some(opened) => Ok(opened),
                None => open(address, timeout).await,
            }
        }
    };
    match opened {
        Ok((stream, host)) => Ok(Dialed {
            target: target.clone(),
            stream,
            host,
            chunk: vec![0; CHUNK_BYTES],
        }),
        Err(error) => Err(Error::Unreachable {
            address: target.to_string(),
            reason: error.to_string(),
        }),
    }
}

async fn open(
    address: impl ToSocketAddrs,
    timeout: Duration,
) -> io::Result<(Box<dyn Transport>, Option<IpAddr>)> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connect"))??;
    // What is written is whole already; waiting for more would only add latency.
    stream.set_nodelay(true)?;
    let host = Some(stream.peer_addr()?.ip());
    Ok((Box::new(stream), host))
}

/// Read at once; a delivery of many small messages fits.
const CHUNK_BYTES: usize = 256 << 10;
