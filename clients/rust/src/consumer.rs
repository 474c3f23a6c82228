//! The consumer in the user's hands.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use corelane_wire::limits::CREDIT_MAX;
use futures_core::Stream;

use crate::attachment::Attachment;
use crate::client::Client;
use crate::delivery::{Delivery, check_lease};
use crate::error::Error;
use crate::holder::Holder;
use crate::protocol::{ConsumerConfig, ConsumerCore};

/// Pushed deliveries of one subscription, as a [`Stream`].
///
/// The broker delivers until as many messages are held as the credit says; each ack makes room for another.
/// After a broken connection it subscribes again by itself, and messages in the user's hands can still be acked.
/// The stream ends after an error that says why (the broker refuses to subscribe, or the queue or subscription was
/// deleted), or when the client is closed; an unreadable message is an error after which it goes on.
/// Dropping it unsubscribes and gives back what was not taken from it; messages already taken stay valid.
#[derive(Debug)]
#[must_use = "dropping a consumer unsubscribes"]
pub struct Consumer {
    holder: Arc<Holder>,
    client: Client,
}

/// Makes a [`Consumer`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `subscribe`"]
pub struct ConsumerBuilder {
    client: Client,
    config: ConsumerConfig,
    lease: Duration,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, queue: &str) -> Self {
        let mut config = ConsumerConfig::new(queue, client.next_consumer());
        config.ask_after = client.silence_max();
        let lease = Duration::from_millis(u64::from(config.lease_ms));
        Self {
            client,
            config,
            lease,
        }
    }

    /// Reads a reader's subscription.
    pub(crate) const fn rereads(mut self) -> Self {
        self.config.rereads = true;
        self
    }

    /// The subscription, made on first use; `default` unless named.
    pub fn subscription(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.target.subscription);
        self
    }

    /// How many messages to hold at most, up to 100,000; 1,000 unless changed.
    pub fn credit(mut self, messages: u32) -> Self {
        self.config.credit = messages.min(CREDIT_MAX);
        self
    }

    /// How long a message stays leased, 1 s to 1 day; 30 s unless changed.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Above so many bytes that wait to be taken, credit is withdrawn until half of them are gone; 64 MiB unless
    /// changed.
    pub const fn buffer_bytes_max(mut self, bytes: usize) -> Self {
        self.config.buffer_bytes_max = bytes;
        self
    }

    /// Subscribes, and waits until the broker has agreed.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`] if it did not agree within the client's `call_timeout`, or a
    /// bad argument. Cancel-safe: a subscribe that is dropped is taken back.
    pub async fn subscribe(mut self) -> Result<Consumer, Error> {
        crate::client::check_name(&self.config.target.queue)?;
        crate::client::check_subscription_name(&self.config.target.subscription)?;
        self.config.lease_ms = check_lease(self.lease)?;
        let timeout = self.client.call_timeout();
        let core = ConsumerCore::new(self.config, self.client.seed());
        let holder = Arc::new(Holder::of_consumer(core));
        let attachment: Arc<dyn Attachment> = Arc::<Holder>::clone(&holder);
        self.client.attach(&attachment)?;
        drop(attachment);
        let consumer = Consumer {
            holder,
            client: self.client,
        };
        let subscribed = std::future::poll_fn(|context| consumer.holder.poll_subscribed(context));
        match tokio::time::timeout(timeout, subscribed).await {
            Ok(Ok(())) => Ok(consumer),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let refusal = consumer
                    .holder
                    .change(|core| core.last_refusal().map(str::to_owned));
                Err(consumer.client.deadline(timeout, refusal.flatten()))
            }
        }
    }
}

impl Consumer {
    /// The next message; `None` at the end of the stream. It waits as long as it takes, over reconnects too.
    /// Cancel-safe: a wait that is dropped has taken nothing.
    ///
    /// # Errors
    /// [`Error::Unreadable`] names a message that cannot be read, and the stream goes on. [`Error::Refused`] is the
    /// last item: the broker does not let it subscribe (again), or its subscription or queue was deleted.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        std::future::poll_fn(|context| self.poll_delivery(context)).await
    }

    /// Changes how many messages to hold at most; 0 rests. What is held already stays.
    pub fn set_credit(&self, messages: u32) {
        let credit = messages.min(CREDIT_MAX);
        self.holder.change(|core| core.set_credit(credit));
    }

    /// How many messages are held: waiting in the stream or in the user's hands.
    pub fn held(&self) -> u32 {
        self.holder.change(|core| core.held()).unwrap_or(0)
    }

    /// Unsubscribes, gives back what was not taken, and waits until the broker knows.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it did not answer in time; the session's end gives everything back then.
    pub async fn close(self) -> Result<(), Error> {
        let timeout = self.client.call_timeout();
        let now = self.client.now();
        self.holder.change(|core| core.close(now));
        let finished = std::future::poll_fn(|context| self.holder.poll_finished(context));
        tokio::time::timeout(timeout, finished)
            .await
            .map_err(|_| self.client.deadline(timeout, None))
    }

    fn poll_delivery(&self, context: &mut Context<'_>) -> Poll<Option<Result<Delivery, Error>>> {
        let now = self.client.now();
        self.holder.poll_next(now, context).map(|item| {
            item.map(|received| {
                received.map(|message| {
                    Delivery::new(message, Arc::clone(&self.holder), self.client.clone())
                })
            })
        })
    }
}

impl Stream for Consumer {
    type Item = Result<Delivery, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_delivery(context)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let now = self.client.now();
        self.holder.change(|core| core.close(now));
    }
}
