//! Second names of a data directory's files, by which a backup reads them while the broker goes on.
//!
//! ```text
//!   DIR/backup/lock                       held by the backup that runs; names its process id
//!   DIR/backup/partitions/PPPP/...        hard links of segments and checkpoints
//! ```
//! Owns: the folder `backup` of a data directory. Called by: a backup, in a process of its own that holds no lock of
//! the broker; every start, which takes away what a killed backup left.
//! Invariants: (L1) a file with two names is never used again: a segment that is retired is looked at after it was
//! renamed, and no link is made of a spare; so a link is either seen there or was refused. A start looks at the spares
//! that a kill left between the two. (L2) links are made and taken away only under the lock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use corelane_wire::PartitionId;

use super::file::{make_directory, numbers_in};
use super::{Directory, LOCK_WAIT, Shared, lock, partition_path, probe, spare_path};
use crate::open_error::OpenError;
use crate::volume::SpareId;

/// The links of one backup; dropped, they are gone.
#[derive(Debug)]
pub struct Links {
    data: PathBuf,
    directory: Directory,
}

impl Links {
    /// Begins without any link; what a killed backup left is taken away.
    ///
    /// # Errors
    /// `OpenError::Locked` if another backup of this data directory runs, else that of the file operation.
    pub fn open(data: &Path) -> Result<Self, OpenError> {
        let root = data.join(FOLDER);
        let io = |source| OpenError::io(format!("keep links in {}", root.display()), source);
        make_directory(&root).map_err(io)?;
        let lock = lock::acquire(&root, LOCK_WAIT)?;
        remove_folder(&root.join("partitions")).map_err(io)?;
        let is_direct = probe::is_direct_read_possible(data);
        Ok(Self {
            data: data.to_path_buf(),
            directory: Directory {
                shared: Arc::new(Shared {
                    root,
                    lock,
                    lock_wait: LOCK_WAIT,
                    is_direct,
                    directory_syncs: AtomicU64::new(0),
                }),
                haste: Arc::default(),
            },
        })
    }

    /// Links the checkpoints and segments that a partition has now.
    ///
    /// The newest checkpoint of the links is the newest that there was when they were made, and whatever it and the one
    /// before need of the log is among them: nothing that these two need goes before a newer one is there.
    ///
    /// # Errors
    /// That of the file operation that failed.
    pub fn take(&mut self, partition: PartitionId) -> io::Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            self.release(partition)?;
            let newest = self.newest_checkpoint(partition)?;
            self.link_all(partition)?;
            if self.newest_checkpoint(partition)? == newest {
                return Ok(());
            }
        }
        Err(io::Error::other(
            "checkpoints follow each other faster than files can be linked",
        ))
    }

    /// Takes the links of a partition away.
    ///
    /// # Errors
    /// That of the file operation that failed.
    pub fn release(&mut self, partition: PartitionId) -> io::Result<()> {
        remove_folder(&self.directory.partition_path(partition))
    }

    /// The linked files, laid out as in a data directory. Only to be read.
    pub fn files(&self) -> &Directory {
        &self.directory
    }

    fn newest_checkpoint(&self, partition: PartitionId) -> io::Result<Option<u32>> {
        let folder = partition_path(&self.data, partition);
        Ok(numbers_in(&folder, 8, ".ckpt")?.pop())
    }

    fn link_all(&self, partition: PartitionId) -> io::Result<()> {
        let from = partition_path(&self.data, partition);
        let to = self.directory.partition_path(partition);
        make_directory(&to)?;
        for suffix in [".ckpt", ".log"] {
            for number in numbers_in(&from, 8, suffix)? {
                let name = format!("{number:08}{suffix}");
                match fs::hard_link(from.join(&name), to.join(&name)) {
                    // It was not needed any more.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    linked => linked?,
                }
            }
        }
        Ok(())
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(&self.directory.root().join("partitions")) {
            tracing::warn!(%error, "links of a backup stay until the next start or backup");
        }
    }
}

/// Whether a file has no name but this one.
pub(super) fn has_one_name(path: &Path) -> io::Result<bool> {
    Ok(fs::symlink_metadata(path)?.nlink() <= 1)
}

/// Takes away what a killed backup left, and spares that a running one still reads (L1).
pub(super) fn clean(root: &Path) -> io::Result<()> {
    if let Err(error) = remove_left_links(&root.join(FOLDER)) {
        // They cost room and nothing else; a backup of another user may have made them.
        tracing::warn!(path = %root.display(), %error, "links of a backup that was killed stay behind");
    }
    for number in numbers_in(&root.join("spares"), 4, ".spare")? {
        let spare = spare_path(root, SpareId(number));
        if !has_one_name(&spare)? {
            fs::remove_file(spare)?;
        }
    }
    Ok(())
}

/// Removes links that no backup holds the lock for.
fn remove_left_links(folder: &Path) -> io::Result<()> {
    let lock = match File::open(folder.join("lock")) {
        // There was no backup.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match lock::hold(&lock, Duration::ZERO) {
        // One that runs may outlive a broker.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        held => held.and_then(|()| remove_folder(&folder.join("partitions"))),
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

const FOLDER: &str = "backup";
/// A checkpoint takes longer than the links of a partition do, so two attempts are rare.
const ATTEMPTS_MAX: u32 = 100;

#[cfg(test)]
mod tests;
