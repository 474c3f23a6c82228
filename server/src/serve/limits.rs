//! The limit of open files, and the cores that the process may use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::error::StartError;
use crate::config::Config;

/// Divides the limit of open files: what segments, listeners and the rest need is set aside,
/// connections get the rest. Returns connections per shard.
pub(super) fn connections_per_shard(
    config: &Config,
    limit: FileLimit,
    partitions: u32,
) -> Result<usize, StartError> {
    let FileLimit(limit) = limit;
    let needed = files_needed(config, partitions);
    let shards = u64::from(config.cores);
    if limit < needed.least {
        let cause = format!(
            "the limit of open files is {limit}, and {shards} shards with {partitions} partitions \
             need {}",
            needed.least
        );
        return Err(StartError {
            setting: "LimitNOFILE= of the systemd unit, or --ulimit nofile= of the container"
                .to_owned(),
            command: format!("ulimit -Hn {}", needed.least.max(1 << 16)),
            ..StartError::plain(&cause)
        });
    }
    let share = usize::try_from((limit - needed.set_aside) / shards).unwrap_or(usize::MAX);
    if share < config.connections_max {
        tracing::info!(
            limit,
            connections = share,
            "the limit of open files allows fewer connections per shard than connections_max"
        );
    }
    Ok(share.min(config.connections_max))
}

/// How many files a broker has open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilesNeeded {
    /// Without any connection.
    set_aside: u64,
    /// With so few connections that serving makes just sense.
    pub least: u64,
    /// With as many connections as the configuration allows.
    pub most: u64,
}

/// What a configuration needs of the limit of open files.
#[must_use]
pub fn files_needed(config: &Config, partitions: u32) -> FilesNeeded {
    let shards = u64::from(config.cores);
    let set_aside =
        FILES_PROCESS + shards * FILES_PER_SHARD + u64::from(partitions) * FILES_PER_PARTITION;
    FilesNeeded {
        set_aside,
        least: set_aside + shards * CONNECTIONS_MIN,
        most: set_aside + shards * config.connections_max as u64,
    }
}

/// How many files the process may have open.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileLimit(u64);

/// The limit as it is: that of a program in which a broker is embedded is the program's business.
pub(super) fn file_limit() -> FileLimit {
    FileLimit(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// Raises the soft limit of open files to the hard one, as far as an ordinary process may.
pub(super) fn raise_file_limit() -> FileLimit {
    let limit = getrlimit(Resource::Nofile);
    // No limit is as good as a very high one.
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => FileLimit(hard),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            FileLimit(limit.current.unwrap_or(u64::MAX))
        }
    }
}

/// The cores that this process may run on, ascending.
#[must_use]
pub fn usable_cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect(),
        Err(_) => vec![0],
    }
}

/// Keeps the calling thread on one core.
pub(super) fn pin_to(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(core, %error, "cannot pin a shard to its core");
    }
}

/// Files of the process as a whole: standard streams, lock, control port and its connections.
const FILES_PROCESS: u64 = 64;
/// Files of a shard: epoll, eventfd, listeners, and some to spare.
const FILES_PER_SHARD: u64 = 16;
/// Segments of a partition that are open: as many as 1 GiB of log has.
const FILES_PER_PARTITION: u64 = 17;
/// Connections per shard below which serving makes no sense.
const CONNECTIONS_MIN: u64 = 16;
