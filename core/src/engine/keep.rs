//! What queues keep and take: their configuration.

use std::collections::VecDeque;

use corelane_wire::{ErrorCode, QueueConfig, Timestamp};

use super::request::Refusal;
use super::{Engine, Output, Reply, Requester};
use crate::record::Record;

impl Engine {
    /// Replaces the configuration of a queue, and makes the queue if there is none; without one it is only shown.
    pub(super) fn on_queue_configure(
        &mut self,
        now: Timestamp,
        from: Requester,
        (name, config): (&str, Option<QueueConfig>),
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let Some(config) = config else {
            let id = self.find_queue(name)?;
            let queue = self.state.queues.get(id);
            let config = queue.map(|queue| queue.config).unwrap_or_default();
            self.reply(from, configured(false, config), outputs);
            return Ok(());
        };
        let found = self.state.queues.find(name);
        let created = found.is_none();
        let queue = match found {
            Some(queue) => queue,
            None => self.create_queue(now, name, outputs)?,
        };
        let before = self.state.queues.get(queue).map(|queue| queue.config);
        if !created && before.is_some_and(|before| before.storage != config.storage) {
            let text =
                format!("queue {name} exists, and where its messages are kept cannot change");
            return Err((ErrorCode::QueueExists, text));
        }
        if before != Some(config) {
            let config = Box::new(config);
            self.append(now, Record::ConfigureQueue { queue, config }, outputs);
        }
        self.reply(from, configured(created, config), outputs);
        Ok(())
    }
}

fn configured(created: bool, config: QueueConfig) -> Reply {
    let config = Box::new(config);
    Reply::QueueConfigured { created, config }
}
