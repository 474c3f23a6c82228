//! The task of a link: connects, greets, moves bytes, and starts over when the connection breaks.
//!
//! Owns the stream. One task per link; it ends when the client is closed or dropped, or when the link has become
//! superfluous, and its last deed is to end everything that still waits on the link.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::dial::{Dialed, Target, dial};
use super::state::Phase;
use super::{CallFailure, Link};
use crate::attachment::lock;
use crate::client::ClientInner;
use crate::clock::Clock;
use crate::error::Error;
use crate::protocol::{Backoff, Protocol, ProtocolError};
use crate::topology::Topology;
use crate::transport::Transport;

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
        let (target, topology, timeout, clock) = {
            let client = client.upgrade()?;
            let (timeout, clock) = (client.config().connect_timeout, client.clock());
            (client.target().clone(), client.topology(), timeout, clock)
        };
        let dialing = dial(&target, self.port, topology.as_deref(), timeout);
        let mut dialed = match self.while_down(client, dialing).await? {
            Ok(dialed) => dialed,
            Err(error) => return Some(error),
        };
        let error = self.stay(client, &mut dialed, backoff).await;
        if error.is_none() {
            let draining = self.drain(client, clock, &mut dialed);
            if tokio::time::timeout(DRAIN_TIME, draining).await.is_err() {
                tracing::warn!(port = self.port, "client closed before all was answered");
            }
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
        dialed: &mut Dialed,
        backoff: &mut Backoff,
    ) -> Option<Error> {
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
            let written = poll_fn(|context| Poll::Ready(self.write(context, &mut dialed.stream)));
            let deadline = match (turned, written.await) {
                (Ok(deadline), Ok(())) => deadline,
                (Err(error), _) => return Some(error.into()),
                (_, Err(error)) => return Some(self.broken(&dialed.target, &error)),
            };
            tokio::select! {
                moved = poll_fn(|context| self.move_bytes(context, client, clock, dialed)) => {
                    if let Err(error) = moved {
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

    /// Writes what goes now; of what is left the task is woken when it goes too.
    fn write(&self, context: &mut Context<'_>, stream: &mut Box<dyn Transport>) -> io::Result<()> {
        let mut state = lock(&self.state);
        let Some(protocol) = state.protocol.as_mut() else {
            return Ok(());
        };
        let had_room = protocol.has_room();
        while !protocol.outgoing().is_empty() {
            match Pin::new(&mut *stream).poll_write(context, protocol.outgoing()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => protocol.sent(bytes),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if !had_room && protocol.has_room() {
            drop(state);
            self.changed.notify_waiters();
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Goes on writing, and reads what has arrived, up to a bound, so that writing has its turn; ready when
    /// something was read.
    fn move_bytes(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        client: &Weak<ClientInner>,
        clock: Clock,
        dialed: &mut Dialed,
    ) -> Poll<Result<(), Error>> {
        self.write(context, &mut dialed.stream)
            .map_err(|error| self.broken(&dialed.target, &error))?;
        let mut has_read = false;
        for _ in 0..READS_PER_TURN {
            let mut buffer = ReadBuf::new(&mut dialed.chunk);
            match Pin::new(&mut dialed.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err(self.closed_by_peer(&dialed.target)));
                }
                Poll::Ready(Ok(())) => {
                    self.on_bytes(client, clock, dialed.host, buffer.filled())?;
                    has_read = true;
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.broken(&dialed.target, &error)));
                }
                Poll::Pending => break,
            }
        }
        if has_read {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn on_bytes(
        self: &Arc<Self>,
        client: &Weak<ClientInner>,
        clock: Clock,
        host: Option<IpAddr>,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let client = client.upgrade();
        let metadata = lock(&self.state).on_bytes(clock.now(), client.as_deref(), bytes)?;
        if let (Some(metadata), Some(client)) = (metadata, client) {
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

    /// Sends what was asked for before the end, acks, nacks and farewells, and waits until it is answered. Closing
    /// while the broker still delivers would reset the connection, and what the broker had not read would be lost.
    async fn drain(
        self: &Arc<Self>,
        client: &Weak<ClientInner>,
        clock: Clock,
        dialed: &mut Dialed,
    ) {
        lock(&self.state).close_attached(clock.now());
        loop {
            let turned = lock(&self.state).turn(clock.now());
            // An error ends the connection, which is ending anyhow.
            let Ok(deadline) = turned else { return };
            let moving = poll_fn(|context| {
                let moved = self.move_bytes(context, client, clock, dialed);
                if moved.is_pending() && lock(&self.state).is_drained() {
                    return Poll::Ready(Ok(()));
                }
                moved
            });
            let moved = tokio::select! {
                moved = moving => moved,
                () = sleep_until(deadline.map(|deadline| clock.instant(deadline))) => Ok(()),
            };
            if moved.is_err() || lock(&self.state).is_drained() {
                return;
            }
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

    fn closed_by_peer(&self, target: &Target) -> Error {
        let mut state = lock(&self.state);
        let is_greeted = state.phase != Phase::Greeting;
        let error = state.protocol.as_mut().map(Protocol::on_closed);
        drop(state);
        let error = error.unwrap_or(ProtocolError::Closed { bytes_cut: 0 });
        if !is_greeted && matches!(error, ProtocolError::Closed { bytes_cut: 0 }) {
            let reason = "it closes connections before the greeting".to_owned();
            let address = self.place(target);
            return Error::Unreachable { address, reason };
        }
        error.into()
    }

    /// What errors call the other end of the connection.
    fn place(&self, target: &Target) -> String {
        match self.port {
            Some(port) => format!("{target} (shard port {port})"),
            None => target.to_string(),
        }
    }

    fn broken(&self, target: &Target, error: &io::Error) -> Error {
        Error::Unreachable {
            address: self.place(target),
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

/// Chunks read before writing has its turn.
const READS_PER_TURN: usize = 8;
/// How long a closed client waits for answers to what was asked for before.
const DRAIN_TIME: Duration = Duration::from_secs(1);
