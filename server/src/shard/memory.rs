//! Memory-only queues: which requests go to the volatile partition of the shard.
//!
//! A queue's name and configuration are in the log of the partition that its name gives it; that partition is on the
//! same shard. Invariant: (V1) the volatile partition has been told what a queue is before it gets a request about it.

use corelane_core::{Input, Requester};
use corelane_wire::{QueueInfo, Request, Storage};

use super::partition::Partition;
use super::state::State;

impl State {
    /// Where a request goes that its queue's name brought to the partition in `slot`: there, or to the volatile one.
    pub(super) fn lead(&mut self, slot: usize, from: Requester, request: &Request<'_>) -> usize {
        let Some(volatile) = self.volatile else {
            return slot;
        };
        let (Some(named), Some(memory)) = (self.serving(slot), self.serving(volatile)) else {
            return slot;
        };
        if let Request::Credit { consumer, .. } | Request::Unsubscribe { consumer } = request {
            let is_there = memory.engine.has_consumer(from.connection, *consumer);
            return if is_there { volatile } else { slot };
        }
        if let Request::QueueList(_) = request {
            self.list_beside(slot, volatile);
            return slot;
        }
        let found = request.queue();
        let found = found.and_then(|(name, _)| Some((name, *named.engine.memory_queue(name)?)));
        let Some((queue, config)) = found else {
            return slot;
        };
        if is_about_its_name(request) {
            return slot;
        }
        if memory.engine.memory_queue(queue) != Some(&config) {
            let config = Some(config);
            self.step(volatile, Input::Define { queue, config });
        }
        volatile
    }

    fn serving(&self, slot: usize) -> Option<&Partition> {
        self.partitions[slot].serving()
    }

    /// Tells a partition how the memory-only queues stand whose names it has.
    fn list_beside(&mut self, slot: usize, volatile: usize) {
        let (Some(named), Some(memory)) = (self.serving(slot), self.serving(volatile)) else {
            return;
        };
        let queues = memory.engine.memory_queues();
        let own = queues.filter(|it| named.engine.memory_queue(&it.name).is_some());
        let queues: Vec<QueueInfo> = own.collect();
        if !queues.is_empty() {
            self.step(slot, Input::Beside { queues: &queues });
        }
    }

    /// The partition in `slot` was asked to delete a queue: if it has, its messages in memory go too.
    pub(super) fn forget_memory_queue(&mut self, slot: usize, queue: &str) {
        let Some(volatile) = self.volatile else {
            return;
        };
        let has = |slot| {
            let partition = self.serving(slot);
            partition.is_some_and(|it| it.engine.memory_queue(queue).is_some())
        };
        if has(volatile) && !has(slot) {
            let config = None;
            self.step(volatile, Input::Define { queue, config });
        }
    }
}

/// Whether a request asks for a queue that keeps messages in memory only.
pub(super) fn is_for_memory(request: &Request<'_>) -> bool {
    let Request::QueueConfigure { config, .. } = request else {
        return false;
    };
    config.is_some_and(|config| config.storage == Storage::Memory)
}

/// Whether the partition answers that has the queue's name.
const fn is_about_its_name(request: &Request<'_>) -> bool {
    matches!(
        request,
        Request::QueueCreate { .. } | Request::QueueConfigure { .. } | Request::QueueDelete { .. }
    )
}
