//! The producing half of a client: numbered batches, sent again in order until their outcome is known.

use std::collections::VecDeque;

use corelane_wire::{
    BatchBuilder, Enqueue, ErrorCode, Header, Lane, OutgoingMessage, ProducerId, Receipt, Request,
    Sequence,
};

use super::{ANSWER_WAIT, Asked, Client, Scope};
use crate::sim::body;
use crate::sim::checker::{BatchKey, Event, QueueIndex, Token};
use crate::sim::clock::{MILLISECOND, Moment, SECOND};

/// A batch whose outcome is not known.
#[derive(Clone, Debug)]
struct Outstanding {
    sequence: u64,
    tokens: Vec<Token>,
    bytes: Vec<u8>,
    first_sent: Moment,
    /// Sendings without an answer, or with one that leaves the outcome open.
    open: u32,
}

/// One producer of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    id: u128,
    next: u64,
    outstanding: VecDeque<Outstanding>,
    resend_at: Option<Moment>,
    /// Confirmed, to be sent again much later.
    old: VecDeque<(BatchKey, Vec<u8>, Moment)>,
}

impl Producer {
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }
}

impl Client {
    pub(super) fn enqueue(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        let fresh = self.fresh_producer();
        let producer = self.producers.entry(queue).or_insert(fresh);
        if producer.outstanding.len() >= 6 || producer.resend_at.is_some() {
            return;
        }
        if scope.plan.habits.replay_old.0 > 0
            && self.random.chance(scope.plan.habits.replay_old)
            && self.replay_old(scope, queue)
        {
            return;
        }
        let (tokens, builder) = self.batch(scope);
        let Some(producer) = self.producers.get_mut(&queue) else {
            return;
        };
        let sequence = producer.next;
        producer.next += 1;
        let bytes = builder.finish(ProducerId(producer.id), Sequence(sequence));
        producer.outstanding.push_back(Outstanding {
            sequence,
            tokens,
            bytes,
            first_sent: scope.now,
            open: 0,
        });
        let index = producer.outstanding.len() - 1;
        self.send_batch(scope, queue, index);
        if self.random.chance(scope.plan.habits.send_twice) {
            self.send_batch(scope, queue, index);
        }
    }

    fn fresh_producer(&mut self) -> Producer {
        Producer {
            id: (u128::from(self.random.draw()) << 64) | u128::from(self.random.draw()),
            next: 0,
            outstanding: VecDeque::new(),
            resend_at: None,
            old: VecDeque::new(),
        }
    }

    fn batch(&mut self, scope: &Scope<'_>) -> (Vec<Token>, BatchBuilder) {
        let count = self.random.skewed(1, scope.plan.batch_messages_max);
        let mut builder = BatchBuilder::new();
        let mut tokens = Vec::new();
        for _ in 0..count {
            self.tokens += 1;
            let token = (u64::from(self.index + 1) << 40) | self.tokens;
            let bytes = self.random.skewed(12, scope.plan.body_bytes_max) as usize;
            let body = body::make(token, bytes);
            let headers = [Header {
                name: "n",
                value: b"v",
            }];
            let message = OutgoingMessage {
                key: self.random.one_in(5).then_some(b"key".as_slice()),
                headers: if self.random.one_in(5) { &headers } else { &[] },
                due_ms: None,
                ttl_ms: None,
                body: &body,
            };
            if builder.push(&message).is_err() {
                break;
            }
            tokens.push(token);
        }
        (tokens, builder)
    }

    fn send_batch(&mut self, scope: &mut Scope<'_>, queue: QueueIndex, index: usize) {
        let Some(producer) = self.producers.get_mut(&queue) else {
            return;
        };
        let key = BatchKey {
            queue,
            producer: producer.id,
            sequence: producer.outstanding[index].sequence,
        };
        let batch = &mut producer.outstanding[index];
        batch.open += 1;
        scope.events.push(Event::EnqueueInvoked {
            key,
            tokens: batch.tokens.clone(),
        });
        let bytes = batch.bytes.clone();
        self.send_bytes(scope, key, &bytes);
    }

    fn send_bytes(&mut self, scope: &mut Scope<'_>, key: BatchKey, bytes: &[u8]) {
        let request = Request::Enqueue(Enqueue {
            queue: scope.plan.queue(key.queue),
            lane: Lane(0),
            batch: bytes,
        });
        self.ask(scope, &request, Asked::Enqueue(key), ANSWER_WAIT);
    }

    fn replay_old(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) -> bool {
        let index = self.random.index(8);
        let Some(producer) = self.producers.get(&queue) else {
            return false;
        };
        let Some((key, bytes, _)) = producer
            .old
            .get(index)
            .filter(|(_, _, sent)| scope.now < sent + RETRY_MAX)
            .cloned()
        else {
            return false;
        };
        scope.met.old_batch_replayed += 1;
        self.send_bytes(scope, key, &bytes);
        true
    }

    /// Sends again what is outstanding, in order, once the pause after a refusal or a lost link is over.
    pub(super) fn resend(&mut self, scope: &mut Scope<'_>) {
        let queues: Vec<QueueIndex> = self.producers.keys().copied().collect();
        for queue in queues {
            let Some(producer) = self.producers.get_mut(&queue) else {
                continue;
            };
            if producer.resend_at.is_none_or(|at| at > scope.now) {
                continue;
            }
            producer.resend_at = None;
            let too_old = producer
                .outstanding
                .iter()
                .any(|batch| scope.now > batch.first_sent + RETRY_MAX);
            if too_old {
                self.give_up(scope, queue);
                continue;
            }
            for index in 0..self.producers[&queue].outstanding.len() {
                scope.met.batch_retried += 1;
                self.send_batch(scope, queue, index);
            }
        }
    }

    /// The outcome of what is outstanding stays unknown; a new producer begins.
    fn give_up(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        scope.met.outcome_unknown += 1;
        let fresh = self.fresh_producer();
        self.producers.insert(queue, fresh);
    }

    pub(super) fn on_enqueued(&mut self, scope: &mut Scope<'_>, key: BatchKey, receipt: &Receipt) {
        scope.met.confirmed += u64::from(receipt.range.count);
        if receipt.duplicate {
            scope.met.duplicate_receipt += 1;
        }
        scope.events.push(Event::EnqueueConfirmed {
            key,
            first: receipt.range.first.0,
            count: receipt.range.count,
            duplicate: receipt.duplicate,
        });
        let now = scope.now;
        let Some(producer) = self.producer_of(key) else {
            return;
        };
        let Some(index) = producer
            .outstanding
            .iter()
            .position(|batch| batch.sequence == key.sequence)
        else {
            return;
        };
        if let Some(batch) = producer.outstanding.remove(index) {
            producer.old.push_back((key, batch.bytes, now));
            if producer.old.len() > 8 {
                producer.old.pop_front();
            }
        }
    }

    fn producer_of(&mut self, key: BatchKey) -> Option<&mut Producer> {
        self.producers
            .get_mut(&key.queue)
            .filter(|producer| producer.id == key.producer)
    }

    /// A sending was refused or lost. `None`: nobody knows whether it took effect.
    pub(super) fn on_not_enqueued(
        &mut self,
        scope: &mut Scope<'_>,
        key: BatchKey,
        refusal: Option<ErrorCode>,
    ) {
        let pause = self.random.skewed(MILLISECOND, SECOND / 2);
        let may_renumber = self.random.one_in(3);
        let now = scope.now;
        let Some(producer) = self.producer_of(key) else {
            return;
        };
        let last = producer.outstanding.len().wrapping_sub(1);
        let Some(index) = producer
            .outstanding
            .iter()
            .position(|batch| batch.sequence == key.sequence)
        else {
            return;
        };
        let batch = &mut producer.outstanding[index];
        let is_definite = refusal.is_some_and(ErrorCode::is_retry);
        if is_definite {
            batch.open -= 1;
        }
        if refusal == Some(ErrorCode::UnknownProducer) {
            scope.met.unknown_producer += 1;
            return self.give_up(scope, key.queue);
        }
        if refusal == Some(ErrorCode::OutOfSequence) {
            scope.met.out_of_sequence += 1;
            if index == 0 && scope.plan.fleeting == Some(key.queue) {
                // The numbers before it went with the deleted queue: nothing will ever fill the gap.
                return self.give_up(scope, key.queue);
            }
        }
        if is_definite && batch.open == 0 && index == last && may_renumber {
            // Refused every time: it has no effect, and its number is free again.
            producer.outstanding.pop_back();
            producer.next = key.sequence;
            scope.met.batch_refused += 1;
            scope.events.push(Event::EnqueueRefused { key });
        }
        producer.resend_at.get_or_insert(now + pause);
    }
}

/// A client stops retrying after this long; the broker forgets an idle producer only later.
const RETRY_MAX: Moment = 240 * SECOND;
