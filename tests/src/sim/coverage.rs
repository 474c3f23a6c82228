//! Coverage: how often a run met what it must meet. A simulation that never tears a block proves nothing about torn
//! blocks, so a long run in which one of the required counters stayed 0 fails.

use corelane_wire::ErrorCode;

/// Counters of what was met, for one seed or for a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coverage {
    /// Messages confirmed.
    pub confirmed: u64,
    /// Messages delivered.
    pub deliveries: u64,
    /// Deliveries with an attempt above 1.
    pub redelivered: u64,
    /// Duplicates as the checker counts them.
    pub duplicates: u64,
    /// Messages acked.
    pub acked: u64,
    /// Messages nacked.
    pub nacked: u64,
    /// Messages rejected.
    pub rejected: u64,
    /// Messages that were dead or parked and came back.
    pub brought_back: u64,
    /// Subscriptions that gave nothing out for a while.
    pub subscription_paused: u64,
    /// Messages whose lease was extended.
    pub extended: u64,
    /// Messages peeked.
    pub peeked: u64,
    /// Dequeues that found nothing.
    pub dequeued_nothing: u64,
    /// Settles refused as stale.
    pub stale_refused: u64,
    /// Settles of what was done already.
    pub already_done: u64,
    /// Old or foreign settles sent.
    pub settled_again: u64,
    /// Receipts marked as duplicates.
    pub duplicate_receipt: u64,
    /// Batches sent again after a refusal or a lost link.
    pub batch_retried: u64,
    /// Batches refused for good.
    pub batch_refused: u64,
    /// Confirmed batches sent again later.
    pub old_batch_replayed: u64,
    /// Producers that gave up.
    pub outcome_unknown: u64,
    /// Refusals because the producer is unknown.
    pub unknown_producer: u64,
    /// Refusals because of a gap.
    pub out_of_sequence: u64,
    /// Refusals because the broker is busy.
    pub busy: u64,
    /// Refusals because the disk is full.
    pub disk_full: u64,
    /// Refusals because the partition is poisoned.
    pub poisoned: u64,
    /// Refusals because the partition starts.
    pub starting: u64,
    /// Consumer numbers refused because they are in use.
    pub consumer_exists: u64,
    /// Other refusals.
    pub other_refusals: u64,
    /// Queues deleted.
    pub queue_deleted: u64,
    /// Links on which garbage was sent.
    pub garbage_sent: u64,
    /// Faults received.
    pub faults: u64,
    /// Sessions resumed.
    pub session_resumed: u64,
    /// Connections reset.
    pub link_reset: u64,
    /// Connections that went silent.
    pub link_silent: u64,
    /// Pauses of readers.
    pub reader_paused: u64,
    /// Crashes of the process.
    pub killed: u64,
    /// Losses of power.
    pub power_lost: u64,
    /// Crashes with a commit in flight.
    pub crash_in_commit: u64,
    /// Crashes while recovering.
    pub crash_in_recovery: u64,
    /// Orderly stops.
    pub stopped: u64,
    /// Starts that failed and were tried again.
    pub start_failed: u64,
    /// Wall clock jumps.
    pub clock_jumped: u64,
    /// Recoveries that cut a torn tail.
    pub torn_truncated: u64,
    /// Rotted bytes that recovery found.
    pub damage_found: u64,
    /// Of them, in a block that only a SEAL attests.
    pub damage_by_seal: u64,
    /// Rot in what a start did not have to read.
    pub damage_below_checkpoint: u64,
    /// The newest checkpoint was damaged, and the one before led to the same state.
    pub older_checkpoint: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Starts from a checkpoint.
    pub restored: u64,
    /// Chunks of checkpoints read back.
    pub chunk_reads: u64,
    /// Stretches that were read to find damage.
    pub scrubs: u64,
    /// Segments that were not needed any more.
    pub segments_freed: u64,
    /// Relocate records.
    pub relocated: u64,
    /// Reads of a recovery that failed.
    pub read_failed: u64,
    /// Sectors lost.
    pub sectors_lost: u64,
    /// Sectors torn.
    pub sectors_torn: u64,
    /// Writes that failed.
    pub write_failed: u64,
    /// Failed fdatasyncs.
    pub sync_failed: u64,
    /// Segments that could not be installed.
    pub install_failed: u64,
    /// Short writes.
    pub write_short: u64,
    /// Restarts because of a poisoned partition.
    pub restart_poisoned: u64,
    /// Bodies read back from the disk for a delivery.
    pub body_read: u64,
    /// Leases that expired.
    pub lease_expired: u64,
    /// Leases released with their session.
    pub lease_released: u64,
    /// Messages that were delayed.
    pub delayed: u64,
    /// Messages given out again in a later epoch.
    pub redelivered_after_crash: u64,
    /// Segments after a partition's first one.
    pub segment_rolled: u64,
    /// State hashes compared, live against replayed.
    pub hash_compared: u64,
    /// Seeds without faults.
    pub quiet_seeds: u64,
    /// Seeds run twice with the same trace.
    pub determinism_checked: u64,
}

impl Coverage {
    /// Counts a refusal by its code.
    pub fn on_refusal(&mut self, code: ErrorCode) {
        let counters = [
            (ErrorCode::Busy, &mut self.busy),
            (ErrorCode::DiskFull, &mut self.disk_full),
            (ErrorCode::Poisoned, &mut self.poisoned),
            (ErrorCode::Starting, &mut self.starting),
            (ErrorCode::ConsumerExists, &mut self.consumer_exists),
        ];
        let own = counters.into_iter().find(|(of, _)| *of == code);
        *own.map_or(&mut self.other_refusals, |(_, counter)| counter) += 1;
    }

    /// Adds the counters of another.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (row, more) in self.rows().into_iter().zip(other.rows()) {
            *row.1 += *more.1;
        }
    }

    /// The names of the required counters that are 0.
    pub fn missing(&mut self) -> Vec<&'static str> {
        self.rows()
            .into_iter()
            .filter(|(name, count)| **count == 0 && !OPTIONAL.contains(name))
            .map(|(name, _)| name)
            .collect()
    }

    /// Every counter with its name.
    #[expect(clippy::too_many_lines, reason = "one line a counter")]
    pub fn rows(&mut self) -> Vec<(&'static str, &mut u64)> {
        vec![
            ("confirmed", &mut self.confirmed),
            ("deliveries", &mut self.deliveries),
            ("redelivered", &mut self.redelivered),
            ("duplicates", &mut self.duplicates),
            ("acked", &mut self.acked),
            ("nacked", &mut self.nacked),
            ("rejected", &mut self.rejected),
            ("brought_back", &mut self.brought_back),
            ("subscription_paused", &mut self.subscription_paused),
            ("extended", &mut self.extended),
            ("peeked", &mut self.peeked),
            ("dequeued_nothing", &mut self.dequeued_nothing),
            ("stale_refused", &mut self.stale_refused),
            ("already_done", &mut self.already_done),
            ("settled_again", &mut self.settled_again),
            ("duplicate_receipt", &mut self.duplicate_receipt),
            ("batch_retried", &mut self.batch_retried),
            ("batch_refused", &mut self.batch_refused),
            ("old_batch_replayed", &mut self.old_batch_replayed),
            ("outcome_unknown", &mut self.outcome_unknown),
            ("unknown_producer", &mut self.unknown_producer),
            ("out_of_sequence", &mut self.out_of_sequence),
            ("busy", &mut self.busy),
            ("disk_full", &mut self.disk_full),
            ("poisoned", &mut self.poisoned),
            ("starting", &mut self.starting),
            ("consumer_exists", &mut self.consumer_exists),
            ("other_refusals", &mut self.other_refusals),
            ("queue_deleted", &mut self.queue_deleted),
            ("garbage_sent", &mut self.garbage_sent),
            ("faults", &mut self.faults),
            ("session_resumed", &mut self.session_resumed),
            ("link_reset", &mut self.link_reset),
            ("link_silent", &mut self.link_silent),
            ("reader_paused", &mut self.reader_paused),
            ("killed", &mut self.killed),
            ("power_lost", &mut self.power_lost),
            ("crash_in_commit", &mut self.crash_in_commit),
            ("crash_in_recovery", &mut self.crash_in_recovery),
            ("stopped", &mut self.stopped),
            ("start_failed", &mut self.start_failed),
            ("clock_jumped", &mut self.clock_jumped),
            ("torn_truncated", &mut self.torn_truncated),
            ("damage_found", &mut self.damage_found),
            ("damage_by_seal", &mut self.damage_by_seal),
            ("damage_below_checkpoint", &mut self.damage_below_checkpoint),
            ("older_checkpoint", &mut self.older_checkpoint),
            ("checkpoints", &mut self.checkpoints),
            ("restored", &mut self.restored),
            ("chunk_reads", &mut self.chunk_reads),
            ("scrubs", &mut self.scrubs),
            ("segments_freed", &mut self.segments_freed),
            ("relocated", &mut self.relocated),
            ("read_failed", &mut self.read_failed),
            ("sectors_lost", &mut self.sectors_lost),
            ("sectors_torn", &mut self.sectors_torn),
            ("write_failed", &mut self.write_failed),
            ("sync_failed", &mut self.sync_failed),
            ("install_failed", &mut self.install_failed),
            ("write_short", &mut self.write_short),
            ("restart_poisoned", &mut self.restart_poisoned),
            ("body_read", &mut self.body_read),
            ("lease_expired", &mut self.lease_expired),
            ("lease_released", &mut self.lease_released),
            ("delayed", &mut self.delayed),
            ("redelivered_after_crash", &mut self.redelivered_after_crash),
            ("segment_rolled", &mut self.segment_rolled),
            ("hash_compared", &mut self.hash_compared),
            ("quiet_seeds", &mut self.quiet_seeds),
            ("determinism_checked", &mut self.determinism_checked),
        ]
    }
}

/// Counters that a healthy run may leave at 0.
const OPTIONAL: [&str; 0] = [];
