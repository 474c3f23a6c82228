//! The producer in the user's hands.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use corelane_wire::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use corelane_wire::{ConsumerId, Deliveries, Lane, Response, Timestamp};
use tokio::sync::{Notify, oneshot};

use crate::attachment::{AnsweredCall, Attachment, Wake, lock};
use crate::client::Client;
use crate::error::Error;
use crate::message::Message;
use crate::outcome::{Class, Outcome};
use crate::protocol::{
    GIVE_UP_AFTER_MAX, ProducerConfig, ProducerCore, Protocol, ProtocolError, PushError, Resolved,
    UnknownReason,
};

/// Enqueues messages to one queue, in order, and tells what became of each.
///
/// Messages that wait while others are under way travel together in batches; nothing waits for a timer.
/// Dropping it sends what it has taken as long as the client lives; to know that all is confirmed, call
/// [`Producer::close`].
#[derive(Debug)]
pub struct Producer {
    shared: Arc<ProducerShared>,
    client: Client,
}

/// How many messages came to which end since the producer was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "messages may have been rejected, or their fate be unknown"]
pub struct Tally {
    /// See [`Outcome::Confirmed`].
    pub confirmed: u64,
    /// See [`Outcome::Rejected`].
    pub rejected: u64,
    /// See [`Outcome::Unknown`].
    pub unknown: u64,
}

/// Makes a [`Producer`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ProducerBuilder {
    client: Client,
    config: ProducerConfig,
}

#[derive(Debug)]
pub(crate) struct ProducerShared {
    queue: String,
    wake: Wake,
    /// Told after every run of settled messages.
    room: Notify,
    state: Mutex<ProducerState>,
}

#[derive(Debug)]
struct ProducerState {
    core: ProducerCore,
    /// Who waits for which ticket, from `ticket_first` on; `None` once settled.
    waiters: VecDeque<Option<oneshot::Sender<Outcome>>>,
    ticket_first: u64,
    tally: Tally,
    is_closed: bool,
    is_detached: bool,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client, queue: &str) -> Self {
        Self {
            client,
            config: ProducerConfig::new(queue),
        }
    }

    /// What the broker waits for before it confirms.
    pub const fn class(mut self, class: Class) -> Self {
        self.config.class = class.as_u8();
        self
    }

    /// Greatest number of messages in flight; at least 1, 65,536 unless changed.
    pub fn in_flight_messages_max(mut self, messages: usize) -> Self {
        self.config.messages_max = messages.max(1);
        self
    }

    /// Greatest length of the messages in flight, which one message may pass; 16 MiB unless changed.
    pub fn in_flight_bytes_max(mut self, bytes: usize) -> Self {
        self.config.bytes_max = bytes.max(1);
        self
    }

    /// Greatest number of batches under way at once, 1 to 512; 32 unless changed.
    pub fn in_flight_batches_max(mut self, batches: usize) -> Self {
        self.config.batches_max = batches.clamp(1, BATCHES_MAX);
        self
    }

    /// A batch is closed at so many messages; 4,096 unless changed.
    pub fn batch_messages_max(mut self, messages: u32) -> Self {
        let limit = u32::try_from(BATCH_MESSAGES_MAX).unwrap_or(u32::MAX);
        self.config.batch_messages_max = messages.clamp(1, limit);
        self
    }

    /// A batch is closed at this length; 256 KiB unless changed.
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.config.batch_bytes_max = bytes.clamp(1, BATCH_BYTES_MAX);
        self
    }

    /// How long a message is tried; at most five minutes, which is also the default.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.config.give_up_after = time.min(GIVE_UP_AFTER_MAX);
        self
    }

    /// Makes the producer; the connection is opened in the background.
    ///
    /// # Errors
    /// [`Error::Name`] for a bad name, [`Error::Closed`] after the client was closed.
    pub fn build(self) -> Result<Producer, Error> {
        crate::client::check_name(&self.config.queue)?;
        let shared = Arc::new(ProducerShared {
            queue: self.config.queue.clone(),
            wake: Wake::new(),
            room: Notify::new(),
            state: Mutex::new(ProducerState {
                core: ProducerCore::new(self.config, self.client.seed()),
                waiters: VecDeque::new(),
                ticket_first: 0,
                tally: Tally::default(),
                is_closed: false,
                is_detached: false,
            }),
        });
        let attachment: Arc<dyn Attachment> = Arc::<ProducerShared>::clone(&shared);
        self.client.attach(&attachment)?;
        Ok(Producer {
            shared,
            client: self.client,
        })
    }
}

impl Producer {
    /// Waits for room, takes the message, and returns where its outcome will be told.
    ///
    /// Messages of one task are enqueued in the order of their sends.
    /// Cancel-safe: a send that is dropped before it returns has taken nothing.
    ///
    /// # Errors
    /// [`Error::Message`] if no broker would take the message, [`Error::Closed`] after the client was closed.
    pub async fn send(&self, message: &Message) -> Result<Pending, Error> {
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            match self.try_send(message) {
                Err(Error::Full) => room.await,
                other => return other,
            }
        }
    }

    /// Takes the message if there is room.
    ///
    /// # Errors
    /// [`Error::Full`] if there is none, else as [`Producer::send`]; nothing was taken then.
    pub fn try_send(&self, message: &Message) -> Result<Pending, Error> {
        let now = self.client.now();
        let mut state = lock(&self.shared.state);
        if state.is_closed || state.is_detached {
            return Err(Error::Closed);
        }
        let ticket = message
            .with_outgoing(|message| state.core.push(now, message))
            .map_err(|error| match error {
                PushError::Full => Error::Full,
                PushError::Message(error) => Error::Message(error),
            })?;
        let expected = state.ticket_first + state.waiters.len() as u64;
        assert_eq!(ticket, expected, "tickets count up by one");
        let (sender, outcome) = oneshot::channel();
        state.waiters.push_back(Some(sender));
        drop(state);
        self.shared.wake.wake();
        Ok(Pending { outcome })
    }

    /// Sends one message and waits for its outcome.
    ///
    /// Cancel-safe in so far as nothing is half done; but the message may be enqueued after the future was dropped.
    pub async fn enqueue(&self, message: &Message) -> Outcome {
        match self.send(message).await {
            Ok(pending) => pending.await,
            Err(error) => Outcome::Rejected(error),
        }
    }

    /// Waits until everything taken so far is settled.
    pub async fn flush(&self) -> Tally {
        let target = lock(&self.shared.state).ticket_end();
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            {
                let state = lock(&self.shared.state);
                if state.ticket_first >= target || state.is_detached {
                    return state.tally;
                }
            }
            room.await;
        }
    }

    /// Takes nothing more, waits until everything is settled, and says how it ended.
    pub async fn close(self) -> Tally {
        lock(&self.shared.state).is_closed = true;
        self.flush().await
    }

    /// How many messages are in flight.
    pub fn in_flight(&self) -> usize {
        lock(&self.shared.state).core.messages()
    }

    /// How many messages came to which end so far.
    pub fn tally(&self) -> Tally {
        lock(&self.shared.state).tally
    }

    /// The queue.
    pub fn queue(&self) -> &str {
        &self.shared.queue
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.is_closed = true;
        let in_flight = state.core.messages();
        drop(state);
        if in_flight > 0 {
            tracing::debug!(queue = %self.shared.queue, in_flight, "producer dropped before its last receipt");
        }
        self.shared.wake.wake();
    }
}

/// A message on its way to its outcome; it goes its way whether or not this is awaited.
#[derive(Debug)]
#[must_use = "only its outcome tells whether the message is enqueued"]
pub struct Pending {
    outcome: oneshot::Receiver<Outcome>,
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        let end = Pin::new(&mut this.outcome).poll(context);
        // Every waiter is told before the producer's state goes; this is for a panic in between.
        end.map(|end| end.unwrap_or(Outcome::Unknown(UnknownReason::Closed)))
    }
}

impl Attachment for ProducerShared {
    fn wake(&self) -> &Wake {
        &self.wake
    }

    fn queue(&self) -> (&str, Lane) {
        (&self.queue, Lane(0))
    }

    fn consumer(&self) -> Option<ConsumerId> {
        None
    }

    fn on_connected(&self) {
        lock(&self.state).core.on_connected();
    }

    fn on_disconnected(&self) {
        lock(&self.state).core.on_disconnected();
        self.tell();
    }

    fn drive(&self, now: Timestamp, protocol: Option<&mut Protocol>) -> Option<Timestamp> {
        let mut state = lock(&self.state);
        match protocol {
            Some(protocol) => state.core.drive(now, protocol),
            None => state.core.on_deadline(now),
        }
        let deadline = state.core.next_deadline();
        drop(state);
        self.tell();
        deadline
    }

    fn on_answer(
        &self,
        now: Timestamp,
        call: AnsweredCall,
        response: &Response<'_>,
    ) -> Result<(), ProtocolError> {
        let AnsweredCall { correlation, epoch } = call;
        // False for a batch that was given up meanwhile: its outcome was told.
        lock(&self.state)
            .core
            .on_answer(now, correlation, epoch, response);
        self.tell();
        Ok(())
    }

    fn on_delivery(&self, _: Timestamp, _: &Deliveries<'_>) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn take_reroute(&self) -> bool {
        lock(&self.state).core.take_reroute()
    }

    fn try_finish(&self, _handles: &dyn Fn() -> usize) -> bool {
        let mut state = lock(&self.state);
        state.is_detached |= state.is_closed && state.core.messages() == 0;
        let is_detached = state.is_detached;
        drop(state);
        if is_detached {
            self.room.notify_waiters();
        }
        is_detached
    }

    fn on_closing(&self, _: Timestamp) {}

    /// Who wants the outcomes closes the producer first.
    fn is_settled(&self) -> bool {
        true
    }

    fn on_closed(&self) {
        let mut state = lock(&self.state);
        state.core.abandon_all();
        state.is_detached = true;
        drop(state);
        self.tell();
        self.room.notify_waiters();
    }
}

impl ProducerShared {
    /// Tells those who wait what became of their messages.
    fn tell(&self) {
        let mut state = lock(&self.state);
        let mut has_told = false;
        while let Some(resolved) = state.core.poll_resolved() {
            state.tell(&resolved);
            has_told = true;
        }
        drop(state);
        if has_told {
            self.room.notify_waiters();
        }
    }
}

impl ProducerState {
    fn ticket_end(&self) -> u64 {
        self.ticket_first + self.waiters.len() as u64
    }

    fn tell(&mut self, resolved: &Resolved) {
        for index in 0..u64::from(resolved.count) {
            let outcome = Outcome::of(&resolved.resolution, index);
            self.tally.count(&outcome);
            let place = (resolved.ticket_first + index).checked_sub(self.ticket_first);
            let waiter = place
                .and_then(|place| usize::try_from(place).ok())
                .and_then(|place| self.waiters.get_mut(place))
                .and_then(Option::take);
            if let Some(waiter) = waiter {
                // Nobody may wait any more; the tally has it.
                drop(waiter.send(outcome));
            }
        }
        while let Some(None) = self.waiters.front() {
            self.waiters.pop_front();
            self.ticket_first += 1;
        }
    }
}

impl Tally {
    const fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Confirmed(_) => self.confirmed += 1,
            Outcome::Rejected(_) => self.rejected += 1,
            Outcome::Unknown(_) => self.unknown += 1,
        }
    }
}

/// Below the 1,024 that the broker remembers, and within what one connection has out.
const BATCHES_MAX: usize = 512;
