//! Checks of what the process may do: `io_uring`, locked memory, open files.

use std::fs;
use std::path::Path;

use corelane::config::DriverChoice;
use corelane::config::quantity::format_bytes;
use corelane::driver::uring::{self, Refusal};
use corelane::serve::FilesNeeded;
use rustix::process::{Resource, getrlimit};

use super::{Check, Finding, Verdict, without_uring};

/// Whether `io_uring` works here, tried out as a start does.
pub(super) struct IoUring {
    pub(super) works: Result<(), Refusal>,
}

impl IoUring {
    pub(super) fn look(folder: &Path) -> Self {
        Self {
            works: uring::check(folder),
        }
    }

    pub(super) fn judge(&self, driver: DriverChoice) -> Finding {
        let check = Check {
            name: "io_uring",
            wanted: "allowed".to_owned(),
            why: "the uring driver needs it; epoll does not",
        };
        match &self.works {
            Ok(()) => check.found(Verdict::Ok, "works", ""),
            Err(Refusal { cause, remedy }) => check.found(without_uring(driver), cause, remedy),
        }
    }
}

/// The soft limit of locked memory, which nothing raises.
pub(super) struct Memlock {
    /// `None` is unlimited.
    pub(super) bytes: Option<u64>,
    pub(super) is_exempt: bool,
}

impl Memlock {
    pub(super) fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            bytes: getrlimit(Resource::Memlock).current,
            is_exempt: may_lock(&status),
        }
    }

    pub(super) fn judge(&self, driver: DriverChoice, shards: u16) -> Finding {
        let (per_shard, why) = locked_by(driver);
        let needed = u64::from(shards) * per_shard;
        let check = Check {
            name: "memlock",
            wanted: size(needed),
            why,
        };
        let found = self.bytes.map_or_else(|| "unlimited".to_owned(), size);
        // glommio asks for the limit of one shard even where it is not counted.
        let is_enough =
            driver != DriverChoice::Glommio || self.bytes.is_none_or(|bytes| bytes >= per_shard);
        if self.is_exempt && is_enough {
            return check.found(Verdict::Ok, format!("{found}, not counted for root"), "");
        }
        let verdict = match self.bytes {
            Some(bytes) if bytes < needed => without_uring(driver),
            Some(_) | None => Verdict::Ok,
        };
        let kib = needed / 1_024;
        check.found(
            verdict,
            found,
            format!("ulimit -l {kib}, or LimitMEMLOCK={kib}K of the systemd unit"),
        )
    }
}

/// Whether the text of `/proc/self/status` has the capability `CAP_IPC_LOCK`.
pub(super) fn may_lock(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    bits.is_some_and(|bits| bits & CAP_IPC_LOCK != 0)
}

/// The hard limit of open files, up to which a start raises the soft one.
pub(super) struct OpenFiles {
    /// `None` is unlimited.
    pub(super) limit: Option<u64>,
}

impl OpenFiles {
    pub(super) fn look() -> Self {
        Self {
            limit: getrlimit(Resource::Nofile).maximum,
        }
    }

    pub(super) fn judge(&self, needed: FilesNeeded) -> Finding {
        let FilesNeeded { least, most, .. } = needed;
        let check = Check {
            name: "open files",
            wanted: format!("{most}, at least {least}"),
            why: "every connection and every segment is an open file",
        };
        let limit = self.limit.unwrap_or(u64::MAX);
        let verdict = if limit < least {
            Verdict::Fail
        } else if limit < most {
            Verdict::Warn
        } else {
            Verdict::Ok
        };
        let found = self
            .limit
            .map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        check.found(
            verdict,
            found,
            format!("ulimit -Hn {most}, or LimitNOFILE={most} of the systemd unit"),
        )
    }
}

fn size(bytes: u64) -> String {
    usize::try_from(bytes).map_or_else(|_| bytes.to_string(), format_bytes)
}

/// What a shard locks at most, in bytes and in words.
const fn locked_by(driver: DriverChoice) -> (u64, &'static str) {
    match driver {
        DriverChoice::Auto | DriverChoice::Epoll | DriverChoice::Uring => (
            128 << 10,
            "the rings of the uring driver are locked memory, 128KiB per shard",
        ),
        DriverChoice::Glommio => (
            512 << 10,
            "the rings of the glommio driver are locked memory, 512KiB per shard",
        ),
    }
}

/// Number 14 of `linux/capability.h`.
const CAP_IPC_LOCK: u64 = 1 << 14;
