//! Enqueues of message batches, with ids by which the broker recognises retries.

use anyhow::{Result, bail};
use corelane_wire::{
    BatchBuilder, Correlation, Enqueue, Lane, OutgoingMessage, ProducerId, Request, Response,
    Sequence,
};

use super::each_frame;
use crate::load::plan::Plan;
use crate::load::protocol::{Answer, Batch, Producers};

/// One producer and its place in the sequence of batches.
#[derive(Debug)]
struct Producer {
    queue: String,
    id: ProducerId,
    sequence: u64,
}

/// The producers of one connection.
#[derive(Debug)]
pub struct CorelaneProducers {
    producers: Vec<Producer>,
    class: u8,
    batch: u32,
}

impl CorelaneProducers {
    pub(super) fn new(plan: &Plan, indices: &[u32]) -> Self {
        Self {
            producers: indices.iter().map(|&index| producer(plan, index)).collect(),
            class: plan.class,
            batch: plan.batch,
        }
    }
}

impl Producers for CorelaneProducers {
    fn enqueue(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let producer = &mut self.producers[batch.producer];
        let mut builder = BatchBuilder::new();
        builder.class = self.class;
        for body in batch.bodies.chunks_exact(batch.body_bytes) {
            let message = OutgoingMessage {
                key: None,
                headers: &[],
                due_ms: None,
                ttl_ms: None,
                body,
            };
            builder.push(&message).expect("the plan's batches fit");
        }
        let built = builder.finish(producer.id, Sequence(producer.sequence));
        producer.sequence += u64::from(producer.id != ProducerId::NONE);
        let enqueue = Enqueue {
            queue: &producer.queue,
            lane: Lane(0),
            batch: &built,
        };
        Request::Enqueue(enqueue).encode(Correlation(batch.slot.into()), out);
    }

    fn renew(&mut self, producer: usize) {
        let producer = &mut self.producers[producer];
        producer.id = ProducerId(producer.id.0 + (1 << 64));
        producer.sequence = 0;
    }

    fn read(
        &mut self,
        bytes: &[u8],
        _out: &mut Vec<u8>,
        answers: &mut Vec<Answer>,
    ) -> Result<usize> {
        each_frame(bytes, |correlation, answer| {
            let slot = u32::try_from(correlation.0).unwrap_or(u32::MAX);
            if let Response::Error { code, text } = answer {
                answers.push(Answer::Refused(slot, format!("{code}: {text}")));
            } else if let Response::Enqueued(receipt) = answer
                && receipt.range.count == self.batch
            {
                answers.push(Answer::Confirmed(slot));
            } else {
                bail!(
                    "an enqueue of {} messages is answered by {answer:?}",
                    self.batch
                );
            }
            Ok(())
        })
    }
}

fn producer(plan: &Plan, index: u32) -> Producer {
    // The low half tells producers apart, and the high half what they go on under after a refusal.
    let id = (plan.run.rotate_left(32) << 20) | u64::from(index) | 1 << 63;
    Producer {
        queue: plan.queue(index % plan.queues),
        id: if plan.is_idempotent {
            ProducerId(id.into())
        } else {
            ProducerId::NONE
        },
        sequence: 0,
    }
}
