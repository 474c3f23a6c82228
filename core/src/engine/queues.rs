//! Requests about queues as a whole, and looking at messages without taking them.

use std::collections::VecDeque;

use corelane_wire::limits::{DELIVERY_BYTES_MAX, LIST_BYTES_MAX, LIST_MAX, PEEK_MESSAGES_MAX};
use corelane_wire::{ErrorCode, LeaseId, Peek, QueueInfo, QueueList, SubscriptionInfo, Timestamp};

use super::gate::Answer;
use super::pack::Pack;
use super::request::Refusal;
use super::{DeliverTo, Delivery, Engine, Output, Reply, Requester, Status};
use crate::ids::QueueId;
use crate::record::Record;
use crate::state::Queue;

impl Engine {
    pub(super) fn on_queue_create(
        &mut self,
        now: Timestamp,
        from: Requester,
        (name, lanes): (&str, u32),
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        if lanes != 1 {
            return Err((
                ErrorCode::NotSupported,
                format!("{lanes} lanes: a queue has one lane in this version"),
            ));
        }
        let created = self.state.queues.find(name).is_none();
        if created {
            self.create_queue(now, name, outputs)?;
        }
        self.reply(from, Reply::QueueCreated { created }, outputs);
        Ok(())
    }

    pub(super) fn on_queue_list(
        &mut self,
        from: Requester,
        list: &QueueList<'_>,
        outputs: &mut VecDeque<Output>,
    ) {
        let beside = std::mem::take(&mut self.beside);
        let limit = list.limit.min(LIST_MAX) as usize;
        let mut queues = Vec::new();
        let mut bytes = 0;
        let mut more = false;
        for queue in self.state.queues.after(list.after) {
            let beside = beside.iter().find(|info| info.name == queue.name);
            let info = beside.cloned().unwrap_or_else(|| self.info(queue));
            bytes += info.encoded_bytes();
            if queues.len() == limit || bytes > LIST_BYTES_MAX {
                more = true;
                break;
            }
            queues.push(info);
        }
        self.reply(from, Reply::QueueList { queues, more }, outputs);
    }

    pub(super) fn on_queue_show(
        &mut self,
        from: Requester,
        name: &str,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let id = self.find_queue(name)?;
        if let Some(queue) = self.state.queues.get(id) {
            let info = self.info(queue);
            self.reply(from, Reply::Queue(Box::new(info)), outputs);
        }
        Ok(())
    }

    /// Everything in the queue goes; whoever waits for its messages is told, consumers vanish.
    pub(super) fn on_queue_delete(
        &mut self,
        now: Timestamp,
        from: Requester,
        name: &str,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let queue = self.find_queue(name)?;
        self.delete_queue(now, (queue, name), outputs);
        self.reply(from, Reply::QueueDeleted, outputs);
        Ok(())
    }

    /// Deletes a queue that exists.
    pub(super) fn delete_queue(
        &mut self,
        now: Timestamp,
        (queue, name): (QueueId, &str),
        outputs: &mut VecDeque<Output>,
    ) {
        self.append(now, Record::Delete { queue }, outputs);
        for waiting in self.demand.forget_queue(queue) {
            let code = ErrorCode::QueueNotFound;
            let text = format!("queue {name} was deleted");
            self.reply(waiting, Reply::Refused { code, text }, outputs);
        }
        self.throttle.forget(|key| key.0 == queue);
        self.keys.forget(queue);
        self.readers.forget_where(|key| key.0 == queue);
        self.missed.forget(|key| key.0 == queue);
        self.ephemerals.forget(|key| key.0 == queue);
    }

    /// Shows committed messages that are still there; takes nothing.
    ///
    /// The answer waits like a reply, so that it never shows an older state than one that the client knows already.
    /// On a poisoned partition nothing is ever committed again, and what is committed is shown at once.
    pub(super) fn on_peek(
        &mut self,
        from: Requester,
        peek: &Peek<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let id = self.find_queue(peek.queue);
        if self.status == Status::Poisoned && id.is_err() {
            // Its Delete may be what failed, so that "not found" would say more than is known.
            outputs.push_back(super::poisoned(from));
            return Ok(());
        }
        let id = id?;
        let Some(queue) = self.state.queues.get(id) else {
            return Ok(());
        };
        let mut pack = Pack::new(peek.count.min(PEEK_MESSAGES_MAX), DELIVERY_BYTES_MAX);
        let mut next = peek.from.max(queue.start);
        let visible = queue.visible_end(self.committed);
        while let Some((first, end)) = queue.runs.kept_from(next) {
            next = end.min(visible);
            if first >= next || !pack.take(queue, first, next, 0) {
                break;
            }
        }
        self.moves.resolve(&mut pack.runs);
        if pack.runs.is_empty()
            && let Some(away) = pack.away
        {
            return self.wait_to_peek(from, peek, (id, away), outputs);
        }
        if pack.runs.is_empty() {
            self.reply(from, Reply::EmptyPeek, outputs);
        } else {
            let delivery = Delivery {
                to: DeliverTo::Peek(from),
                lease: LeaseId::default(),
                lease_ms: 0,
                runs: pack.runs,
            };
            if self.status == Status::Poisoned {
                outputs.push_back(Output::Deliver(delivery));
            } else {
                self.answer(from, Answer::Delivery(Box::new(delivery)), outputs);
            }
        }
        Ok(())
    }

    pub(super) fn info(&self, queue: &Queue) -> QueueInfo {
        let id = self.state.queues.find(&queue.name).unwrap_or_default();
        let subscriptions = queue.subscriptions.iter().chain(&queue.broadcasts);
        let subscriptions = subscriptions
            .chain(self.ephemerals.in_queue(id))
            .map(|subscription| SubscriptionInfo {
                name: subscription.name.clone(),
                ready: subscription.ready(subscription.end_of(queue)),
                leased: subscription.leased,
                delayed: subscription.delayed_count,
                done: subscription.done.0 + subscription.done_set.count(),
                consumers: self.demand.consumers_in((id, subscription.id)),
            })
            .collect();
        QueueInfo {
            name: queue.name.clone(),
            partition: self.partition,
            lanes: 1,
            created: queue.created,
            start: queue.start,
            end: queue.end,
            subscriptions,
        }
    }
}
