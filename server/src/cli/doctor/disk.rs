//! Checks of the disk that the data directory is on: direct writes, commits, room.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use corelane::config::quantity::format_bytes;
use corelane_storage::{BLOCK_ALIGN, Buffer};

use super::{Check, Finding, Verdict};

/// The file system below the data directory, and whether it takes direct writes.
pub(super) struct DirectWrites {
    pub(super) file_system: String,
    /// Why nothing can be written, or whether it can be directly.
    pub(super) is_direct: Result<bool, String>,
    pub(super) folder: String,
}

impl DirectWrites {
    pub(super) fn look(folder: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let whole = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let file_system = file_system_of(&mounts, &whole).unwrap_or("unknown");
        Self {
            file_system: file_system.to_owned(),
            is_direct: try_direct(folder).map_err(|error| error.to_string()),
            folder: folder.display().to_string(),
        }
    }

    pub(super) fn is_taken(&self) -> bool {
        self.is_direct == Ok(true)
    }

    pub(super) fn judge(&self, force_network_fs: bool) -> Finding {
        let check = Check {
            name: "o_direct",
            wanted: "O_DIRECT, on a local disk".to_owned(),
            why: "segments are written past the page cache, and must outlive a power cut",
        };
        let kind = self.file_system.as_str();
        let show = format!("findmnt -T {}", self.folder);
        let found = match &self.is_direct {
            Ok(true) => format!("taken by {kind}"),
            Ok(false) => format!("refused by {kind}"),
            Err(error) => {
                let found = format!("cannot write in {}: {error}", self.folder);
                return check.found(Verdict::Fail, found, format!("ls -ld {}", self.folder));
            }
        };
        if NETWORK.contains(&kind) && !force_network_fs {
            return check.found(Verdict::Fail, format!("{found}, over the network"), show);
        }
        if IN_MEMORY.contains(&kind) {
            return check.found(Verdict::Warn, format!("{found}, in memory"), show);
        }
        let is_fine = self.is_taken() && !NETWORK.contains(&kind);
        let verdict = if is_fine { Verdict::Ok } else { Verdict::Warn };
        check.found(verdict, found, show)
    }
}

fn try_direct(folder: &Path) -> io::Result<bool> {
    // First without, so that a failure here means that nothing can be written.
    nameless_file(folder, 0)?;
    let written = nameless_file(folder, libc::O_DIRECT)
        .and_then(|file| file.write_all_at(Buffer::zeroed(BLOCK_ALIGN).as_slice(), 0));
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file that is gone when it is closed, whatever becomes of this process.
fn nameless_file(folder: &Path, flags: i32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let nameless = options
        .clone()
        .custom_flags(libc::O_TMPFILE | flags)
        .open(folder);
    match nameless {
        Err(error) if is_unknown_to_the_file_system(&error) => {
            let path = folder.join(format!(".doctor-{}", std::process::id()));
            let file = options.create_new(true).custom_flags(flags).open(&path);
            // Where O_DIRECT is refused, the file was made all the same.
            match fs::remove_file(&path) {
                Err(error) if file.is_ok() => Err(error),
                Ok(()) | Err(_) => file,
            }
        }
        opened => opened,
    }
}

fn is_unknown_to_the_file_system(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)
    )
}

/// The type of the file system that holds a path, out of `/proc/self/mountinfo`: the last one
/// mounted on the longest way.
pub(super) fn file_system_of<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let (place, source) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point)
            .then(|| (point.len(), source.split(' ').next()))
    });
    mounts.max_by_key(|(length, _)| *length)?.1
}

/// Commits as a log makes them, one after the other: 4 KiB into blocks that were written before,
/// then `fdatasync`.
pub(super) struct CommitLatency {
    pub(super) measured: Result<Latencies, String>,
}

/// What commits took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Latencies {
    pub(super) count: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) is_direct: bool,
}

impl CommitLatency {
    pub(super) fn measure(folder: &Path, is_direct: bool) -> Self {
        let measured = measure(folder, is_direct);
        Self {
            measured: measured.map_err(|error| error.to_string()),
        }
    }

    pub(super) fn judge(&self, folder: &Path) -> Finding {
        let check = Check {
            name: "commit latency",
            wanted: format!("p50 {P50_MAX:?} or less, p99 {P99_MAX:?} or less"),
            why: "a confirmation waits for at least one commit",
        };
        let folder = folder.display();
        let latencies = match &self.measured {
            Ok(latencies) => latencies,
            Err(error) => {
                let found = format!("cannot commit in {folder}: {error}");
                return check.found(Verdict::Fail, found, format!("df {folder}"));
            }
        };
        let Latencies {
            count, p50, p99, ..
        } = latencies;
        let way = if latencies.is_direct {
            "O_DIRECT"
        } else {
            "page cache"
        };
        let found = format!(
            "p50 {} us, p99 {} us ({count} of 4KiB, {way})",
            p50.as_micros(),
            p99.as_micros()
        );
        if *p50 < DISK_MIN {
            let found = format!("{found}: too fast for a disk");
            return check.found(Verdict::Warn, found, format!("findmnt -T {folder}"));
        }
        let verdict = if *p50 <= P50_MAX && *p99 <= P99_MAX {
            Verdict::Ok
        } else {
            Verdict::Warn
        };
        check.found(verdict, found, "cat /proc/pressure/cpu /proc/pressure/io")
    }
}

fn measure(folder: &Path, is_direct: bool) -> io::Result<Latencies> {
    let flags = if is_direct { libc::O_DIRECT } else { 0 };
    let file = nameless_file(folder, flags)?;
    let zeros = Buffer::zeroed(1 << 20);
    for position in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(zeros.as_slice(), position)?;
    }
    file.sync_all()?;
    let mut block = Buffer::zeroed(BLOCK_ALIGN);
    block.as_mut_slice().fill(0x5A);
    let begun = Instant::now();
    let mut taken = Vec::with_capacity(COMMITS_MAX);
    for number in 0..COMMITS_MAX as u64 {
        let position = number * BLOCK_ALIGN as u64 % FILE_BYTES;
        let before = Instant::now();
        file.write_all_at(block.as_slice(), position)?;
        file.sync_data()?;
        taken.push(before.elapsed());
        if taken.len() >= COMMITS_MIN && begun.elapsed() > MEASURE_WITHIN {
            break;
        }
    }
    Ok(Latencies::of(taken, is_direct))
}

impl Latencies {
    pub(super) fn of(mut taken: Vec<Duration>, is_direct: bool) -> Self {
        taken.sort_unstable();
        // The least duration that so many in a hundred do not exceed.
        let percentile = |percent: usize| {
            let rank = (taken.len() * percent).div_ceil(100);
            taken
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            count: taken.len(),
            p50: percentile(50),
            p99: percentile(99),
            is_direct,
        }
    }
}

/// Room on the file system of the data directory.
pub(super) struct FreeSpace {
    /// Free and total bytes; no total where the file system has no size.
    pub(super) bytes: Result<(u64, u64), String>,
}

impl FreeSpace {
    pub(super) fn look(folder: &Path) -> Self {
        let found = rustix::fs::statvfs(folder);
        Self {
            bytes: found
                .map(|found| {
                    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                    (bytes(found.f_bavail), bytes(found.f_blocks))
                })
                .map_err(|errno| io::Error::from(errno).to_string()),
        }
    }

    pub(super) fn judge(&self, shards: u16, folder: &Path) -> Finding {
        let least = FREE_MIN + u64::from(shards) * SPARES_PER_SHARD;
        let check = Check {
            name: "free space",
            wanted: format!("{} or more, at least {}", size(FREE_WANTED), size(least)),
            why: "nothing is deleted; a full disk refuses what would be enqueued",
        };
        let show = format!("df -h {}", folder.display());
        let (free, total) = match &self.bytes {
            Ok(bytes) => *bytes,
            Err(error) => return check.found(Verdict::Fail, error, show),
        };
        if total == 0 {
            return check.found(Verdict::Ok, "a file system without a size", "");
        }
        let verdict = if free < least {
            Verdict::Fail
        } else if free < FREE_WANTED {
            Verdict::Warn
        } else {
            Verdict::Ok
        };
        check.found(verdict, format!("{} of {}", size(free), size(total)), show)
    }
}

/// In whole units of at most four digits.
fn size(bytes: u64) -> String {
    let unit = [1 << 40, 1 << 30, 1 << 20, 1 << 10, 1];
    let unit = unit
        .into_iter()
        .find(|unit| bytes >= 10 * unit)
        .unwrap_or(1);
    let rounded = bytes / unit * unit;
    usize::try_from(rounded).map_or_else(|_| rounded.to_string(), format_bytes)
}

/// File systems whose locks and syncs cannot be relied on.
const NETWORK: [&str; 8] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "9p"];
/// File systems that a reboot empties.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
/// Blocks that are written to in turn.
const FILE_BYTES: u64 = 4 << 20;
const COMMITS_MAX: usize = 1_000;
/// A percentile of fewer would mean nothing.
const COMMITS_MIN: usize = 100;
const MEASURE_WITHIN: Duration = Duration::from_secs(1);
/// A good disk takes 20 us to 500 us, one over a network 1 ms, one that turns 8 ms.
const P50_MAX: Duration = Duration::from_millis(2);
const P99_MAX: Duration = Duration::from_millis(20);
/// No disk says so soon that bytes are safe.
const DISK_MIN: Duration = Duration::from_micros(5);
/// What a start asks for before it makes a data directory.
const FREE_MIN: u64 = 64 << 20;
/// The first spare segments of a shard.
const SPARES_PER_SHARD: u64 = 8 << 20;
/// Some segments of 64 MiB.
const FREE_WANTED: u64 = 1 << 30;
