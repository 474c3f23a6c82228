//! `/livez` and `/readyz`.
//!
//! Alive means that the loops turn; it never looks at disks, queues or other nodes, because a
//! supervisor that restarts a broker for those makes things worse. Ready means that at least one
//! partition serves: one sick partition must not take the healthy ones out of the load balancer,
//! so it is only listed.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::Observed;
use crate::stats::Illness;

/// The answer of `/livez`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Live {
    /// Version of this schema.
    pub v: u32,
    /// Whether all loops turn.
    pub live: bool,
    /// How long the slowest shard has stood still, in milliseconds.
    pub slowest_shard_ms: u64,
}

/// The answer of `/readyz`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Ready {
    /// Version of this schema.
    pub v: u32,
    /// Whether clients can be served.
    pub ready: bool,
    /// What is not as it should be, also while ready.
    pub reasons: Vec<Reason>,
    /// Counts of partitions.
    pub partitions: PartitionCounts,
}

/// Counts of partitions by their state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PartitionCounts {
    /// All of them.
    pub total: u64,
    /// Those that serve.
    pub serving: u64,
    /// Those whose disk failed while they served.
    pub poisoned: u64,
    /// Those that recovery found damaged.
    pub damaged: u64,
}

/// One thing that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reason {
    /// Stable name: `stopping`, `starting`, `poisoned`, `damaged`, `read_only`,
    /// `partly_damaged`, `stalled`, `disk_full`,
    /// `time_jump_refused`, `messages_unaccounted`.
    pub code: &'static str,
    /// What it means and what to do.
    pub text: String,
    /// The partitions concerned, where it is not all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<u32>,
}

impl Live {
    /// Judges a broker.
    #[must_use]
    pub fn of(observed: &Observed) -> Self {
        let slowest_shard_ms = observed.slowest_ms.load(Ordering::Relaxed);
        Self {
            v: 1,
            live: slowest_shard_ms < STANDSTILL_MS,
            slowest_shard_ms,
        }
    }
}

impl Ready {
    /// Judges a broker.
    #[must_use]
    pub fn of(observed: &Observed) -> Self {
        let mut partitions = PartitionCounts::default();
        let mut is_disk_full = false;
        let (mut time_jumps_refused, mut messages_unaccounted) = (0, 0);
        for shard in &observed.shards {
            let counters = shard.read();
            partitions.total += counters.partitions;
            partitions.serving += counters.partitions_serving;
            partitions.poisoned += counters.partitions_poisoned;
            partitions.damaged += counters.partitions_damaged;
            is_disk_full |= counters.disk_full != 0;
            time_jumps_refused += counters.time_jumps_refused;
            messages_unaccounted += counters.messages_unaccounted;
        }
        let is_stopping = observed.stopping.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        if is_stopping {
            reasons.push(Reason::plain("stopping", "the broker was told to stop"));
        }
        let out = partitions.poisoned + partitions.damaged;
        let is_starting = partitions.total == 0 || partitions.serving + out < partitions.total;
        if is_starting && !is_stopping {
            reasons.push(Reason::plain(
                "starting",
                "partitions have not committed their epoch yet",
            ));
        }
        reasons.extend(Reason::of_ill(observed));
        if is_disk_full {
            reasons.push(Reason::plain(
                "disk_full",
                "no segment could be made; free space on the disk of data_dir",
            ));
        }
        if time_jumps_refused > 0 {
            reasons.push(Reason::time_jump_refused(time_jumps_refused));
        }
        if messages_unaccounted > 0 {
            reasons.push(Reason::messages_unaccounted(messages_unaccounted));
        }
        Self {
            v: 1,
            ready: !is_stopping && partitions.serving > 0,
            reasons,
            partitions,
        }
    }
}

impl Reason {
    fn plain(code: &'static str, text: &str) -> Self {
        Self {
            code,
            text: text.to_owned(),
            partitions: Vec::new(),
        }
    }

    /// Served as before, only late: this start was not sure that the wall clock was right.
    fn time_jump_refused(partitions: u64) -> Self {
        let text = format!(
            "partitions that did not follow a wall clock more than 24 hours ahead of their log: \
             {partitions}; their delays come due late by the difference; the log of this start \
             names them"
        );
        Self::plain("time_jump_refused", &text)
    }

    /// The law of conservation does not hold; only a bug does that.
    fn messages_unaccounted(messages: u64) -> Self {
        let text = format!(
            "messages that are in no state, or in two: {messages}; this is a bug: keep the data \
             directory and the log, which names the partitions, and report it"
        );
        Self::plain("messages_unaccounted", &text)
    }

    /// One reason per illness that some partition has.
    fn of_ill(observed: &Observed) -> Vec<Self> {
        let texts = [
            (
                Illness::Poisoned,
                "poisoned",
                "a write failed, so what is on disk is not known; the partitions refuse everything \
                 until a restart; see the log and `dmesg`",
            ),
            (
                Illness::Damaged,
                "damaged",
                "recovery found confirmed records damaged; the partitions refuse everything and \
                 their files are untouched; see the log of this start",
            ),
            (
                Illness::ReadOnly,
                "read_only",
                "recovery found confirmed records damaged; the partitions show what is before them \
                 (peek, queue show and ls), refuse the rest, and their files are untouched; see \
                 `corelane log verify DIR`",
            ),
            (
                Illness::PartlyDamaged,
                "partly_damaged",
                "some of what the partitions keep cannot be read and is answered with `damaged`; the \
                 rest is served; the log names segments and positions; see `dmesg` too",
            ),
            (
                Illness::Stalled,
                "stalled",
                "a write has not returned for a second or more, and what it confirms waits; after \
                 `write_timeout` the partitions are poisoned; see `dmesg`",
            ),
        ];
        let ill: Vec<_> = observed
            .shards
            .iter()
            .flat_map(|shard| shard.ill())
            .collect();
        let reason = |(illness, code, text)| {
            let with_it = ill.iter().filter(|(_, of)| *of == illness);
            let mut partitions: Vec<_> = with_it.map(|(partition, _)| partition.0).collect();
            partitions.sort_unstable();
            Self {
                partitions,
                ..Self::plain(code, text)
            }
        };
        let reasons = texts.into_iter().map(reason);
        reasons
            .filter(|reason| !reason.partitions.is_empty())
            .collect()
    }
}

/// A loop turns at least twice a second even when nothing happens.
const STANDSTILL_MS: u64 = 5_000;
