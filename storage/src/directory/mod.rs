//! [`Volume`] on real files: the data directory.
//!
//! ```text
//!   DIR/lock                              held by the process that uses the directory; names pid and data uuid
//!   DIR/superblock                        identity, number of partitions, starts
//!   DIR/spares/NNNN.spare                 room that waits to become a segment
//!   DIR/partitions/PPPP/SSSSSSSS.log      segments
//!   DIR/partitions/PPPP/GGGGGGGG.ckpt     checkpoints; the one that is being written is `checkpoint.tmp`
//!   DIR/backup/                           links of a backup that runs
//! ```
//! Owns: the lock. Called by: start-up, recovery and the housekeeping threads, each with a clone.
//! Invariants: (D1) a name that was created, replaced or moved is made durable by an `fsync` of its directory
//! before the call returns. (D2) names that are not ours are ignored, never deleted.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corelane_wire::PartitionId;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::buffer::Buffer;
use crate::layout::{BLOCK_ALIGN, SegmentNumber};
use crate::open_error::OpenError;
use crate::superblock::{SUPERBLOCK_NAME, Superblock};
use crate::volume::{SpareId, Volume};

mod file;
mod links;
mod lock;
mod probe;
mod room;
mod volume;

pub use links::Links;

use file::{create, make_directory, open_regular, open_regular_to_read, read_full, sync_directory};

/// How a data directory is opened.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Open it on a network file system too.
    pub force_network_fs: bool,
    /// How long to wait for a process that is about to end.
    pub lock_wait: Duration,
    /// Refuse to begin a new directory on a file system with fewer bytes free.
    pub free_bytes_min: u64,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            force_network_fs: false,
            lock_wait: LOCK_WAIT,
            free_bytes_min: FREE_BYTES_MIN,
        }
    }
}

/// A data directory that this process holds; clones share the lock, the last one lets it go.
#[derive(Clone, Debug)]
pub struct Directory {
    shared: Arc<Shared>,
    haste: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    lock: File,
    lock_wait: Duration,
    is_direct: bool,
    directory_syncs: AtomicU64,
}

impl Directory {
    /// Opens a data directory, creating it if there is none, and holds its lock until dropped.
    ///
    /// # Errors
    /// See [`OpenError`]; its text tells what to do.
    pub fn open(path: impl Into<PathBuf>, options: &DirectoryOptions) -> Result<Self, OpenError> {
        let root = path.into();
        let io = |action: &str| {
            let action = format!("{action} {}", root.display());
            move |source| OpenError::io(action, source)
        };
        if fs::metadata(&root).is_ok_and(|found| !found.is_dir()) {
            return Err(OpenError::NotADirectory { path: root });
        }
        make_directory(&root).map_err(io("create data directory"))?;
        probe::check_file_system(&root, options)?;
        let lock = lock::acquire(&root, options.lock_wait)?;
        for folder in ["spares", "partitions"] {
            make_directory(&root.join(folder)).map_err(io("create folders in"))?;
        }
        sync_directory(&root).map_err(io("sync"))?;
        links::clean(&root).map_err(io("take links of a backup away in"))?;
        let probed = room::with_room(&root, || probe::is_direct_possible(&root));
        let is_direct = probed.map_err(io("write a file in"))?;
        let directory = Self {
            shared: Arc::new(Shared {
                root,
                lock,
                lock_wait: options.lock_wait,
                is_direct,
                directory_syncs: AtomicU64::new(0),
            }),
            haste: Arc::default(),
        };
        if let Ok(Some(bytes)) = directory.read_file(SUPERBLOCK_NAME)
            && let Ok(superblock) = Superblock::decode(&bytes)
        {
            let noted = directory.note_identity(superblock.data_uuid);
            noted.map_err(|source| OpenError::io("write the lock file", source))?;
        }
        Ok(directory)
    }

    /// Opens a data directory that is there to look at it, and holds its lock until dropped; changes nothing in it.
    ///
    /// # Errors
    /// If a process uses it, or it cannot be read.
    pub fn open_to_read(path: impl Into<PathBuf>, lock_wait: Duration) -> Result<Self, OpenError> {
        let root = path.into();
        if !fs::metadata(&root).is_ok_and(|found| found.is_dir()) {
            return Err(OpenError::NotADirectory { path: root });
        }
        let lock = lock::acquire_to_read(&root, lock_wait)?;
        Ok(Self {
            shared: Arc::new(Shared {
                is_direct: probe::is_direct_read_possible(&root),
                root,
                lock,
                lock_wait,
                directory_syncs: AtomicU64::new(0),
            }),
            haste: Arc::default(),
        })
    }

    /// The same directory, but a spare that is being made through this handle ends soon once `haste` is set: what was
    /// not written out by then stays allocated only, and the first commits into it cost more. A checkpoint is then
    /// written without pauses.
    #[must_use]
    pub fn hastened_by(&self, haste: Arc<AtomicBool>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            haste,
        }
    }

    /// The path it was opened with.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Where the file of a segment is, or will be.
    pub fn path_of(&self, partition: PartitionId, segment: SegmentNumber) -> PathBuf {
        self.partition_path(partition)
            .join(format!("{:08}.log", segment.0))
    }

    /// Where the checkpoint of a generation is, once it is published.
    pub fn checkpoint_path(&self, partition: PartitionId, generation: u32) -> PathBuf {
        self.partition_path(partition)
            .join(format!("{generation:08}.ckpt"))
    }

    /// Whether the file system takes `O_DIRECT` with aligned buffers.
    pub fn is_direct(&self) -> bool {
        self.shared.is_direct
    }

    /// How often a directory was synced, by this handle and its clones.
    pub fn directory_syncs(&self) -> u64 {
        self.shared.directory_syncs.load(Ordering::Relaxed)
    }

    /// Writes pid and data uuid into the lock file, for whoever finds it held.
    ///
    /// # Errors
    /// That of the write.
    pub fn note_identity(&self, data_uuid: u128) -> io::Result<()> {
        lock::write(&self.shared.lock, Some(data_uuid))
    }

    /// Opens the file of a segment for the driver: read and write, `O_DIRECT` where possible, locked.
    ///
    /// The lock belongs to the file that writes: so a write that is still in flight when this process is gone
    /// holds it, and the next start waits for that write (`Volume::lock_segment`).
    ///
    /// # Errors
    /// That of the open or the lock; `WouldBlock` if another process holds it.
    pub fn open_segment(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<File> {
        let file = open_regular(&self.path_of(partition, segment), self.direct_flag())?;
        lock::hold(&file, self.shared.lock_wait)?;
        Ok(file)
    }

    /// Zeros are written out, not only allocated: a commit into an unwritten extent costs a journal commit.
    ///
    /// They go past the page cache in steps, with a pause after each as long as the step took: a commit then waits for
    /// one step at most, and has half of the disk. Once somebody waits, the room that is allocated does.
    fn write_zeros(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = create(path)?;
        // A disk without the room says so before anything is written to it.
        let is_allocated = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => true,
            Err(Errno::OPNOTSUPP) => false,
            Err(errno) => return Err(errno.into()),
        };
        let file = if self.is_direct() {
            open_regular(path, libc::O_DIRECT)?
        } else {
            file
        };
        let zeros = Buffer::zeroed(ZEROS_BYTES);
        let mut position = 0;
        while position < bytes && !(is_allocated && self.haste.load(Ordering::Relaxed)) {
            let begun = Instant::now();
            let left = usize::try_from(bytes - position).unwrap_or(ZEROS_BYTES);
            let part = &zeros.as_slice()[..left.min(ZEROS_BYTES)];
            file.write_all_at(part, position)?;
            position += part.len() as u64;
            thread::sleep(begun.elapsed());
        }
        file.sync_data()
    }

    fn partition_path(&self, partition: PartitionId) -> PathBuf {
        partition_path(&self.shared.root, partition)
    }

    /// The folder of a partition, made if there is none.
    fn partition_folder(&self, partition: PartitionId) -> io::Result<PathBuf> {
        let folder = self.partition_path(partition);
        if !folder.is_dir() {
            make_directory(&folder)?;
            self.sync_directory(&self.shared.root.join("partitions"))?;
        }
        Ok(folder)
    }

    fn draft_path(&self, partition: PartitionId) -> PathBuf {
        self.partition_path(partition).join("checkpoint.tmp")
    }

    /// Reads from the media where it can, not from the page cache: after a failed write the cache may hold what the
    /// disk lost.
    fn read_path(&self, path: &Path, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let is_aligned = into.as_ptr().addr().is_multiple_of(BLOCK_ALIGN)
            && into.len().is_multiple_of(BLOCK_ALIGN)
            && position.is_multiple_of(BLOCK_ALIGN as u64);
        let flags = if is_aligned { self.direct_flag() } else { 0 };
        read_full(&open_regular_to_read(path, flags)?, position, into)
    }

    fn direct_flag(&self) -> i32 {
        if self.is_direct() { libc::O_DIRECT } else { 0 }
    }

    fn spare_path(&self, spare: SpareId) -> PathBuf {
        spare_path(&self.shared.root, spare)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        sync_directory(path)?;
        self.shared.directory_syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn partition_path(root: &Path, partition: PartitionId) -> PathBuf {
    root.join("partitions").join(format!("{:04}", partition.0))
}

fn spare_path(root: &Path, spare: SpareId) -> PathBuf {
    root.join("spares").join(format!("{:04}.spare", spare.0))
}

const LOCK_WAIT: Duration = Duration::from_secs(2);
const FREE_BYTES_MIN: u64 = 64 << 20;
const SMALL_FILE_BYTES_MAX: usize = 1 << 20;
/// One step: long enough to be cheap, short enough for a commit to wait for.
const ZEROS_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
