//! Enqueues: whether a batch is taken, and what of it is due later or expires.

use std::collections::VecDeque;
use std::time::Duration;

use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::message::CLASS_MEMORY;
use corelane_wire::{Batch, Enqueue, ErrorCode, OffsetRange, ProducerId, Receipt, Timestamp};

use super::request::Refusal;
use super::{Engine, Output, Reply, Requester};
use crate::ids::QueueId;
use crate::record::{AT_ONCE, Record, Scheduled};
use crate::state::{Queue, Verdict};

impl Engine {
    pub(super) fn on_enqueue(
        &mut self,
        now: Timestamp,
        from: Requester,
        enqueue: &Enqueue<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let batch =
            Batch::read(enqueue.batch).map_err(|error| (error.code(), error.to_string()))?;
        let found = self.state.queues.find(enqueue.queue);
        let verdict = self.judge(found, &batch)?;
        if let Verdict::Duplicate(first_taken) = verdict {
            let of_queue = found.and_then(|id| self.state.queues.get(id));
            let slow_down = of_queue.is_some_and(Queue::slows_down);
            let receipt = receipt(&batch, first_taken, (true, slow_down));
            self.confirm(from, receipt, outputs);
            return Ok(());
        }
        self.check_room(verdict, &batch)?;
        if batch.class != CLASS_MEMORY && self.memory_queue(enqueue.queue).is_some() {
            let text = format!("queue {} keeps messages in memory only", enqueue.queue);
            return Err((ErrorCode::ClassNotAvailable, text));
        }
        let of_queue = found.and_then(|id| self.state.queues.get(id));
        // A queue that is made has no message yet, and nobody has configured it.
        let (first, config) = of_queue.map_or_else(Default::default, |of| (of.end, of.config));
        let schedule = if batch.is_timed || config.ttl_ms > 0 {
            self.schedule(now, (found, config.ttl_ms), &batch)?
        } else {
            None
        };
        let queue = match found {
            Some(queue) => {
                if config.is_bounded() {
                    self.make_room(now, queue, &batch, outputs)?;
                }
                queue
            }
            None => self.create_queue(now, enqueue.queue, outputs)?,
        };
        let bytes = length(batch.entries);
        let record = Record::Enqueue {
            queue,
            first,
            count: batch.count,
            bytes,
            largest: batch.largest_bytes,
            producer: batch.producer,
            sequence: batch.sequence,
            schedule,
        };
        let lsn = self.append(now, record, outputs);
        self.uncommitted.push_back((lsn, queue, bytes));
        self.uncommitted_bytes += u64::from(bytes);
        if batch.class == CLASS_MEMORY && self.demand.wants_queue(queue) {
            // The receipt waits for nothing, but whoever waits for the messages does.
            self.flush.wanted = true;
        }
        self.follow_keys(queue, first, &batch);
        let count = batch.count;
        let range = OffsetRange { first, count };
        let slow_down = config.slow_down_at > 0 && {
            let of_queue = self.state.queues.get(queue);
            of_queue.is_some_and(Queue::slows_down)
        };
        let receipt = receipt(&batch, range, (false, slow_down));
        self.confirm(from, receipt, outputs);
        Ok(())
    }

    /// Answers with a receipt: one of class memory does not wait for the disk.
    fn confirm(&mut self, to: Requester, receipt: Receipt, outputs: &mut VecDeque<Output>) {
        let is_memory = receipt.class == CLASS_MEMORY;
        let reply = Reply::Receipt(receipt);
        if is_memory {
            outputs.push_back(Output::Reply { to, reply });
        } else {
            self.reply(to, reply, outputs);
        }
    }

    /// Which messages of a batch are due later or expire; those that say nothing live as long as the queue says.
    fn schedule(
        &self,
        now: Timestamp,
        (queue, ttl_ms): (Option<QueueId>, u64),
        batch: &Batch<'_>,
    ) -> Result<Option<Box<[Scheduled]>>, Refusal> {
        let now = self.log_now(now);
        let latest = now.add(Duration::from_millis(DELAY_MS_MAX));
        let mut schedule: Vec<Scheduled> = Vec::new();
        for (index, message) in (0..).zip(batch) {
            let message = message.ok();
            let due = message.as_ref().and_then(|message| message.due_ms);
            let due = Timestamp::from_millis(due.unwrap_or(0));
            let ttl_ms = message.and_then(|it| it.ttl_ms).unwrap_or(ttl_ms);
            if due > latest {
                let text = format!("message {index} is due in more than 366 days");
                return Err((ErrorCode::OutOfRange, text));
            }
            let due = if due > now { due } else { AT_ONCE };
            if due == AT_ONCE && ttl_ms == 0 {
                continue;
            }
            let next = Scheduled {
                index,
                count: 1,
                due,
                ttl_ms,
            };
            match schedule.last_mut() {
                Some(last) if last.goes_on_with(next) => last.count += 1,
                Some(_) | None => schedule.push(next),
            }
        }
        if let Some(queue) = queue {
            let count = |is: fn(&Scheduled) -> bool| schedule.iter().filter(|it| is(it)).count();
            self.check_groups(queue, count(|it| it.due > AT_ONCE))?;
            self.check_expiring(queue, count(|it| it.ttl_ms > 0))?;
        }
        Ok((!schedule.is_empty()).then(|| schedule.into()))
    }

    /// Whether the batch is a producer's first, its next, or was taken before; a refusal if it is none of them.
    fn judge(&self, queue: Option<QueueId>, batch: &Batch<'_>) -> Result<Verdict, Refusal> {
        let (producer, sequence) = (batch.producer, batch.sequence);
        if producer == ProducerId::NONE {
            return Ok(Verdict::Next);
        }
        // No queue has the number MAX, so nothing is known of any producer there.
        let queue = queue.unwrap_or(QueueId(u32::MAX));
        let verdict = self.state.producers.judge(queue, producer, sequence);
        match verdict {
            Verdict::First | Verdict::Next => Ok(verdict),
            Verdict::Duplicate(range) if range.count == batch.count => Ok(verdict),
            Verdict::Duplicate(range) => Err((
                ErrorCode::OutOfSequence,
                format!(
                    "batch {sequence} was taken with {} messages, now it has {}",
                    range.count, batch.count
                ),
            )),
            Verdict::UnknownProducer => Err((
                ErrorCode::UnknownProducer,
                format!("producer {producer} is not known, and batch {sequence} is not its first"),
            )),
            Verdict::OutOfSequence { next } => Err((
                ErrorCode::OutOfSequence,
                format!("batch {sequence} of producer {producer}, the next one is {next}"),
            )),
        }
    }

    fn check_room(&self, verdict: Verdict, batch: &Batch<'_>) -> Result<(), Refusal> {
        let limits = &self.limits;
        let bytes = self.uncommitted_bytes + u64::from(length(batch.entries));
        if bytes > limits.uncommitted_bytes_max {
            return Err((
                ErrorCode::Busy,
                format!(
                    "{} bytes of messages wait for the disk, at most {} may",
                    self.uncommitted_bytes, limits.uncommitted_bytes_max
                ),
            ));
        }
        if self.state.loaded.runs() >= limits.runs_max {
            return Err((
                ErrorCode::Busy,
                format!(
                    "{} batches wait for a checkpoint to hold them",
                    self.state.loaded.runs()
                ),
            ));
        }
        if verdict == Verdict::First && self.state.producers.len() >= limits.producers_max {
            return Err((
                ErrorCode::Busy,
                format!("{} producers are remembered", limits.producers_max),
            ));
        }
        Ok(())
    }
}

fn length(entries: &[u8]) -> u32 {
    u32::try_from(entries.len()).expect("a batch is not longer than BATCH_BYTES_MAX")
}

const fn receipt(
    batch: &Batch<'_>,
    range: OffsetRange,
    (duplicate, slow_down): (bool, bool),
) -> Receipt {
    Receipt {
        range,
        class: batch.class,
        // On how many nodes' stable storage the messages are.
        copies: (batch.class != CLASS_MEMORY) as u8,
        duplicate,
        slow_down,
    }
}
