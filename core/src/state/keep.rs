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
        self.queues.configure(id, *config).ok_or(NO_QUEUE)
    }
}
