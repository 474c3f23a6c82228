//! From files to partitions: what happens before a shard's loop runs.
//!
//! Called once per partition at a start, before anything is served, by the real start and by the
//! simulation alike. The order of a whole start is in `docs/architecture.md`: lock, raise
//! `starts` in the superblock, open every partition, then take [`epoch_of_start`] for all shards.

use corelane_core::{Engine, Limits};
use corelane_storage::{
    Log, LogConfig, RecoverError, Recovery, Scanned, SegmentTable, Volume, recover,
};
use corelane_wire::{Epoch, Lsn, PartitionId};

/// A partition as its shard takes it over.
#[derive(Debug)]
pub struct PartitionStart {
    /// Which partition.
    pub partition: PartitionId,
    /// What recovery made of it.
    pub state: PartitionState,
}

/// What recovery made of a partition.
#[derive(Debug)]
pub enum PartitionState {
    /// The log was read to its end and the engine has replayed it. `Input::Start` is the shard's.
    Ready {
        /// The engine, after the last record.
        engine: Box<Engine>,
        /// The log, ready to append.
        log: Box<Log>,
    },
    /// Confirmed records are damaged or cannot be understood; the files are as they were. Every
    /// request is answered with `Damaged` and this reason.
    Damaged(String),
}

/// A partition with what its recovery found.
#[derive(Debug)]
pub struct Opened {
    /// For the shard.
    pub start: PartitionStart,
    /// What was read; `None` if the partition is damaged.
    pub recovery: Option<Recovery>,
}

/// Opens one partition: scans and cuts its log, replays it into a new engine.
///
/// On return every record of a partition that is `Ready` is durable. A damaged one is no error:
/// it is hosted, refuses everything, and leaves the others alone.
///
/// # Errors
/// If a file operation failed; nothing is known about the partition then, and the start must fail.
pub fn open_partition(
    volume: &mut dyn Volume,
    config: LogConfig,
    limits: Limits,
) -> Result<Opened, RecoverError> {
    let partition = config.partition;
    let mut engine = Box::new(Engine::new(partition, limits));
    let recovered = recover(
        volume,
        config,
        (Lsn(0), &SegmentTable::default()),
        &mut |scanned| match scanned {
            Scanned::Segment { .. } => Ok(()),
            Scanned::Record(record) => engine
                .replay(record.lsn, record.time, record.kind, record.payload)
                .map_err(|error| error.to_string()),
        },
    );
    match recovered {
        Ok((log, recovery)) => {
            let log = Box::new(log);
            let state = PartitionState::Ready { engine, log };
            Ok(Opened {
                start: PartitionStart { partition, state },
                recovery: Some(recovery),
            })
        }
        Err(error @ RecoverError::Io { .. }) => Err(error),
        Err(error) => {
            let reason = error.to_string();
            tracing::error!(partition = partition.0, %reason, "partition is damaged");
            let state = PartitionState::Damaged(reason);
            Ok(Opened {
                start: PartitionStart { partition, state },
                recovery: None,
            })
        }
    }
}

/// The epoch of a start: above every epoch in any log, and never one that an earlier start may
/// have used without leaving a trace.
pub fn epoch_of_start<'a>(starts: u64, opened: impl IntoIterator<Item = &'a Opened>) -> Epoch {
    let highest = opened
        .into_iter()
        .filter_map(|opened| opened.recovery.as_ref())
        .map(|recovery| recovery.epoch.0)
        .max()
        .unwrap_or(0);
    Epoch(starts.max(highest + 1))
}
