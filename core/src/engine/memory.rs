//! Memory-only queues: their names and configurations are in the log of one partition, their messages in another,
//! which is volatile and whose log outlives no process.
//!
//! Both are on the same shard, which leads each request to the one that answers it. The volatile partition learns from
//! it what a queue is, before the first request about it and whenever that has changed.

use std::collections::VecDeque;

use corelane_wire::{ConsumerId, QueueConfig, QueueInfo, Storage, Timestamp};

use super::{Engine, Output};
use crate::ids::ConnectionId;
use crate::record::Record;

impl Engine {
    /// The configuration of a queue that keeps its messages in memory only; `None` if there is no such queue.
    pub fn memory_queue(&self, name: &str) -> Option<&QueueConfig> {
        if self.state.queues.in_memory() == 0 {
            return None;
        }
        let queue = self.state.queues.get(self.state.queues.find(name)?)?;
        (queue.config.storage == Storage::Memory).then_some(&queue.config)
    }

    /// How its memory-only queues stand.
    pub fn memory_queues(&self) -> impl Iterator<Item = QueueInfo> {
        let queues = self.state.queues.iter();
        let in_memory = queues.filter(|(_, it)| it.config.storage == Storage::Memory);
        in_memory.map(|(_, queue)| self.info(queue))
    }

    /// Whether a connection has this consumer here.
    pub fn has_consumer(&self, connection: ConnectionId, consumer: ConsumerId) -> bool {
        self.demand.listens(connection, consumer)
    }

    /// What a queue is, or that it is gone.
    pub(super) fn on_define(
        &mut self,
        now: Timestamp,
        name: &str,
        config: Option<QueueConfig>,
        outputs: &mut VecDeque<Output>,
    ) {
        let found = self.state.queues.find(name);
        let Some(config) = config else {
            if let Some(queue) = found {
                self.delete_queue(now, (queue, name), outputs);
            }
            return;
        };
        let queue = found.or_else(|| self.create_queue(now, name, outputs).ok());
        // Without room for another queue the request that follows is refused as one about a queue that is not there.
        if let Some(queue) = queue {
            let config = Box::new(config);
            self.append(now, Record::ConfigureQueue { queue, config }, outputs);
        }
    }
}
