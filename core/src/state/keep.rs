//! What records do to what a queue keeps.

use corelane_wire::QueueConfig;

use super::{Misfit, NO_QUEUE, State};
use crate::ids::QueueId;

impl State {
    pub(super) fn apply_queue_config(
        &mut self,
        id: QueueId,
        config: &QueueConfig,
    ) -> Result<(), Misfit> {
        self.queues.configure(id, *config).ok_or(NO_QUEUE)?;
        let now = self.clock.log;
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        if !config.retains() {
            queue.retain_from(None);
            self.counts.messages -= queue.advance_start();
            queue.forget_scheduled(now);
        } else if queue.retained_from.is_none() {
            queue.retained_from = Some(queue.end);
        }
        Ok(())
    }
}
