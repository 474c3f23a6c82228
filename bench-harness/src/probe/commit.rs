//! Floor of a confirmation: a raw commit on the same disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::pace::Pace;
use crate::record::Latencies;

const BLOCK_BYTES: usize = 4096;
const FILE_BLOCKS: u64 = 2048;

/// Writes 4 KiB and calls fdatasync, again and again, into a file that was written with zeros
/// before, as a segment of the log is.
#[derive(Debug)]
pub struct CommitProbe {
    path: PathBuf,
    file: File,
    is_direct: bool,
    storage: Vec<u8>,
    next_block: u64,
}

/// What the probe found.
#[derive(Debug)]
pub struct CommitReport {
    /// Time of one write and its fdatasync.
    pub latencies: Latencies,
    /// Whether the writes went past the page cache, as the broker's do.
    pub is_direct: bool,
}

impl CommitProbe {
    /// Makes the file in `folder`; it is removed when the probe is dropped.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join("floor.probe");
        let file = File::create(&path)?;
        let zeros = vec![0; 1 << 20];
        let bytes = FILE_BLOCKS * BLOCK_BYTES as u64;
        for position in (0..bytes).step_by(zeros.len()) {
            file.write_all_at(&zeros, position)?;
        }
        file.sync_all()?;
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path);
        let is_direct = direct.is_ok();
        let file = direct.unwrap_or(file);
        Ok(Self {
            path,
            file,
            is_direct,
            storage: vec![0x5A; 2 * BLOCK_BYTES],
            next_block: 0,
        })
    }

    /// Makes `count` commits at the given rate and records the time of each.
    ///
    /// # Errors
    /// If a write or an fdatasync fails.
    pub fn run(&mut self, count: u32, per_second: u32) -> io::Result<CommitReport> {
        let mut pace = Pace::new(per_second);
        let mut latencies = Latencies::default();
        for _ in 0..count {
            pace.wait();
            let begin = Instant::now();
            self.commit()?;
            latencies.record(begin.elapsed());
        }
        Ok(CommitReport {
            latencies,
            is_direct: self.is_direct,
        })
    }

    fn commit(&mut self) -> io::Result<()> {
        // O_DIRECT needs an aligned address: the block begins at the first one inside the storage.
        let skip = self.storage.as_ptr().align_offset(BLOCK_BYTES);
        let position = self.next_block * BLOCK_BYTES as u64;
        self.next_block = (self.next_block + 1) % FILE_BLOCKS;
        let block = &self.storage[skip..skip + BLOCK_BYTES];
        self.file.write_all_at(block, position)?;
        self.file.sync_data()
    }
}

impl Drop for CommitProbe {
    fn drop(&mut self) {
        // It lies in a temporary folder, which goes away with it anyhow.
        drop(std::fs::remove_file(&self.path));
    }
}
