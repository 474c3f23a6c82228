//! Taking messages by single calls, without a stream.

use std::time::Duration;

use corelane_wire::limits::{DEQUEUE_MESSAGES_MAX, WAIT_MS_MAX};
use corelane_wire::{Dequeue, Lane, Request};

use crate::answer::Answer;
use crate::client::{Client, Route, check_count, check_name, check_subscription_name};
use crate::delivery::{Delivery, check_lease};
use crate::error::Error;
use crate::protocol::SettleTarget;

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

impl Client {
    /// Takes up to `count` messages (1 to 10,000) of the default subscription, leased for `lease` (1 s to 1 day),
    /// waiting up to `wait` for the first.
    ///
    /// Returns nothing if none came. What arrives after the future was dropped, or after its deadline, is given back.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`] if it has not answered within `wait` and the client's
    /// `call_timeout` together, or a bad argument.
    ///
    /// ```no_run
    /// # async fn example(client: corelane_client::Client) -> Result<(), corelane_client::Error> {
    /// use std::time::Duration;
    ///
    /// let (lease, wait) = (Duration::from_secs(30), Duration::from_secs(5));
    /// for delivery in client.dequeue("orders", 10, lease, wait).await? {
    ///     println!("{}", String::from_utf8_lossy(delivery.body()));
    ///     delivery.ack().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
        check_subscription_name(options.subscription)?;
        check_count("count of messages", options.count, DEQUEUE_MESSAGES_MAX)?;
        let lease_ms = check_lease(options.lease)?;
        let holder = self.holder(SettleTarget {
            queue: queue.to_owned(),
            lane: Lane(0),
            subscription: options.subscription.to_owned(),
        })?;
        let until = self.now().add(options.wait);
        // A request that is sent again waits for what is left only, or the call could pass its deadline waiting.
        let wait_ms = || {
            let left = until.since(self.now());
            u32::try_from(left.as_millis()).map_or(WAIT_MS_MAX, |ms| ms.min(WAIT_MS_MAX))
        };
        let request = || {
            Request::Dequeue(Dequeue {
                queue,
                lane: Lane(0),
                subscription: options.subscription,
                count: options.count,
                lease_ms,
                wait_ms: wait_ms(),
            })
        };
        loop {
            let timeout = self.call_timeout() + Duration::from_millis(u64::from(wait_ms()));
            let route = Route::Queue(queue, Lane(0));
            let answer = self.call(route, request, timeout, Some(&holder)).await?;
            let Answer::Dequeued(taken) = answer else {
                return Err(Error::unexpected());
            };
            // The broker waits at most 30 s; a longer wait is asked for again.
            if !taken.is_empty() || self.now() >= until {
                return Ok(taken);
            }
        }
    }
}
