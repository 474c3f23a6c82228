//! A message in the user's hands.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use corelane_wire::limits::{DELAY_MS_MAX, LEASE_MS_MAX, LEASE_MS_MIN};
use corelane_wire::{Fate, Header, LeaseId, Offset, SettleOutcome, Timestamp};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::error::Error;
use crate::holder::{Holder, SettleEnd};
use crate::protocol::{Received, SettleAction, SettleError};

/// A message under lease: nobody else gets it until it is given back or the lease ends.
///
/// Dropping it without an answer gives it back at once, without counting the attempt. To finish it, call
/// [`Delivery::ack`]; to have it tried again, [`Delivery::fail`] or [`Delivery::nack`].
#[derive(Debug)]
#[must_use = "dropping a delivery gives the message back"]
pub struct Delivery {
    /// `None` once it is settled.
    message: Option<Received>,
    holder: Arc<Holder>,
    client: Client,
    // Copies, so that they can be read without asking whether the message is still here.
    offset: Offset,
    lease: LeaseId,
}

/// What a settle did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acked {
    /// It took effect.
    Done,
    /// The message was done before; an ack has nothing to do then.
    AlreadyDone,
}

impl Delivery {
    pub(crate) fn new(message: Received, holder: Arc<Holder>, client: Client) -> Self {
        Self {
            offset: message.offset,
            lease: message.lease,
            message: Some(message),
            holder,
            client,
        }
    }

    /// The payload.
    pub fn body(&self) -> &[u8] {
        self.message.as_ref().map_or(&[], Received::body)
    }

    /// What the message is about, if the producer said so.
    pub fn key(&self) -> Option<&[u8]> {
        self.message.as_ref().and_then(Received::key)
    }

    /// The named values, in the producer's order.
    pub fn headers(&self) -> Vec<Header<'_>> {
        self.message
            .as_ref()
            .map_or_else(Vec::new, Received::headers)
    }

    /// The queue that it came from.
    pub fn queue(&self) -> &str {
        &self.holder.target().queue
    }

    /// Number of the message in its lane.
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// The lease under which it is held.
    pub const fn lease(&self) -> LeaseId {
        self.lease
    }

    /// How often it was delivered in its subscription, from 1; a crash of the broker may hide one.
    pub fn attempt(&self) -> u32 {
        self.message.as_ref().map_or(0, |message| message.attempt)
    }

    /// When the broker took it, in the broker's time.
    pub fn enqueued(&self) -> Timestamp {
        self.message
            .as_ref()
            .map_or(Timestamp(0), |message| message.enqueued)
    }

    /// When it was due, if the producer said so.
    pub fn due(&self) -> Option<Timestamp> {
        self.message.as_ref().and_then(Received::due)
    }

    /// How long it lives from when it may first be given out, if the producer said so.
    pub fn ttl(&self) -> Option<Duration> {
        self.message.as_ref().and_then(Received::ttl)
    }

    /// How long the lease lasts from now on, as far as the client knows.
    pub fn lease_left(&self) -> Duration {
        let until = self.message.as_ref().map(|message| message.lease_until);
        until.map_or(Duration::ZERO, |until| until.since(self.client.now()))
    }

    /// Finishes the message in its subscription.
    ///
    /// The ack is on its way when this returns; acks made in one go travel together. Awaiting tells whether it took
    /// effect: after `Ok` the message is never delivered again in this subscription. A message that came without a lease
    /// (at most once, or read) is its reader's: nothing is sent, whatever is said of it, and the end is
    /// [`Acked::AlreadyDone`].
    ///
    /// # Errors
    /// [`Error::StaleLease`] if the lease ended before: somebody else has the message or will get it.
    /// [`Error::Deadline`] if no answer came in time: it may have taken effect.
    pub fn ack(self) -> Settling {
        self.settle(SettleAction::Ack)
    }

    /// Gives the message back for another try after `delay` (up to 366 days), and counts the attempt.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub fn nack(self, delay: Duration) -> Settling {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(DELAY_MS_MAX);
        self.settle(SettleAction::Nack {
            delay_ms: delay_ms.min(DELAY_MS_MAX),
            count_attempt: true,
        })
    }

    /// Says that the attempt failed, and why: the message comes again after the subscription's back-off, or is dead if
    /// its attempts are used up.
    ///
    /// Of the text the first 256 bytes are kept, with a message that is dead; the same holds for [`Delivery::kill`]
    /// and [`Delivery::park`]. Messages that fail in one go with the same text travel together.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub fn fail(self, text: &str) -> Settling {
        self.settle(SettleAction::reject(Fate::Retry, text))
    }

    /// Makes the message dead at once, since no other attempt would do better: nobody gets it until it is redriven.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub fn kill(self, text: &str) -> Settling {
        self.settle(SettleAction::reject(Fate::Dead, text))
    }

    /// Sets the message aside: nobody gets it until it is kicked.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub fn park(self, text: &str) -> Settling {
        self.settle(SettleAction::reject(Fate::Park, text))
    }

    /// Gives the message back at once, without counting the attempt; the same as dropping it, but it can be awaited.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub fn give_back(self) -> Settling {
        self.settle(SettleAction::GIVE_BACK)
    }

    /// Lets the lease last for `lease` from now on (1 s to 1 day).
    ///
    /// # Errors
    /// As [`Delivery::ack`]; after [`Error::StaleLease`] the message should be dropped.
    pub async fn extend(&mut self, lease: Duration) -> Result<(), Error> {
        let lease_ms = check_lease(lease)?;
        let timeout = self.client.call_timeout();
        let Some(message) = self.message.as_mut() else {
            return Err(Error::Closed);
        };
        let now = self.client.now();
        let action = SettleAction::Extend { lease_ms };
        let settling = Settling {
            offset: self.offset,
            timeout,
            client: self.client.clone(),
            end: self.holder.settle(action, message, now.add(timeout)),
        };
        settling.await?;
        // Counted from the asking, so that the client never believes longer than the broker.
        message.lease_until = now.add(lease);
        Ok(())
    }

    fn settle(mut self, action: SettleAction) -> Settling {
        let timeout = self.client.call_timeout();
        let deadline = self.client.now().add(timeout);
        let end = match self.message.take() {
            Some(message) => self.holder.settle(action, &message, deadline),
            None => oneshot::channel().1,
        };
        Settling {
            offset: self.offset,
            timeout,
            client: self.client.clone(),
            end,
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            // Later than this the lease has ended anyhow.
            let now = self.client.now();
            let deadline = message.lease_until.max(now.add(GIVE_BACK_TIME));
            self.holder.give_back(&message, deadline);
        }
    }
}

/// A settle on its way; it takes effect whether or not this is awaited.
#[derive(Debug)]
#[must_use = "await it to know whether the settle took effect"]
pub struct Settling {
    offset: Offset,
    timeout: Duration,
    client: Client,
    end: oneshot::Receiver<SettleEnd>,
}

impl Future for Settling {
    type Output = Result<Acked, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        Pin::new(&mut this.end).poll(context).map(|end| match end {
            Ok(Ok(SettleOutcome::Done)) => Ok(Acked::Done),
            Ok(Ok(SettleOutcome::AlreadyDone)) => Ok(Acked::AlreadyDone),
            Ok(Ok(SettleOutcome::Stale)) => Err(Error::StaleLease {
                offset: this.offset,
            }),
            Ok(Err(SettleError::Refused { code, text })) => Err(Error::Refused { code, text }),
            Ok(Err(SettleError::Deadline { last })) => {
                Err(this.client.deadline(this.timeout, last))
            }
            Err(_) => Err(Error::Closed),
        })
    }
}

/// A lease duration in milliseconds.
pub(crate) fn check_lease(lease: Duration) -> Result<u32, Error> {
    let value = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    match u32::try_from(value) {
        Ok(lease_ms) if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) => Ok(lease_ms),
        _ => Err(Error::OutOfRange {
            what: "lease in milliseconds",
            value,
            min: u64::from(LEASE_MS_MIN),
            max: u64::from(LEASE_MS_MAX),
        }),
    }
}

/// How long a dropped message is offered back at least.
const GIVE_BACK_TIME: Duration = Duration::from_secs(10);
