//! Requests about one subscription as a whole.

use corelane_wire::{
    Aside, AsideInfo, ErrorCode, Offset, OffsetRange, OnSubscription, PurgeStates, SessionId,
    Start, SubscriptionAnswer, SubscriptionConfig, SubscriptionVerb, Timestamp, record_kind,
};

use super::requests::{Outcome, or_default};
use super::state::{Fact, Is, Key, Life};
use super::{Answer, Model};
use corelane_core::Requester;

impl Model {
    pub(super) fn on_subscription(&mut self, now: u64, on: &OnSubscription<'_>) -> Outcome {
        let found = self.find(on.queue).and_then(|queue| {
            let key = self.state.find_in(queue, or_default(on.subscription));
            key.ok_or(ErrorCode::SubscriptionNotFound)
        });
        let answer = match (on.verb, found) {
            (SubscriptionVerb::Create { config, .. }, Ok(key)) => {
                if self.state.subscription(key).config != config {
                    return Err(ErrorCode::SubscriptionExists);
                }
                SubscriptionAnswer::Created { created: false }
            }
            (SubscriptionVerb::Create { start, config }, Err(_)) => {
                let names = (on.queue, on.subscription);
                let key = self.create_subscription(now, names, start)?;
                if config != SubscriptionConfig::default() {
                    self.configure(now, key, config);
                }
                SubscriptionAnswer::Created { created: true }
            }
            (SubscriptionVerb::ListAside { aside, from, .. }, Ok(key)) => {
                return Ok(Some(Answer::Aside(self.set_aside(key, aside, from), false)));
            }
            (verb, Ok(key)) => self.ask(now, key, verb)?,
            (_, Err(code)) => return Err(code),
        };
        Ok(Some(Answer::Subscription(answer)))
    }

    fn ask(
        &mut self,
        now: u64,
        key: Key,
        verb: SubscriptionVerb<'_>,
    ) -> Result<SubscriptionAnswer, ErrorCode> {
        Ok(match verb {
            SubscriptionVerb::Create { .. }
            | SubscriptionVerb::ListAside { .. }
            | SubscriptionVerb::Show => SubscriptionAnswer::Shown(Box::new(self.detail(key))),
            SubscriptionVerb::Configure { config } => {
                self.configure(now, key, config);
                SubscriptionAnswer::Configured
            }
            SubscriptionVerb::Pause { reason } => {
                self.pause(now, key, Some(reason.to_owned()));
                SubscriptionAnswer::Paused
            }
            SubscriptionVerb::Resume => {
                self.pause(now, key, None);
                SubscriptionAnswer::Resumed
            }
            SubscriptionVerb::Seek { start } => {
                let from = self.resolve(Some(key.0), start)?;
                self.write(now, record_kind::SEEK);
                self.note(Fact::Life(key, Life::Seek(from)));
                let at = Offset(from as u64);
                SubscriptionAnswer::Sought { at }
            }
            SubscriptionVerb::Delete => {
                self.unsubscribe(now, key);
                SubscriptionAnswer::Deleted
            }
            SubscriptionVerb::Purge { states } => self.purge(now, key, states),
            SubscriptionVerb::Return {
                aside,
                first,
                end,
                max,
            } => self.bring_back(now, key, aside, (first, end, max)),
        })
    }

    /// By default the first subscription of a queue begins at its first message, later ones behind its last.
    pub(super) fn create_subscription(
        &mut self,
        now: u64,
        (queue, name): (&str, &str),
        start: Option<Start>,
    ) -> Result<Key, ErrorCode> {
        let found = self.state.find(queue);
        let others = found.map_or(0, |queue| self.state.queues[queue].live().count());
        if others >= self.bounds.subscriptions {
            return Err(ErrorCode::LimitExceeded);
        }
        let default = if others == 0 {
            Start::Earliest
        } else {
            Start::Latest
        };
        let from = self.resolve(found, start.unwrap_or(default))?;
        let queue = self.ensure_queue(now, queue)?;
        self.write(now, record_kind::SUBSCRIBE);
        let name = or_default(name).to_owned();
        self.note(Fact::Subscribe(queue, name, from));
        Ok((queue, self.state.queues[queue].subscriptions.len() - 1))
    }

    /// The offset at which a subscription begins; a queue that is to be made has no message.
    fn resolve(&self, queue: Option<usize>, start: Start) -> Result<usize, ErrorCode> {
        let (first, end) = queue.map_or((0, 0), |queue| {
            let queue = &self.state.queues[queue];
            (queue.start, queue.messages.len())
        });
        match start {
            Start::Earliest => Ok(first),
            Start::Latest => Ok(end),
            Start::At(Offset(offset)) => {
                let offset = usize::try_from(offset).ok();
                let kept = offset.filter(|offset| (first..=end).contains(offset));
                kept.ok_or(ErrorCode::OffsetNotKept)
            }
        }
    }

    fn configure(&mut self, now: u64, key: Key, config: SubscriptionConfig) {
        self.write(now, record_kind::CONFIGURE);
        self.note(Fact::Life(key, Life::Configure(config)));
    }

    fn pause(&mut self, now: u64, key: Key, reason: Option<String>) {
        self.write(now, record_kind::PAUSE);
        self.note(Fact::Life(key, Life::Pause(reason)));
    }

    fn unsubscribe(&mut self, now: u64, key: Key) {
        self.write(now, record_kind::UNSUBSCRIBE);
        self.note(Fact::Life(key, Life::Unsubscribe));
        self.consumers.retain(|consumer| consumer.key != key);
        let ended = self.waiters.extract_if(.., |waiter| waiter.key == key);
        let ended: Vec<Requester> = ended.map(|waiter| waiter.from).collect();
        for from in ended {
            self.answer(from, Answer::Refused(ErrorCode::SubscriptionNotFound));
        }
    }

    fn purge(&mut self, now: u64, key: Key, states: PurgeStates) -> SubscriptionAnswer {
        let before = self.state.counts(key).purged;
        self.write(now, record_kind::PURGE);
        self.note(Fact::Life(key, Life::Purge(states)));
        let count = self.state.counts(key).purged - before;
        SubscriptionAnswer::Purged { count }
    }

    /// The messages that were set aside in one way, by offset.
    fn set_aside(&self, key: Key, aside: Aside, from: Offset) -> Vec<AsideInfo> {
        let messages = (0..).zip(&self.state.subscription(key).messages);
        let mut all = Vec::new();
        for (at, message) in messages {
            if let Is::SetAside(how, story) = &message.is
                && *how == aside
                && at >= from.0
            {
                let (first, count) = (Offset(at), 1);
                all.push(AsideInfo {
                    range: OffsetRange { first, count },
                    attempts: message.attempts,
                    cause: story.cause,
                    since: Timestamp(story.since),
                    leased: Timestamp(story.leased),
                    session: SessionId(story.session),
                    text: story.text.clone(),
                });
            }
        }
        all
    }

    /// At most `max` of what was set aside is ready again; says where to go on.
    fn bring_back(
        &mut self,
        now: u64,
        key: Key,
        aside: Aside,
        (first, end, max): (Offset, Offset, u32),
    ) -> SubscriptionAnswer {
        let all = self.set_aside(key, aside, first).into_iter();
        let all = all
            .map(|row| row.range.first)
            .filter(|offset| *offset < end);
        let mut offsets: Vec<Offset> = all.collect();
        let next = offsets.get(max as usize).copied().unwrap_or(end);
        offsets.truncate(max as usize);
        if !offsets.is_empty() {
            self.write(now, record_kind::RETURN);
        }
        for offset in &offsets {
            let offset = usize::try_from(offset.0).expect("the message exists");
            self.note(Fact::Life(key, Life::Return(offset)));
        }
        let count = u32::try_from(offsets.len()).unwrap_or(u32::MAX);
        SubscriptionAnswer::Returned { count, next }
    }
}
