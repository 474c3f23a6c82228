//! The data directory as the file system sees it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{Advice, fadvise, fdatasync};

/// How often the directory is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that the files below a folder take from the disk; those that vanish meanwhile take none.
pub(super) fn allocated_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in files(folder)? {
        match fs::metadata(file) {
            Ok(metadata) => bytes += 512 * metadata.blocks(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// The most that the folder took until `is_over`.
pub(super) fn fullest(folder: &Path, is_over: &AtomicBool) -> io::Result<u64> {
    let mut most = 0;
    while !is_over.load(Ordering::Relaxed) {
        most = most.max(allocated_bytes(folder)?);
        // What is measured changes by itself; nothing is waited for.
        thread::sleep(INTERVAL);
    }
    Ok(most)
}

/// Makes the next reads of the folder's files come from the disk, and says how.
pub(super) fn cool(folder: &Path) -> io::Result<&'static str> {
    for path in files(folder)? {
        let file = File::open(path)?;
        fdatasync(&file)?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    // Only root may, and it takes the names of the files and the broker's binary too.
    Ok(match fs::write("/proc/sys/vm/drop_caches", "3") {
        Ok(()) => "POSIX_FADV_DONTNEED and drop_caches",
        Err(_) => "POSIX_FADV_DONTNEED only",
    })
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => files.push(entry.path()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(files)
}
