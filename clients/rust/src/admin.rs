//! The calls of an administrator: queues, their messages without taking them, and places of partitions.

use std::time::Duration;

use corelane_wire::limits::{LIST_MAX, PEEK_MESSAGES_MAX};
use corelane_wire::{
    Header, Lane, Metadata, Offset, Peek, QueueConfig, QueueInfo, QueueList, Request, Timestamp,
};

use crate::answer::Answer;
use crate::client::{Client, Route, check_count, check_name};
use crate::error::Error;
use crate::protocol::{Received, Unreadable};
use crate::schedule::Schedule;
use crate::subscription::Subscription;

/// Manages the queues of a broker, and looks at them; made by [`Client::admin`].
///
/// It uses the connections of its client, so that making and cloning it costs nothing; like every handle it keeps the
/// client open. Each call is repeated until it is answered or the client's `call_timeout` (10 s unless changed) is
/// over, and can be dropped at any point; a call that was dropped may have taken effect.
///
/// ```no_run
/// # async fn example() -> Result<(), corelane_client::Error> {
/// use corelane_client::{Client, Offset};
///
/// let client = Client::connect("127.0.0.1:7400").await?;
/// let admin = client.admin();
/// if admin.queue_create("orders").await? {
///     println!("orders is new");
/// }
/// for queue in admin.queue_list().await? {
///     println!("{}: {} messages ever", queue.name, queue.end);
/// }
/// for message in admin.peek("orders", Offset(0), 10).await? {
///     println!("{:?}", message?.body());
/// }
/// admin.queue_delete("orders").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

/// A message that was looked at without taking it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peeked {
    received: Received,
}

impl Admin {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client }
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
        let Answer::Peeked(messages) = self
            .client
            .ask(Route::Queue(queue, Lane(0)), &request)
            .await?
        else {
            return Err(Error::unexpected());
        };
        Ok(messages.into_iter().map(to_peeked).collect())
    }

    /// Creates a queue; false if it was there already.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name. If the connection broke after the broker
    /// had created it, the repeated request says that it was there.
    pub async fn queue_create(&self, queue: &str) -> Result<bool, Error> {
        check_name(queue)?;
        let request = Request::QueueCreate { queue, lanes: 1 };
        let Answer::QueueCreated { created } = self
            .client
            .ask(Route::Queue(queue, Lane(0)), &request)
            .await?
        else {
            return Err(Error::unexpected());
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
                let answer = self
                    .client
                    .ask(Route::Partition(partition), &request)
                    .await?;
                let Answer::QueueList { queues, more } = answer else {
                    return Err(Error::unexpected());
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
        let Answer::Queue(info) = self
            .client
            .ask(Route::Queue(queue, Lane(0)), &request)
            .await?
        else {
            return Err(Error::unexpected());
        };
        Ok(info)
    }

    /// What a queue keeps and takes.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name.
    pub async fn queue_config(&self, queue: &str) -> Result<QueueConfig, Error> {
        let (_, config) = self.configure(queue, None).await?;
        Ok(config)
    }

    /// Replaces what a queue keeps and takes as a whole, and creates the queue if there is none; whether it did.
    /// [`crate::QueueOptions`] says it field by field.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name. If the connection broke after the broker
    /// had created it, the repeated request says that it was there.
    pub async fn queue_configure(
        &self,
        queue: &str,
        config: impl Into<QueueConfig>,
    ) -> Result<bool, Error> {
        let (created, _) = self.configure(queue, Some(config.into())).await?;
        Ok(created)
    }

    async fn configure(
        &self,
        queue: &str,
        config: Option<QueueConfig>,
    ) -> Result<(bool, QueueConfig), Error> {
        check_name(queue)?;
        let request = Request::QueueConfigure { queue, config };
        let Answer::QueueConfigured { created, config } = self
            .client
            .ask(Route::Queue(queue, Lane(0)), &request)
            .await?
        else {
            return Err(Error::unexpected());
        };
        Ok((created, config))
    }

    /// Deletes a queue with its messages.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name. If the connection broke after the broker
    /// had deleted it, the repeated request says that the queue is not found.
    pub async fn queue_delete(&self, queue: &str) -> Result<(), Error> {
        check_name(queue)?;
        let request = Request::QueueDelete { queue };
        let Answer::QueueDeleted = self
            .client
            .ask(Route::Queue(queue, Lane(0)), &request)
            .await?
        else {
            return Err(Error::unexpected());
        };
        Ok(())
    }

    /// Where to begin for everything that was enqueued at `time` or later: the offset of the first such message that
    /// is kept, or that of the next one to come.
    ///
    /// It is found by peeking at about as many messages as the count of those kept has binary digits. Messages are
    /// enqueued in the order of their times, so that none is missed.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], a bad name, or [`Error::Unreadable`] if a message that was
    /// met on the way cannot be read.
    ///
    /// ```no_run
    /// # async fn example(admin: corelane_client::Admin) -> Result<(), corelane_client::Error> {
    /// use std::time::{Duration, SystemTime};
    ///
    /// use corelane_client::{Start, Timestamp};
    ///
    /// let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    /// let since_epoch = hour_ago.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    /// let time = Timestamp::default().add(since_epoch);
    /// let start = Start::At(admin.offset_since("orders", time).await?);
    /// admin.subscription("orders", "billing").seek(start).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn offset_since(&self, queue: &str, time: Timestamp) -> Result<Offset, Error> {
        let info = self.queue_show(queue).await?;
        let (mut first, mut end) = (info.start, info.end);
        // All before `first` is too early; what is at `end` is not, or is yet to come.
        while first < end {
            let middle = Offset(first.0 + (end.0 - first.0) / 2);
            let peeked = self.peek(queue, middle, 1).await?;
            match peeked.into_iter().next().transpose()? {
                Some(message) if message.enqueued() < time => {
                    first = Offset(message.offset().0 + 1);
                }
                Some(_) | None => end = middle,
            }
        }
        Ok(first)
    }

    /// One subscription of a queue; an empty name stands for `default`.
    pub fn subscription(&self, queue: &str, name: &str) -> Subscription {
        Subscription::new(self.client.clone(), queue, name)
    }

    /// The messages of a queue that are not due yet.
    pub fn schedule(&self, queue: &str) -> Schedule {
        Schedule::new(self.client.clone(), queue)
    }

    /// Where the partitions are.
    ///
    /// # Errors
    /// What the broker refused with, or [`Error::Deadline`].
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        let Answer::Metadata(metadata) = self.client.ask(Route::Any, &Request::Metadata).await?
        else {
            return Err(Error::unexpected());
        };
        Ok(metadata)
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

    /// When it is due, if the producer said so.
    pub fn due(&self) -> Option<Timestamp> {
        self.received.due()
    }

    /// How long it lives from when it may first be given out, if the producer said so.
    pub fn ttl(&self) -> Option<Duration> {
        self.received.ttl()
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
