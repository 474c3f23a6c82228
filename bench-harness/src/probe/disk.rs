//! Floors of a commit, over what it is made of: way, place, size and depth.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::uring::{CommitRing, Submission};
use crate::pace::Pace;
use crate::record::Latencies;

/// How bytes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A write with an fdatasync linked behind it, through `io_uring`.
    Linked,
    /// A write with `RWF_DSYNC`, through `io_uring`.
    RwfDsync,
    /// `pwrite` and `fdatasync`, one after the other.
    Blocking,
}

/// Where bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Blocks that hold zeros, as the segments of a log do.
    PreWritten,
    /// The end of a file.
    Growing,
}

/// One operating point of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// How.
    pub way: Way,
    /// Where.
    pub place: Place,
    /// Bytes of a commit; a multiple of 4,096 up to 1 MiB.
    pub bytes: u32,
    /// Commits at a time, 1 to 16; 1 where they block.
    pub depth: u32,
}

/// Commits into files of its own in one folder, which are removed with it.
#[derive(Debug)]
pub struct DiskProbe {
    pre_written: PathBuf,
    growing: PathBuf,
    is_direct: bool,
}

impl DiskProbe {
    /// Makes the pre-written file, of 64 MiB.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let pre_written = folder.join("floor-pre-written.probe");
        let mut probe = Self {
            growing: folder.join("floor-growing.probe"),
            pre_written,
            is_direct: false,
        };
        let file = File::create(&probe.pre_written)?;
        let zeros = vec![0; 1 << 20];
        for position in (0..PRE_WRITTEN_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, position)?;
        }
        // (P3)
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        probe.is_direct = open(&probe.pre_written, true).is_ok();
        Ok(probe)
    }

    /// Whether writes go past the page cache, as the broker's do.
    pub const fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Makes `count` commits of 4 KiB into pre-written blocks at fixed instants, and records the time of each: from its
    /// start, or from its instant if the commit before it was not done by then.
    ///
    /// # Errors
    /// If a commit fails, or `io_uring` is not there.
    pub fn run_at(&self, way: Way, count: u32, per_second: u32) -> io::Result<Latencies> {
        let cell = Cell {
            way,
            place: Place::PreWritten,
            bytes: BLOCK_BYTES,
            depth: 1,
        };
        let mut committer = self.committer(cell)?;
        let mut pace = Pace::new(per_second);
        let mut latencies = Latencies::default();
        let mut end = Instant::now();
        for number in 0..count {
            let intended = pace.wait();
            let begin = if end > intended {
                intended
            } else {
                Instant::now()
            };
            if let Some(position) = cell.position(u64::from(number)) {
                committer.commit(position)?;
            }
            end = Instant::now();
            latencies.record(end - begin);
        }
        Ok(latencies)
    }

    /// Commits for as long as `duration`, always `cell.depth` at a time, and records the time of each.
    ///
    /// # Errors
    /// If a commit fails, or `io_uring` is not there; [`io::ErrorKind::InvalidInput`] if the cell is outside its
    /// bounds.
    pub fn run(&self, cell: Cell, duration: Duration) -> io::Result<Latencies> {
        let is_valid = cell.bytes > 0
            && cell.bytes.is_multiple_of(BLOCK_BYTES)
            && cell.bytes <= BYTES_MAX
            && (1..=DEPTH_MAX).contains(&cell.depth)
            && (cell.depth == 1 || cell.way != Way::Blocking);
        if !is_valid {
            let message = format!("{cell:?} is not a multiple of 4096 bytes, or too deep");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        match self.committer(cell)? {
            Committer::Ring(ring) => run_ring(*ring, cell, duration),
            blocking @ Committer::Blocking { .. } => run_blocking(blocking, cell, duration),
        }
    }

    fn committer(&self, cell: Cell) -> io::Result<Committer> {
        let file = match cell.place {
            Place::PreWritten => open(&self.pre_written, self.is_direct)?,
            Place::Growing => {
                drop(File::create(&self.growing)?);
                open(&self.growing, self.is_direct)?
            }
        };
        let storage = vec![FILL; (cell.bytes + BLOCK_BYTES) as usize];
        // O_DIRECT needs an aligned address: the block begins at the first one inside the storage.
        let skip = storage.as_ptr().align_offset(BLOCK_BYTES as usize);
        let ring = |file, submission, storage| {
            let ring = CommitRing::new(file, submission, (storage, skip, cell.bytes), cell.depth);
            Ok(Committer::Ring(Box::new(ring?)))
        };
        match cell.way {
            Way::Linked => ring(file, Submission::Linked, storage),
            Way::RwfDsync => ring(file, Submission::Synced, storage),
            Way::Blocking => Ok(Committer::Blocking {
                file,
                storage,
                block: skip..skip + cell.bytes as usize,
            }),
        }
    }
}

impl Drop for DiskProbe {
    fn drop(&mut self) {
        // Both may be missing, and a file that stays is only a file.
        drop(fs::remove_file(&self.pre_written));
        drop(fs::remove_file(&self.growing));
    }
}

/// One of the ways to commit the same bytes again and again.
enum Committer {
    Ring(Box<CommitRing>),
    Blocking {
        file: File,
        storage: Vec<u8>,
        /// Where the bytes are in the storage.
        block: Range<usize>,
    },
}

impl Committer {
    /// One commit, from its start to its end.
    fn commit(&mut self, position: u64) -> io::Result<()> {
        match self {
            Self::Ring(ring) => {
                ring.push(0, position)?;
                ring.wait().map(|_| ())
            }
            Self::Blocking {
                file,
                storage,
                block,
            } => {
                file.write_all_at(&storage[block.clone()], position)?;
                file.sync_data()
            }
        }
    }
}

fn run_blocking(mut committer: Committer, cell: Cell, duration: Duration) -> io::Result<Latencies> {
    let mut latencies = Latencies::default();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < duration
        && let Some(position) = cell.position(count)
    {
        let begin = Instant::now();
        committer.commit(position)?;
        latencies.record(begin.elapsed());
        count += 1;
    }
    Ok(latencies)
}

fn run_ring(mut ring: CommitRing, cell: Cell, duration: Duration) -> io::Result<Latencies> {
    let mut latencies = Latencies::default();
    let start = Instant::now();
    let mut begins = vec![start; cell.depth as usize];
    let mut count = 0;
    let mut in_flight = 0;
    let mut free: Vec<u32> = (0..cell.depth).collect();
    loop {
        while start.elapsed() < duration
            && let Some(position) = cell.position(count)
            && let Some(number) = free.pop()
        {
            begins[number as usize] = Instant::now();
            ring.push(number, position)?;
            in_flight += 1;
            count += 1;
        }
        if in_flight == 0 {
            return Ok(latencies);
        }
        let number = ring.wait()?;
        latencies.record(begins[number as usize].elapsed());
        free.push(number);
        in_flight -= 1;
    }
}

impl Cell {
    /// Where commit `count` goes; `None` if the file has grown as far as it may.
    fn position(self, count: u64) -> Option<u64> {
        let bytes = u64::from(self.bytes);
        match self.place {
            Place::PreWritten => Some(count % (PRE_WRITTEN_BYTES / bytes) * bytes),
            Place::Growing => Some(count * bytes).filter(|&position| position < GROWING_BYTES_MAX),
        }
    }
}

fn open(path: &Path, is_direct: bool) -> io::Result<File> {
    let flags = if is_direct { libc::O_DIRECT } else { 0 };
    OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)
}

const BLOCK_BYTES: u32 = 4_096;
const BYTES_MAX: u32 = 1 << 20;
const DEPTH_MAX: u32 = 16;
const FILL: u8 = 0x5A;
const PRE_WRITTEN_BYTES: u64 = 64 << 20;
const GROWING_BYTES_MAX: u64 = 256 << 20;
