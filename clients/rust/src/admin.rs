//! Single calls: dequeue, peek, and the administration of queues.

use std::time::Duration;

use corelane_wire::limits::{DEQUEUE_MESSAGES_MAX, LIST_MAX, PEEK_MESSAGES_MAX, WAIT_MS_MAX};
use corelane_wire::{
    Dequeue, Header, Lane, Metadata, Offset, Peek, QueueInfo, QueueList, Request, Timestamp,
};

use crate::answer::Answer;
use crate::client::{Client, Route, check_name};
use crate::delivery::{Delivery, check_lease};
use crate::error::Error;
use crate::protocol::{ProtocolError, Received, SettleTarget, Unreadable};

/// What to take with [`Client::dequeue_with`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DequeueOptions<'a> {
    /// The subscription, made on first use; empty for the default one.
    pub subscription: &'a str,
    /// How many messages at most: 1 to 10,000.
    pub count: u32,
    /// How long they stay leased: 1 s to 1 day.
    pub lease: Duration,
    /// How long to wait for the first message; any length, zero answers at once.
    pub wait: Duration,
}

impl Default for DequeueOptions<'_> {
    /// One message of the default subscription, 30 s lease, no wait.
    fn default() -> Self {
        Self {
            subscription: "",
            count: 1,
            lease: Duration::from_millis(u64::from(corelane_wire::limits::LEASE_MS_DEFAULT)),
            wait: Duration::ZERO,
        }
    }
}

/// A message that was looked at without taking it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peeked {
    received: Received,
}

impl Client {
    /// Takes up to `count` messages of the default subscription, waiting up to `wait` for the first.
    ///
    /// Returns nothing if none came. Dropping the future gives back what arrives later.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad argument.
    pub async fn dequeue(
        &self,
        queue: &str,
        count: u32,
        lease: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Error> {
        let options = DequeueOptions {
            count,
            lease,
            wait,
            ..DequeueOptions::default()
        };
        self.dequeue_with(queue, options).await
    }

    /// As [`Client::dequeue`], with all options.
    ///
    /// # Errors
    /// As [`Client::dequeue`].
    pub async fn dequeue_with(
        &self,
        queue: &str,
        options: DequeueOptions<'_>,
    ) -> Result<Vec<Delivery>, Error> {
        check_name(queue)?;
        if !options.subscription.is_empty() {
            check_name(options.subscription)?;
        }
        check_count("count of messages", options.count, DEQUEUE_MESSAGES_MAX)?;
        let lease_ms = check_lease(options.lease)?;
        let holder = self.holder(SettleTarget {
            queue: queue.to_owned(),
            lane: Lane(0),
            subscription: options.subscription.to_owned(),
        })?;
        let until = self.now().add(options.wait);
        loop {
            let left = until.since(self.now());
            let wait_ms =
                u32::try_from(left.as_millis()).map_or(WAIT_MS_MAX, |ms| ms.min(WAIT_MS_MAX));
            let request = Request::Dequeue(Dequeue {
                queue,
                lane: Lane(0),
                subscription: options.subscription,
                count: options.count,
                lease_ms,
                wait_ms,
            });
            let timeout = self.call_timeout() + Duration::from_millis(u64::from(wait_ms));
            let route = Route::Queue(queue, Lane(0));
            let answer = self.call(route, &request, timeout, Some(&holder)).await?;
            let Answer::Dequeued(taken) = answer else {
                return Err(unexpected());
            };
            // The broker waits at most 30 s; a longer wait is asked for again.
            if !taken.is_empty() || self.now() >= until {
                return Ok(taken);
            }
        }
    }

    /// Looks at up to `count` (1 to 1,000) messages from `from` on, without taking them.
    ///
    /// A message that cannot be read is an error in its place.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad argument.
    pub async fn peek(
        &self,
        queue: &str,
        from: Offset,
        count: u32,
    ) -> Result<Vec<Result<Peeked, Error>>, Error> {
        check_name(queue)?;
        check_count("count of messages", count, PEEK_MESSAGES_MAX)?;
        let request = Request::Peek(Peek {
            queue,
            lane: Lane(0),
            from,
            count,
        });
        let Answer::Peeked(messages) = self.ask(Route::Queue(queue, Lane(0)), &request).await?
        else {
            return Err(unexpected());
        };
        Ok(messages.into_iter().map(to_peeked).collect())
    }

    /// Creates a queue; false if it was there already.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name.
    pub async fn queue_create(&self, queue: &str) -> Result<bool, Error> {
        check_name(queue)?;
        let request = Request::QueueCreate { queue, lanes: 1 };
        let Answer::QueueCreated { created } =
            self.ask(Route::Queue(queue, Lane(0)), &request).await?
        else {
            return Err(unexpected());
        };
        Ok(created)
    }

    /// All queues of all partitions, by name.
    ///
    /// Each partition is asked by itself, so that the list is not one instant's.
    ///
    /// # Errors
    /// What the broker refused with, or [`Error::Deadline`].
    pub async fn queue_list(&self) -> Result<Vec<QueueInfo>, Error> {
        let partitions = self.metadata().await?.partitions;
        let mut all: Vec<QueueInfo> = Vec::new();
        for place in partitions {
            let partition = place.partition;
            let mut after = String::new();
            loop {
                let request = Request::QueueList(QueueList {
                    partition,
                    after: &after,
                    limit: LIST_MAX,
                });
                let answer = self.ask(Route::Partition(partition), &request).await?;
                let Answer::QueueList { queues, more } = answer else {
                    return Err(unexpected());
                };
                let last = queues.last().map(|queue| queue.name.clone());
                all.extend(queues);
                match last {
                    // Only onwards, whatever the broker says: a list must end.
                    Some(last) if more && last > after => after = last,
                    Some(_) | None => break,
                }
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// What there is to know about a queue.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name.
    pub async fn queue_show(&self, queue: &str) -> Result<QueueInfo, Error> {
        check_name(queue)?;
        let request = Request::QueueShow { queue };
        let Answer::Queue(info) = self.ask(Route::Queue(queue, Lane(0)), &request).await? else {
            return Err(unexpected());
        };
        Ok(info)
    }

    /// Deletes a queue with its messages.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name. If the connection broke after the broker
    /// had deleted it, the repeated request says that the queue is not found.
    pub async fn queue_delete(&self, queue: &str) -> Result<(), Error> {
        check_name(queue)?;
        let request = Request::QueueDelete { queue };
        let Answer::QueueDeleted = self.ask(Route::Queue(queue, Lane(0)), &request).await? else {
            return Err(unexpected());
        };
        Ok(())
    }

    /// Where the partitions are.
    ///
    /// # Errors
    /// What the broker refused with, or [`Error::Deadline`].
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        let Answer::Metadata(metadata) = self.ask(Route::Any, &Request::Metadata).await? else {
            return Err(unexpected());
        };
        Ok(metadata)
    }

    /// Waits for a sign of life, and says how long it took.
    ///
    /// # Errors
    /// [`Error::Deadline`] if there was none.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let before = self.now();
        let Answer::Pong = self.ask(Route::Any, &Request::Ping).await? else {
            return Err(unexpected());
        };
        Ok(self.now().since(before))
    }

    async fn ask(&self, route: Route<'_>, request: &Request<'_>) -> Result<Answer, Error> {
        self.call(route, request, self.call_timeout(), None).await
    }
}

impl Peeked {
    /// The payload.
    pub fn body(&self) -> &[u8] {
        self.received.body()
    }

    /// What the message is about, if the producer said so.
    pub fn key(&self) -> Option<&[u8]> {
        self.received.key()
    }

    /// The named values, in the producer's order.
    pub fn headers(&self) -> Vec<Header<'_>> {
        self.received.headers()
    }

    /// Number of the message in its lane.
    pub const fn offset(&self) -> Offset {
        self.received.offset
    }

    /// When the broker took it, in the broker's time.
    pub const fn enqueued(&self) -> Timestamp {
        self.received.enqueued
    }
}

fn to_peeked(message: Result<Received, Unreadable>) -> Result<Peeked, Error> {
    match message {
        Ok(received) => Ok(Peeked { received }),
        Err(unreadable) => Err(Error::Unreadable {
            offset: unreadable.offset,
            error: unreadable.error,
        }),
    }
}

fn check_count(what: &'static str, value: u32, max: u32) -> Result<(), Error> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::OutOfRange {
        what,
        value: u64::from(value),
        min: 1,
        max: u64::from(max),
    })
}

/// The connection checks kinds, so that this stands only for a mistake of ours.
const fn unexpected() -> Error {
    Error::Protocol(ProtocolError::Contradiction {
        what: "an answer of another call, kind",
        expected: 0,
        found: 0,
    })
}
