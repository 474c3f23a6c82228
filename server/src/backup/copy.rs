//! The files that a backup or a restored directory is made of.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::error::BackupError;

/// How fast a backup reads.
#[derive(Clone, Debug)]
pub struct Pace {
    bytes_per_second: Option<NonZeroU64>,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// At most so many bytes per second, from now on; `None` is as fast as the disks are.
    pub fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self {
            bytes_per_second,
            begun: Instant::now(),
            bytes: 0,
        }
    }

    /// Waits until so many more bytes may have been read.
    pub(super) fn wait(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(rate) = self.bytes_per_second {
            let nanos = u128::from(self.bytes) * 1_000_000_000 / u128::from(rate.get());
            let due = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            thread::sleep(due.saturating_sub(self.begun.elapsed()));
        }
    }
}

/// Makes a folder that must be empty, if it is there.
pub(super) fn make_empty(path: &Path) -> Result<(), BackupError> {
    make_folder(path)?;
    let mut entries = fs::read_dir(path).map_err(BackupError::io("list", path))?;
    match entries.next() {
        Some(_) => Err(BackupError::NotEmpty(path.to_path_buf())),
        None => Ok(()),
    }
}

/// Makes a folder and those above it, for its owner only.
pub(super) fn make_folder(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(BackupError::io("make the directory", path))
}

/// Makes a new file, for its owner only.
pub(super) fn create(path: &Path) -> Result<File, BackupError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(BackupError::io("create", path))
}

/// On return, the names in a folder survive a power cut.
pub(super) fn sync_folder(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(BackupError::io("sync", path))
}

/// Puts a small file in its place, whole; on return it survives a power cut.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
