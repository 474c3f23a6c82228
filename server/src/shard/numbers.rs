//! What a shard tells of itself at the end of each turn.

use super::partition::{Hosted, Partition};
use super::state::State;
use crate::stats::Counters;

impl State {
    /// Publishes the numbers of this turn.
    pub(super) fn publish(&mut self) {
        self.count();
        self.stats.publish(&self.counters);
    }

    fn count(&mut self) {
        let Self {
            counters,
            partitions,
            outlets,
            spares,
            volatile,
            ..
        } = self;
        counters.turns_total += 1;
        counters.connections = outlets.connections.count() as u64;
        // What concerns the volatile partition is no news about the data directory.
        let durable = partitions.len() - usize::from(volatile.is_some());
        counters.partitions = durable as u64;
        counters.disk_full = u64::from(spares.is_full());
        counters.partitions_serving = 0;
        counters.partitions_poisoned = 0;
        counters.partitions_stalled = 0;
        counters.time_jumps_refused = 0;
        counters.queues = 0;
        counters.messages_ready = 0;
        counters.messages_leased = 0;
        counters.messages_delayed = 0;
        counters.messages_dead = 0;
        counters.messages_parked = 0;
        counters.messages_done = 0;
        counters.messages_expired = 0;
        counters.messages_purged = 0;
        counters.messages_missed_total = 0;
        counters.messages_enqueued = 0;
        let was_accounted = std::mem::take(&mut counters.messages_unaccounted) == 0;
        counters.volatile_bytes = 0;
        counters.partitions_damaged = 0;
        for hosted in partitions.iter() {
            let is_damaged = hosted.serving().is_none() || hosted.read_only().is_some();
            counters.partitions_damaged += u64::from(is_damaged);
        }
        for partition in partitions.iter().filter_map(Hosted::serving) {
            let unaccounted = count_partition(counters, partition);
            if unaccounted > 0 && was_accounted {
                tracing::error!(
                    partition = partition.id.0,
                    messages = unaccounted,
                    "messages are in no state, or in two: this is a bug, please report it"
                );
            }
            if partition.is_volatile {
                counters.volatile_bytes = partition.log_bytes();
            }
        }
    }
}

/// Adds the numbers of a partition; returns how many of its messages are not accounted for.
fn count_partition(counters: &mut Counters, partition: &Partition) -> u64 {
    let stats = partition.engine.stats();
    let is_serving = partition.is_started() && !partition.poisoned && !partition.is_volatile;
    counters.partitions_serving += u64::from(is_serving);
    let is_poisoned = partition.poisoned && partition.read_only.is_none();
    counters.partitions_poisoned += u64::from(is_poisoned);
    let is_stalled = partition.writing.is_some_and(|it| it.is_stalled());
    counters.partitions_stalled += u64::from(is_stalled);
    counters.time_jumps_refused += u64::from(stats.time_jump_refused);
    // A memory-only queue is counted where its name is.
    let queues = if partition.is_volatile {
        0
    } else {
        stats.queues
    };
    counters.queues += queues as u64;
    counters.messages_ready += stats.ready;
    counters.messages_leased += stats.leased;
    counters.messages_delayed += stats.delayed;
    counters.messages_dead += stats.dead;
    counters.messages_parked += stats.parked;
    counters.messages_done += stats.acked;
    counters.messages_expired += stats.expired;
    counters.messages_purged += stats.purged;
    counters.messages_missed_total += stats.missed;
    counters.messages_enqueued += stats.enqueued;
    counters.messages_unaccounted += stats.unaccounted;
    stats.unaccounted
}
