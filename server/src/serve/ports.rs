//! The data ports: one that all shards share, one of each shard's own.
//!
//! The kernel spreads the connections of the shared port over the shards' listeners
//! (`SO_REUSEPORT`); a client learns the own ports from metadata and goes straight to the owner of
//! its queue.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::error::StartError;
use crate::config::{Config, Source};

/// The listening sockets of all shards, in order of their numbers.
pub(super) struct Ports {
    /// Each shard's listener on the shared port.
    pub(super) shared: Vec<TcpListener>,
    /// Each shard's listener on its own port.
    pub(super) own: Vec<TcpListener>,
    /// The actual address of the shared port.
    pub(super) shared_address: SocketAddr,
    /// The actual addresses of the own ports.
    pub(super) own_addresses: Vec<SocketAddr>,
}

impl Ports {
    /// Binds and listens on all of them.
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let refuse = |key, address: SocketAddr, error: &io::Error| {
            StartError::listening(config, key, address, error)
        };
        let shards = usize::from(config.cores);
        let (shared, shared_address) = bind_shared(config.listen, shards)
            .map_err(|error| refuse("listen", config.listen, &error))?;
        let mut own = Vec::with_capacity(shards);
        let mut own_addresses = Vec::with_capacity(shards);
        for shard in 0..config.cores {
            let address = SocketAddr::new(config.listen.ip(), own_port(config, shard));
            let listener =
                bind_own(address).map_err(|error| refuse("shard_port", address, &error))?;
            let actual = listener
                .local_addr()
                .map_err(|error| refuse("shard_port", address, &error))?;
            own.push(listener);
            own_addresses.push(actual);
        }
        Ok(Self {
            shared,
            own,
            shared_address,
            own_addresses,
        })
    }
}

/// The port to ask for; 0 lets the system pick it.
fn own_port(config: &Config, shard: u16) -> u16 {
    let is_untold = *config.source("shard_port") == Source::Default;
    if config.shard_port == 0 || (config.listen.port() == 0 && is_untold) {
        0
    } else {
        config.shard_port + shard
    }
}

/// One listener per shard on the same port. The first is bound alone and marked as shared only
/// then, because two brokers of one user that both bind shared would not notice each other and
/// get half of each other's connections.
fn bind_shared(address: SocketAddr, shards: usize) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    let first = stream_socket(address)?;
    bind(&first, address)?;
    first.set_reuse_port(true)?;
    first.listen(BACKLOG)?;
    let first = TcpListener::from(first);
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        let socket = stream_socket(address)?;
        socket.set_reuse_port(true)?;
        bind(&socket, address)?;
        socket.listen(BACKLOG)?;
        listeners.push(TcpListener::from(socket));
    }
    Ok((listeners, address))
}

fn bind_own(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = stream_socket(address)?;
    bind(&socket, address)?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Binds, and waits a moment for a port that is taken: where a broker was killed while its ring
/// accepted connections, the kernel closes its listeners some milliseconds after the process is
/// gone.
fn bind(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + FREE_WITHIN;
    loop {
        match socket.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(FREE_AGAIN);
            }
            bound => return bound,
        }
    }
}

/// A socket that may take a port over from connections in `TIME_WAIT`, so that a restart does not
/// wait a minute; a port with a living listener is still refused.
fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Connections that may wait to be accepted, per listener.
const BACKLOG: i32 = 4_096;
/// How long a dead process may keep a port.
const FREE_WITHIN: Duration = Duration::from_secs(1);
/// How often to look.
const FREE_AGAIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
