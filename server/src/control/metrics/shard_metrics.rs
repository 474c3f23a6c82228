//! The table of what each shard publishes.

use prometheus_client::registry::Unit;

use super::{ShardMetric, rounded};
use crate::stats::Counters;

/// Every number of [`Counters`], with its name and help.
pub(super) fn shard_metrics() -> Vec<ShardMetric> {
    let mut metrics = connections();
    metrics.extend(requests());
    metrics.extend(log());
    metrics.extend(scrubber());
    metrics.extend(state());
    metrics.extend(messages());
    metrics
}

fn counter(name: &'static str, help: &'static str, read: fn(&Counters) -> f64) -> ShardMetric {
    ShardMetric {
        name,
        unit: None,
        help,
        is_counter: true,
        read,
    }
}

fn gauge(name: &'static str, help: &'static str, read: fn(&Counters) -> f64) -> ShardMetric {
    ShardMetric {
        is_counter: false,
        ..counter(name, help, read)
    }
}

impl ShardMetric {
    fn in_unit(self, unit: Unit) -> Self {
        Self {
            unit: Some(unit),
            ..self
        }
    }
}

fn connections() -> Vec<ShardMetric> {
    vec![
        counter("corelane_turns", "Turns of the loop.", |c| {
            rounded(c.turns_total)
        }),
        counter(
            "corelane_connections_accepted",
            "Connections accepted.",
            |c| rounded(c.connections_accepted_total),
        ),
        counter(
            "corelane_connections_refused",
            "Connections refused because the shard has its full number.",
            |c| rounded(c.connections_refused_total),
        ),
        counter(
            "corelane_connections_faulted",
            "Connections ended by the broker with a fault.",
            |c| rounded(c.connections_faulted_total),
        ),
        gauge("corelane_connections", "Connections open.", |c| {
            rounded(c.connections)
        }),
    ]
}

fn requests() -> Vec<ShardMetric> {
    vec![
        counter(
            "corelane_requests",
            "Requests read from the shard's connections.",
            |c| rounded(c.requests_total),
        ),
        counter(
            "corelane_requests_forwarded",
            "Requests passed on to the shard of their partition.",
            |c| rounded(c.requests_forwarded_total),
        ),
        counter(
            "corelane_requests_refused",
            "Requests refused before a partition saw them.",
            |c| rounded(c.requests_refused_total),
        ),
        counter(
            "corelane_requests_failed",
            "Answers with an error given by the shard's partitions.",
            |c| rounded(c.requests_failed_total),
        ),
        counter(
            "corelane_enqueues",
            "Enqueue requests that reached the shard's partitions.",
            |c| rounded(c.enqueues_total),
        ),
        counter(
            "corelane_messages_delivered",
            "Messages delivered, redeliveries included.",
            |c| rounded(c.messages_delivered_total),
        ),
        counter(
            "corelane_messages_missed",
            "Messages that were gone before a consumer of a broadcast got them, once for each, or before an ephemeral subscription gave them out.",
            |c| rounded(c.messages_missed_total),
        ),
        counter(
            "corelane_received",
            "Bytes received from connections.",
            |c| rounded(c.bytes_received_total),
        )
        .in_unit(Unit::Bytes),
        counter("corelane_sent", "Bytes sent to connections.", |c| {
            rounded(c.bytes_sent_total)
        })
        .in_unit(Unit::Bytes),
        counter(
            "corelane_mail_batches",
            "Batches of mail sent to other shards.",
            |c| rounded(c.mail_batches_total),
        ),
        counter(
            "corelane_mail_full_turns",
            "Turns that ended with mail kept back because a mailbox was full.",
            |c| rounded(c.mail_full_turns_total),
        ),
    ]
}

fn log() -> Vec<ShardMetric> {
    vec![
        counter("corelane_commits", "Log writes that completed.", |c| {
            rounded(c.commits_total)
        }),
        counter("corelane_committed", "Bytes of those writes.", |c| {
            rounded(c.commit_bytes_total)
        })
        .in_unit(Unit::Bytes),
        counter(
            "corelane_commit_wait",
            "Time from submission to completion of those writes, summed.",
            |c| rounded(c.commit_nanoseconds_total) / 1e9,
        )
        .in_unit(Unit::Seconds),
        counter(
            "corelane_commit_stalls",
            "Log writes that did not return within a second.",
            |c| rounded(c.commit_stalls_total),
        ),
        counter(
            "corelane_log_reads",
            "Reads from segments, for messages that had left the cache.",
            |c| rounded(c.log_reads_total),
        ),
        counter("corelane_checkpoints", "Checkpoints written.", |c| {
            rounded(c.checkpoints_total)
        }),
        counter(
            "corelane_checkpoint_failures",
            "Checkpoints that could not be written.",
            |c| rounded(c.checkpoint_failures_total),
        ),
        counter(
            "corelane_chunk_reads",
            "Chunks of checkpoints read back, to know where messages lie.",
            |c| rounded(c.chunk_reads_total),
        ),
        counter(
            "corelane_segments_freed",
            "Segments that were not needed any more and were made into spares, or removed.",
            |c| rounded(c.segments_freed_total),
        ),
        counter(
            "corelane_relocated_bytes",
            "Bytes of messages that were written again so that their segment could go.",
            |c| rounded(c.relocated_bytes_total),
        ),
        counter(
            "corelane_damaged_reads",
            "Reads that found something else than what was written.",
            |c| rounded(c.damaged_reads_total),
        ),
        gauge(
            "corelane_disk_full",
            "Whether no segment could be made for want of space.",
            |c| rounded(c.disk_full),
        ),
    ]
}

fn scrubber() -> Vec<ShardMetric> {
    vec![
        counter("corelane_scrubbed", "Bytes that the scrubber read.", |c| {
            rounded(c.scrubbed_bytes_total)
        })
        .in_unit(Unit::Bytes),
        counter(
            "corelane_scrub_damaged",
            "Damaged blocks and chunks that the scrubber found, in each pass anew.",
            |c| rounded(c.scrub_damaged_total),
        ),
        counter(
            "corelane_scrub_passes",
            "Times that the scrubber read everything through.",
            |c| rounded(c.scrub_passes_total),
        ),
        gauge(
            "corelane_scrub_pass_ended",
            "When the scrubber last had read everything, since the Unix epoch; 0 before.",
            |c| rounded(c.scrub_pass_ended_nanoseconds) / 1e9,
        )
        .in_unit(Unit::Seconds),
    ]
}

fn state() -> Vec<ShardMetric> {
    vec![
        gauge(
            "corelane_partitions",
            "Partitions hosted by the shard.",
            |c| rounded(c.partitions),
        ),
        gauge(
            "corelane_partitions_serving",
            "Partitions that serve.",
            |c| rounded(c.partitions_serving),
        ),
        gauge(
            "corelane_partitions_poisoned",
            "Partitions whose disk failed while they served.",
            |c| rounded(c.partitions_poisoned),
        ),
        gauge(
            "corelane_partitions_stalled",
            "Partitions with a log write that did not return within a second, and has not yet.",
            |c| rounded(c.partitions_stalled),
        ),
        gauge(
            "corelane_partitions_damaged",
            "Partitions that recovery found damaged.",
            |c| rounded(c.partitions_damaged),
        ),
        gauge(
            "corelane_time_jumps_refused",
            "Partitions that did not follow a wall clock more than 24 hours ahead of their log.",
            |c| rounded(c.time_jumps_refused),
        ),
        gauge("corelane_queues", "Queues.", |c| rounded(c.queues)),
    ]
}

fn messages() -> Vec<ShardMetric> {
    vec![
        gauge(
            "corelane_messages_ready",
            "Messages ready for delivery, over all subscriptions.",
            |c| rounded(c.messages_ready),
        ),
        gauge("corelane_messages_leased", "Messages under lease.", |c| {
            rounded(c.messages_leased)
        }),
        gauge(
            "corelane_messages_delayed",
            "Messages that wait for their delay to pass.",
            |c| rounded(c.messages_delayed),
        ),
        gauge(
            "corelane_messages_dead",
            "Messages that failed too often, or were rejected for good.",
            |c| rounded(c.messages_dead),
        ),
        gauge(
            "corelane_messages_parked",
            "Messages set aside until they are kicked.",
            |c| rounded(c.messages_parked),
        ),
        gauge(
            "corelane_messages_done",
            "Messages that a consumer finished.",
            |c| rounded(c.messages_done),
        ),
        gauge(
            "corelane_messages_expired",
            "Messages whose time to live ended, or that made way for others.",
            |c| rounded(c.messages_expired),
        ),
        gauge(
            "corelane_messages_purged",
            "Messages that were purged.",
            |c| rounded(c.messages_purged),
        ),
        gauge(
            "corelane_messages_enqueued",
            "Messages that the subscriptions are there for: the sum of those in the eight states.",
            |c| rounded(c.messages_enqueued),
        ),
        gauge(
            "corelane_messages_unaccounted",
            "Messages that are in no state, or in two: 0, unless some were lost or made up.",
            |c| rounded(c.messages_unaccounted),
        ),
        gauge(
            "corelane_volatile",
            "Segments of memory-only queues: in memory up to volatile_bytes over all shards, the rest in files without a name.",
            |c| rounded(c.volatile_bytes),
        )
        .in_unit(Unit::Bytes),
    ]
}
