//! From a data directory to partitions that are ready to be served.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use corelane_core::Limits;
use corelane_storage::{
    Directory, DirectoryOptions, FreshIds, LogConfig, SpareId, Superblock, Volume as _, Volumes,
    open_superblock,
};
use corelane_wire::{Epoch, PartitionId, SessionId, ShardId};

use super::Facts;
use super::error::StartError;
use super::limits::usable_cores;
use crate::config::Config;
use crate::driver::native::NativeKind;
use crate::recovery::{Opened, PartitionStart, PartitionState, epoch_of_start, open_partition};
use crate::router::Topology;
use crate::shard::spares_of;

/// An opened data directory with its recovered partitions.
pub(super) struct Data {
    pub(super) volumes: Volumes,
    pub(super) partitions: u32,
    pub(super) epoch: Epoch,
    is_direct: bool,
    opened: Vec<Opened>,
    spares: Vec<(SpareId, u64)>,
    recovery: Duration,
}

impl Data {
    /// Locks the directory, raises `starts`, recovers every partition.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let refuse = |cause: String| StartError::of(config, "data_dir", cause, String::new());
        let options = DirectoryOptions {
            force_network_fs: config.force_network_fs,
            ..DirectoryOptions::default()
        };
        let mut directory = Directory::open(&config.data_dir, &options)
            .map_err(|error| refuse(error.to_string()))?;
        let superblock = open_superblock(&mut directory, config.partitions_if_new(), fresh_ids())
            .map_err(|error| refuse(error.to_string()))?;
        directory
            .note_identity(superblock.data_uuid)
            .map_err(|error| refuse(format!("cannot write the lock file: {error}")))?;
        check_partitions(config, &superblock)?;
        let begun = Instant::now();
        let opened = recover_all(config, &directory, &superblock)?;
        let spares = directory
            .spares()
            .map_err(|error| refuse(format!("cannot list the spare segments: {error}")))?;
        let is_direct = directory.is_direct();
        let first_volatile = PartitionId(superblock.partitions);
        let memory_max = config.volatile_bytes as u64;
        Ok(Self {
            volumes: Volumes::new(directory, first_volatile, memory_max),
            is_direct,
            epoch: epoch_of_start(superblock.starts, &opened),
            partitions: superblock.partitions,
            recovery: begun.elapsed(),
            opened,
            spares,
        })
    }

    /// What to tell about it.
    pub(super) fn facts(&self, driver: NativeKind, cores: Vec<usize>) -> Facts {
        let is_damaged =
            |opened: &&Opened| matches!(opened.start.state, PartitionState::Damaged { .. });
        let damaged = self.opened.iter().filter(is_damaged);
        let recoveries = self
            .opened
            .iter()
            .filter_map(|opened| opened.recovery.as_ref());
        Facts {
            cores,
            partitions: self.partitions,
            damaged: damaged.map(|opened| opened.start.partition.0).collect(),
            records: recoveries.map(|recovery| recovery.records).sum(),
            recovery: self.recovery,
            epoch: self.epoch.0,
            driver,
            is_direct: self.is_direct,
        }
    }

    /// The partitions of a shard.
    pub(super) fn take_partitions(
        &mut self,
        topology: &Topology,
        shard: ShardId,
    ) -> Vec<PartitionStart> {
        let is_own = |opened: &mut Opened| topology.shard_of(opened.start.partition) == shard;
        let own = self.opened.extract_if(.., is_own);
        own.map(|opened| opened.start).collect()
    }

    /// What a shard keeps of memory-only queues: nothing yet, since nothing outlives a process.
    pub(super) fn volatile_partition(topology: &Topology, shard: ShardId) -> PartitionStart {
        let config = LogConfig {
            segment_bytes: corelane_storage::FIRST_SEGMENT_BYTES,
            cache_bytes: CACHE_BYTES_MIN,
            ..LogConfig::new(topology.volatile_of(shard), draw())
        };
        PartitionStart::unused(config, Limits::default())
    }

    /// The spare segments of a shard.
    pub(super) fn take_spares(&self, shard: ShardId, shards: u16) -> Vec<(SpareId, u64)> {
        spares_of(shard, shards, &self.spares)
    }
}

/// The count of partitions decides where each queue lies, so it cannot change.
fn check_partitions(config: &Config, superblock: &Superblock) -> Result<(), StartError> {
    match config.partitions {
        Some(wanted) if wanted != superblock.partitions => {
            let found = superblock.partitions;
            let error = config.error(
                "partitions",
                &format!("the data directory has {found} partitions, the setting says {wanted}"),
                &format!(
                    "the count is fixed when a directory is made: drop the setting, or say {found}"
                ),
            );
            Err(error.into())
        }
        Some(_) | None => Ok(()),
    }
}

/// Recovers the partitions on several threads: each is mostly waiting for its own reads.
fn recover_all(
    config: &Config,
    directory: &Directory,
    superblock: &Superblock,
) -> Result<Vec<Opened>, StartError> {
    let next = AtomicU32::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        let mut volume = directory.clone();
        loop {
            let partition = PartitionId(next.fetch_add(1, Ordering::Relaxed));
            if partition.0 >= superblock.partitions {
                return;
            }
            let log = log_config(config, superblock, partition);
            let opened = open_partition(&mut volume, log, Limits::default());
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((partition, opened));
        }
    };
    let threads = usable_cores().len().max(THREADS_MIN);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(superblock.partitions as usize) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(partition, _)| *partition);
    let opened = results.into_iter().map(|(partition, opened)| {
        opened.map_err(|error| {
            let cause = format!("cannot recover partition {partition}: {error}");
            StartError::of(config, "data_dir", cause, "dmesg | tail".to_owned())
        })
    });
    opened.collect()
}

fn log_config(config: &Config, superblock: &Superblock, partition: PartitionId) -> LogConfig {
    let per_shard = superblock.partitions.div_ceil(u32::from(config.cores));
    let share = config.cache_bytes / per_shard as usize;
    LogConfig {
        cache_bytes: share.max(CACHE_BYTES_MIN),
        ..LogConfig::new(partition, superblock.log_id)
    }
}

/// Draws the id of a new session.
pub(super) fn draw_session() -> SessionId {
    loop {
        let id = draw();
        if id != 0 {
            return SessionId(id);
        }
    }
}

fn fresh_ids() -> FreshIds {
    FreshIds {
        log_id: draw(),
        data_uuid: draw(),
    }
}

/// 128 bits from the kernel's generator.
pub(crate) fn draw() -> u128 {
    let mut bytes = [0; 16];
    let flags = rustix::rand::GetRandomFlags::empty();
    while rustix::rand::getrandom(&mut bytes, flags) != Ok(bytes.len()) {
        // Only a signal interrupts so short a read.
    }
    u128::from_le_bytes(bytes)
}

/// Threads that recover at least, if there are so many partitions.
const THREADS_MIN: usize = 4;
/// Cache of one partition at least: two of the largest blocks.
const CACHE_BYTES_MIN: usize = 2 * corelane_storage::BLOCK_BYTES_MAX;
