//! What a client makes of the bytes that come back.

use corelane_wire::{Decoder, ErrorCode, Frame, Response, SessionId, SubscriptionAnswer};

use super::{Asked, Client, Pending, Scope};
use crate::sim::body;
use crate::sim::checker::{Body, Event};

impl Client {
    /// Bytes arrived on the link; false when it must be given up.
    pub fn on_bytes(&mut self, scope: &mut Scope<'_>, mut bytes: &[u8]) -> bool {
        self.last_heard = scope.now;
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let mut decoder = std::mem::replace(&mut connection.decoder, Decoder::new(0));
        let is_well = loop {
            match decoder.next(&mut bytes) {
                Ok(Some(frame)) => {
                    if !self.on_frame(scope, &frame) {
                        break false;
                    }
                }
                Ok(None) => break true,
                Err(error) => {
                    self.protocol_error(scope, &error.to_string());
                    break false;
                }
            }
        };
        if let Some(connection) = &mut self.connection {
            connection.decoder = decoder;
        }
        is_well
    }

    /// The broker broke the protocol: that is a finding like any other.
    pub(super) fn protocol_error(&self, scope: &mut Scope<'_>, text: &str) {
        scope.events.push(Event::ProtocolError {
            text: format!("client {}: {text}", self.index),
        });
    }

    fn on_frame(&mut self, scope: &mut Scope<'_>, frame: &Frame<'_>) -> bool {
        let response = match Response::decode(frame) {
            Ok(response) => response,
            Err(error) => {
                self.protocol_error(scope, &error.to_string());
                return false;
            }
        };
        tracing::debug!(client = self.index, correlation = frame.correlation.0, answer = %brief(&response));
        if let Response::Delivery {
            consumer,
            deliveries,
        } = &response
        {
            let Some(known) = self.consumers.get(&consumer.0) else {
                // Unsubscribed in the meantime: it may still be on its way, but not after the answer.
                self.protocol_error(scope, &format!("a delivery to consumer {consumer}"));
                return false;
            };
            let of = known.of;
            let by = self.receiver(Some(consumer.0), 0);
            self.on_messages(scope, of, by, deliveries);
            return true;
        }
        if let Response::Fault { .. } = response {
            scope.met.faults += 1;
            return false;
        }
        let correlation = frame.correlation.0;
        let Some(Pending { asked, .. }) = self.pending.remove(&correlation) else {
            self.protocol_error(scope, &format!("an answer to {correlation}: {response:?}"));
            return false;
        };
        self.on_answer(scope, asked, correlation, response);
        true
    }

    fn on_answer(
        &mut self,
        scope: &mut Scope<'_>,
        asked: Asked,
        correlation: u64,
        response: Response<'_>,
    ) {
        match (asked, response) {
            (asked, Response::Error { code, .. }) => {
                self.on_refused(scope, asked, correlation, code);
            }
            (Asked::Hello, Response::Hello(hello)) => {
                if hello.resumed {
                    scope.met.session_resumed += 1;
                }
                self.session = hello.session;
                if let Some(connection) = &mut self.connection {
                    connection.is_greeted = true;
                }
            }
            (Asked::Enqueue(key), Response::Enqueued(receipt)) => {
                self.on_enqueued(scope, key, &receipt);
            }
            (Asked::Dequeue(of), Response::Dequeued(deliveries)) => {
                let by = self.receiver(None, correlation);
                if deliveries.runs.is_empty() {
                    scope.met.dequeued_nothing += 1;
                } else {
                    self.on_messages(scope, of, by, &deliveries);
                }
            }
            (Asked::Subscribe { consumer, credit }, Response::Subscribed) => {
                self.on_subscribed(scope, correlation, consumer, credit);
            }
            (Asked::Credit { consumer, credit }, Response::CreditSet) => {
                self.on_credit_set(scope, consumer, credit);
            }
            (Asked::Unsubscribe(id), Response::Unsubscribed) => {
                self.on_consumer_ended(id);
            }
            (Asked::Settle(asked), Response::Settled(outcomes)) => {
                self.on_settled(scope, &asked, &outcomes);
            }
            (Asked::Peek(queue), Response::Peeked(deliveries)) => {
                for item in &deliveries {
                    let (offset, body) = item.map_or((0, Body::Foreign), |item| {
                        (item.offset.0, body::judge(&item.message))
                    });
                    scope.met.peeked += 1;
                    scope.events.push(Event::Peeked {
                        queue,
                        offset,
                        body,
                    });
                }
            }
            (Asked::Show { queue, round }, Response::Queue(info)) => {
                self.on_shown(scope, (queue, round), Some(&info));
            }
            (Asked::Delete(queue), Response::QueueDeleted) => {
                scope.events.push(Event::DeleteConfirmed { queue });
            }
            (Asked::Subscription, Response::Subscription(answer)) => {
                if let SubscriptionAnswer::Returned { count, .. } = answer {
                    scope.met.brought_back += u64::from(count);
                }
                let is_paused = answer == SubscriptionAnswer::Paused;
                scope.met.subscription_paused += u64::from(is_paused);
            }
            (Asked::Nothing, _) => {}
            (asked, response) => {
                self.protocol_error(scope, &format!("{response:?} answers {asked:?}"));
            }
        }
    }

    fn on_credit_set(&mut self, scope: &mut Scope<'_>, id: u32, credit: u32) {
        let by = self.receiver(Some(id), 0);
        scope.events.push(Event::CreditConfirmed { by, credit });
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.credit = credit;
        }
    }

    fn on_subscribed(&mut self, scope: &mut Scope<'_>, correlation: u64, id: u32, credit: u32) {
        let by = self.receiver(Some(id), 0);
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        consumer.asked -= 1;
        let was_confirmed = std::mem::replace(&mut consumer.is_confirmed, true);
        consumer.made_by = correlation;
        consumer.credit = credit;
        let is_fleeting = scope.plan.fleeting == Some(consumer.of.queue);
        scope.events.push(Event::CreditConfirmed { by, credit });
        if was_confirmed && !is_fleeting {
            self.protocol_error(scope, &format!("two consumers with the number {id}"));
        }
    }

    /// Another request that names the consumer may make it, or have made it.
    fn on_not_subscribed(&mut self, id: u32) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.asked -= 1;
            if consumer.asked == 0 && !consumer.is_confirmed {
                self.consumers.remove(&id);
            }
        }
    }

    /// Only the end of its queue ends a consumer without a word. A request from before the consumer was made may be
    /// answered after the one that made it.
    fn on_unknown_consumer(&mut self, scope: &mut Scope<'_>, correlation: u64, id: u32) {
        let known = self.consumers.get(&id).filter(|it| it.is_confirmed);
        if known.is_some_and(|consumer| correlation < consumer.made_by) {
            return;
        }
        let is_forgotten =
            known.is_some_and(|consumer| scope.plan.fleeting != Some(consumer.of.queue));
        if is_forgotten {
            self.protocol_error(scope, &format!("consumer {id} is confirmed and forgotten"));
        }
        self.on_consumer_ended(id);
    }

    /// The broker has no such consumer any more; one that was asked for later may come.
    fn on_consumer_ended(&mut self, id: u32) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.is_confirmed = false;
            if consumer.asked == 0 {
                self.consumers.remove(&id);
            }
        }
    }

    fn on_refused(
        &mut self,
        scope: &mut Scope<'_>,
        asked: Asked,
        correlation: u64,
        code: ErrorCode,
    ) {
        scope.met.on_refusal(code);
        match asked {
            Asked::Enqueue(key) => self.on_not_enqueued(scope, key, Some(code)),
            Asked::Subscribe { consumer, .. } => self.on_not_subscribed(consumer),
            Asked::Unsubscribe(id) | Asked::Credit { consumer: id, .. }
                if code == ErrorCode::UnknownConsumer =>
            {
                self.on_unknown_consumer(scope, correlation, id);
            }
            Asked::Show { queue, round } if code == ErrorCode::QueueNotFound => {
                self.on_shown(scope, (queue, round), None);
            }
            Asked::Settle(settle) if code.is_retry() => {
                let again = settle.offsets.into_iter();
                self.hold_again(scope, settle.of, again.collect());
            }
            // The link is given up, since it stays without a greeting.
            Asked::Hello => self.session = SessionId::NONE,
            Asked::Nothing
            | Asked::Dequeue(_)
            | Asked::Credit { .. }
            | Asked::Unsubscribe(_)
            | Asked::Settle(_)
            | Asked::Peek(_)
            | Asked::Delete(_)
            | Asked::Subscription
            | Asked::Show { .. } => {}
        }
    }

    /// The link is gone before the answer came.
    pub(super) fn on_unanswered(&mut self, scope: &mut Scope<'_>, asked: Asked) {
        match asked {
            Asked::Enqueue(key) => self.on_not_enqueued(scope, key, None),
            Asked::Settle(settle) => {
                if self.random.one_in(2) {
                    self.hold_again(scope, settle.of, settle.offsets);
                }
            }
            Asked::Hello
            | Asked::Nothing
            | Asked::Dequeue(_)
            | Asked::Subscribe { .. }
            | Asked::Credit { .. }
            | Asked::Unsubscribe(_)
            | Asked::Peek(_)
            | Asked::Delete(_)
            | Asked::Subscription
            | Asked::Show { .. } => {}
        }
    }
}

/// An answer for the trace, without its bodies.
fn brief(response: &Response<'_>) -> String {
    match response {
        Response::Delivery {
            consumer,
            deliveries,
        } => format!(
            "Delivery to {consumer}: {:?} {:?}",
            deliveries.lease, deliveries.runs
        ),
        Response::Dequeued(deliveries) | Response::Peeked(deliveries) => {
            format!("{:?} {:?}", deliveries.lease, deliveries.runs)
        }
        Response::Hello(_)
        | Response::Pong
        | Response::Metadata(_)
        | Response::Enqueued(_)
        | Response::Subscribed
        | Response::CreditSet
        | Response::Unsubscribed
        | Response::Settled(_)
        | Response::QueueCreated { .. }
        | Response::QueueList { .. }
        | Response::Queue(_)
        | Response::QueueDeleted
        | Response::QueueConfigured { .. }
        | Response::Schedule(_)
        | Response::Subscription(_)
        | Response::Error { .. }
        | Response::Fault { .. } => format!("{response:?}"),
    }
}
