//! Taking a backup.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_core::Limits;
use corelane_storage::{
    Buffer, CheckpointConfig, Links, LogConfig, LogExtent, OpenError, RecoverError,
    SUPERBLOCK_NAME, Superblock, Volume, open_checkpoints,
};
use corelane_wire::{Lsn, PartitionId, checksum};

use super::copy::{Pace, create, make_empty, make_folder, sync_folder};
use super::error::BackupError;
use super::manifest::{
    CopiedFile, CopiedPartition, FileName, Manifest, RANGE_BYTES, partition_folder,
};
use crate::recovery::reach;

/// What becomes of partitions that a start would not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfDamaged {
    /// There is no backup.
    Refuse,
    /// Their files are copied as they are, so that a broker on the copy is where this one is.
    CopyAsTheyAre,
}

/// Takes a backup of a data directory, which a broker may be using, into a directory that is empty or not there.
///
/// Every partition ends at one lsn, which is at least the one up to which it had confirmed when the backup began. On
/// return the backup survives a power cut. If it fails, what it wrote has no manifest.
///
/// # Errors
/// See [`BackupError`]. The data directory is unchanged in any case.
pub fn take(
    data: &Path,
    target: &Path,
    mut pace: Pace,
    of_damaged: OfDamaged,
) -> Result<Manifest, BackupError> {
    let superblock = superblock_of(data)?;
    begin_target(data, target)?;
    let mut manifest = Manifest::new(&superblock, now_ms());
    let mut links = Links::open(data).map_err(of_links)?;
    let partitions = || (0..superblock.partitions).map(PartitionId);
    for partition in partitions() {
        let taken = links.take(partition);
        taken.map_err(BackupError::io("link files of", data))?;
    }
    // All of them before the first is copied, so that they end at about the same time.
    let (mut plans, mut damaged) = (Vec::new(), Vec::new());
    for partition in partitions() {
        match Plan::of(&links, &superblock, partition) {
            Ok(plan) => plans.push(plan),
            Err(BackupError::Partition(_, error)) if !matches!(error, RecoverError::Io { .. }) => {
                plans.push(Plan::as_it_is(&links, partition, &error)?);
                damaged.push((partition, error));
            }
            Err(error) => return Err(error),
        }
    }
    if of_damaged == OfDamaged::Refuse && !damaged.is_empty() {
        return Err(BackupError::DamagedPartitions(damaged));
    }
    for plan in plans {
        let partition = plan.partition;
        let copied = plan.copy(&links, target, &mut pace)?;
        manifest.partitions.push(copied);
        let released = links.release(partition);
        released.map_err(BackupError::io("remove links of", data))?;
    }
    sync_folder(&target.join("partitions"))?;
    sync_folder(target)?;
    sync_name(target)?;
    manifest.write(target)?;
    Ok(manifest)
}

fn superblock_of(data: &Path) -> Result<Superblock, BackupError> {
    let path = data.join(SUPERBLOCK_NAME);
    match fs::read(&path) {
        Ok(bytes) => Superblock::decode(&bytes)
            .map_err(|fault| BackupError::Superblock(data.to_path_buf(), fault)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(BackupError::NoData(data.to_path_buf()))
        }
        Err(error) => Err(BackupError::io("read", &path)(error)),
    }
}

fn begin_target(data: &Path, target: &Path) -> Result<(), BackupError> {
    make_empty(target)?;
    let whole = |path: &Path| fs::canonicalize(path).map_err(BackupError::io("look at", path));
    if whole(target)?.starts_with(whole(data)?) {
        return Err(BackupError::Inside(target.to_path_buf()));
    }
    make_folder(&target.join("partitions"))
}

/// On return, the name of a folder survives a power cut.
fn sync_name(path: &Path) -> Result<(), BackupError> {
    let whole = fs::canonicalize(path).map_err(BackupError::io("look at", path))?;
    whole.parent().map_or(Ok(()), sync_folder)
}

fn of_links(error: OpenError) -> BackupError {
    if let OpenError::Locked { pid, .. } = error {
        BackupError::Busy { pid }
    } else {
        BackupError::Open(error)
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// What is to be copied of a partition.
struct Plan {
    partition: PartitionId,
    /// Lengths in the data directory and in the backup.
    files: BTreeMap<FileName, (u64, u64)>,
    /// The copy has every record below.
    end: Lsn,
    /// What is not as it should be, in the copy as in its source.
    missing: Vec<String>,
}

impl Plan {
    fn of(
        links: &Links,
        superblock: &Superblock,
        partition: PartitionId,
    ) -> Result<Self, BackupError> {
        let config = LogConfig::new(partition, superblock.log_id);
        let failed = |error| BackupError::Partition(partition, error);
        let extent = settled(links, &config).map_err(failed)?;
        let segments = extent.segments.iter().map(|segment| {
            let name = FileName::Segment(segment.number);
            (name, (segment.file_bytes, segment.used_bytes))
        });
        let mut files: BTreeMap<_, _> = segments.collect();
        let of = CheckpointConfig {
            partition,
            log_id: superblock.log_id,
        };
        let open = open_checkpoints(links.files(), &of).map_err(|source| BackupError::Io {
            action: format!("list the checkpoints of partition {partition}"),
            source,
        })?;
        // Both whole generations: the older one is of use where the newer one rots.
        for file in open.found.iter().flat_map(|found| &found.meta().files) {
            let name = FileName::Checkpoint(file.generation);
            files.insert(name, (file.total, file.total));
        }
        Ok(Self {
            partition,
            files,
            end: extent.end,
            missing: extent.missing.iter().map(ToString::to_string).collect(),
        })
    }

    /// Every file of a partition that cannot be read like a start would, whole: nothing says what counts.
    fn as_it_is(
        links: &Links,
        partition: PartitionId,
        error: &RecoverError,
    ) -> Result<Self, BackupError> {
        let files = links.files();
        let failed = |source| BackupError::Io {
            action: format!("list the files of partition {partition}"),
            source,
        };
        let mut found = BTreeMap::new();
        for number in files.segments(partition).map_err(failed)? {
            let bytes = files.segment_bytes(partition, number).map_err(failed)?;
            found.insert(FileName::Segment(number), (bytes, bytes));
        }
        for (generation, bytes) in files.checkpoints(partition).map_err(failed)? {
            found.insert(FileName::Checkpoint(generation), (bytes, bytes));
        }
        let first = if let RecoverError::Damaged(damage) = error {
            damage.first
        } else {
            Lsn(0)
        };
        Ok(Self {
            partition,
            files: found,
            end: first,
            missing: vec![error.to_string()],
        })
    }

    fn copy(
        self,
        links: &Links,
        target: &Path,
        pace: &mut Pace,
    ) -> Result<CopiedPartition, BackupError> {
        let folder = partition_folder(target, self.partition);
        if !self.files.is_empty() {
            make_folder(&folder)?;
        }
        let mut copied = CopiedPartition {
            end: self.end.0,
            files: Vec::new(),
            missing: self.missing,
        };
        for (name, (bytes, stored)) in self.files {
            let mut file = CopiedFile {
                name,
                bytes,
                stored,
                crc32: Vec::new(),
            };
            copy_file(links, (self.partition, &mut file), target, pace)?;
            copied.files.push(file);
        }
        if !copied.files.is_empty() {
            sync_folder(&folder)?;
        }
        Ok(copied)
    }
}

/// How far the log of a partition reaches, once the same is damaged twice or nothing is.
///
/// A block that is in flight looks damaged when a later one is seen; read again, it is whole.
fn settled(links: &Links, config: &LogConfig) -> Result<LogExtent, RecoverError> {
    let mut damaged = None;
    loop {
        match reach(links.files(), config, Limits::default()) {
            Err(RecoverError::Damaged(damage)) if damaged != Some(damage.first) => {
                damaged = Some(damage.first);
            }
            result => return result,
        }
    }
}

/// Copies what counts of a file, and takes down its checksums; on return its bytes survive a power cut.
fn copy_file(
    links: &Links,
    (partition, file): (PartitionId, &mut CopiedFile),
    target: &Path,
    pace: &mut Pace,
) -> Result<(), BackupError> {
    let path = file.path(target, partition);
    let reading = |action: String| move |source| BackupError::Io { action, source };
    let mut out = create(&path)?;
    let mut buffer = Buffer::zeroed(RANGE_BYTES);
    for from in (0..file.stored).step_by(RANGE_BYTES) {
        let left = usize::try_from(file.stored - from).unwrap_or(usize::MAX);
        buffer.set_len(left.min(RANGE_BYTES));
        let (files, into) = (links.files(), buffer.as_mut_slice());
        let read = match file.name {
            FileName::Segment(segment) => files.read_at(partition, segment, from, into),
            FileName::Checkpoint(generation) => {
                files.read_checkpoint(partition, generation, from, into)
            }
        };
        let action = format!("read {} of partition {partition} at {from}", file.name);
        let read = read.map_err(reading(action.clone()))?;
        if read != buffer.len() {
            let source = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(reading(action)(source));
        }
        file.crc32.push(checksum(&[buffer.as_slice()]));
        out.write_all(buffer.as_slice())
            .map_err(BackupError::io("write", &path))?;
        pace.wait(read);
    }
    out.sync_all().map_err(BackupError::io("sync", &path))
}
