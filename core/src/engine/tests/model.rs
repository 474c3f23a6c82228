//! The reference: what each record means, message by message, with nothing shared with `state`.

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::{
    Aside, Contract, Fate, LeaseId, Lsn, OffsetRange, ReturnTo, SessionId, SettleEntry,
    SubscriptionConfig, Timestamp,
};

use crate::record::{Change, Record, Trimmed};
use crate::{QueueId, SubscriptionId};

type Key = (QueueId, SubscriptionId);

#[derive(Default)]
pub(super) struct Model {
    epoch: u64,
    jumps: u64,
    pub(super) queues: BTreeMap<QueueId, u64>,
    pub(super) subscriptions: BTreeMap<Key, Vec<Message>>,
    configs: BTreeMap<Key, SubscriptionConfig>,
    begins: BTreeMap<Key, u64>,
    /// When messages are due that were scheduled.
    due: BTreeMap<(QueueId, u64), u64>,
    /// From where on messages are kept although everybody is done with them.
    retained: BTreeMap<QueueId, u64>,
    /// How long messages live, and when that is over.
    expires: BTreeMap<(QueueId, u64), (u64, u64)>,
    /// Messages whose time to live was ended.
    lapsed: BTreeSet<(QueueId, u64)>,
}

/// One message in one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) state: MessageState,
    pub(super) attempts: u32,
    /// Where the queue ended when it came back to the back.
    pub(super) turn: Option<u64>,
    /// Whether it has been anything but ready.
    pub(super) is_new: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MessageState {
    Ready,
    Leased {
        lease: LeaseId,
        session: SessionId,
        deadline: u64,
    },
    Delayed {
        due: u64,
    },
    Dead,
    /// Dead, and under way to a dead-letter queue.
    Forwarded,
    Parked,
    Done,
    Expired,
}

const READY: Message = Message {
    state: MessageState::Ready,
    attempts: 0,
    turn: None,
    is_new: true,
};

impl Model {
    pub(super) fn of(log: &[(Lsn, Timestamp, Record)]) -> Self {
        let mut model = Self::default();
        for (lsn, time, record) in log {
            model.apply(*lsn, *time, record);
        }
        model
    }

    pub(super) fn apply(&mut self, lsn: Lsn, time: Timestamp, record: &Record) {
        let lease_now = time.0 - self.jumps;
        match record {
            Record::Epoch { epoch, jump_ns } => {
                self.epoch = epoch.0;
                self.jumps += jump_ns;
            }
            Record::Create { queue, .. } => {
                self.queues.insert(*queue, 0);
            }
            Record::Delete { queue } => {
                self.queues.remove(queue);
                self.subscriptions.retain(|key, _| key.0 != *queue);
                self.retained.remove(queue);
                self.expires.retain(|key, _| key.0 != *queue);
                self.lapsed.retain(|key| key.0 != *queue);
            }
            Record::Subscribe {
                queue,
                subscription,
                from,
                ..
            } => {
                self.begin(time.0, (*queue, *subscription), from.0);
            }
            Record::Change {
                queue,
                subscription,
                change,
            } => self.change(time.0, (*queue, *subscription), change),
            Record::Enqueue { .. } => self.enqueue(time.0, record),
            Record::Lease {
                session, lease_ms, ..
            } => {
                let lease = super::node::lease_id(self.epoch, lsn.0);
                let deadline = lease_now + u64::from(*lease_ms) * 1_000_000;
                self.assert_lives(time.0, record);
                for message in self.given(record) {
                    assert_eq!(message.state, MessageState::Ready, "C4: leased twice");
                    message.attempts += 1;
                    (message.turn, message.is_new) = (None, false);
                    message.state = MessageState::Leased {
                        lease,
                        session: *session,
                        deadline,
                    };
                }
            }
            Record::Take {
                queue,
                subscription,
                ..
            } => self.take(time.0, record, (*queue, *subscription)),
            Record::Ack { .. }
            | Record::Nack { .. }
            | Record::Reject { .. }
            | Record::Extend { .. } => {
                self.settle(time, lease_now, record);
            }
            Record::Reschedule { queue, due, ranges } => {
                self.reschedule(time.0, *queue, due.map(|due| due.0), ranges);
            }
            // Where a message lies is nothing that a client sees, and this model keeps everything for ever.
            Record::Relocate { .. } => {}
            Record::ConfigureQueue { queue, config } => self.retain(*queue, config.retains()),
            Record::Trim { queue, end, how } => self.trim(*queue, end.0, *how),
            Record::Tick => self.tick(time.0, lease_now),
            Record::Release { session } => {
                self.release(*session);
                self.expire_lapsed();
            }
        }
    }

    /// Messages are given out for good, or read.
    fn take(&mut self, now: u64, record: &Record, key: (QueueId, SubscriptionId)) {
        let is_read = self.is_reader(key);
        if !is_read {
            self.assert_lives(now, record);
        }
        for message in self.given(record) {
            if is_read && message.state.is_over() {
                continue;
            }
            assert_eq!(message.state, MessageState::Ready, "given out twice");
            message.attempts += u32::from(!is_read);
            message.state = MessageState::Done;
        }
    }

    fn retain(&mut self, queue: QueueId, retains: bool) {
        let end = self.queues[&queue];
        if retains {
            self.retained.entry(queue).or_insert(end);
        } else {
            self.retained.remove(&queue);
        }
    }

    fn trim(&mut self, queue: QueueId, end: u64, how: Trimmed) {
        if let Some(from) = self.retained.get_mut(&queue)
            && how == Trimmed::Gone
        {
            *from = end.max(*from);
        }
        let readers = self
            .subscriptions
            .keys()
            .filter(|key| self.is_reader(**key));
        let readers: Vec<_> = readers.copied().collect();
        let keyed = self.subscriptions.iter_mut();
        let of_queue = keyed.filter(|(key, _)| key.0 == queue);
        let of_queue = of_queue.map(|(key, messages)| (readers.contains(key), messages));
        let messages = of_queue.flat_map(|(is_reader, messages)| {
            let before = messages[..at(end)].iter_mut();
            before.map(move |message| (is_reader, message))
        });
        for (is_reader, message) in messages {
            if how == Trimmed::Dead && !is_reader {
                if message.state == MessageState::Ready {
                    message.state = MessageState::Dead;
                }
                continue;
            }
            match message.state {
                MessageState::Ready
                | MessageState::Delayed { .. }
                | MessageState::Dead
                | MessageState::Parked => message.state = MessageState::Expired,
                MessageState::Leased { .. }
                | MessageState::Forwarded
                | MessageState::Done
                | MessageState::Expired => {}
            }
        }
    }

    /// When a message expires, if it does.
    pub(super) fn expiry(&self, queue: QueueId, offset: u64) -> Option<u64> {
        self.expires.get(&(queue, offset)).map(|(_, at)| *at)
    }

    /// Nothing that a record gives out has expired.
    fn assert_lives(&self, now: u64, record: &Record) {
        let (Record::Lease { queue, ranges, .. } | Record::Take { queue, ranges, .. }) = record
        else {
            panic!("{record:?}");
        };
        for offset in ranges.iter().flat_map(|range| range.first.0..range.end().0) {
            let expiry = self.expiry(*queue, offset);
            assert!(
                expiry.is_none_or(|at| at > now),
                "{offset} is given out at {now} and expired at {expiry:?}"
            );
        }
    }

    /// What waits although its time to live is over.
    fn expire_lapsed(&mut self) {
        for (queue, offset) in &self.lapsed {
            let keyed = self.subscriptions.iter_mut();
            for (_, messages) in keyed.filter(|(key, _)| key.0 == *queue) {
                let message = &mut messages[usize::try_from(*offset).unwrap()];
                if let MessageState::Ready | MessageState::Delayed { .. } = message.state {
                    message.state = MessageState::Expired;
                }
            }
        }
    }

    pub(super) fn count(&self, is: impl Fn(MessageState) -> bool) -> u64 {
        let messages = self.subscriptions.values().flatten();
        messages.filter(|message| is(message.state)).count() as u64
    }

    /// What comes back now has its turn behind so many messages.
    fn turn(&self, key: Key) -> Option<u64> {
        let config = self.configs.get(&key)?;
        (config.returned == ReturnTo::Back).then(|| self.queues[&key.0])
    }

    pub(super) fn contract(&self, key: Key) -> Contract {
        let config = self.configs.get(&key);
        config.map_or(Contract::Competing, |config| config.contract)
    }

    fn enqueue(&mut self, now: u64, record: &Record) {
        let Record::Enqueue {
            queue,
            first,
            count,
            schedule,
            ..
        } = record
        else {
            panic!("{record:?}");
        };
        let mut messages = vec![READY; *count as usize];
        for each in schedule.iter().flatten() {
            let due = each.due.0;
            for index in each.index..each.index + each.count {
                let offset = first.0 + u64::from(index);
                if each.ttl_ms > 0 {
                    let expiry = (each.ttl_ms, expiry(due.max(now), each.ttl_ms));
                    self.expires.insert((*queue, offset), expiry);
                }
                if due == 0 {
                    continue;
                }
                self.due.insert((*queue, offset), due);
                messages[index as usize].state = MessageState::Delayed { due };
                messages[index as usize].is_new = false;
            }
        }
        *self.queues.get_mut(queue).unwrap() += u64::from(*count);
        let readers: Vec<_> = self.subscriptions.keys().copied().collect();
        let readers: Vec<_> = readers
            .into_iter()
            .filter(|it| self.is_reader(*it))
            .collect();
        let keyed = self.subscriptions.iter_mut();
        for (key, all) in keyed.filter(|(key, _)| key.0 == *queue) {
            if readers.contains(key) {
                all.extend(vec![READY; messages.len()]);
            } else {
                all.extend(&messages);
            }
        }
    }

    pub(super) fn is_reader(&self, key: Key) -> bool {
        let config = self.configs.get(&key);
        config.is_some_and(|config| config.contract == Contract::Reader)
    }

    fn reschedule(&mut self, now: u64, queue: QueueId, due: Option<u64>, ranges: &[OffsetRange]) {
        for offset in ranges.iter().flat_map(|range| range.first.0..range.end().0) {
            let before = self.due[&(queue, offset)];
            assert!(before > now, "{offset} was due");
            match due {
                Some(due) => self.due.insert((queue, offset), due),
                None => self.due.remove(&(queue, offset)),
            };
            if let (Some(due), Some((ttl_ms, at))) = (due, self.expires.get_mut(&(queue, offset))) {
                *at = expiry(due.max(now), *ttl_ms);
            }
            let delays = |key: &Key| {
                let config = self.configs.get(key);
                config.is_none_or(|config| config.contract != Contract::Reader)
            };
            let keyed = self.subscriptions.iter_mut();
            for (_, messages) in keyed.filter(|(key, _)| key.0 == queue && delays(key)) {
                let message = &mut messages[usize::try_from(offset).unwrap()];
                match (message.state, due) {
                    (MessageState::Done | MessageState::Expired, _) => {}
                    (MessageState::Delayed { .. }, Some(due)) => {
                        message.state = MessageState::Delayed { due };
                    }
                    (MessageState::Delayed { .. }, None) => message.state = MessageState::Done,
                    other => panic!("{offset} was given out: {other:?}"),
                }
            }
        }
    }

    fn configure(&mut self, now: u64, key: Key, config: SubscriptionConfig) {
        let was_reader = self.is_reader(key);
        self.configs.insert(key, config);
        if config.contract == Contract::Broadcast {
            // It has no message in any state.
            self.subscriptions.remove(&key);
            return;
        }
        if config.contract == Contract::KeyOrdered {
            for message in self.subscriptions.get_mut(&key).into_iter().flatten() {
                message.turn = None;
            }
        }
        if self.is_reader(key) != was_reader {
            self.begin(now, key, self.begins[&key]);
        }
    }

    fn change(&mut self, now: u64, key: Key, change: &Change) {
        match change {
            Change::Seek { from } => self.begin(now, key, from.0),
            Change::Unsubscribe => {
                self.subscriptions.remove(&key);
            }
            Change::Configure(config) => self.configure(now, key, *config),
            Change::Pause { .. } | Change::DeadLetters { .. } => {}
            Change::Forward { range } => {
                let messages = self.subscriptions.get_mut(&key).unwrap();
                for offset in range.first.0..range.end().0 {
                    let message = &mut messages[usize::try_from(offset).unwrap()];
                    assert_eq!(message.state, MessageState::Dead, "{offset} is forwarded");
                    message.state = MessageState::Forwarded;
                }
            }
            Change::Forwarded { arrived } => {
                for message in self.subscriptions.get_mut(&key).unwrap() {
                    if message.state == MessageState::Forwarded {
                        message.state = match arrived {
                            true => MessageState::Done,
                            false => MessageState::Dead,
                        };
                    }
                }
            }
            Change::Return { aside, ranges } => {
                let turn = self.turn(key);
                let messages = self.subscriptions.get_mut(&key).unwrap();
                let offsets = ranges.iter().flat_map(|it| it.first.0..it.end().0);
                for offset in offsets {
                    let message = &mut messages[usize::try_from(offset).unwrap()];
                    match (aside, message.state) {
                        (Aside::Dead, MessageState::Dead) => *message = READY,
                        (Aside::Parked, MessageState::Parked) => {
                            message.state = MessageState::Ready;
                        }
                        other => panic!("{offset} is brought back: {other:?}"),
                    }
                    (message.turn, message.is_new) = (turn, false);
                }
                self.expire_lapsed();
            }
            Change::Purge(states) => {
                for message in self.subscriptions.get_mut(&key).unwrap() {
                    let is_meant = match message.state {
                        MessageState::Ready | MessageState::Delayed { .. } => states.waiting,
                        MessageState::Dead => states.dead,
                        MessageState::Parked => states.parked,
                        MessageState::Leased { .. }
                        | MessageState::Forwarded
                        | MessageState::Done
                        | MessageState::Expired => false,
                    };
                    if is_meant {
                        message.state = MessageState::Done;
                    }
                }
            }
        }
    }

    /// A subscription begins: what is before, and what all of the queue are done with, is not for it.
    fn begin(&mut self, now: u64, key: Key, from: u64) {
        self.begins.insert(key, from);
        let delays = !self.is_reader(key);
        let end = self.queues[&key.0];
        let retained = self.retained.get(&key.0).copied();
        let siblings = self.subscriptions.iter();
        let siblings = siblings.filter(|(of, _)| of.0 == key.0);
        let siblings: Vec<_> = siblings.map(|(_, messages)| messages.clone()).collect();
        let messages = (0..end).map(|offset| {
            let has_it_done = |of: &Vec<Message>| of[at(offset)].state.is_over();
            let is_gone = !siblings.is_empty()
                && siblings.iter().all(has_it_done)
                && retained.is_none_or(|from| offset < from)
                || self.lapsed.contains(&(key.0, offset));
            let mut message = READY;
            if let Some(&due) = self.due.get(&(key.0, offset))
                && due > now
                && delays
            {
                message.state = MessageState::Delayed { due };
                message.is_new = false;
            }
            if offset < from || is_gone {
                message.state = MessageState::Done;
            }
            message
        });
        let messages = messages.collect();
        self.subscriptions.insert(key, messages);
    }

    fn given(&mut self, record: &Record) -> Vec<&mut Message> {
        let (Record::Lease {
            queue,
            subscription,
            ranges,
            ..
        }
        | Record::Take {
            queue,
            subscription,
            ranges,
        }) = record
        else {
            panic!("{record:?}");
        };
        let messages = self.subscriptions.get_mut(&(*queue, *subscription));
        let numbered = (0..).zip(messages.unwrap());
        numbered
            .filter(|(offset, _)| {
                ranges
                    .iter()
                    .any(|range| (range.first.0..range.end().0).contains(offset))
            })
            .map(|(_, message)| message)
            .collect()
    }

    fn settle(&mut self, time: Timestamp, lease_now: u64, record: &Record) {
        let (key, entries) = settlement(record);
        let config = self.configs.get(&key).copied().unwrap_or_default();
        let turn = self.turn(key);
        let lapsed = self.lapsed.clone();
        let messages = self.subscriptions.get_mut(&key).unwrap();
        for entry in entries {
            for offset in entry.range.first.0..entry.range.end().0 {
                let message = &mut messages[usize::try_from(offset).unwrap()];
                let MessageState::Leased { lease, session, .. } = message.state else {
                    panic!("{offset} is not leased: {message:?}");
                };
                assert_eq!(lease, entry.lease, "{offset} is held under another lease");
                message.state = MessageState::Done;
                message.turn = turn;
                if let Record::Extend { lease_ms, .. } = record {
                    message.state = MessageState::Leased {
                        lease,
                        session,
                        deadline: lease_now + u64::from(*lease_ms) * 1_000_000,
                    };
                }
                if let Record::Nack {
                    delay_ms,
                    count_attempt,
                    ..
                } = record
                {
                    message.attempts -= u32::from(!count_attempt);
                    message.give_back(time.0, *delay_ms);
                    message.bury(config.attempts_max * u32::from(*count_attempt));
                }
                if let Record::Reject { fate, .. } = record {
                    match fate {
                        Fate::Dead => message.state = MessageState::Dead,
                        Fate::Park => message.state = MessageState::Parked,
                        Fate::Retry => message.fail(time.0, config),
                    }
                }
                let comes_back = matches!(record, Record::Nack { .. } | Record::Reject { .. });
                if comes_back && lapsed.contains(&(key.0, offset)) {
                    message.state = MessageState::Expired;
                }
            }
        }
    }

    fn tick(&mut self, log_now: u64, lease_now: u64) {
        let keyed = self.subscriptions.iter_mut();
        let keyed = keyed.flat_map(|(key, messages)| {
            let numbered = (0..).zip(messages);
            numbered.map(move |(offset, it)| (key, offset, it))
        });
        for (key, offset, message) in keyed {
            let config = self.configs.get(key).copied().unwrap_or_default();
            let turn = (config.returned == ReturnTo::Back).then(|| self.queues[&key.0]);
            match message.state {
                MessageState::Leased { deadline, .. } if deadline <= lease_now => {
                    message.turn = turn;
                    message.fail(log_now, config);
                    if self.lapsed.contains(&(key.0, offset)) {
                        message.state = MessageState::Expired;
                    }
                }
                MessageState::Delayed { due } if due <= log_now => {
                    message.turn = turn;
                    message.state = MessageState::Ready;
                }
                MessageState::Leased { .. }
                | MessageState::Delayed { .. }
                | MessageState::Ready
                | MessageState::Dead
                | MessageState::Forwarded
                | MessageState::Parked
                | MessageState::Done
                | MessageState::Expired => {}
            }
        }
        let over = self.expires.iter().filter(|(_, (_, at))| *at <= log_now);
        self.lapsed.extend(over.map(|(key, _)| *key));
        self.expire_lapsed();
    }

    fn release(&mut self, of: SessionId) {
        let keyed = self.subscriptions.iter_mut();
        let keyed = keyed.flat_map(|(key, messages)| messages.iter_mut().map(move |it| (key, it)));
        for (key, message) in keyed {
            let config = self.configs.get(key).copied().unwrap_or_default();
            if let MessageState::Leased { session, .. } = message.state
                && session == of
            {
                message.state = MessageState::Ready;
                message.attempts -= 1;
                message.turn = (config.returned == ReturnTo::Back).then(|| self.queues[&key.0]);
            }
        }
    }
}

impl MessageState {
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Expired)
    }
}

impl Message {
    pub(super) fn is_unfinished(&self) -> bool {
        match self.state {
            MessageState::Ready | MessageState::Leased { .. } | MessageState::Delayed { .. } => {
                true
            }
            MessageState::Dead
            | MessageState::Forwarded
            | MessageState::Parked
            | MessageState::Done
            | MessageState::Expired => false,
        }
    }

    fn give_back(&mut self, now: u64, delay_ms: u64) {
        self.state = match delay_ms {
            0 => MessageState::Ready,
            delay => MessageState::Delayed {
                due: now + delay * 1_000_000,
            },
        };
    }

    /// The back-off of a subscription in these tests is 0 or always 1 ms, so that nothing is drawn.
    fn fail(&mut self, now: u64, config: SubscriptionConfig) {
        assert!(config.backoff_ms == 0 || config.backoff_max_ms == 1);
        self.give_back(now, config.backoff_ms.min(1));
        self.bury(config.attempts_max);
    }

    fn bury(&mut self, attempts_max: u32) {
        if attempts_max > 0 && self.attempts >= attempts_max {
            self.state = MessageState::Dead;
        }
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// Times to live end together every 4 ms.
fn expiry(from: u64, ttl_ms: u64) -> u64 {
    (from + ttl_ms * 1_000_000).div_ceil(4_000_000) * 4_000_000
}

/// What an Ack, Nack, Reject or Extend is about.
fn settlement(record: &Record) -> (Key, &[SettleEntry]) {
    let (Record::Ack {
        queue,
        subscription,
        entries,
    }
    | Record::Nack {
        queue,
        subscription,
        entries,
        ..
    }
    | Record::Reject {
        queue,
        subscription,
        entries,
        ..
    }
    | Record::Extend {
        queue,
        subscription,
        entries,
        ..
    }) = record
    else {
        panic!("{record:?}");
    };
    ((*queue, *subscription), entries)
}
