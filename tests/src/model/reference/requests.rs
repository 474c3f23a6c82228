//! What each request does, and what it is answered with.

use corelane_core::Requester;
use corelane_wire::{
    Batch, Dequeue, Enqueue, ErrorCode, Offset, OffsetRange, QueueList, Receipt, Request, Settle,
    Subscribe, record_kind,
};

use super::state::{Fact, Key, Settling, millis};
use super::{Answer, Collected, Consumer, Model, Status, Waiter};

/// A refusal, or the answer if there is one already.
pub(crate) type Outcome = Result<Option<Answer>, ErrorCode>;

impl Model {
    pub(crate) fn request(&mut self, now: u64, from: Requester, request: Request<'_>) {
        match self.status {
            Status::Serving => {}
            Status::Starting(_) => {
                return self.answer_now(from, Answer::Refused(ErrorCode::Starting));
            }
            Status::Poisoned => {
                return self.answer_now(from, Answer::Refused(ErrorCode::Poisoned));
            }
        }
        self.observe_request(from, &request);
        let outcome = self.outcome(now, from, request);
        self.observe_outcome(&request, &outcome);
        match outcome {
            Ok(Some(answer)) => self.answer(from, answer),
            Ok(None) => {}
            Err(code @ (ErrorCode::Busy | ErrorCode::NotSupported)) => {
                self.answer_now(from, Answer::Refused(code));
            }
            Err(code) => self.answer(from, Answer::Refused(code)),
        }
    }

    fn outcome(&mut self, now: u64, from: Requester, request: Request<'_>) -> Outcome {
        match request {
            Request::Enqueue(enqueue) => self.enqueue(now, &enqueue),
            Request::Dequeue(dequeue) => self.dequeue(now, from, &dequeue),
            Request::Subscribe(subscribe) => self.subscribe(now, from, &subscribe),
            Request::Credit { consumer, credit } => {
                let at = self.consumer(from, consumer.0)?;
                self.consumers[at].credit = credit;
                Ok(Some(Answer::CreditSet))
            }
            Request::Unsubscribe { consumer } => {
                let at = self.consumer(from, consumer.0)?;
                self.consumers.remove(at);
                Ok(Some(Answer::Unsubscribed))
            }
            Request::Ack(settle) => self.collect(from, &settle, Settling::Ack),
            Request::Nack(nack) => {
                let how = Settling::Nack {
                    delay_ms: nack.delay_ms,
                    is_counted: nack.count_attempt,
                };
                self.collect(from, &nack.settle, how)
            }
            Request::Reject(reject) => {
                let texts = &mut self.texts;
                if texts.last().is_none_or(|last| last != reject.text) {
                    texts.push(reject.text.to_owned());
                }
                let text = reject.text.to_owned();
                let how = Settling::Reject(reject.fate, texts.len(), text);
                self.collect(from, &reject.settle, how)
            }
            Request::Extend(extend) => {
                let lease_ms = extend.lease_ms;
                self.collect(from, &extend.settle, Settling::Extend { lease_ms })
            }
            Request::QueueCreate { queue, lanes: 1 } => {
                let is_new = self.state.find(queue).is_none();
                self.ensure_queue(now, queue)?;
                Ok(Some(Answer::QueueCreated(is_new)))
            }
            Request::QueueCreate { .. } => Err(ErrorCode::NotSupported),
            Request::QueueList(list) => Ok(Some(self.list(&list))),
            Request::QueueShow { queue } => {
                let number = self.find(queue)?;
                Ok(Some(Answer::Queue(self.info(number))))
            }
            Request::QueueDelete { queue } => self.delete(now, queue),
            Request::Hello(_) | Request::Ping | Request::Metadata | Request::Peek(_) => {
                unreachable!("the model is not asked this")
            }
            Request::Subscription(on) => self.on_subscription(now, &on),
        }
    }

    fn enqueue(&mut self, now: u64, enqueue: &Enqueue<'_>) -> Outcome {
        let batch = Batch::trusted(enqueue.batch).expect("batches are well-formed");
        let found = self.state.find(enqueue.queue);
        let (producer, sequence) = (batch.producer.0, batch.sequence.0);
        if producer != 0 {
            let known = found.and_then(|queue| self.state.producers.get(&(queue, producer)));
            let taken = known.map_or(&[][..], |producer| &producer.receipts);
            let at = usize::try_from(sequence).unwrap_or(usize::MAX);
            match taken.get(at) {
                Some(first) if first.count == batch.count => {
                    let receipt = receipt(*first, true);
                    return Ok(Some(receipt));
                }
                None if at == taken.len() => {}
                None if known.is_none() => {
                    return Err(ErrorCode::UnknownProducer);
                }
                Some(_) | None => {
                    return Err(ErrorCode::OutOfSequence);
                }
            }
        }
        let queue = self.ensure_queue(now, enqueue.queue)?;
        let first = Offset(self.state.queues[queue].messages.len() as u64);
        self.write(now, record_kind::ENQUEUE);
        let count = batch.count;
        self.note(Fact::Enqueue {
            queue,
            count,
            producer,
        });
        Ok(Some(receipt(OffsetRange { first, count }, false)))
    }

    fn dequeue(&mut self, now: u64, from: Requester, dequeue: &Dequeue<'_>) -> Outcome {
        if self.waiters.len() >= self.bounds.waiters {
            return Err(ErrorCode::Busy);
        }
        let key = self.ensure_subscription(now, dequeue.queue, dequeue.subscription)?;
        self.waiters.push(Waiter {
            from,
            key,
            count: dequeue.count,
            lease_ms: dequeue.lease_ms,
            until: now + millis(dequeue.wait_ms.into()),
            has_waited: false,
        });
        Ok(None)
    }

    fn subscribe(&mut self, now: u64, from: Requester, subscribe: &Subscribe<'_>) -> Outcome {
        let connection = from.connection.0;
        let id = subscribe.consumer.0;
        let of_connection = self
            .consumers
            .iter()
            .filter(|it| it.connection == connection);
        if of_connection.clone().any(|it| it.id == id) {
            return Err(ErrorCode::ConsumerExists);
        }
        if of_connection.count() >= self.bounds.consumers_per_connection {
            return Err(ErrorCode::LimitExceeded);
        }
        let key = self.ensure_subscription(now, subscribe.queue, subscribe.subscription)?;
        self.consumers.push(Consumer {
            connection,
            id,
            session: from.session,
            key,
            credit: subscribe.credit,
            lease_ms: subscribe.lease_ms,
            leases: Vec::new(),
        });
        Ok(Some(Answer::Subscribed))
    }

    fn collect(&mut self, from: Requester, settle: &Settle<'_>, how: Settling) -> Outcome {
        let queue = self.find(settle.queue)?;
        let name = or_default(settle.subscription);
        let key = self.state.find_in(queue, name);
        let key = key.ok_or(ErrorCode::SubscriptionNotFound)?;
        self.turn.push(Collected {
            from,
            key,
            how,
            entries: settle.entries.iter().collect(),
        });
        Ok(None)
    }

    fn list(&self, list: &QueueList<'_>) -> Answer {
        let queues = self.state.queues.iter().enumerate();
        let mut behind: Vec<_> = queues
            .filter(|(_, queue)| !queue.is_deleted && queue.name.as_str() > list.after)
            .map(|(number, queue)| (&queue.name, number))
            .collect();
        behind.sort_unstable();
        let limit = list.limit as usize;
        let has_more = behind.len() > limit;
        let queues = behind
            .iter()
            .take(limit)
            .map(|(_, number)| self.info(*number));
        Answer::QueueList(queues.collect(), has_more)
    }

    fn delete(&mut self, now: u64, name: &str) -> Outcome {
        let queue = self.find(name)?;
        self.write(now, record_kind::DELETE);
        self.note(Fact::Delete(queue));
        let ended: Vec<Requester> = self
            .waiters
            .extract_if(.., |waiter| waiter.key.0 == queue)
            .map(|waiter| waiter.from)
            .collect();
        for from in ended {
            self.answer(from, Answer::Refused(ErrorCode::QueueNotFound));
        }
        self.consumers.retain(|consumer| consumer.key.0 != queue);
        Ok(Some(Answer::QueueDeleted))
    }

    pub(crate) fn consumer(&self, from: Requester, id: u32) -> Result<usize, ErrorCode> {
        let mut consumers = self.consumers.iter();
        let found = consumers.position(|it| (it.connection, it.id) == (from.connection.0, id));
        found.ok_or(ErrorCode::UnknownConsumer)
    }

    pub(super) fn find(&self, queue: &str) -> Result<usize, ErrorCode> {
        self.state.find(queue).ok_or(ErrorCode::QueueNotFound)
    }

    pub(super) fn ensure_queue(&mut self, now: u64, name: &str) -> Result<usize, ErrorCode> {
        if let Some(queue) = self.state.find(name) {
            return Ok(queue);
        }
        let queues = self.state.queues.iter().filter(|queue| !queue.is_deleted);
        if queues.count() >= self.bounds.queues {
            return Err(ErrorCode::LimitExceeded);
        }
        self.write(now, record_kind::CREATE);
        let name = name.to_owned();
        self.note(Fact::Create(name));
        Ok(self.state.queues.len() - 1)
    }

    /// A subscription that a consumer uses is made where it is missing.
    fn ensure_subscription(&mut self, now: u64, queue: &str, name: &str) -> Result<Key, ErrorCode> {
        let found = self.state.find(queue);
        match found.and_then(|queue| self.state.find_in(queue, or_default(name))) {
            Some(key) => Ok(key),
            None => self.create_subscription(now, (queue, name), None),
        }
    }
}

const fn receipt(range: OffsetRange, duplicate: bool) -> Answer {
    let (class, copies) = (0, 1);
    Answer::Receipt(Receipt {
        range,
        class,
        copies,
        duplicate,
    })
}

pub(crate) fn or_default(name: &str) -> &str {
    if name.is_empty() { "default" } else { name }
}
