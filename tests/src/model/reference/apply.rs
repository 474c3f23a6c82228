//! What each record changes.

use std::rc::Rc;

use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::{
    Aside, AsideCause, AsideInfo, Contract, Fate, Offset, OffsetRange, PurgeStates, ReturnTo,
    ScheduledInfo, SessionId, SubscriptionConfig, Timestamp,
};

use super::state::{Enqueued, Is, Key, Lease, Message, PRODUCER_IDLE, Queue, State, Subscription};
use super::state::{count, millis, or_default, place};

/// What becomes of a message that is held; the order is that in which a turn does it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Settling {
    Ack,
    /// After how many milliseconds it comes back, and whether the attempt counts.
    Nack(u64, bool),
    /// The second counts the texts of a turn.
    Reject(Fate, usize, String),
    /// For how many milliseconds.
    Extend(u32),
}

/// Why and how a lease of a message ends: its fate, or `None` if the attempt does not count; why it is set aside, should it
/// be; a text; and the delay in milliseconds, or `None` for the back-off.
type Ending<'a> = (Option<Fate>, AsideCause, &'a str, Option<u64>);

impl State {
    fn queue_mut(&mut self, queue: usize) -> &mut Queue {
        Rc::make_mut(&mut self.queues[queue])
    }

    fn subscription_mut(&mut self, key: Key) -> &mut Subscription {
        Rc::make_mut(&mut self.queue_mut(key.0).subscriptions[key.1])
    }

    fn messages_mut(&mut self, key: Key) -> &mut Vec<Message> {
        &mut self.subscription_mut(key).messages
    }

    pub(super) fn create(&mut self, name: &str) {
        self.queues.push(Rc::new(Queue {
            name: name.to_owned(),
            created: self.log_time,
            ..Queue::default()
        }));
    }

    /// Messages come into a queue.
    pub(super) fn enqueue(&mut self, queue: usize, messages: Vec<(u64, Vec<u8>)>, producer: u128) {
        let (lsn, time, lease_time) = (self.lsn, self.log_time, self.lease_time());
        let of = self.queue_mut(queue);
        let (first, count) = (Offset(of.messages.len() as u64), count(messages.len()));
        for (due, key) in messages {
            for subscription in of.subscriptions.iter_mut().filter(|it| !it.is_deleted) {
                let messages = &mut Rc::make_mut(subscription).messages;
                messages.push(Message::new(due, time));
            }
            of.messages.push(Enqueued {
                lsn,
                time,
                due,
                key,
            });
        }
        if producer != 0 {
            let (receipts, used) = self.producers.entry((queue, producer)).or_default();
            receipts.push(OffsetRange { first, count });
            *used = lease_time;
        }
    }

    pub(super) fn subscribe(&mut self, queue: usize, name: &str, from: usize) {
        let mut new = Subscription::default();
        or_default(name).clone_into(&mut new.about.name);
        self.begin(queue, &mut new, from);
        self.queue_mut(queue).subscriptions.push(Rc::new(new));
        self.advance(queue);
    }

    pub(super) fn seek(&mut self, key: Key, from: usize) {
        let mut of = self.subscription(key).clone();
        self.begin(key.0, &mut of, from);
        *self.subscription_mut(key) = of;
        self.advance(key.0);
    }

    /// A subscription begins at `from`, or begins there again, without what is gone. What lies before something that is gone
    /// goes first, as if it had come back.
    fn begin(&self, queue: usize, of: &mut Subscription, from: usize) {
        let queue = &self.queues[queue];
        let last_gone = (0..queue.messages.len()).rfind(|at| queue.is_gone(*at));
        let messages = queue.messages.iter().enumerate().map(|(at, message)| {
            let mut message = Message::new(message.due, self.log_time);
            if at < from || queue.is_gone(at) {
                message.is = Is::Gone;
            } else if message.is == Is::New && last_gone.is_some_and(|last| at < last) {
                message.is = Is::Back(None);
            }
            message
        });
        of.messages = messages.collect();
        of.about.begin = Offset(from as u64);
    }

    pub(super) fn unsubscribe(&mut self, key: Key) {
        self.subscription_mut(key).is_deleted = true;
        let queue = self.queue_mut(key.0);
        if queue.live().next().is_none() {
            queue.start = queue.messages.len();
        }
        self.advance(key.0);
    }

    pub(super) fn delete(&mut self, queue: usize) {
        self.queue_mut(queue).is_deleted = true;
        self.producers.retain(|of, _| of.0 != queue);
    }

    /// What all are done with goes.
    fn advance(&mut self, queue: usize) {
        let queue = self.queue_mut(queue);
        while queue.start < queue.messages.len() && queue.is_gone(queue.start) {
            queue.start += 1;
        }
    }

    pub(super) fn configure(&mut self, key: Key, config: SubscriptionConfig) {
        let of = self.subscription_mut(key);
        of.about.config = config;
        let messages = of.messages.iter_mut();
        let is_behind = |of: &&mut Message| matches!(of.is, Is::Back(_));
        let ordered =
            messages.filter(|of| config.contract == Contract::KeyOrdered && is_behind(of));
        ordered.for_each(|of| of.is = Is::Back(None));
    }

    pub(super) fn pause(&mut self, key: Key, reason: Option<&str>) {
        let since = reason.map_or(0, |_| self.log_time);
        let about = &mut self.subscription_mut(key).about;
        about.paused = reason.is_some();
        reason
            .unwrap_or_default()
            .clone_into(&mut about.pause_reason);
        about.paused_since = Timestamp(since);
    }

    /// A message is given out; what is passed over so counts as come back.
    pub(super) fn lease(&mut self, key: Key, offset: usize, lease: Lease) {
        let messages = self.messages_mut(key);
        let is_new = messages[offset].is == Is::New;
        let passed = messages[..offset]
            .iter_mut()
            .filter(|of| is_new && of.is == Is::New);
        passed.for_each(|of| of.is = Is::Back(None));
        messages[offset].attempts += 1;
        messages[offset].is = Is::Leased(lease);
    }

    /// A consumer is done with a message.
    pub(super) fn finish(&mut self, key: Key, offset: usize) {
        self.messages_mut(key)[offset].is = Is::Acked;
        self.advance(key.0);
    }

    pub(super) fn settle(&mut self, key: Key, offset: usize, how: &Settling) {
        let ending: Ending<'_> = match how {
            Settling::Ack => return self.finish(key, offset),
            Settling::Extend(lease_ms) => return self.extend(key, offset, *lease_ms),
            Settling::Nack(delay_ms, is_counted) => {
                let fate = is_counted.then_some(Fate::Retry);
                (fate, AsideCause::Attempts, "", Some(*delay_ms))
            }
            Settling::Reject(Fate::Retry, _, text) => {
                (Some(Fate::Retry), AsideCause::Attempts, text, None)
            }
            Settling::Reject(fate, _, text) => (Some(*fate), AsideCause::Rejected, text, None),
        };
        self.end_lease(key, offset, ending);
    }

    fn extend(&mut self, key: Key, offset: usize, lease_ms: u32) {
        let end = self.lease_time() + millis(lease_ms.into());
        let messages = self.messages_mut(key);
        if let Is::Leased(lease) = &mut messages[offset].is {
            lease.until = end;
        }
        // Neighbours that are held alike are one run from now on, others are not.
        let held = |of: &Message| (of.attempts, of.lease().map(|lease| (lease.id, lease.until)));
        for at in [offset, offset + 1] {
            let is_joined = at > 0 && messages.get(at).map(held) == Some(held(&messages[at - 1]));
            if let Some(Is::Leased(lease)) = messages.get_mut(at).map(|of| &mut of.is) {
                lease.is_joined = is_joined;
            }
        }
    }

    pub(super) fn tick(&mut self) {
        let (log_time, lease_time) = (self.log_time, self.lease_time());
        let expired = (Some(Fate::Retry), AsideCause::LeaseExpired, "", None);
        self.end_leases(|lease| lease.until <= lease_time, expired);
        let is_due = |of: &Message| matches!(of.is, Is::Delayed(until) if until <= log_time);
        for (key, at) in self.all(is_due) {
            self.messages_mut(key)[at].is = self.back(key);
        }
        self.producers
            .retain(|_, (_, used)| *used + PRODUCER_IDLE > lease_time);
    }

    /// A session ended, which is nobody's fault.
    pub(super) fn release(&mut self, session: u128) {
        let released = (None, AsideCause::LeaseExpired, "", Some(0));
        self.end_leases(|lease| lease.session == session, released);
    }

    fn end_leases(&mut self, is_over: impl Fn(Lease) -> bool, ending: Ending<'_>) {
        let is_over = |message: &Message| message.lease().is_some_and(&is_over);
        for (key, offset) in self.all(is_over) {
            self.end_lease(key, offset, ending);
        }
    }

    /// The messages of which something is true, by subscription and offset.
    fn all(&self, is_it: impl Fn(&Message) -> bool) -> Vec<(Key, usize)> {
        let messages = |key| self.subscription(key).messages.iter().enumerate();
        let keys = self.keys().into_iter();
        let all = keys.flat_map(|key| messages(key).map(move |(at, of)| (key, at, of)));
        let found = all.filter(|(.., message)| is_it(message));
        found.map(|(key, at, _)| (key, at)).collect()
    }

    /// A message comes back: it is set aside, or ready, at once or later.
    fn end_lease(&mut self, key: Key, offset: usize, (fate, cause, text, delay_ms): Ending<'_>) {
        let (lsn, now, back) = (self.lsn, self.log_time, self.back(key));
        let of = self.subscription(key);
        let (config, lease) = (of.about.config, of.messages[offset].lease());
        let lease = lease.expect("it was held");
        let first = self.first_ended(lease, offset);
        let message = &mut self.messages_mut(key)[offset];
        let is_last = config.attempts_max > 0 && message.attempts >= config.attempts_max;
        let aside = match fate {
            Some(Fate::Dead) => Some(Aside::Dead),
            Some(Fate::Park) => Some(Aside::Parked),
            Some(Fate::Retry) if is_last => Some(Aside::Dead),
            Some(Fate::Retry) | None => None,
        };
        let delay_ms = delay_ms.unwrap_or_else(|| backoff_ms(config, message.attempts, lsn, first));
        message.is = match aside {
            Some(aside) => {
                let info = AsideInfo {
                    range: one(offset),
                    attempts: message.attempts,
                    cause,
                    since: Timestamp(now),
                    leased: Timestamp(lease.given),
                    session: SessionId(lease.session),
                    text: text.to_owned(),
                };
                Is::SetAside(aside, Rc::new(info))
            }
            None if delay_ms == 0 => back,
            None => Is::Delayed(now + millis(delay_ms)),
        };
        message.attempts -= u32::from(fate.is_none());
    }

    /// Where the run of neighbours begins that the record ends together, of which this message is the next.
    fn first_ended(&mut self, lease: Lease, offset: usize) -> usize {
        let is_next = |(id, last)| lease.is_joined && (id, last + 1) == (lease.id, offset);
        let before = self.ended.filter(|(id, last, _)| is_next((*id, *last)));
        let first = before.map_or(offset, |(.., first)| first);
        self.ended = Some((lease.id, offset, first));
        first
    }

    /// A message that was set aside is ready; a dead one as if it had never been tried.
    pub(super) fn bring_back(&mut self, key: Key, offset: usize) {
        let back = self.back(key);
        let message = &mut self.messages_mut(key)[offset];
        if matches!(message.is, Is::SetAside(Aside::Dead, _)) {
            message.attempts = 0;
        }
        message.is = back;
    }

    /// How a message comes back: before all others, or behind those that are there.
    fn back(&self, key: Key) -> Is {
        let end = self.queues[key.0].messages.len();
        Is::Back(match self.subscription(key).about.config.returned {
            ReturnTo::Front => None,
            ReturnTo::Back => Some((end, self.lsn)),
        })
    }

    /// Messages that wait are due at another time, at once if it is over, or done in all subscriptions.
    pub(super) fn reschedule(&mut self, queue: usize, rows: &[ScheduledInfo], due: Option<u64>) {
        let due = due.map(|due| due.max(self.log_time));
        let of = self.queue_mut(queue);
        for at in rows.iter().map(|row| place(row.range.first.0)) {
            of.messages[at].due = due.unwrap_or(0);
            for subscription in of.subscriptions.iter_mut().filter(|it| !it.is_deleted) {
                let message = &mut Rc::make_mut(subscription).messages[at];
                if matches!(message.is, Is::Delayed(_)) {
                    message.is = due.map_or(Is::Purged, Is::Delayed);
                }
            }
        }
        self.advance(queue);
    }

    pub(super) fn purge(&mut self, key: Key, states: PurgeStates) {
        for message in self.messages_mut(key) {
            let is_meant = match message.is {
                Is::New | Is::Back(_) | Is::Delayed(_) => states.waiting,
                Is::SetAside(Aside::Dead, _) => states.dead,
                Is::SetAside(Aside::Parked, _) => states.parked,
                Is::Leased(_) | Is::Acked | Is::Purged | Is::Gone => false,
            };
            if is_meant {
                message.is = Is::Purged;
            }
        }
        self.advance(key.0);
    }
}

pub(super) fn one(offset: usize) -> OffsetRange {
    let (first, count) = (Offset(offset as u64), 1);
    OffsetRange { first, count }
}

/// The delay after a failed attempt: doubled with each, capped, and less up to half of it, as `docs/records.md` draws it.
fn backoff_ms(config: SubscriptionConfig, attempts: u32, lsn: u64, first: usize) -> u64 {
    let cap = match config.backoff_max_ms {
        0 => DELAY_MS_MAX,
        max => max,
    };
    let doubled = |full: u64, _| (2 * full).min(cap);
    let full = (1..attempts.min(64)).fold(config.backoff_ms.min(cap), doubled);
    let mut drawn = lsn.rotate_left(32) ^ (first as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    drawn = (drawn ^ drawn >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    drawn = (drawn ^ drawn >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    drawn = (drawn ^ drawn >> 31) >> 32;
    let less = u128::from(full / 2) * u128::from(drawn);
    full - u64::try_from(less >> 32).expect("less than half of it")
}
