//! Requests about one subscription as a whole.

use corelane_wire::{
    Aside, AsideInfo, ErrorCode, Offset, OnSubscription, Start, SubscriptionAnswer,
    SubscriptionConfig, SubscriptionVerb, record_kind,
};

use super::Model;
use super::state::{Is, Key};

impl Model {
    pub(super) fn on_subscription(
        &mut self,
        on: &OnSubscription<'_>,
    ) -> Result<SubscriptionAnswer, ErrorCode> {
        let found = self.find_subscription(on.queue, on.subscription);
        let SubscriptionVerb::Create { start, config } = on.verb else {
            return self.ask(found?, on.verb);
        };
        if let Ok(key) = found {
            let is_alike = self.state.subscription(key).about.config == config;
            let created = SubscriptionAnswer::Created { created: false };
            return is_alike
                .then_some(created)
                .ok_or(ErrorCode::SubscriptionExists);
        }
        let key = self.create_subscription((on.queue, on.subscription), start)?;
        if config != SubscriptionConfig::default() {
            self.write(record_kind::CONFIGURE);
            self.state.configure(key, config);
        }
        Ok(SubscriptionAnswer::Created { created: true })
    }

    fn ask(
        &mut self,
        key: Key,
        verb: SubscriptionVerb<'_>,
    ) -> Result<SubscriptionAnswer, ErrorCode> {
        Ok(match verb {
            SubscriptionVerb::Create { .. }
            | SubscriptionVerb::DeadLetters { .. }
            | SubscriptionVerb::Show => SubscriptionAnswer::Shown(Box::new(self.detail(key))),
            SubscriptionVerb::ListAside { aside, from, .. } => {
                let rows = self.set_aside(key, aside, from);
                SubscriptionAnswer::AsideList { rows, more: false }
            }
            SubscriptionVerb::Configure { config } => {
                self.write(record_kind::CONFIGURE);
                self.state.configure(key, config);
                SubscriptionAnswer::Configured
            }
            SubscriptionVerb::Pause { reason } => {
                self.write(record_kind::PAUSE);
                self.state.pause(key, Some(reason));
                SubscriptionAnswer::Paused
            }
            SubscriptionVerb::Resume => {
                self.write(record_kind::PAUSE);
                self.state.pause(key, None);
                SubscriptionAnswer::Resumed
            }
            SubscriptionVerb::Seek { start } => {
                let from = self.resolve(Some(key.0), start)?;
                self.write(record_kind::SEEK);
                self.state.seek(key, from);
                let at = Offset(from as u64);
                SubscriptionAnswer::Sought { at }
            }
            SubscriptionVerb::Delete => {
                self.write(record_kind::UNSUBSCRIBE);
                self.state.unsubscribe(key);
                self.end_all(|of| of == key, ErrorCode::SubscriptionNotFound);
                SubscriptionAnswer::Deleted
            }
            SubscriptionVerb::Purge { states } => {
                let before = self.detail(key).purged;
                self.write(record_kind::PURGE);
                self.state.purge(key, states);
                let count = self.detail(key).purged - before;
                SubscriptionAnswer::Purged { count }
            }
            SubscriptionVerb::Return {
                aside,
                first,
                end,
                max,
            } => self.bring_back(key, aside, (first, end, max)),
            // No reader is drawn.
            SubscriptionVerb::Checkpoint { .. } => return Err(ErrorCode::NotSupported),
        })
    }

    /// By default the first subscription of a queue begins at its first message, later ones behind its last.
    pub(super) fn create_subscription(
        &mut self,
        (queue, name): (&str, &str),
        start: Option<Start>,
    ) -> Result<Key, ErrorCode> {
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
        self.write(record_kind::SUBSCRIBE);
        self.state.subscribe(queue, name, from);
        Ok((queue, self.state.queues[queue].subscriptions.len() - 1))
    }

    /// The offset at which a subscription begins; a queue that is to be made has no message.
    fn resolve(&self, queue: Option<usize>, start: Start) -> Result<usize, ErrorCode> {
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
        let rows = messages.filter_map(|message| {
            let Is::SetAside(how, info) = &message.is else {
                return None;
            };
            (*how == aside).then(|| (**info).clone())
        });
        rows.filter(|row| row.range.first >= from).collect()
    }

    /// At most `max` of what was set aside is ready again; says where to go on.
    fn bring_back(
        &mut self,
        key: Key,
        aside: Aside,
        (first, end, max): (Offset, Offset, u32),
    ) -> SubscriptionAnswer {
        let all = self.set_aside(key, aside, first).into_iter();
        let mut offsets: Vec<Offset> = all.map(|row| row.range.first).collect();
        offsets.retain(|offset| *offset < end);
        let next = offsets.get(max as usize).copied().unwrap_or(end);
        offsets.truncate(max as usize);
        if !offsets.is_empty() {
            self.write(record_kind::RETURN);
        }
        for offset in &offsets {
            let offset = usize::try_from(offset.0).expect("the message exists");
            self.state.bring_back(key, offset);
        }
        let count = u32::try_from(offsets.len()).unwrap_or(u32::MAX);
        SubscriptionAnswer::Returned { count, next }
    }
}
