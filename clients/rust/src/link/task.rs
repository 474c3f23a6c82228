//! The task of a link: connects, greets, moves bytes, and starts over when the connection breaks.
//!
//! Owns the socket. One task per link; it ends when the client is closed or dropped, or when the link has become
//! superfluous, and its last deed is to end everything that still waits on the link.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::dial::dial;
use super::state::Phase;
use super::{CallFailure, Link};
use crate::attachment::lock;
use crate::client::ClientInner;
use crate::error::Error;
use crate::protocol::{Backoff, Protocol, ProtocolError};
use crate::topology::Topology;

/// Runs a link until the client is gone.
pub(crate) async fn run(link: Arc<Link>, client: Weak<ClientInner>) {
    let _ending = Ending(Arc::clone(&link));
    let Some(mut backoff) = client.upgrade().map(|client| client.backoff()) else {
        return;
    };
    while !link.is_over(&client) {
        if let Some(error) = link.connect_once(&client, &mut backoff).await {
            tracing::debug!(port = link.port, %error, "connection lost");
            link.on_lost(error);
            let pause = backoff.pause();
            link.while_down(&client, tokio::time::sleep(pause)).await;
        }
    }
}

/// Ends everything that waits on a link when its task ends, be it by a panic or with its runtime.
struct Ending(Arc<Link>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl Link {
    /// Dials and stays connected as long as it lasts; returns why it broke, or nothing if it shall end.
    async fn connect_once(
        self: &Arc<Self>,
        client: &Weak<ClientInner>,
        backoff: &mut Backoff,
    ) -> Option<Error> {
        let (address, topology, timeout, clock) = {
            let client = client.upgrade()?;
            let (timeout, clock) = (client.config().connect_timeout, client.clock());
            (
                client.address().to_owned(),
                client.topology(),
                timeout,
                clock,
            )
        };
        let dialing = dial(&address, self.port, topology.as_deref(), timeout);
        let stream = match self.while_down(client, dialing).await? {
            Ok(stream) => stream,
            Err(error) => return Some(error),
        };
        let error = self.stay(client, &stream, backoff).await;
        if error.is_none() {
            let now = clock.now();
            // An error ends the connection, which is ending anyhow.
            drop(lock(&self.state).turn(now));
            self.drain(&stream).await;
        }
        error
    }

    /// Waits for `future`, while deadlines of what is attached pass; `None` if the link shall end.
    async fn while_down<F: Future>(
        &self,
        client: &Weak<ClientInner>,
        future: F,
    ) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        loop {
            let clock = client.upgrade()?.clock();
            if self.is_over(client) {
                return None;
            }
            let deadline = lock(&self.state).turn(clock.now()).unwrap_or(None);
            tokio::select! {
                output = &mut future => return Some(output),
                () = self.wake.notified() => {}
                () = sleep_until(deadline.map(|deadline| clock.instant(deadline))) => {}
            }
        }
    }

    /// Moves bytes both ways; returns why the connection broke, or nothing if the link shall end.
    async fn stay(
        self: &Arc<Self>,
        client: &Weak<ClientInner>,
        stream: &TcpStream,
        backoff: &mut Backoff,
    ) -> Option<Error> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let (clock, hello) = client.upgrade().map(|client| {
            let clock = client.clock();
            (clock, client.hello(clock.now()))
        })?;
        {
            let mut state = lock(&self.state);
            state.protocol = Some(hello);
            state.phase = Phase::Greeting;
        }
        loop {
            if self.is_over(client) {
                return None;
            }
            let turned = lock(&self.state).turn(clock.now());
            let written = self.write(stream);
            let (deadline, has_more) = match (turned, written) {
                (Ok(deadline), Ok(has_more)) => (deadline, has_more),
                (Err(error), _) => return Some(error.into()),
                (_, Err(error)) => return Some(self.broken(&error)),
            };
            let interest = if has_more {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            tokio::select! {
                ready = stream.ready(interest) => {
                    let read = match ready {
                        Ok(_) => self.read(client, stream, &mut chunk),
                        Err(error) => Err(self.broken(&error)),
                    };
                    if let Err(error) = read {
                        return Some(error);
                    }
                }
                () = self.wake.notified() => {}
                () = sleep_until(deadline.map(|deadline| clock.instant(deadline))) => {}
            }
            if self.is_up() {
                backoff.reset();
            }
        }
    }

    /// Writes what there is; returns whether something is left.
    fn write(&self, stream: &TcpStream) -> io::Result<bool> {
        let mut state = lock(&self.state);
        let Some(protocol) = state.protocol.as_mut() else {
            return Ok(false);
        };
        let had_room = protocol.has_room();
        while !protocol.outgoing().is_empty() {
            match stream.try_write(protocol.outgoing()) {
                Ok(bytes) => protocol.sent(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let has_more = !protocol.outgoing().is_empty();
        if !had_room && protocol.has_room() {
            drop(state);
            self.changed.notify_waiters();
            self.wake.notify_one();
        }
        Ok(has_more)
    }

    /// Reads what has arrived, up to a bound, so that writing has its turn.
    fn read(
        self: &Arc<Self>,
        client: &Weak<ClientInner>,
        stream: &TcpStream,
        chunk: &mut [u8],
    ) -> Result<(), Error> {
        for _ in 0..READS_PER_TURN {
            match stream.try_read(chunk) {
                Ok(0) => return Err(self.closed_by_peer()),
                Ok(bytes) => {
                    let arrived = chunk.get(..bytes).unwrap_or_default();
                    self.on_bytes(client, stream, arrived)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(())
    }

    fn on_bytes(
        self: &Arc<Self>,
        client: &Weak<ClientInner>,
        stream: &TcpStream,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let Some(client) = client.upgrade() else {
            return Ok(());
        };
        let metadata = lock(&self.state).on_bytes(&client, bytes)?;
        if let Some(metadata) = metadata {
            let host = stream
                .peer_addr()
                .map_err(|error| self.broken(&error))?
                .ip();
            client.set_topology(Topology { host, metadata });
            self.on_located(&client);
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// The places are known: lets go what belongs elsewhere, and lets the rest begin.
    fn on_located(self: &Arc<Self>, client: &Arc<ClientInner>) {
        let moving = {
            let mut state = lock(&self.state);
            let was_up = state.is_up();
            let moving = match self.port {
                Some(port) => state.take_moving(|attachment| {
                    let (queue, lane) = attachment.queue();
                    client
                        .port_of(queue, lane)
                        .is_some_and(|there| there != port)
                }),
                None => Vec::new(),
            };
            if was_up {
                for slot in &moving {
                    slot.attachment.on_disconnected();
                }
            } else {
                for slot in state.slots.values() {
                    slot.attachment.on_connected();
                    slot.attachment.wake().set_dirty();
                }
            }
            state.phase = Phase::Up;
            state.last_error = None;
            moving
        };
        for slot in moving {
            client.attach(&slot.attachment);
        }
        self.wake.notify_one();
    }

    fn on_lost(&self, error: Error) {
        let mut state = lock(&self.state);
        state.disconnect(&error);
        state.last_error = Some(error);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether the task shall end: the client is gone or closed, or nobody needs this port any more.
    fn is_over(&self, client: &Weak<ClientInner>) -> bool {
        let mut state = lock(&self.state);
        let Some(client) = client.upgrade() else {
            state.is_closing = true;
            return true;
        };
        let is_superfluous = state.slots.is_empty()
            && state.calls.is_empty()
            && !matches!(state.phase, Phase::Greeting | Phase::Locating(_))
            && client.is_superfluous(self);
        state.is_closing |= is_superfluous;
        state.is_closing
    }

    /// Sends what is left, for a short time: acks, nacks and farewells that were asked for before the end.
    async fn drain(&self, stream: &TcpStream) {
        let writing = async {
            loop {
                let Ok(has_more) = self.write(stream) else {
                    return;
                };
                if !has_more || stream.writable().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(DRAIN_TIME, writing).await.is_err() {
            tracing::warn!(port = self.port, "client closed before all was written");
        }
    }

    fn finish(&self) {
        let mut state = lock(&self.state);
        state.phase = Phase::Closed;
        state.protocol = None;
        let slots = std::mem::take(&mut state.slots);
        let calls = std::mem::take(&mut state.calls);
        drop(state);
        for slot in slots.into_values() {
            slot.attachment.on_disconnected();
            slot.attachment.on_closed();
        }
        for caller in calls.into_values() {
            caller.end(Err(CallFailure::Closed));
        }
        self.changed.notify_waiters();
    }

    fn closed_by_peer(&self) -> Error {
        let mut state = lock(&self.state);
        let error = state.protocol.as_mut().map(Protocol::on_closed);
        error
            .unwrap_or(ProtocolError::Closed { bytes_cut: 0 })
            .into()
    }

    fn broken(&self, error: &io::Error) -> Error {
        let place = self.port.map_or_else(
            || "the broker's address".to_owned(),
            |port| format!("port {port}"),
        );
        Error::Unreachable {
            address: place,
            reason: error.to_string(),
        }
    }
}

async fn sleep_until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Read at once; a delivery of many small messages fits.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks read before writing has its turn.
const READS_PER_TURN: usize = 8;
/// How long a closed client tries to send what was asked for before.
const DRAIN_TIME: Duration = Duration::from_secs(1);
