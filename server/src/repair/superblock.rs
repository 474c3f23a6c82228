//! The superblock of a data directory made anew from what the other files say.
//!
//! The identity of the log stands in every segment. The count of partitions stands nowhere else, but every queue lies in
//! the partition that its name and the count say: a count under which each would lie where it is found is a possible
//! one, and the true one is among them. Nothing is guessed: where there are several, the operator has to say which.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_core::{Limits, Record};
use corelane_storage::{
    FORMAT_LEVEL, LogConfig, RecoverError, Superblock, Surveyed, Volume, named_logs,
};
use corelane_wire::limits::PARTITIONS_MAX;
use corelane_wire::names::DEFAULT_TENANT;
use corelane_wire::{Epoch, Lane, PartitionId, partition_of};

use crate::recovery::begin;
use crate::serve::draw_id;
use crate::survey::survey_partition;

/// What the files of a directory say of its superblock.
#[derive(Debug, Default)]
struct Said {
    logs: BTreeSet<u128>,
    /// Those of each partition with segments.
    queues: BTreeMap<PartitionId, BTreeSet<String>>,
    /// The partition with the highest number that has files.
    last: Option<PartitionId>,
    epoch: Epoch,
}

/// The superblock that fits the files; `partitions` is the operator's word. An `Err` in it says why there is none.
///
/// # Errors
/// If files cannot be listed or read.
pub fn superblock(
    volume: &dyn Volume,
    limits: Limits,
    partitions: Option<u32>,
) -> Result<Result<Superblock, String>, RecoverError> {
    let said = Said::by_files(volume, limits)?;
    let made = said.log_id().and_then(|log_id| {
        Ok(Superblock {
            format: u32::from(FORMAT_LEVEL),
            log_id,
            data_uuid: draw_id(),
            partitions: said.partitions(partitions)?,
            // As after a restore: no epoch that was used before is used again.
            starts: now_seconds().max(said.epoch.0),
        })
    });
    Ok(made)
}

impl Said {
    fn by_files(volume: &dyn Volume, limits: Limits) -> Result<Self, RecoverError> {
        let mut said = Self::default();
        let mut used = Vec::new();
        for partition in (0..).take(PARTITIONS_MAX).map(PartitionId) {
            let io = |source| RecoverError::Io {
                action: format!("partition {partition}: cannot read its segments"),
                source,
            };
            said.logs.extend(named_logs(volume, partition).map_err(io)?);
            if !volume.segments(partition).map_err(io)?.is_empty() {
                used.push(partition);
            }
        }
        said.last = used.last().copied();
        if let Ok(log_id) = said.log_id() {
            for partition in used {
                said.look_at(volume, &LogConfig::new(partition, log_id), limits)?;
            }
        }
        Ok(said)
    }

    /// Takes down the queues of a partition, deleted ones too, and its epochs.
    fn look_at(
        &mut self,
        volume: &dyn Volume,
        config: &LogConfig,
        limits: Limits,
    ) -> Result<(), RecoverError> {
        let engine = begin(volume, config, limits)?.engine;
        let queues = self.queues.entry(config.partition).or_default();
        queues.extend(engine.queue_names().map(str::to_owned));
        let mut epoch = engine.epoch();
        let mut visit = |met: Surveyed<'_>| {
            if let Surveyed::Record(record, _) = met {
                epoch = epoch.max(record.epoch);
                if let Ok(Record::Create { name, .. }) = Record::decode(record.kind, record.payload)
                {
                    queues.insert(name);
                }
            }
            Ok(())
        };
        survey_partition(volume, config, limits, &mut visit)?;
        self.epoch = self.epoch.max(epoch);
        Ok(())
    }

    fn log_id(&self) -> Result<u128, String> {
        let mut logs = self.logs.iter();
        match (logs.next(), logs.next()) {
            (Some(log_id), None) => Ok(*log_id),
            (None, _) => Err("no segment is there that says which log this is".to_owned()),
            (Some(_), Some(_)) => Err(format!(
                "the segments are of {} logs; move those away that do not belong here",
                self.logs.len()
            )),
        }
    }

    fn partitions(&self, wanted: Option<u32>) -> Result<u32, String> {
        let at_least = self.last.map_or(1, |last| last.0 + 1);
        let max = u32::try_from(PARTITIONS_MAX).unwrap_or(u32::MAX);
        let possible: Vec<_> = (at_least..=max).filter(|count| self.fits(*count)).collect();
        match (wanted, &possible[..]) {
            (Some(wanted), _) if possible.contains(&wanted) => Ok(wanted),
            (None, [count]) => Ok(*count),
            (_, []) => Err("no count of partitions fits all queues".to_owned()),
            (_, counts) => {
                let first = counts.iter().take(COUNTS_TOLD).map(u32::to_string);
                let first = first.collect::<Vec<_>>().join(", ");
                let more = if counts.len() > COUNTS_TOLD {
                    ", ..."
                } else {
                    ""
                };
                Err(format!(
                    "the count of partitions may have been {first}{more}: say which with --partitions; the log \
                     of an earlier start has it, and the manifest of a backup"
                ))
            }
        }
    }

    /// Whether every queue lies where it would with so many partitions.
    fn fits(&self, count: u32) -> bool {
        self.queues.iter().all(|(partition, queues)| {
            let place = |queue: &String| partition_of(DEFAULT_TENANT, queue, Lane(0), count);
            queues.iter().all(|queue| place(queue) == *partition)
        })
    }
}

fn now_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// Possible counts that are told.
const COUNTS_TOLD: usize = 8;
