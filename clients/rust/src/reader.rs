//! The reader in the user's hands.

use std::pin::Pin;
use std::task::{Context, Poll};

use corelane_wire::Offset;
use futures_core::Stream;

use crate::client::Client;
use crate::consumer::{Consumer, ConsumerBuilder};
use crate::delivery::Delivery;
use crate::error::Error;
use crate::subscription::Subscription;

/// Reads the messages of a queue in the order of their offsets, as a [`Stream`]; the broker keeps the checkpoint.
///
/// Its subscription must exist, with the contract [`Contract::Reader`](crate::Contract::Reader). One reader of it at a
/// time gets messages, the others stand by. Nothing is leased: a delivery is only looked at, and dropping or settling it
/// does nothing. [`Reader::checkpoint`] says how far everything is read for good.
///
/// After a broken connection it subscribes again by itself, and the stream goes on *behind the checkpoint*: what was read
/// and not checkpointed comes again.
#[derive(Debug)]
#[must_use = "dropping a reader unsubscribes"]
pub struct Reader {
    consumer: Consumer,
    subscription: Subscription,
}

/// Makes a [`Reader`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `subscribe`"]
pub struct ReaderBuilder {
    consumer: ConsumerBuilder,
    subscription: Subscription,
}

impl ReaderBuilder {
    pub(crate) fn new(client: &Client, queue: &str, name: &str) -> Self {
        Self {
            consumer: client.consumer(queue).subscription(name).rereads(),
            subscription: client.admin().subscription(queue, name),
        }
    }

    /// How many messages may be read ahead of the checkpoint, up to 100,000; 1,000 unless changed.
    pub fn credit(mut self, messages: u32) -> Self {
        self.consumer = self.consumer.credit(messages);
        self
    }

    /// Subscribes, and waits until the broker has agreed.
    ///
    /// # Errors
    /// As [`ConsumerBuilder::subscribe`].
    pub async fn subscribe(self) -> Result<Reader, Error> {
        Ok(Reader {
            consumer: self.consumer.subscribe().await?,
            subscription: self.subscription,
        })
    }
}

impl Reader {
    /// The next message; `None` at the end of the stream. It waits as long as it takes, over reconnects too, and as long
    /// as another reader is active or as many messages are read ahead of the checkpoint as the credit says.
    /// Cancel-safe: a wait that is dropped has taken nothing.
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        self.consumer.next().await
    }

    /// Says that everything up to this message, itself included, is read for good; returns the checkpoint: the offset
    /// from which on a reader goes on after a restart. Once for many messages is enough.
    ///
    /// # Errors
    /// As [`Subscription::checkpoint`]: out of range means that the connection broke, or another reader took over, and
    /// the message comes again.
    pub async fn checkpoint(&self, read: &Delivery) -> Result<Offset, Error> {
        let next = Offset(read.offset().0.saturating_add(1));
        self.subscription.checkpoint(next).await
    }

    /// Unsubscribes, and waits until the broker knows; the checkpoint stays.
    ///
    /// # Errors
    /// As [`Consumer::close`].
    pub async fn close(self) -> Result<(), Error> {
        self.consumer.close().await
    }
}

impl Stream for Reader {
    type Item = Result<Delivery, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.get_mut().consumer).poll_next(context)
    }
}
