//! Requests about one subscription as a whole.

use corelane_wire::SubscriptionAnswer as Answer;
use corelane_wire::SubscriptionVerb as Verb;
use corelane_wire::{Aside, AsideInfo, ErrorCode, Offset, OnSubscription};
use corelane_wire::{Start, SubscriptionConfig, record_kind};

use super::state::{Key, Message, count, place};
use super::{Model, Outcome};

impl Model {
    pub(super) fn on_subscription(&mut self, on: &OnSubscription<'_>) -> Outcome<Answer> {
        let name = (on.queue, on.subscription);
        let (start, config) = match (on.verb, self.find_subscription(name.0, name.1)) {
            (Verb::Create { config, .. }, Ok(key)) => {
                let is_alike = self.state.subscription(key).about.config == config;
                let created = Answer::Created { created: false };
                return is_alike
                    .then_some(created)
                    .ok_or(ErrorCode::SubscriptionExists);
            }
            (Verb::Create { start, config }, Err(_)) => (start, config),
            (verb, found) => return self.ask(found?, verb),
        };
        let key = self.create_subscription(name, start)?;
        if config != SubscriptionConfig::default() {
            self.configure(key, config);
        }
        Ok(Answer::Created { created: true })
    }

    fn configure(&mut self, key: Key, config: SubscriptionConfig) {
        self.record(record_kind::CONFIGURE).configure(key, config);
    }

    fn ask(&mut self, key: Key, verb: Verb<'_>) -> Outcome<Answer> {
        Ok(match verb {
            Verb::ListAside { aside, from, .. } => {
                let rows = self.set_aside(key, aside, from);
                Answer::AsideList { rows, more: false }
            }
            Verb::Configure { config } => {
                self.configure(key, config);
                Answer::Configured
            }
            Verb::Pause { reason } => {
                self.record(record_kind::PAUSE).pause(key, Some(reason));
                Answer::Paused
            }
            Verb::Resume => {
                self.record(record_kind::PAUSE).pause(key, None);
                Answer::Resumed
            }
            Verb::Seek { start } => {
                let from = self.resolve(Some(key.0), start)?;
                self.record(record_kind::SEEK).seek(key, from);
                let at = Offset(from as u64);
                Answer::Sought { at }
            }
            Verb::Delete => {
                self.record(record_kind::UNSUBSCRIBE).unsubscribe(key);
                self.end_all(|of| of == key, ErrorCode::SubscriptionNotFound);
                Answer::Deleted
            }
            Verb::Purge { states } => {
                let before = self.detail(key).purged;
                self.record(record_kind::PURGE).purge(key, states);
                let count = self.detail(key).purged - before;
                Answer::Purged { count }
            }
            Verb::Return {
                aside,
                first,
                end,
                max,
            } => {
                let (count, next) = self.bring_back(key, aside, (first, end, max as usize));
                Answer::Returned { count, next }
            }
            Verb::Show => Answer::Shown(Box::new(self.detail(key))),
            Verb::Create { .. } | Verb::DeadLetters { .. } | Verb::Checkpoint { .. } => {
                unreachable!("the model is not asked {verb:?}")
            }
        })
    }

    /// By default the first subscription of a queue begins at its first message, later ones behind its last.
    pub(super) fn create_subscription(
        &mut self,
        (queue, name): (&str, &str),
        start: Option<Start>,
    ) -> Outcome<Key> {
        let found = self.state.find(queue);
        let others = found.map_or(0, |queue| self.state.queues[queue].live().count());
        if others >= self.limits.subscriptions_max {
            return Err(ErrorCode::LimitExceeded);
        }
        let default = if others == 0 {
            Start::Earliest
        } else {
            Start::Latest
        };
        let from = self.resolve(found, start.unwrap_or(default))?;
        let queue = self.ensure_queue(queue)?;
        self.record(record_kind::SUBSCRIBE)
            .subscribe(queue, name, from);
        Ok((queue, self.state.queues[queue].subscriptions.len() - 1))
    }

    /// The offset at which a subscription begins; a queue that is to be made has no message.
    fn resolve(&self, queue: Option<usize>, start: Start) -> Outcome<usize> {
        let (first, end) = queue.map_or((0, 0), |queue| {
            let queue = &self.state.queues[queue];
            (queue.start, queue.messages.len())
        });
        let offset = match start {
            Start::Earliest => Some(first),
            Start::Latest => Some(end),
            Start::At(Offset(offset)) => usize::try_from(offset).ok(),
        };
        let kept = offset.filter(|offset| (first..=end).contains(offset));
        kept.ok_or(ErrorCode::OffsetNotKept)
    }

    /// The messages that were set aside in one way, by offset.
    fn set_aside(&self, key: Key, aside: Aside, from: Offset) -> Vec<AsideInfo> {
        let messages = self.state.subscription(key).messages.iter();
        let rows = messages.filter_map(Message::set_aside);
        let rows = rows.filter(|(how, row)| *how == aside && row.range.first >= from);
        rows.map(|(_, row)| row.clone()).collect()
    }

    /// At most `max` of what was set aside is ready again; says where to go on.
    fn bring_back(
        &mut self,
        key: Key,
        aside: Aside,
        (first, end, max): (Offset, Offset, usize),
    ) -> (u32, Offset) {
        let all = self.set_aside(key, aside, first).into_iter();
        let mut offsets: Vec<Offset> = all.map(|row| row.range.first).collect();
        offsets.retain(|offset| *offset < end);
        let next = offsets.get(max).copied().unwrap_or(end);
        offsets.truncate(max);
        if !offsets.is_empty() {
            self.record(record_kind::RETURN);
        }
        for offset in &offsets {
            self.state.bring_back(key, place(offset.0));
        }
        (count(offsets.len()), next)
    }
}
