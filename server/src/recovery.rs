//! From files to partitions: what happens before a shard's loop runs.
//!
//! Called once per partition at a start, before anything is served, by the real start and by the
//! simulation alike. The order of a whole start is in `docs/architecture.md`: lock, raise
//! `starts` in the superblock, open every partition, then take [`epoch_of_start`] for all shards.

use corelane_core::{Engine, Limits};
use corelane_storage::{
    CheckpointConfig, CheckpointMeta, ChunkReader, FoundCheckpoint, Log, LogConfig, LogExtent,
    OpenCheckpoints, RecoverError, Recovery, Scanned, SegmentNumber, SegmentTable, Volume,
    log_extent, open_checkpoints, open_damaged, recover,
};
use corelane_wire::{Epoch, Lsn, PartitionId};

use crate::checkpoint::needed_segments;

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
    Ready(Box<ReadyPartition>),
    /// Confirmed records are damaged or cannot be understood; the files are as they were.
    Damaged {
        /// What a request that is refused is answered with.
        reason: String,
        /// What there is before the damage: it can be looked at, and nothing is ever written. `None` if that is
        /// nothing, or is not understood.
        known: Option<Box<ReadyPartition>>,
    },
}

/// A partition that can be served.
#[derive(Debug)]
pub struct ReadyPartition {
    /// The engine, after the last record.
    pub engine: Engine,
    /// The log, ready to append.
    pub log: Log,
    /// The checkpoint that the engine began with.
    pub checkpoint: Option<CheckpointMeta>,
    /// Segment files that are not needed any more.
    pub leftovers: Vec<SegmentNumber>,
    /// Whether files are missing that hold messages which are needed.
    pub is_partly_damaged: bool,
}

impl PartitionStart {
    /// A partition that was never used.
    pub fn unused(config: LogConfig, limits: Limits) -> Self {
        let ready = ReadyPartition {
            engine: Engine::new(config.partition, limits),
            log: Log::new(config),
            checkpoint: None,
            leftovers: Vec::new(),
            is_partly_damaged: false,
        };
        Self {
            partition: config.partition,
            state: PartitionState::Ready(Box::new(ready)),
        }
    }
}

/// A partition with what its recovery found.
#[derive(Debug)]
pub struct Opened {
    /// For the shard.
    pub start: PartitionStart,
    /// What was read; `None` if the partition is damaged.
    pub recovery: Option<Recovery>,
}

/// An engine as of some lsn, and what the log must know to go on from there.
pub(crate) struct Begin {
    pub(crate) engine: Engine,
    pub(crate) checkpoint: Option<CheckpointMeta>,
    pub(crate) table: SegmentTable,
    /// Newer checkpoints that are not whole, by generation, with what is wrong.
    pub(crate) refused: Vec<(u32, String)>,
}

/// Opens one partition: takes the newest checkpoint that is whole, scans and cuts the log behind it, and replays that.
///
/// On return every record of a partition that is `Ready` is durable. A damaged one is no error:
/// it is hosted, shows what there is before the damage, and leaves the others alone.
///
/// # Errors
/// If a file operation failed; nothing is known about the partition then, and the start must fail.
pub fn open_partition(
    volume: &mut dyn Volume,
    config: LogConfig,
    limits: Limits,
) -> Result<Opened, RecoverError> {
    let partition = config.partition;
    let begin = begin(&*volume, &config, limits)?;
    for (generation, reason) in &begin.refused {
        tracing::warn!(partition = partition.0, generation, %reason, "checkpoint refused");
    }
    let mut engine = begin.engine;
    let end = engine.positions().end;
    let recovered = recover(volume, config, (end, &begin.table), &mut |scanned| {
        replay(&mut engine, scanned)
    });
    let (state, recovery) = match recovered {
        Ok((log, mut recovery)) => {
            for damage in &recovery.missing {
                tracing::error!(partition = partition.0, %damage, "part of a log is missing, the rest is served");
            }
            // The scan saw only what is behind the checkpoint.
            recovery.epoch = recovery.epoch.max(engine.epoch());
            let ready = ReadyPartition {
                engine,
                log,
                checkpoint: begin.checkpoint,
                leftovers: recovery.leftovers.clone(),
                is_partly_damaged: !recovery.missing.is_empty(),
            };
            (PartitionState::Ready(Box::new(ready)), Some(recovery))
        }
        Err(error @ RecoverError::Io { .. }) => return Err(error),
        Err(error) => {
            let reason = error.to_string();
            tracing::error!(partition = partition.0, %reason, "partition is damaged");
            let mut known = None;
            if let RecoverError::Damaged(damage) = error
                && engine.positions().end > Lsn(0)
            {
                let log = open_damaged(&*volume, config, (end, &begin.table), &damage)?;
                known = Some(Box::new(ReadyPartition {
                    engine,
                    log,
                    checkpoint: begin.checkpoint,
                    leftovers: Vec::new(),
                    is_partly_damaged: true,
                }));
            }
            (PartitionState::Damaged { reason, known }, None)
        }
    };
    Ok(Opened {
        start: PartitionStart { partition, state },
        recovery,
    })
}

/// Reads a partition as a start does, without cutting its log, and says how far that reaches.
///
/// # Errors
/// See [`log_extent`].
pub fn reach(
    volume: &dyn Volume,
    config: &LogConfig,
    limits: Limits,
) -> Result<LogExtent, RecoverError> {
    let begin = begin(volume, config, limits)?;
    let mut engine = begin.engine;
    let end = engine.positions().end;
    log_extent(volume, config, (end, &begin.table), &mut |scanned| {
        replay(&mut engine, scanned)
    })
}

fn replay(engine: &mut Engine, scanned: Scanned<'_>) -> Result<(), String> {
    match scanned {
        Scanned::Segment { base } => engine.segment_begins(base),
        Scanned::Block(_) => {}
        Scanned::Record(record) => engine
            .replay(record.lsn, record.time, record.kind, record.payload)
            .map_err(|error| error.to_string())?,
    }
    Ok(())
}

/// The state of the newest checkpoint that is whole, else of the one before, else of the log's beginning.
///
/// A log that was trimmed has no beginning, and its scan says so.
pub(crate) fn begin(
    volume: &dyn Volume,
    config: &LogConfig,
    limits: Limits,
) -> Result<Begin, RecoverError> {
    let partition = config.partition;
    let open = checkpoints(volume, config)?;
    let refused = open.refused.into_iter();
    let mut refused: Vec<_> = refused
        .map(|(generation, fault)| (generation, fault.to_string()))
        .collect();
    for found in open.found {
        match restore(volume, &found, partition, limits) {
            Ok((engine, table)) => {
                return Ok(Begin {
                    engine,
                    checkpoint: Some(found.meta().clone()),
                    table,
                    refused,
                });
            }
            Err(reason) => refused.push((found.meta().generation, reason)),
        }
    }
    Ok(Begin {
        engine: Engine::new(partition, limits),
        checkpoint: None,
        table: SegmentTable::default(),
        refused,
    })
}

/// The checkpoints of the partition whose log this is.
pub(crate) fn checkpoints(
    volume: &dyn Volume,
    config: &LogConfig,
) -> Result<OpenCheckpoints, RecoverError> {
    let partition = config.partition;
    let of = CheckpointConfig {
        partition,
        log_id: config.log_id,
    };
    open_checkpoints(volume, &of).map_err(|source| RecoverError::Io {
        action: format!("partition {partition}: cannot list the checkpoints"),
        source,
    })
}

pub(crate) fn restore(
    volume: &dyn Volume,
    found: &FoundCheckpoint,
    partition: PartitionId,
    limits: Limits,
) -> Result<(Engine, SegmentTable), String> {
    let mut table = SegmentTable::decode(found.table()).map_err(|fault| fault.to_string())?;
    let mut chunks = ChunkReader::new(partition);
    let mut read = |place| match chunks.read(volume, place) {
        Ok(chunk) => Ok(chunk.to_vec()),
        Err(fault) => Err(fault.to_string()),
    };
    let engine = Engine::restore(partition, limits, found.root(), &mut read);
    let mut engine = engine.map_err(|error| error.to_string())?;
    if engine.positions().end != found.end() {
        return Err(format!(
            "it ends at {}, not at {}",
            engine.positions().end,
            found.end()
        ));
    }
    let files = volume
        .segments(partition)
        .map_err(|error| error.to_string())?;
    let needed = needed_segments(&engine.cut(), &table);
    // What was not needed any more may have gone since.
    table.segments.retain(|segment| {
        let is_closed = segment.end < found.end();
        !is_closed || needed.contains_key(&segment.number) || files.contains(&segment.number)
    });
    Ok((engine, table))
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
