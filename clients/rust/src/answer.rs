//! Answers in memory of their own, for callers that wait for one.

use std::sync::Arc;

use corelane_wire::{
    Deliveries, Metadata, QueueConfig, QueueInfo, Response, ScheduleAnswer, SubscriptionAnswer,
    Timestamp,
};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::delivery::Delivery;
use crate::holder::Holder;
use crate::link::CallFailure;
use crate::protocol::{ProtocolError, Received, Unpacked, Unreadable, lease_end, unpack};

/// An answer to a call.
#[derive(Debug)]
pub(crate) enum Answer {
    Pong,
    Metadata(Metadata),
    Dequeued(Vec<Delivery>),
    Peeked(Vec<Result<Received, Unreadable>>),
    QueueCreated { created: bool },
    QueueList { queues: Vec<QueueInfo>, more: bool },
    Queue(QueueInfo),
    QueueDeleted,
    QueueConfigured { created: bool, config: QueueConfig },
    Subscription(SubscriptionAnswer),
    Schedule(ScheduleAnswer),
}

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) struct Caller {
    /// `None` once the call has ended without the answer that is still to come.
    pub(crate) reply: Option<oneshot::Sender<Result<Answer, CallFailure>>>,
    /// Takes the leases of a dequeue; deliveries that nobody waits for any more are given back through it.
    pub(crate) holder: Option<(Client, Arc<Holder>)>,
}

impl Caller {
    /// Ends the call. An answer that comes too late is dropped, and with it its deliveries, which gives them back.
    pub(crate) fn end(self, result: Result<Answer, CallFailure>) {
        if let Some(reply) = self.reply {
            drop(reply.send(result));
        }
    }

    /// Ends the call before its answer; returns who takes the answer, if it may bring messages.
    pub(crate) fn expire(mut self, failure: CallFailure) -> Option<Self> {
        if let Some(reply) = self.reply.take() {
            // Nobody may wait any more.
            drop(reply.send(Err(failure)));
        }
        self.holder.is_some().then_some(self)
    }

    /// Hands the answer over.
    ///
    /// # Errors
    /// The answer contradicts itself: the connection must be closed.
    pub(crate) fn answer(
        self,
        now: Timestamp,
        response: Response<'_>,
    ) -> Result<(), ProtocolError> {
        if let Response::Error { code, text } = response {
            self.end(Err(CallFailure::Refused { code, text }));
            return Ok(());
        }
        match self.convert(now, response) {
            Ok(answer) => {
                self.end(Ok(answer));
                Ok(())
            }
            Err(error) => {
                self.end(Err(CallFailure::Lost(error.clone().into())));
                Err(error)
            }
        }
    }

    fn convert(&self, now: Timestamp, response: Response<'_>) -> Result<Answer, ProtocolError> {
        Ok(match response {
            Response::Pong => Answer::Pong,
            Response::Metadata(metadata) => Answer::Metadata(metadata),
            Response::Dequeued(deliveries) => Answer::Dequeued(self.dequeued(now, &deliveries)?),
            Response::Peeked(deliveries) => Answer::Peeked(peeked(now, &deliveries)?),
            Response::QueueCreated { created } => Answer::QueueCreated { created },
            Response::QueueList { queues, more } => Answer::QueueList { queues, more },
            Response::Queue(queue) => Answer::Queue(queue),
            Response::QueueDeleted => Answer::QueueDeleted,
            Response::QueueConfigured { created, config } => {
                Answer::QueueConfigured { created, config }
            }
            Response::Subscription(answer) => Answer::Subscription(answer),
            Response::Schedule(answer) => Answer::Schedule(answer),
            Response::Hello(_)
            | Response::Enqueued(_)
            | Response::Subscribed
            | Response::CreditSet
            | Response::Unsubscribed
            | Response::Settled(_)
            | Response::Delivery { .. }
            | Response::Error { .. }
            | Response::Fault { .. } => {
                return Err(ProtocolError::Contradiction {
                    what: "an answer of another call, kind",
                    expected: 0,
                    found: u64::from(response.kind()),
                });
            }
        })
    }

    fn dequeued(
        &self,
        now: Timestamp,
        deliveries: &Deliveries<'_>,
    ) -> Result<Vec<Delivery>, ProtocolError> {
        let Some((client, holder)) = &self.holder else {
            return Ok(Vec::new());
        };
        let lease_until = lease_end(now, deliveries);
        let mut taken = Vec::new();
        for unpacked in unpack(deliveries, lease_until, 0)? {
            match unpacked {
                Unpacked::Message(message) => {
                    taken.push(Delivery::new(message, Arc::clone(holder), client.clone()));
                }
                Unpacked::Unreadable(unreadable) => holder.set_aside(&unreadable, lease_until),
            }
        }
        Ok(taken)
    }
}

fn peeked(
    now: Timestamp,
    deliveries: &Deliveries<'_>,
) -> Result<Vec<Result<Received, Unreadable>>, ProtocolError> {
    let unpacked = unpack(deliveries, now, 0)?.into_iter();
    Ok(unpacked
        .map(|unpacked| match unpacked {
            Unpacked::Message(message) => Ok(message),
            Unpacked::Unreadable(unreadable) => Err(unreadable),
        })
        .collect())
}
