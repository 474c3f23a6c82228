//! What a shard tells the control thread about itself: plain numbers, stored once per turn.
//!
//! The shard counts in a [`Counters`] of its own and publishes it at the end of each turn with
//! relaxed stores, so that the loop never shares a cache line per message. Readers (`/metrics`,
//! `/readyz`, the watchdog) see each number by itself, at most a turn old. Invariant: (T1) a
//! living shard publishes at least every half second, because its wait is capped at that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use corelane_wire::PartitionId;

/// Why a partition does not serve, or not all that it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Illness {
    /// A write to its log failed while it served.
    Poisoned,
    /// Recovery found confirmed records damaged, and nothing before them can be shown.
    Damaged,
    /// Recovery found confirmed records damaged; what is before them can be looked at.
    ReadOnly,
    /// Some of what it keeps cannot be read; the rest is served.
    PartlyDamaged,
    /// A write to its log does not return.
    Stalled,
}

/// Declares the plain and the shared form of the counters together, so that none is forgotten.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The numbers of one shard as plain values.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The numbers of one shard as the control thread reads them.
        #[derive(Debug, Default)]
        pub struct ShardStats {
            $($name: AtomicU64,)*
            ill: Mutex<Vec<(PartitionId, Illness)>>,
        }

        impl ShardStats {
            /// Stores all numbers; called by the shard once per turn.
            pub fn publish(&self, counters: &Counters) {
                $(self.$name.store(counters.$name, Ordering::Relaxed);)*
            }

            /// Lists a partition with an illness; it has most of them until the process ends.
            pub fn add_ill(&self, partition: PartitionId, illness: Illness) {
                let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
                if !ill.contains(&(partition, illness)) {
                    ill.push((partition, illness));
                }
            }

            /// The partition does not have the illness any more.
            pub fn remove_ill(&self, partition: PartitionId, illness: Illness) {
                let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
                ill.retain(|one| *one != (partition, illness));
            }

            /// The partitions with their illnesses, in the order in which they got them.
            pub fn ill(&self) -> Vec<(PartitionId, Illness)> {
                self.ill.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }

            /// The numbers as last published, each by itself.
            pub fn read(&self) -> Counters {
                Counters {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters! {
    /// Turns of the loop since the start; the watchdog wants to see this move.
    turns_total,
    /// Connections accepted.
    connections_accepted_total,
    /// Connections refused because the shard has its full number.
    connections_refused_total,
    /// Connections that this side ended with a fault (bad frames, no HELLO, overflow, poison).
    connections_faulted_total,
    /// Connections open now.
    connections,
    /// Requests read from this shard's connections, of any kind.
    requests_total,
    /// Requests that went to a partition of another shard.
    requests_forwarded_total,
    /// Requests refused by this shard before an engine saw them (busy, disk full, bad frames, ...).
    requests_refused_total,
    /// Answers with an error code other than zero given by this shard's partitions.
    requests_failed_total,
    /// Enqueue requests that this shard's partitions took or refused.
    enqueues_total,
    /// Messages delivered by this shard's partitions, redeliveries included.
    messages_delivered_total,
    /// Bytes received from connections.
    bytes_received_total,
    /// Bytes handed to the driver for connections.
    bytes_sent_total,
    /// Log writes that completed.
    commits_total,
    /// Bytes of those writes.
    commit_bytes_total,
    /// Nanoseconds from submission to completion of those writes, summed.
    commit_nanoseconds_total,
    /// Log writes that did not return within a second.
    commit_stalls_total,
    /// Reads from segments, for messages that had left the cache.
    log_reads_total,
    /// Checkpoints written.
    checkpoints_total,
    /// Checkpoints that could not be written.
    checkpoint_failures_total,
    /// Chunks of checkpoints read back, to know where messages lie.
    chunk_reads_total,
    /// Segments that were not needed any more and were made into spares, or removed.
    segments_freed_total,
    /// Bytes of messages that were written again so that their segment could go.
    relocated_bytes_total,
    /// Reads that found something else than what was written.
    damaged_reads_total,
    /// Bytes that the scrubber read.
    scrubbed_bytes_total,
    /// Damaged blocks and chunks that it found, in each pass anew.
    scrub_damaged_total,
    /// Times that it read everything through.
    scrub_passes_total,
    /// When it last had, in nanoseconds since the Unix epoch.
    scrub_pass_ended_nanoseconds,
    /// Batches of mail sent to other shards.
    mail_batches_total,
    /// Turns that ended with mail kept back because a ring was full.
    mail_full_turns_total,
    /// Partitions hosted by this shard.
    partitions,
    /// Partitions whose epoch is committed, so that they serve.
    partitions_serving,
    /// Partitions whose disk failed while they served.
    partitions_poisoned,
    /// Partitions with a log write that did not return within a second, and has not yet.
    partitions_stalled,
    /// Partitions that recovery found damaged.
    partitions_damaged,
    /// Partitions that refused a time jump of more than a day at this start, so that delays are late.
    time_jumps_refused,
    /// Whether the last spare segment could not be made for want of space (1) or could (0).
    disk_full,
    /// Queues in this shard's partitions.
    queues,
    /// Messages ready for delivery, over all subscriptions.
    messages_ready,
    /// Messages under lease.
    messages_leased,
    /// Messages waiting for their delay to pass.
    messages_delayed,
    /// Messages that failed too often, or were rejected for good.
    messages_dead,
    /// Messages set aside until they are kicked.
    messages_parked,
    /// Messages that a consumer finished.
    messages_done,
    /// Messages whose time to live ended, or that made way for others.
    messages_expired,
    /// Messages that were purged.
    messages_purged,
    /// Messages that were gone before a consumer of a broadcast got them, once for each.
    messages_missed_total,
    /// Messages that the subscriptions are there for.
    messages_enqueued,
    /// How many of those are in no state, or in two.
    messages_unaccounted,
    /// Of the segments of memory-only queues.
    volatile_bytes,
}

#[cfg(test)]
mod tests;
