//! What each request does, and what it is answered with.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "requests of one kind are told from all others"
)]

use corelane_core::{DeliverTo, Reply, Requester};
use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::message::CLASS_MEMORY;
use corelane_wire::{
    Batch, ConsumerId, Dequeue, Enqueue, ErrorCode, Offset, OffsetRange, QueueList, Receipt,
    Request, Settle, Subscribe, SubscriptionVerb, record_kind,
};

use super::apply::Settling;
use super::state::{Enqueued, Key, millis};
use super::{Expected, Model, Status, Taker, consumer, refused};

impl Model {
    pub(crate) fn request(&mut self, from: Requester, request: Request<'_>) {
        let outcome = match self.status {
            Status::Starting(_) => return self.refuse_now(from, ErrorCode::Starting),
            Status::Poisoned => return self.refuse_now(from, ErrorCode::Poisoned),
            Status::ReadOnly if !is_look(&request) => {
                return self.refuse_now(from, ErrorCode::Damaged);
            }
            Status::Serving | Status::ReadOnly => self.outcome(from, request),
        };
        self.observe_request(&request, &outcome);
        match outcome {
            Ok(Some(Reply::Receipt(receipt))) if receipt.class == CLASS_MEMORY => {
                let reply = Reply::Receipt(receipt);
                self.expected.push_back(Expected::Answer(from, reply));
            }
            Ok(Some(reply)) => self.answer(from, reply),
            Ok(None) => {}
            Err(code @ (ErrorCode::Busy | ErrorCode::NotSupported | ErrorCode::OutOfRange)) => {
                self.refuse_now(from, code);
            }
            Err(code) => self.answer(from, refused(code)),
        }
    }

    fn refuse_now(&mut self, from: Requester, code: ErrorCode) {
        self.expected
            .push_back(Expected::Answer(from, refused(code)));
    }

    /// A refusal, or the answer if there is one already.
    fn outcome(
        &mut self,
        from: Requester,
        request: Request<'_>,
    ) -> Result<Option<Reply>, ErrorCode> {
        let settling = match request {
            Request::Ack(settle) => (settle, Settling::Ack),
            Request::Nack(nack) => (
                nack.settle,
                Settling::Nack(nack.delay_ms, nack.count_attempt),
            ),
            Request::Extend(extend) => (extend.settle, Settling::Extend(extend.lease_ms)),
            Request::Reject(reject) => {
                if self.texts.last().is_none_or(|last| last != reject.text) {
                    self.texts.push(reject.text.to_owned());
                }
                let how = Settling::Reject(reject.fate, self.texts.len(), reject.text.to_owned());
                (reject.settle, how)
            }
            Request::Dequeue(dequeue) => {
                self.dequeue(from, &dequeue)?;
                return Ok(None);
            }
            other => return self.reply(from, other).map(Some),
        };
        self.collect(from, settling)?;
        Ok(None)
    }

    fn reply(&mut self, from: Requester, request: Request<'_>) -> Result<Reply, ErrorCode> {
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
            other => unreachable!("the model is not asked {other:?}"),
        }
    }

    fn enqueue(&mut self, enqueue: &Enqueue<'_>) -> Result<Reply, ErrorCode> {
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
            let at = usize::try_from(sequence).unwrap_or(usize::MAX);
            match taken.get(at) {
                Some(first) if first.count == batch.count => return Ok(receipt(first.first, true)),
                None if at == taken.len() => {}
                None if known.is_none() => return Err(ErrorCode::UnknownProducer),
                Some(_) | None => return Err(ErrorCode::OutOfSequence),
            }
        }
        let messages = batch
            .iter()
            .map(|message| message.expect("it is well-formed"));
        let mut enqueued: Vec<Enqueued> = messages
            .map(|message| Enqueued {
                lsn: 0,
                time: 0,
                due: millis(message.due_ms.unwrap_or(0)),
                key: message.key.unwrap_or_default().to_vec(),
            })
            .collect();
        let log_now = self.log_now();
        let latest = enqueued.iter().map(|of| of.due).max().unwrap_or(0);
        if latest > log_now + millis(DELAY_MS_MAX) {
            return Err(ErrorCode::OutOfRange);
        }
        let queue = self.ensure_queue(enqueue.queue)?;
        let first = Offset(self.state.queues[queue].messages.len() as u64);
        let is_later = latest > log_now;
        let kind = if is_later {
            record_kind::SCHEDULE
        } else {
            record_kind::ENQUEUE
        };
        let lsn = self.write(kind);
        for of in &mut enqueued {
            (of.lsn, of.time) = (lsn, self.state.log_time);
        }
        self.state.enqueue(queue, enqueued, producer);
        Ok(receipt(first, false))
    }

    fn dequeue(&mut self, from: Requester, dequeue: &Dequeue<'_>) -> Result<(), ErrorCode> {
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
        Ok(())
    }

    fn subscribe(
        &mut self,
        from: Requester,
        subscribe: &Subscribe<'_>,
    ) -> Result<Reply, ErrorCode> {
        if self.consumer(from, subscribe.consumer).is_ok() {
            return Err(ErrorCode::ConsumerExists);
        }
        let of_connection = |taker: &&Taker| taker.connection() == from.connection;
        if self.consumers().filter(of_connection).count()
            >= self.limits.consumers_per_connection_max
        {
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
        (settle, how): (Settle<'_>, Settling),
    ) -> Result<(), ErrorCode> {
        let key = self.find_subscription(settle.queue, settle.subscription)?;
        self.turn
            .push((from, key, how, settle.entries.iter().collect()));
        Ok(())
    }

    fn list(&self, list: &QueueList<'_>) -> Reply {
        let queues = (0..)
            .zip(&self.state.queues)
            .filter(|(_, queue)| !queue.is_deleted);
        let names = queues.map(|(number, queue)| (queue.name.as_str(), number));
        let mut behind: Vec<_> = names.filter(|(name, _)| *name > list.after).collect();
        behind.sort_unstable();
        let more = behind.len() > list.limit as usize;
        behind.truncate(list.limit as usize);
        let queues = behind
            .into_iter()
            .map(|(_, number)| self.info(number))
            .collect();
        Reply::QueueList { queues, more }
    }

    fn delete(&mut self, name: &str) -> Result<Reply, ErrorCode> {
        let queue = self.find(name)?;
        self.write(record_kind::DELETE);
        self.state.delete(queue);
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

    pub(crate) fn consumer(&self, from: Requester, id: ConsumerId) -> Result<usize, ErrorCode> {
        let to = consumer(from.connection, id);
        let found = self.takers.iter().position(|taker| taker.to == to);
        found.ok_or(ErrorCode::UnknownConsumer)
    }

    pub(super) fn find(&self, queue: &str) -> Result<usize, ErrorCode> {
        // Its Create may be among the records that are damaged.
        let is_damaged = self.status == Status::ReadOnly;
        let missing = if is_damaged {
            ErrorCode::Damaged
        } else {
            ErrorCode::QueueNotFound
        };
        self.state.find(queue).ok_or(missing)
    }

    pub(crate) fn find_subscription(&self, queue: &str, name: &str) -> Result<Key, ErrorCode> {
        let found = self.state.find_in(self.find(queue)?, name);
        found.ok_or(ErrorCode::SubscriptionNotFound)
    }

    pub(super) fn ensure_queue(&mut self, name: &str) -> Result<usize, ErrorCode> {
        if let Some(queue) = self.state.find(name) {
            return Ok(queue);
        }
        let queues = self.state.queues.iter().filter(|queue| !queue.is_deleted);
        if queues.count() >= self.limits.queues_max {
            return Err(ErrorCode::LimitExceeded);
        }
        self.write(record_kind::CREATE);
        self.state.create(name);
        Ok(self.state.queues.len() - 1)
    }

    /// A subscription that a consumer uses is made where it is missing.
    fn ensure_subscription(&mut self, queue: &str, name: &str) -> Result<Key, ErrorCode> {
        let found = self.find_subscription(queue, name);
        found.or_else(|_| self.create_subscription((queue, name), None))
    }
}

/// Whether a request changes nothing.
const fn is_look(request: &Request<'_>) -> bool {
    match request {
        Request::QueueShow { .. } | Request::QueueList(_) => true,
        Request::Subscription(on) => {
            matches!(
                on.verb,
                SubscriptionVerb::Show | SubscriptionVerb::ListAside { .. }
            )
        }
        _ => false,
    }
}
