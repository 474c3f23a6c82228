//! The verbs of the protocol as calls that wait for their answer.

use std::fmt;

use anyhow::bail;
use corelane_wire::{
    BatchBuilder, Contract, Deliveries, Dequeue, Enqueue, ErrorCode, Extend, Lane, LeaseId, Nack,
    Offset, OffsetRange, OnSubscription, OutgoingMessage, ProducerId, Receipt, Request, Response,
    Sequence, Settle, SettleEntries, SettleEntry, SettleOutcome, Start, Subscribe,
    SubscriptionAnswer, SubscriptionConfig, SubscriptionVerb,
};

use super::RawConnection;

/// A message that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The lease to name when settling it.
    pub lease: LeaseId,
    /// Its offset.
    pub offset: Offset,
    /// Which delivery of it this is, from 1.
    pub attempt: u32,
    /// Its body, which the tests write as text.
    pub body: String,
}

/// A typed refusal by the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stable code.
    pub code: ErrorCode,
    /// What a person reads.
    pub text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.code, self.text)
    }
}

impl std::error::Error for Refused {}

impl RawConnection {
    /// Sends a request and hands its answer to `take`; a refusal becomes an error of type [`Refused`].
    ///
    /// # Errors
    /// If the connection fails, the broker refuses, or `take` does.
    pub fn call<T>(
        &mut self,
        request: &Request<'_>,
        take: impl FnOnce(&Response<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let sent = self.send(request)?;
        self.receive(|frame, response| {
            if frame.correlation != sent {
                bail!("{response:?} answers {}, not {sent}", frame.correlation);
            }
            if let Response::Error { code, text } | Response::Fault { code, text } = response {
                return Err(Refused { code, text }.into());
            }
            take(&response)
        })
    }

    /// Sends a request that must be refused, and returns the refusal.
    ///
    /// # Errors
    /// If it is not refused, or the connection fails.
    pub fn refusal(&mut self, request: &Request<'_>) -> anyhow::Result<Refused> {
        let answer: anyhow::Result<Refused> =
            self.call(request, |response| bail!("not refused: {response:?}"));
        answer.or_else(anyhow::Error::downcast)
    }

    /// Makes the default subscription of a queue, with this contract.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn create_with(&mut self, queue: &str, contract: Contract) -> anyhow::Result<()> {
        let config = SubscriptionConfig {
            contract,
            ..SubscriptionConfig::PLAIN
        };
        let request = Request::Subscription(OnSubscription {
            queue,
            lane: Lane::default(),
            subscription: "",
            verb: SubscriptionVerb::Create {
                start: Some(Start::Earliest),
                config,
            },
        });
        self.call(&request, |response| {
            let created = SubscriptionAnswer::Created { created: true };
            if *response != Response::Subscription(created) {
                bail!("a create was answered with {response:?}");
            }
            Ok(())
        })
    }

    /// Enqueues texts as one batch of a producer that is not idempotent.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn enqueue(&mut self, queue: &str, bodies: &[&str]) -> anyhow::Result<Receipt> {
        self.enqueue_as(queue, bodies, ProducerId::default(), Sequence(0))
    }

    /// Enqueues texts as the batch `sequence` of `producer`.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn enqueue_as(
        &mut self,
        queue: &str,
        bodies: &[&str],
        producer: ProducerId,
        sequence: Sequence,
    ) -> anyhow::Result<Receipt> {
        let mut builder = BatchBuilder::new();
        for body in bodies {
            builder.push(&OutgoingMessage {
                body: body.as_bytes(),
                ..OutgoingMessage::default()
            })?;
        }
        self.enqueue_batch(queue, &builder.finish(producer, sequence))
    }

    /// Enqueues a text that is due at this time, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn enqueue_due(&mut self, queue: &str, body: &str, due_ms: u64) -> anyhow::Result<Receipt> {
        let mut builder = BatchBuilder::new();
        builder.push(&OutgoingMessage {
            due_ms: Some(due_ms),
            body: body.as_bytes(),
            ..OutgoingMessage::default()
        })?;
        let batch = builder.finish(ProducerId::default(), Sequence(0));
        self.enqueue_batch(queue, &batch)
    }

    /// Enqueues a batch as it is.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn enqueue_batch(&mut self, queue: &str, batch: &[u8]) -> anyhow::Result<Receipt> {
        let request = Request::Enqueue(Enqueue {
            queue,
            lane: Lane::default(),
            batch,
        });
        self.call(&request, |response| {
            let Response::Enqueued(receipt) = response else {
                bail!("an enqueue was answered with {response:?}");
            };
            Ok(*receipt)
        })
    }

    /// Takes up to `count` messages under a lease of `lease_ms`, waiting up to `wait_ms` for the first.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn dequeue(
        &mut self,
        queue: &str,
        count: u32,
        lease_ms: u32,
        wait_ms: u32,
    ) -> anyhow::Result<Vec<Taken>> {
        let request = Request::Dequeue(Dequeue {
            queue,
            lane: Lane::default(),
            subscription: "",
            count,
            lease_ms,
            wait_ms,
        });
        self.call(&request, |response| {
            let Response::Dequeued(deliveries) = response else {
                bail!("a dequeue was answered with {response:?}");
            };
            Self::taken(deliveries)
        })
    }

    /// Subscribes as consumer 1 to the default subscription.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn subscribe(&mut self, queue: &str, credit: u32, lease_ms: u32) -> anyhow::Result<()> {
        let request = Request::Subscribe(Subscribe {
            queue,
            lane: Lane::default(),
            subscription: "",
            consumer: corelane_wire::ConsumerId(1),
            credit,
            lease_ms,
        });
        self.call(&request, |response| {
            if !matches!(response, Response::Subscribed) {
                bail!("a subscribe was answered with {response:?}");
            }
            Ok(())
        })
    }

    /// Waits for the next pushed delivery.
    ///
    /// # Errors
    /// If something else comes first, or nothing.
    pub fn pushed(&mut self) -> anyhow::Result<Vec<Taken>> {
        self.receive(|_, response| {
            let Response::Delivery { deliveries, .. } = &response else {
                bail!("expected a delivery, got {response:?}");
            };
            Self::taken(deliveries)
        })
    }

    /// Acks one message.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn ack(&mut self, queue: &str, message: &Taken) -> anyhow::Result<SettleOutcome> {
        let entries = entry(message);
        let settle = settle(queue, &entries)?;
        self.settled(&Request::Ack(settle))
    }

    /// Gives one message back, to be ready again after `delay_ms`.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn nack(
        &mut self,
        queue: &str,
        message: &Taken,
        delay_ms: u64,
    ) -> anyhow::Result<SettleOutcome> {
        let entries = entry(message);
        let settle = settle(queue, &entries)?;
        self.settled(&Request::Nack(Nack {
            settle,
            delay_ms,
            count_attempt: true,
        }))
    }

    /// Makes the lease of one message last `lease_ms` from now.
    ///
    /// # Errors
    /// If it is refused or the connection fails.
    pub fn extend(
        &mut self,
        queue: &str,
        message: &Taken,
        lease_ms: u32,
    ) -> anyhow::Result<SettleOutcome> {
        let entries = entry(message);
        let settle = settle(queue, &entries)?;
        self.settled(&Request::Extend(Extend { settle, lease_ms }))
    }

    /// The messages of a delivery.
    ///
    /// # Errors
    /// If one is not intact, or its body is no text.
    pub fn taken(deliveries: &Deliveries<'_>) -> anyhow::Result<Vec<Taken>> {
        deliveries
            .iter()
            .map(|delivered| {
                let delivered = delivered?;
                Ok(Taken {
                    lease: deliveries.lease,
                    offset: delivered.offset,
                    attempt: delivered.attempt,
                    body: String::from_utf8(delivered.message.body.to_vec())?,
                })
            })
            .collect()
    }

    fn settled(&mut self, request: &Request<'_>) -> anyhow::Result<SettleOutcome> {
        self.call(request, |response| {
            let Response::Settled(settled) = response else {
                bail!("answered with {response:?}");
            };
            match settled.as_slice() {
                [one] => Ok(one.outcome),
                other => bail!("one entry was settled as {other:?}"),
            }
        })
    }
}

fn entry(message: &Taken) -> Vec<u8> {
    let mut entries = Vec::new();
    let range = OffsetRange {
        first: message.offset,
        count: 1,
    };
    SettleEntry {
        lease: message.lease,
        range,
    }
    .put(&mut entries);
    entries
}

fn settle<'a>(queue: &'a str, entries: &'a [u8]) -> anyhow::Result<Settle<'a>> {
    Ok(Settle {
        queue,
        lane: Lane::default(),
        subscription: "",
        entries: SettleEntries::read(entries)?,
    })
}
