//! Locks of the data directory and of segment files.
//!
//! `flock` belongs to an open file, not to a process: the kernel lets it go when the last reference is gone,
//! and an operation that a killed process left in flight is such a reference. Hence the retries.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::file::open_regular_to_read;
use crate::open_error::OpenError;

/// Takes `DIR/lock` and writes our pid into it.
pub(super) fn acquire(root: &Path, wait: Duration) -> Result<File, OpenError> {
    let path = root.join("lock");
    let io = |source| OpenError::io(format!("open {}", path.display()), source);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path)
        .map_err(io)?;
    hold_or_name(&file, root, wait)?;
    write(&file, None).map_err(io)?;
    Ok(file)
}

/// Takes `DIR/lock` without writing to it; of a directory that has none, which no process uses, the folder's.
pub(super) fn acquire_to_read(root: &Path, wait: Duration) -> Result<File, OpenError> {
    let path = root.join("lock");
    let io = |source| OpenError::io(format!("open {}", path.display()), source);
    let file = match open_regular_to_read(&path, libc::O_NONBLOCK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(root).map_err(io)?,
        opened => opened.map_err(io)?,
    };
    hold_or_name(&file, root, wait)?;
    Ok(file)
}

fn hold_or_name(file: &File, root: &Path, wait: Duration) -> Result<(), OpenError> {
    hold(file, wait).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked {
                path: root.to_path_buf(),
                pid: holder(file),
            }
        } else {
            OpenError::io(format!("lock {}", root.display()), error)
        }
    })
}

/// Locks a file, trying again for up to `wait`; then fails with `WouldBlock`.
pub(super) fn hold(file: &File, wait: Duration) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= wait => {
                return Err(io::Error::from(io::ErrorKind::WouldBlock));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(RETRY_AFTER),
        }
    }
}

/// Writes who holds the directory; only read by people and by [`holder`].
pub(super) fn write(file: &File, data_uuid: Option<u128>) -> io::Result<()> {
    let mut text = format!("pid {}\n", std::process::id());
    if let Some(data_uuid) = data_uuid {
        text = format!("{text}data-uuid {data_uuid:032x}\n");
    }
    // Written over, then cut: a full disk takes that, but not a file that gives its block back first.
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

fn holder(file: &File) -> Option<u32> {
    let mut bytes = [0; 64];
    let count = file.read_at(&mut bytes, 0).ok()?;
    let text = str::from_utf8(bytes.get(..count)?).ok()?;
    text.lines().next()?.strip_prefix("pid ")?.parse().ok()
}

const RETRY_AFTER: Duration = Duration::from_millis(20);
