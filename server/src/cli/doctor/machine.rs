//! Checks of the machine itself: kernel, clock, frequencies, cores.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use corelane::config::DriverChoice;
use corelane::serve::usable_cores;

use super::{Check, Finding, Verdict, without_uring};

/// The release of the kernel.
pub(super) struct Kernel {
    pub(super) release: String,
}

impl Kernel {
    pub(super) fn look() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            release: release.trim().to_owned(),
        }
    }

    pub(super) fn judge(&self, driver: DriverChoice) -> Finding {
        let check = Check {
            name: "kernel",
            wanted: "6.6 or later".to_owned(),
            why: "the first with an io_uring that has all that the uring driver uses",
        };
        match numbers(&self.release) {
            Some(found) if found >= RELEASE_MIN => {
                check.found(Verdict::Ok, self.release.as_str(), "")
            }
            Some(_) => check.found(
                without_uring(driver),
                self.release.as_str(),
                "use a newer kernel, or --driver epoll",
            ),
            None => check.found(Verdict::Warn, "unknown", "uname -r"),
        }
    }
}

/// Major and minor number of a release.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

/// What the kernel reads the time from, and what a reading takes.
pub(super) struct ClockSource {
    pub(super) name: String,
    pub(super) reading: Duration,
}

impl ClockSource {
    pub(super) fn look() -> Self {
        let name = fs::read_to_string(format!("{CLOCK_SOURCE}/current_clocksource"));
        Self {
            name: name.unwrap_or_default().trim().to_owned(),
            reading: fastest_reading(),
        }
    }

    pub(super) fn judge(&self) -> Finding {
        let check = Check {
            name: "clock source",
            wanted: format!("at most {} ns a reading", READING_MAX.as_nanos()),
            why: "every turn of a shard reads the clock; a slow source makes a system call of it",
        };
        let name = if self.name.is_empty() {
            "unknown"
        } else {
            &self.name
        };
        let found = format!("{name}, {} ns a reading", self.reading.as_nanos());
        let verdict = if self.reading > READING_MAX {
            Verdict::Warn
        } else {
            Verdict::Ok
        };
        check.found(
            verdict,
            found,
            format!("cat {CLOCK_SOURCE}/available_clocksource"),
        )
    }
}

/// The fastest of some rounds: whatever else runs makes a round slower, never faster.
fn fastest_reading() -> Duration {
    let round = |_| {
        let begun = Instant::now();
        for _ in 0..READINGS {
            std::hint::black_box(Instant::now());
        }
        begun.elapsed() / READINGS
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

/// How the kernel sets the frequency of the cores that may be used.
pub(super) struct Governor {
    pub(super) governors: BTreeSet<String>,
}

impl Governor {
    pub(super) fn look() -> Self {
        let read = |core| {
            let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
            fs::read_to_string(path).ok()
        };
        let governors = usable_cores().into_iter().filter_map(read);
        Self {
            governors: governors.map(|name| name.trim().to_owned()).collect(),
        }
    }

    pub(super) fn judge(&self) -> Finding {
        let check = Check {
            name: "cpu governor",
            wanted: "performance, or none".to_owned(),
            why: "a core that slows down while it waits takes long to answer",
        };
        if self.governors.is_empty() {
            return check.found(Verdict::Ok, "none", "");
        }
        let names: Vec<_> = self.governors.iter().map(String::as_str).collect();
        let verdict = if names == ["performance"] {
            Verdict::Ok
        } else {
            Verdict::Warn
        };
        check.found(
            verdict,
            names.join(", "),
            "cpupower frequency-set -g performance",
        )
    }
}

/// The cores that the process may use, and what a control group leaves of them.
pub(super) struct Cores {
    pub(super) usable: usize,
    /// In thousandths of a core.
    pub(super) quota: Option<u64>,
}

impl Cores {
    pub(super) fn look() -> Self {
        Self {
            usable: usable_cores().len(),
            quota: least_quota(),
        }
    }

    pub(super) fn judge(&self, shards: u16) -> Finding {
        let check = Check {
            name: "cores",
            wanted: format!("{shards}, one per shard"),
            why: "shards that share a core wait for each other, and so does one beyond the quota",
        };
        let quota = self.quota.map_or_else(String::new, |quota| {
            format!(", quota of {}.{:03}", quota / 1_000, quota % 1_000)
        });
        let found = format!("{}{quota}", self.usable);
        let whole = self.quota.map_or(u64::MAX, |quota| quota / 1_000);
        let fit = whole.min(self.usable as u64).max(1);
        let verdict = if u64::from(shards) <= fit && self.quota.is_none_or(|quota| quota >= 1_000) {
            Verdict::Ok
        } else {
            Verdict::Warn
        };
        check.found(verdict, found, format!("--cores {fit}"))
    }
}

/// The least quota of the control groups that this process is in.
fn least_quota() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = std::path::Path::new(CONTROL_GROUPS).join(group);
    let folders = folder
        .ancestors()
        .take_while(|folder| folder.starts_with(CONTROL_GROUPS));
    let quotas = folders.filter_map(|folder| fs::read_to_string(folder.join("cpu.max")).ok());
    quotas.filter_map(|text| quota(&text)).min()
}

/// The text of `cpu.max` in thousandths of a core: microseconds of time in so many microseconds.
pub(super) fn quota(text: &str) -> Option<u64> {
    let (time, period) = text.trim().split_once(' ')?;
    let (time, period): (u64, u64) = (time.parse().ok()?, period.parse().ok()?);
    time.checked_mul(1_000)?.checked_div(period)
}

const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0";
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// The first kernel that the uring driver takes.
const RELEASE_MIN: (u32, u32) = (6, 6);
/// A reading in user space takes some 20 ns to 50 ns, a system call several times that.
const READING_MAX: Duration = Duration::from_nanos(150);
const READINGS: u32 = 2_000;
const ROUNDS: u32 = 20;
