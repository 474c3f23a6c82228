//! Requests: refuse or act. The order of the checks is: status, bounds of memory, form, state, bounds of state.

use std::collections::VecDeque;
use std::time::Duration;

use corelane_wire::names::DEFAULT_SUBSCRIPTION;
use corelane_wire::{Aside, Dequeue, ErrorCode, Fate, Request, Settle, Subscribe, Timestamp};

use super::demand::{Consumer, Waiter};
use super::readers::check_leases;
use super::turn::SettleKind;
use super::{Engine, Output, Reply, Requester, Status, poisoned};
use crate::ids::QueueId;
use crate::limits::ASIDE_ROWS_MAX;
use crate::record::Record;
use crate::state::{Subscription, SubscriptionKey};

/// Why a request is refused: the code and the words.
pub(super) type Refusal = (ErrorCode, String);

impl Engine {
    /// A client asks for something.
    pub(super) fn on_request(
        &mut self,
        now: Timestamp,
        from: Requester,
        request: Request<'_>,
        outputs: &mut VecDeque<Output>,
    ) {
        if !self.admits(from, &request, outputs) {
            return;
        }
        let refused = match request {
            Request::Enqueue(enqueue) => self.on_enqueue(now, from, &enqueue, outputs),
            Request::Dequeue(dequeue) => self.on_dequeue(now, from, &dequeue, outputs),
            Request::Subscribe(subscribe) => self.on_subscribe(now, from, &subscribe, outputs),
            Request::Credit { consumer, credit } => {
                let known = self.demand.set_credit(from.connection, consumer, credit);
                self.answer_consumer(from, consumer, known.then_some(Reply::CreditSet), outputs)
            }
            Request::Unsubscribe { consumer } => {
                let key = self.demand.key_of(from.connection, consumer);
                let known = self.demand.unsubscribe(from.connection, consumer);
                if let Some(key) = key {
                    self.leave_ephemeral(now, from.connection, key);
                }
                self.answer_consumer(
                    from,
                    consumer,
                    known.then_some(Reply::Unsubscribed),
                    outputs,
                )
            }
            Request::Ack(settle) => self.on_settle(from, &settle, SettleKind::Ack),
            Request::Nack(nack) => {
                let kind = SettleKind::Nack {
                    delay_ms: nack.delay_ms,
                    count_attempt: nack.count_attempt,
                };
                self.on_settle(from, &nack.settle, kind)
            }
            Request::Extend(extend) => {
                let lease_ms = extend.lease_ms;
                self.on_settle(from, &extend.settle, SettleKind::Extend { lease_ms })
            }
            Request::Peek(peek) => self.on_peek(from, &peek, outputs),
            Request::QueueCreate { queue, lanes } => {
                self.on_queue_create(now, from, (queue, lanes), outputs)
            }
            Request::QueueList(list) => {
                self.on_queue_list(from, &list, outputs);
                Ok(())
            }
            Request::QueueShow { queue } => self.on_queue_show(from, queue, outputs),
            Request::QueueConfigure { queue, config } => {
                self.on_queue_configure(now, from, (queue, config), outputs)
            }
            Request::QueueDelete { queue } => self.on_queue_delete(now, from, queue, outputs),
            Request::Reject(reject) => {
                let kind = self.turn.reject(reject.fate, reject.text);
                self.on_settle(from, &reject.settle, kind)
            }
            Request::Subscription(on) => self.on_subscription(now, from, &on, outputs),
            Request::Schedule(on) => self.on_schedule(now, from, &on, outputs),
            Request::Hello(_) | Request::Ping | Request::Metadata => Err((
                ErrorCode::Internal,
                "the connection answers this request, not a partition".to_owned(),
            )),
        };
        if let Err((code, text)) = refused {
            self.refuse(from, code, text, outputs);
        }
    }

    /// Refuses what is refused whatever it says: these refusals leave at once.
    fn admits(
        &self,
        from: Requester,
        request: &Request<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> bool {
        let refusal = match self.status {
            Status::Replaying | Status::Starting { .. } => {
                (ErrorCode::Starting, "the partition is starting".to_owned())
            }
            Status::Poisoned if matches!(request, Request::Peek(_)) => return true,
            Status::Poisoned => {
                outputs.push_back(poisoned(from));
                return false;
            }
            Status::ReadOnly if super::only_looks(request) => return true,
            Status::ReadOnly => (ErrorCode::Damaged, "later records are damaged".to_owned()),
            Status::Serving => match self.overload() {
                Some(text) => (ErrorCode::Busy, text),
                None => return true,
            },
        };
        refuse_now(from, refusal, outputs);
        false
    }

    /// Why nothing more can be taken on, if so.
    fn overload(&self) -> Option<String> {
        let limits = &self.limits;
        let replies = self.gate.len() + self.turn.len();
        if replies >= limits.gated_replies_max {
            return Some(format!(
                "{replies} answers wait for the disk, at most {} may",
                limits.gated_replies_max
            ));
        }
        let bytes = self.gate.bytes() + self.turn.bytes();
        (bytes >= limits.gated_bytes_max).then(|| {
            format!(
                "{bytes} bytes of answers wait for the disk, at most {} may",
                limits.gated_bytes_max
            )
        })
    }

    /// Refuses: at once where the refusal says nothing about the state, else like any other answer.
    fn refuse(
        &mut self,
        from: Requester,
        code: ErrorCode,
        text: String,
        outputs: &mut VecDeque<Output>,
    ) {
        if code == ErrorCode::Busy || is_about_form(code) {
            refuse_now(from, (code, text), outputs);
        } else {
            self.reply(from, Reply::Refused { code, text }, outputs);
        }
    }

    /// A dequeue waits until the end of its turn at least.
    fn on_dequeue(
        &mut self,
        now: Timestamp,
        from: Requester,
        dequeue: &Dequeue<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        if self.demand.waiters() >= self.limits.waiters_max {
            return Err((
                ErrorCode::Busy,
                format!("{} dequeues wait", self.limits.waiters_max),
            ));
        }
        let key = self.ensure_subscription(now, (dequeue.queue, dequeue.subscription), outputs)?;
        if let Some(subscription) = self.subscription(key) {
            check_leases(subscription)?;
        }
        self.ephemerals.enter(from.connection, key, true);
        self.demand.wait(Waiter {
            from,
            key,
            count: dequeue.count,
            lease_ms: dequeue.lease_ms,
            deadline: now.add(Duration::from_millis(dequeue.wait_ms.into())),
        });
        self.flush_messages();
        Ok(())
    }

    fn on_subscribe(
        &mut self,
        now: Timestamp,
        from: Requester,
        subscribe: &Subscribe<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let (connection, id) = (from.connection, subscribe.consumer);
        if self.demand.listens(connection, id) {
            return Err((
                ErrorCode::ConsumerExists,
                format!("the connection has a consumer {id} already"),
            ));
        }
        let limits = &self.limits;
        if self.demand.consumers() >= limits.consumers_max
            || self.demand.consumers_on_count(connection) >= limits.consumers_per_connection_max
        {
            return Err((
                ErrorCode::LimitExceeded,
                format!(
                    "at most {} consumers, {} of one connection",
                    limits.consumers_max, limits.consumers_per_connection_max
                ),
            ));
        }
        let names = (subscribe.queue, subscribe.subscription);
        let key = self.ensure_subscription(now, names, outputs)?;
        let (credit, lease_ms) = (subscribe.credit, subscribe.lease_ms);
        let mut consumer = Consumer::new(from, id, key, credit, lease_ms);
        self.ephemerals.enter(connection, key, false);
        consumer.next = self.broadcast_end(key).unwrap_or_default();
        self.demand.listen(consumer);
        self.flush_messages();
        self.reply(from, Reply::Subscribed, outputs);
        Ok(())
    }

    /// Messages of class memory may be in no flush yet, and somebody wants some.
    fn flush_messages(&mut self) {
        self.flush.wanted |= !self.uncommitted.is_empty();
    }

    fn answer_consumer(
        &mut self,
        from: Requester,
        consumer: corelane_wire::ConsumerId,
        reply: Option<Reply>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let Some(reply) = reply else {
            return Err((
                ErrorCode::UnknownConsumer,
                format!("the connection has no consumer {consumer}"),
            ));
        };
        self.reply(from, reply, outputs);
        Ok(())
    }

    /// Acks, nacks and extends are only collected here; the turn's end judges them.
    fn on_settle(
        &mut self,
        from: Requester,
        settle: &Settle<'_>,
        kind: SettleKind,
    ) -> Result<(), Refusal> {
        let (key, subscription) = self.find_subscription(settle.queue, settle.subscription)?;
        check_leases(subscription)?;
        let full = match kind {
            SettleKind::Nack { delay_ms: 0, .. } | SettleKind::Ack | SettleKind::Extend { .. } => {
                false
            }
            SettleKind::Reject { fate, .. } if let Some(aside) = aside_of(fate) => {
                subscription.aside(aside).rows().len() >= ASIDE_ROWS_MAX
            }
            SettleKind::Nack { .. } | SettleKind::Reject { .. } => {
                subscription.fragments() >= self.limits.ranges_max
            }
        };
        if full && key.1.is_ephemeral() {
            self.unscatter(key);
        } else if full {
            let name = &subscription.name;
            let text = format!("subscription {name} has too many scattered messages to take more");
            return Err((ErrorCode::Busy, text));
        }
        self.turn.collect(from, key, kind, settle.entries.iter());
        Ok(())
    }

    /// The subscription of these names, or the refusal.
    pub(super) fn find_subscription(
        &self,
        queue: &str,
        name: &str,
    ) -> Result<(SubscriptionKey, &Subscription), Refusal> {
        let name = subscription_name(name);
        let id = self.find_queue(queue)?;
        let found = self.find_key(id, name);
        match found.and_then(|key| Some((key, self.subscription(key)?))) {
            Some(found) => Ok(found),
            None => Err((
                ErrorCode::SubscriptionNotFound,
                format!("queue {queue} has no subscription {name}"),
            )),
        }
    }

    /// The queue of this name, or the refusal.
    pub(super) fn find_queue(&self, name: &str) -> Result<QueueId, Refusal> {
        self.state.queues.find(name).ok_or_else(|| {
            let text = format!("queue {name} does not exist");
            if self.status == Status::ReadOnly {
                // Its Create may be among the records that are damaged.
                return (ErrorCode::Damaged, text + " before the damage");
            }
            (ErrorCode::QueueNotFound, text)
        })
    }

    /// Makes a queue that does not exist.
    pub(super) fn create_queue(
        &mut self,
        now: Timestamp,
        name: &str,
        outputs: &mut VecDeque<Output>,
    ) -> Result<QueueId, Refusal> {
        let queues = self.state.queues.len();
        match self.state.queues.next_id() {
            Some(queue) if queues < self.limits.queues_max => {
                let name = name.to_owned();
                self.append(now, Record::Create { queue, name }, outputs);
                Ok(queue)
            }
            Some(_) | None => Err((
                ErrorCode::LimitExceeded,
                format!(
                    "the partition has {queues} queues, at most {} are allowed",
                    self.limits.queues_max
                ),
            )),
        }
    }
}

/// Refusals that say nothing about what the log holds.
const fn is_about_form(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Malformed
            | ErrorCode::BadMessageChecksum
            | ErrorCode::ReservedNotZero
            | ErrorCode::OutOfRange
            | ErrorCode::NotSupported
            | ErrorCode::MessageTooLarge
            | ErrorCode::Internal
    )
}

fn refuse_now(to: Requester, (code, text): Refusal, outputs: &mut VecDeque<Output>) {
    let reply = Reply::Refused { code, text };
    outputs.push_back(Output::Reply { to, reply });
}

pub(super) const fn subscription_name(name: &str) -> &str {
    if name.is_empty() {
        DEFAULT_SUBSCRIPTION
    } else {
        name
    }
}

/// Where a message of this fate is put.
const fn aside_of(fate: Fate) -> Option<Aside> {
    match fate {
        Fate::Retry => None,
        Fate::Dead => Some(Aside::Dead),
        Fate::Park => Some(Aside::Parked),
    }
}
