//! The ledger: every message, batch, lease and settle that clients know of.

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::{Epoch, LeaseId, Lsn, SettleOutcome};

use super::history::{
    BatchKey, Body, Delivered, Event, QueueIndex, Receiver, SubscriptionKey, Token, Verb,
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
    deleted: BTreeSet<QueueIndex>,
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
            deleted: BTreeSet::new(),
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
            Event::EnqueueInvoked { key, tokens } => self.on_invoked(*key, tokens),
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
            Event::QueueDeleted { queue } => {
                self.deleted.insert(*queue);
                Ok(())
            }
            Event::ProtocolError { text } => violation("protocol", text.clone()),
            Event::Drained => self.check_every_message_came(),
        }
    }

    /// Every message that a client knows of.
    pub fn messages(&self) -> impl Iterator<Item = (Token, &Message)> {
        self.messages.iter().map(|(token, message)| (*token, message))
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

    /// Whether the queue was deleted.
    pub fn is_deleted(&self, queue: QueueIndex) -> bool {
        self.deleted.contains(&queue)
    }

    /// The epoch in which the queue's partition serves; `None` while the node is down.
    pub fn current_epoch(&self, queue: QueueIndex) -> Option<Epoch> {
        let partition = self.partitions.get(queue as usize)?;
        self.epochs.get(partition).copied().filter(|_| self.is_running)
    }

    fn on_invoked(&mut self, key: BatchKey, tokens: &[Token]) -> Verdict {
        let batch = self.batches.entry(key).or_default();
        assert!(
            batch.tokens.is_empty() || batch.tokens == tokens || batch.is_refused,
            "a client sent two batches under {key:?}"
        );
        batch.is_refused = false;
        if batch.tokens == tokens {
            return Ok(());
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
        Ok(())
    }

    fn on_confirmed(&mut self, key: BatchKey, first: u64, count: u32) -> Verdict {
        let Some(batch) = self.batches.get_mut(&key) else {
            return violation("C7", format!("a receipt for {key:?}, which was never sent"));
        };
        if batch.tokens.len() != count as usize {
            let sent = batch.tokens.len();
            return violation("C7", format!("{key:?}: {sent} sent, {count} confirmed"));
        }
        if self.deleted.contains(&key.queue) {
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
        if self.deleted.contains(&key.queue) {
            batch.is_refused = true;
            return Ok(());
        }
        if let Some(receipt) = batch.receipt {
            return violation("C7", format!("{key:?} was confirmed at {receipt:?}, then refused"));
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
            return violation("C2", format!("message {token:x} of queue {home} is in {queue}"));
        }
        if self.deleted.contains(&queue) {
            // Made anew it begins again at offset 0, and producers are forgotten with it.
            return Ok(());
        }
        if message.offset.is_some_and(|known| known != offset) {
            let known = message.offset;
            return violation("C7", format!("message {token:x} is at {known:?} and at {offset}"));
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

    fn on_delivered(&mut self, delivered: &Delivered) -> Verdict {
        let Delivered {
            of,
            lease,
            attempt,
            offset,
            ..
        } = *delivered;
        self.on_body(of.queue, offset, delivered.body)?;
        self.deliveries += 1;
        self.delivered.push(*delivered);
        if self.deleted.contains(&of.queue) {
            return Ok(());
        }
        if attempt == 0 {
            return violation("C5", format!("attempt 0 of offset {offset}, {of:?}"));
        }
        self.on_lease(delivered)?;
        let tracked = self
            .subscriptions
            .entry(of)
            .or_default()
            .entry(offset)
            .or_default();
        if let Some((epoch, end)) = tracked.done
            && (lease.epoch > epoch || (lease.epoch == epoch && lease.lsn >= end))
        {
            return violation(
                "C3",
                format!("offset {offset} of {of:?} came under {lease:?} after its ack at {end:?}"),
            );
        }
        let is_first = tracked.leases.is_empty();
        tracked.leases.push(lease);
        if !is_first {
            self.duplicates += 1;
        }
        if self.is_quiet {
            self.check_quiet(delivered, is_first)?;
        }
        Ok(())
    }

    fn check_quiet(&mut self, delivered: &Delivered, is_first: bool) -> Verdict {
        let (of, offset, lease) = (delivered.of, delivered.offset, delivered.lease);
        if !is_first {
            return violation("C12", format!("offset {offset} of {of:?} came twice"));
        }
        let newest = self
            .first_by_lease
            .entry(of)
            .or_insert((lease, offset));
        // Links do not keep order between each other, leases do.
        if (lease > newest.0 && offset < newest.1) || (lease < newest.0 && offset > newest.1) {
            let newest = *newest;
            return violation(
                "order",
                format!("offset {offset} of {of:?} under {lease:?}, {newest:?} before"),
            );
        }
        if lease >= newest.0 {
            *newest = (lease, offset);
        }
        Ok(())
    }

    fn on_lease(&mut self, delivered: &Delivered) -> Verdict {
        let (of, by, lease, offset) = (
            delivered.of,
            delivered.by,
            delivered.lease,
            delivered.offset,
        );
        let partition = self.partitions[of.queue as usize];
        let seen = self
            .leases
            .entry((partition, lease))
            .or_insert_with(|| LeaseSeen {
                of,
                by,
                offsets: BTreeSet::new(),
            });
        if seen.of != of || seen.by != by {
            return violation(
                "C4",
                format!("{lease:?} is of {:?} {:?} and of {of:?} {by:?}", seen.of, seen.by),
            );
        }
        if !seen.offsets.insert(offset) {
            return violation("C4", format!("offset {offset} came twice under {lease:?}"));
        }
        Ok(())
    }

    fn on_settled(
        &mut self,
        of: SubscriptionKey,
        (verb, outcome): (Verb, SettleOutcome),
        (lease, offset): (LeaseId, u64),
        end: (Epoch, Lsn),
    ) -> Verdict {
        if self.deleted.contains(&of.queue) {
            return Ok(());
        }
        let current = self.current_epoch(of.queue);
        let tracked = self
            .subscriptions
            .entry(of)
            .or_default()
            .entry(offset)
            .or_default();
        match outcome {
            SettleOutcome::Done => {
                // Leases that a crash may have undone do not count: the older one is then in force again.
                let newer = tracked
                    .leases
                    .iter()
                    .find(|other| **other > lease && Some(other.epoch) == current);
                // After a nack or an extend a newer lease may overtake the answer; after an ack there is none.
                if let (Verb::Ack, Some(newer)) = (verb, newer) {
                    return violation(
                        "C3",
                        format!("{verb:?} of offset {offset} of {of:?} under {lease:?} was accepted, {newer:?} is newer"),
                    );
                }
                if !tracked.leases.contains(&lease) {
                    return violation(
                        "C3",
                        format!("{verb:?} of offset {offset} of {of:?} under foreign {lease:?} was accepted"),
                    );
                }
                if tracked.returned.contains(&lease) {
                    return violation(
                        "C3",
                        format!("{verb:?} of offset {offset} of {of:?} under returned {lease:?} was accepted"),
                    );
                }
                if let Some(done) = tracked.done_under
                    && (lease > done || (lease == done && verb == Verb::Nack))
                {
                    return violation(
                        "C3",
                        format!("{verb:?} of offset {offset} of {of:?} under {lease:?} was accepted, it was acked under {done:?}"),
                    );
                }
                match verb {
                    Verb::Ack => {
                        tracked.done.get_or_insert(end);
                        tracked.done_under = Some(lease);
                    }
                    Verb::Nack => tracked.returned.push(lease),
                    Verb::Extend => {}
                }
            }
            SettleOutcome::AlreadyDone => {
                tracked.done.get_or_insert(end);
            }
            SettleOutcome::Stale => {}
        }
        Ok(())
    }

    fn on_credit(&mut self, by: Receiver, credit: u32) {
        let known = self.credits.entry(by).or_default();
        known.confirmed = credit;
        if let Some(index) = known.asked.iter().position(|asked| *asked == credit) {
            known.asked.drain(..=index);
        }
    }

    fn on_held(&self, by: Receiver, messages: u32) -> Verdict {
        let Some(credit) = self.credits.get(&by) else {
            return violation("credit", format!("{by:?} holds {messages}, never subscribed"));
        };
        let most = credit.asked.iter().fold(credit.confirmed, |a, b| a.max(*b));
        if messages > most {
            return violation("credit", format!("{by:?} holds {messages}, credit is {most}"));
        }
        Ok(())
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
            if self.deleted.contains(&queue) {
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
                    format!("message {token:x}, confirmed at offset {offset} of queue {queue}, never came"),
                );
            }
        }
        Ok(())
    }
}
