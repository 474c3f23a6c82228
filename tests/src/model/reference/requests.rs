//! What each request does, and what it is answered with.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "requests of one kind are told from all others"
)]

use corelane_core::{DeliverTo, Reply, Requester};
use corelane_wire::SubscriptionVerb as Verb;
use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::message::CLASS_MEMORY;
use corelane_wire::{Batch, ConsumerId, Dequeue, Enqueue, ErrorCode, Message, Offset};
use corelane_wire::{
    OffsetRange, QueueList, Receipt, Request, ScheduleVerb, Settle, Subscribe, record_kind,
};

use super::apply::Settling;
use super::state::{Key, millis, place};
use super::{Expected, Model, Outcome, Status, Taker, consumer, refused};

impl Model {
    pub(crate) fn request(&mut self, from: Requester, request: Request<'_>) {
        let outcome = match self.status {
            Status::Starting(_) => Err(ErrorCode::Starting),
            Status::Poisoned => Err(ErrorCode::Poisoned),
            Status::ReadOnly if !is_look(&request) => Err(ErrorCode::Damaged),
            Status::Serving | Status::ReadOnly => self.outcome(from, request),
        };
        self.observe_request(&request, &outcome);
        let waits = match &outcome {
            Ok(Some(Reply::Receipt(receipt))) => receipt.class != CLASS_MEMORY,
            Ok(_) => true,
            Err(code) => !AT_ONCE.contains(code),
        };
        let reply = outcome.unwrap_or_else(|code| Some(refused(code)));
        match reply.map(|reply| Expected::Answer(from, reply)) {
            Some(answer) if waits => self.leave(answer),
            Some(answer) => self.expected.push_back(answer),
            None => {}
        }
    }

    /// A refusal, or the answer if there is one already.
    fn outcome(&mut self, from: Requester, request: Request<'_>) -> Outcome<Option<Reply>> {
        match request {
            Request::Ack(settle) => self.collect(from, settle, Settling::Ack),
            Request::Nack(nack) => {
                let how = Settling::Nack(nack.delay_ms, nack.count_attempt);
                self.collect(from, nack.settle, how)
            }
            Request::Extend(extend) => {
                self.collect(from, extend.settle, Settling::Extend(extend.lease_ms))
            }
            Request::Reject(reject) => {
                if self.texts.last().is_none_or(|last| last != reject.text) {
                    self.texts.push(reject.text.to_owned());
                }
                let how = Settling::Reject(reject.fate, self.texts.len(), reject.text.to_owned());
                self.collect(from, reject.settle, how)
            }
            Request::Dequeue(dequeue) => self.dequeue(from, &dequeue),
            other => self.reply(from, other).map(Some),
        }
    }

    fn reply(&mut self, from: Requester, request: Request<'_>) -> Outcome<Reply> {
        match request {
            Request::Enqueue(enqueue) => self.enqueue(&enqueue),
            Request::Subscribe(subscribe) => self.subscribe(from, &subscribe),
            Request::Credit { consumer, credit } => {
                let at = self.consumer(from, consumer)?;
                self.takers[at].count = credit;
                Ok(Reply::CreditSet)
            }
            Request::Unsubscribe { consumer } => {
                let at = self.consumer(from, consumer)?;
                self.takers.remove(at);
                Ok(Reply::Unsubscribed)
            }
            Request::QueueCreate { queue, lanes: 1 } => {
                let created = self.state.find(queue).is_none();
                self.ensure_queue(queue)?;
                Ok(Reply::QueueCreated { created })
            }
            Request::QueueCreate { .. } => Err(ErrorCode::NotSupported),
            Request::QueueList(list) => Ok(self.list(&list)),
            Request::QueueShow { queue } => {
                let queue = self.find(queue)?;
                Ok(Reply::Queue(Box::new(self.info(queue))))
            }
            Request::QueueDelete { queue } => self.delete(queue),
            Request::Subscription(on) => {
                let answer = self.on_subscription(&on)?;
                Ok(Reply::Subscription(Box::new(answer)))
            }
            Request::Schedule(on) => {
                let answer = self.on_schedule(&on)?;
                Ok(Reply::Schedule(Box::new(answer)))
            }
            other => unreachable!("the model is not asked {other:?}"),
        }
    }

    fn enqueue(&mut self, enqueue: &Enqueue<'_>) -> Outcome<Reply> {
        let batch = Batch::trusted(enqueue.batch).expect("batches are well-formed");
        let found = self.state.find(enqueue.queue);
        let receipt = |first, duplicate| {
            let (class, count) = (batch.class, batch.count);
            let copies = u8::from(class != CLASS_MEMORY);
            let range = OffsetRange { first, count };
            Reply::Receipt(Receipt {
                range,
                class,
                copies,
                duplicate,
                slow_down: false,
            })
        };
        let (producer, sequence) = (batch.producer.0, batch.sequence.0);
        if producer != 0 {
            let known = found.and_then(|queue| self.state.producers.get(&(queue, producer)));
            let taken = known.map_or(&[][..], |(receipts, _)| receipts);
            let at = place(sequence);
            match taken.get(at) {
                Some(first) if first.count == batch.count => return Ok(receipt(first.first, true)),
                None if at == taken.len() => {}
                None if known.is_none() => return Err(ErrorCode::UnknownProducer),
                Some(_) | None => return Err(ErrorCode::OutOfSequence),
            }
        }
        let messages = batch.iter().flatten();
        let message = |message: Message<'_>| {
            let due = millis(message.due_ms.unwrap_or(0));
            (due, message.key.unwrap_or_default().to_vec())
        };
        let messages: Vec<_> = messages.map(message).collect();
        let log_now = self.log_now();
        let latest = messages.iter().map(|(due, _)| *due).max().unwrap_or(0);
        if latest > log_now + millis(DELAY_MS_MAX) {
            return Err(ErrorCode::OutOfRange);
        }
        let queue = self.ensure_queue(enqueue.queue)?;
        let first = Offset(self.state.queues[queue].messages.len() as u64);
        let kind = if latest > log_now {
            record_kind::SCHEDULE
        } else {
            record_kind::ENQUEUE
        };
        self.record(kind).enqueue(queue, messages, producer);
        Ok(receipt(first, false))
    }

    fn dequeue(&mut self, from: Requester, dequeue: &Dequeue<'_>) -> Outcome<Option<Reply>> {
        if self.waiters().count() >= self.limits.waiters_max {
            return Err(ErrorCode::Busy);
        }
        let key = self.ensure_subscription(dequeue.queue, dequeue.subscription)?;
        self.takers.push(Taker {
            key,
            to: DeliverTo::Dequeue(from),
            session: from.session.0,
            count: dequeue.count,
            lease_ms: dequeue.lease_ms,
            until: Some(self.now + millis(dequeue.wait_ms.into())),
            has_waited: false,
            leases: Vec::new(),
        });
        Ok(None)
    }

    fn subscribe(&mut self, from: Requester, subscribe: &Subscribe<'_>) -> Outcome<Reply> {
        if self.consumer(from, subscribe.consumer).is_ok() {
            return Err(ErrorCode::ConsumerExists);
        }
        let of_connection = |taker: &&Taker| taker.connection() == from.connection;
        let others = self.consumers().filter(of_connection).count();
        if others >= self.limits.consumers_per_connection_max {
            return Err(ErrorCode::LimitExceeded);
        }
        let key = self.ensure_subscription(subscribe.queue, subscribe.subscription)?;
        self.takers.push(Taker {
            key,
            to: consumer(from.connection, subscribe.consumer),
            session: from.session.0,
            count: subscribe.credit,
            lease_ms: subscribe.lease_ms,
            until: None,
            has_waited: false,
            leases: Vec::new(),
        });
        Ok(Reply::Subscribed)
    }

    fn collect(
        &mut self,
        from: Requester,
        of: Settle<'_>,
        how: Settling,
    ) -> Outcome<Option<Reply>> {
        let key = self.find_subscription(of.queue, of.subscription)?;
        let entries = of.entries.iter().collect();
        self.turn.push((from, key, how, entries));
        Ok(None)
    }

    fn list(&self, list: &QueueList<'_>) -> Reply {
        let numbers = 0..self.state.queues.len();
        let live = numbers.filter(|number| !self.state.queues[*number].is_deleted);
        let mut queues: Vec<_> = live.map(|number| self.info(number)).collect();
        queues.retain(|queue| queue.name.as_str() > list.after);
        queues.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        let more = queues.len() > list.limit as usize;
        queues.truncate(list.limit as usize);
        Reply::QueueList { queues, more }
    }

    fn delete(&mut self, name: &str) -> Outcome<Reply> {
        let queue = self.find(name)?;
        self.record(record_kind::DELETE).delete(queue);
        self.end_all(|key| key.0 == queue, ErrorCode::QueueNotFound);
        Ok(Reply::QueueDeleted)
    }

    /// Dequeues and consumers of what is deleted end.
    pub(super) fn end_all(&mut self, is_gone: impl Fn(Key) -> bool, code: ErrorCode) {
        let ended = self.takers.extract_if(.., |taker| is_gone(taker.key));
        for from in ended.filter_map(|taker| taker.waiter()).collect::<Vec<_>>() {
            self.answer(from, refused(code));
        }
    }

    pub(crate) fn consumer(&self, from: Requester, id: ConsumerId) -> Outcome<usize> {
        let to = consumer(from.connection, id);
        let found = self.takers.iter().position(|taker| taker.to == to);
        found.ok_or(ErrorCode::UnknownConsumer)
    }

    pub(super) fn find(&self, queue: &str) -> Outcome<usize> {
        self.state.find(queue).ok_or(match self.status {
            // Its Create may be among the records that are damaged.
            Status::ReadOnly => ErrorCode::Damaged,
            Status::Starting(_) | Status::Serving | Status::Poisoned => ErrorCode::QueueNotFound,
        })
    }

    pub(crate) fn find_subscription(&self, queue: &str, name: &str) -> Outcome<Key> {
        let found = self.state.find_in(self.find(queue)?, name);
        found.ok_or(ErrorCode::SubscriptionNotFound)
    }

    pub(super) fn ensure_queue(&mut self, name: &str) -> Outcome<usize> {
        if let Some(queue) = self.state.find(name) {
            return Ok(queue);
        }
        let queues = self.state.queues.iter().filter(|queue| !queue.is_deleted);
        if queues.count() >= self.limits.queues_max {
            return Err(ErrorCode::LimitExceeded);
        }
        self.record(record_kind::CREATE).create(name);
        Ok(self.state.queues.len() - 1)
    }

    /// A subscription that a consumer uses is made where it is missing.
    fn ensure_subscription(&mut self, queue: &str, name: &str) -> Outcome<Key> {
        let found = self.find_subscription(queue, name);
        found.or_else(|_| self.create_subscription((queue, name), None))
    }
}

/// Whether a request changes nothing.
const fn is_look(request: &Request<'_>) -> bool {
    match request {
        Request::QueueShow { .. } | Request::QueueList(_) => true,
        Request::Schedule(on) => matches!(on.verb, ScheduleVerb::List { .. }),
        Request::Subscription(on) => matches!(on.verb, Verb::Show | Verb::ListAside { .. }),
        _ => false,
    }
}

/// What does not depend on what was decided before.
const AT_ONCE: [ErrorCode; 6] = [
    ErrorCode::Starting,
    ErrorCode::Poisoned,
    ErrorCode::Damaged,
    ErrorCode::Busy,
    ErrorCode::NotSupported,
    ErrorCode::OutOfRange,
];
