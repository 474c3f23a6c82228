//! Checking a backup, and making a data directory of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_storage::{Directory, DirectoryOptions, SUPERBLOCK_NAME, Volume};
use corelane_wire::{PartitionId, checksum};

use super::copy::{create, make_empty, make_folder, sync_folder};
use super::error::{BackupError, Flaw};
use super::manifest::{CopiedFile, Manifest, RANGE_BYTES, partition_folder};
use crate::serve::draw_id;

/// Compares every byte of a backup with its manifest.
///
/// # Errors
/// The first thing that is not as it was written.
pub fn verify(backup: &Path) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(backup)?;
    for (partition, file) in manifest.files() {
        read_checked(backup, partition, file, |_| Ok(()))?;
    }
    Ok(manifest)
}

/// Makes a data directory of a backup, in a directory that is empty or not there; on return it survives a power cut.
///
/// # Errors
/// See [`BackupError`]. A backup that is damaged is refused before anything is written; what a later failure leaves has
/// no superblock, so that no broker starts on it.
pub fn restore(backup: &Path, target: &Path) -> Result<Manifest, BackupError> {
    let manifest = verify(backup)?;
    make_empty(target)?;
    // Held to the end, so that no broker begins a directory of its own there.
    let options = DirectoryOptions {
        force_network_fs: true,
        free_bytes_min: 0,
        ..DirectoryOptions::default()
    };
    let mut directory = Directory::open(target, &options).map_err(BackupError::Open)?;
    for (partition, copied) in (0..).map(PartitionId).zip(&manifest.partitions) {
        if copied.files.is_empty() {
            continue;
        }
        let folder = partition_folder(target, partition);
        make_folder(&folder)?;
        for file in &copied.files {
            restore_file(backup, target, partition, file)?;
        }
        sync_folder(&folder)?;
    }
    sync_folder(&target.join("partitions"))?;
    let superblock = manifest.superblock(draw_id(), now_seconds());
    directory
        .replace_file(SUPERBLOCK_NAME, &superblock.encode())
        .map_err(BackupError::io("write the superblock of", target))?;
    Ok(manifest)
}

fn now_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// Writes a file with the zeros behind what the backup stores: the log goes on in room that is written out.
fn restore_file(
    backup: &Path,
    target: &Path,
    partition: PartitionId,
    file: &CopiedFile,
) -> Result<(), BackupError> {
    let path = file.path(target, partition);
    let mut out = create(&path)?;
    read_checked(backup, partition, file, |bytes| {
        out.write_all(bytes)
            .map_err(BackupError::io("write", &path))
    })?;
    let zeros = vec![0; RANGE_BYTES];
    let mut left = usize::try_from(file.bytes - file.stored).unwrap_or(usize::MAX);
    while left > 0 {
        let part = left.min(zeros.len());
        out.write_all(&zeros[..part])
            .map_err(BackupError::io("write", &path))?;
        left -= part;
    }
    out.sync_all().map_err(BackupError::io("sync", &path))
}

/// Hands out a file of a backup, range by range, each compared with its checksum.
fn read_checked(
    backup: &Path,
    partition: PartitionId,
    file: &CopiedFile,
    mut take: impl FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let path = file.path(backup, partition);
    let damaged = |flaw| BackupError::Damaged {
        path: path.clone(),
        flaw,
    };
    let found = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(Flaw::Missing));
        }
        found => found.map_err(BackupError::io("look at", &path))?.len(),
    };
    if found != file.stored {
        let expected = file.stored;
        return Err(damaged(Flaw::Length { found, expected }));
    }
    let open = File::open(&path).map_err(BackupError::io("open", &path))?;
    let mut buffer = vec![0; RANGE_BYTES];
    for (from, bytes, crc) in file.ranges() {
        let range = &mut buffer[..bytes];
        let read = open.read_exact_at(range, from);
        read.map_err(BackupError::io("read", &path))?;
        if checksum(&[range]) != crc {
            let to = from + bytes as u64;
            return Err(damaged(Flaw::Range { from, to }));
        }
        take(range)?;
    }
    Ok(())
}
