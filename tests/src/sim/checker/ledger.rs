//! The ledger: every message, batch, lease and settle that clients know of.

mod credits;
mod deliveries;
mod settles;

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::{Epoch, LeaseId, Lsn};

use super::history::{
    BatchKey, Body, Delivered, Event, QueueIndex, Receiver, SubscriptionKey, Token,
};
use super::{Verdict, violation};

/// What is known of one message.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The batch that it was last sent in.
    pub batch: BatchKey,
    /// Its index in that batch.
    pub index: u32,
    /// Its offset, once a receipt, a delivery or a peek has told it.
    pub offset: Option<u64>,
    /// Whether a receipt has confirmed it.
    pub is_confirmed: bool,
}

#[derive(Clone, Debug, Default)]
struct BatchState {
    tokens: Vec<Token>,
    receipt: Option<(u64, u32)>,
    is_refused: bool,
}

#[derive(Clone, Debug, Default)]
struct Tracked {
    /// Leases under which it arrived.
    leases: Vec<LeaseId>,
    /// Where the log was when its ack was confirmed.
    done: Option<(Epoch, Lsn)>,
    /// The lease under which it was acked.
    done_under: Option<LeaseId>,
    /// Leases whose nack was confirmed.
    returned: Vec<LeaseId>,
}

#[derive(Clone, Debug)]
struct LeaseSeen {
    of: SubscriptionKey,
    by: Receiver,
    offsets: BTreeSet<u64>,
}

#[derive(Clone, Debug, Default)]
struct Credit {
    confirmed: u32,
    asked: Vec<u32>,
}

/// Judges a history event by event.
#[derive(Clone, Debug)]
pub struct Checker {
    /// The partition of each queue.
    partitions: Vec<u32>,
    is_quiet: bool,
    is_running: bool,
    batches: BTreeMap<BatchKey, BatchState>,
    messages: BTreeMap<Token, Message>,
    by_offset: BTreeMap<(QueueIndex, u64), Token>,
    subscriptions: BTreeMap<SubscriptionKey, BTreeMap<u64, Tracked>>,
    leases: BTreeMap<(u32, LeaseId), LeaseSeen>,
    first_by_lease: BTreeMap<SubscriptionKey, (LeaseId, u64)>,
    credits: BTreeMap<Receiver, Credit>,
    epochs: BTreeMap<u32, Epoch>,
    /// How many deletions of a queue were confirmed; a queue is listed once one was asked for.
    deleted: BTreeMap<QueueIndex, u64>,
    delivered: Vec<Delivered>,
    /// Deliveries of a message to a subscription after the first.
    pub duplicates: u64,
    /// Deliveries.
    pub deliveries: u64,
}

impl Checker {
    /// A checker of queues that live in these partitions; a quiet seed admits no duplicates.
    pub fn new(partitions: Vec<u32>, is_quiet: bool) -> Self {
        Self {
            partitions,
            is_quiet,
            is_running: false,
            batches: BTreeMap::new(),
            messages: BTreeMap::new(),
            by_offset: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            leases: BTreeMap::new(),
            first_by_lease: BTreeMap::new(),
            credits: BTreeMap::new(),
            epochs: BTreeMap::new(),
            deleted: BTreeMap::new(),
            delivered: Vec::new(),
            duplicates: 0,
            deliveries: 0,
        }
    }

    /// Judges the next event.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn observe(&mut self, event: &Event) -> Verdict {
        match event {
            Event::EnqueueInvoked { key, tokens } => {
                self.on_invoked(*key, tokens);
                Ok(())
            }
            Event::EnqueueConfirmed {
                key, first, count, ..
            } => self.on_confirmed(*key, *first, *count),
            Event::EnqueueRefused { key } => self.on_refused(*key),
            Event::Delivered(delivered) => self.on_delivered(delivered),
            Event::Peeked {
                queue,
                offset,
                body,
            } => self.on_body(*queue, *offset, *body),
            Event::SettleInvoked { .. } => Ok(()),
            Event::Settled {
                of,
                verb,
                lease,
                offset,
                outcome,
                end,
            } => self.on_settled(*of, (*verb, *outcome), (*lease, *offset), *end),
            Event::CreditInvoked { by, credit } => {
                self.credits.entry(*by).or_default().asked.push(*credit);
                Ok(())
            }
            Event::CreditConfirmed { by, credit } => {
                self.on_credit(*by, *credit);
                Ok(())
            }
            Event::Held { by, messages } => self.on_held(*by, *messages),
            Event::Crashed => {
                self.is_running = false;
                Ok(())
            }
            Event::Started { partition, epoch } => self.on_started(*partition, *epoch),
            Event::DeleteInvoked { queue } => {
                self.deleted.entry(*queue).or_default();
                Ok(())
            }
            Event::DeleteConfirmed { queue } => {
                *self.deleted.entry(*queue).or_default() += 1;
                Ok(())
            }
            Event::ProtocolError { text } => violation("protocol", text.clone()),
            Event::Drained => self.check_every_message_came(),
        }
    }

    /// Every message that a client knows of.
    pub fn messages(&self) -> impl Iterator<Item = (Token, &Message)> {
        self.messages
            .iter()
            .map(|(token, message)| (*token, message))
    }

    /// Every delivery.
    pub fn delivered(&self) -> impl Iterator<Item = &Delivered> {
        self.delivered.iter()
    }

    /// Whether the message at the offset arrived in the subscription.
    pub fn has_come(&self, of: SubscriptionKey, offset: u64) -> bool {
        self.subscriptions
            .get(&of)
            .and_then(|offsets| offsets.get(&offset))
            .is_some_and(|tracked| !tracked.leases.is_empty())
    }

    /// Every offset that was said to be done, with whether that was the answer to its own ack.
    pub fn acked(&self) -> impl Iterator<Item = (SubscriptionKey, u64, bool)> {
        self.subscriptions.iter().flat_map(|(of, offsets)| {
            offsets
                .iter()
                .filter(|(_, tracked)| tracked.done.is_some())
                .map(|(offset, tracked)| (*of, *offset, tracked.done_under.is_some()))
        })
    }

    /// The subscriptions that clients know of.
    pub fn subscriptions(&self) -> impl Iterator<Item = SubscriptionKey> {
        self.subscriptions.keys().copied()
    }

    /// Whether the queue may have been deleted.
    pub fn is_deleted(&self, queue: QueueIndex) -> bool {
        self.deleted.contains_key(&queue)
    }

    /// How many deletions of each queue were confirmed.
    pub fn deletions(&self) -> impl Iterator<Item = (QueueIndex, u64)> {
        self.deleted.iter().map(|(queue, count)| (*queue, *count))
    }

    /// The epoch in which the queue's partition serves; `None` while the node is down.
    pub fn current_epoch(&self, queue: QueueIndex) -> Option<Epoch> {
        let partition = self.partitions.get(queue as usize)?;
        self.epochs
            .get(partition)
            .copied()
            .filter(|_| self.is_running)
    }

    fn on_invoked(&mut self, key: BatchKey, tokens: &[Token]) {
        let batch = self.batches.entry(key).or_default();
        assert!(
            batch.tokens.is_empty() || batch.tokens == tokens || batch.is_refused,
            "a client sent two batches under {key:?}"
        );
        batch.is_refused = false;
        if batch.tokens == tokens {
            return;
        }
        batch.tokens = tokens.to_vec();
        for (index, token) in tokens.iter().enumerate() {
            let message = Message {
                batch: key,
                index: index as u32,
                offset: None,
                is_confirmed: false,
            };
            self.messages.insert(*token, message);
        }
    }

    fn on_confirmed(&mut self, key: BatchKey, first: u64, count: u32) -> Verdict {
        let Some(batch) = self.batches.get_mut(&key) else {
            return violation("C7", format!("a receipt for {key:?}, which was never sent"));
        };
        if batch.tokens.len() != count as usize {
            let sent = batch.tokens.len();
            return violation("C7", format!("{key:?}: {sent} sent, {count} confirmed"));
        }
        if self.deleted.contains_key(&key.queue) {
            return Ok(());
        }
        match batch.receipt {
            Some(old) if old != (first, count) => {
                let new = (first, count);
                return violation("C7", format!("{key:?}: receipts {old:?} and {new:?}"));
            }
            _ => batch.receipt = Some((first, count)),
        }
        for (index, token) in batch.tokens.clone().into_iter().enumerate() {
            self.place(key.queue, first + index as u64, token)?;
            if let Some(message) = self.messages.get_mut(&token) {
                message.is_confirmed = true;
            }
        }
        Ok(())
    }

    fn on_refused(&mut self, key: BatchKey) -> Verdict {
        let Some(batch) = self.batches.get_mut(&key) else {
            return Ok(());
        };
        if self.deleted.contains_key(&key.queue) {
            batch.is_refused = true;
            return Ok(());
        }
        if let Some(receipt) = batch.receipt {
            return violation(
                "C7",
                format!("{key:?} was confirmed at {receipt:?}, then refused"),
            );
        }
        batch.is_refused = true;
        let tokens = batch.tokens.clone();
        for token in tokens {
            if let Some(offset) = self.messages.get(&token).and_then(|m| m.offset) {
                return violation("C11", format!("{key:?} was refused and is at {offset}"));
            }
        }
        Ok(())
    }

    /// One offset per message and one message per offset.
    fn place(&mut self, queue: QueueIndex, offset: u64, token: Token) -> Verdict {
        let Some(message) = self.messages.get_mut(&token) else {
            return violation("C2", format!("message {token:x} was never enqueued"));
        };
        if message.batch.queue != queue {
            let home = message.batch.queue;
            return violation(
                "C2",
                format!("message {token:x} of queue {home} is in {queue}"),
            );
        }
        if self.deleted.contains_key(&queue) {
            // Made anew it begins again at offset 0, and producers are forgotten with it.
            return Ok(());
        }
        if message.offset.is_some_and(|known| known != offset) {
            let known = message.offset;
            return violation(
                "C7",
                format!("message {token:x} is at {known:?} and at {offset}"),
            );
        }
        message.offset = Some(offset);
        let key = message.batch;
        if self.batches.get(&key).is_some_and(|batch| batch.is_refused) {
            return violation("C11", format!("message {token:x} of {key:?} was refused"));
        }
        match self.by_offset.insert((queue, offset), token) {
            Some(other) if other != token => violation(
                "C7",
                format!("offset {offset} of queue {queue}: {other:x} and {token:x}"),
            ),
            _ => Ok(()),
        }
    }

    fn on_body(&mut self, queue: QueueIndex, offset: u64, body: Body) -> Verdict {
        match body {
            Body::Intact(token) => self.place(queue, offset, token),
            Body::Foreign => violation(
                "C2",
                format!("offset {offset} of queue {queue} has a body that nobody made"),
            ),
        }
    }

    fn on_started(&mut self, partition: u32, epoch: Epoch) -> Verdict {
        self.is_running = true;
        match self.epochs.insert(partition, epoch) {
            Some(old) if old >= epoch => violation(
                "C5",
                format!("partition {partition} started with {epoch:?} after {old:?}"),
            ),
            _ => Ok(()),
        }
    }

    /// At least one subscription of each queue starts at its first message, so everything confirmed came somewhere.
    fn check_every_message_came(&self) -> Verdict {
        for (token, message) in &self.messages {
            let queue = message.batch.queue;
            let (true, Some(offset)) = (message.is_confirmed, message.offset) else {
                continue;
            };
            if self.deleted.contains_key(&queue) {
                continue;
            }
            let came = self.subscriptions.iter().any(|(of, offsets)| {
                of.queue == queue
                    && offsets
                        .get(&offset)
                        .is_some_and(|tracked| !tracked.leases.is_empty())
            });
            if !came {
                return violation(
                    "C1",
                    format!(
                        "message {token:x}, confirmed at offset {offset} of queue {queue}, never came"
                    ),
                );
            }
        }
        Ok(())
    }
}
