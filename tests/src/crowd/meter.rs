//! What a process uses, as the kernel counts it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Looks at a running process from outside.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    process: u32,
}

impl Meter {
    /// A meter of the process with this id.
    pub const fn new(process: u32) -> Self {
        Self { process }
    }

    /// Bytes of memory that the process has resident.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_bytes(self) -> anyhow::Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most bytes of memory that the process has had resident.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_bytes_max(self) -> anyhow::Result<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let text = line.context("the process has no memory: it has ended")?;
        let kilobytes: u64 = text.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes * 1_024)
    }

    /// Processor time that the process uses in `during`, in percent of one core.
    ///
    /// # Errors
    /// If the process ends meanwhile.
    pub fn cpu_percent(self, during: Duration) -> anyhow::Result<f64> {
        let (start, before) = (Instant::now(), self.cpu_time()?);
        // The measurement is of this stretch of time; nothing is waited for.
        thread::sleep(during);
        let used = self.cpu_time()?.saturating_sub(before);
        Ok(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64())
    }

    /// Of all its threads, in user space and in the kernel.
    fn cpu_time(self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        // The program's name stands in brackets and may hold blanks; state is the first field behind it.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [user, system] = [11, 12].map(|at| fields.get(at).and_then(|text| text.parse().ok()));
        let ticks: u64 = user.context("no user time")? + system.unwrap_or(0_u64);
        Ok(Duration::from_millis(
            ticks * 1_000 / rustix::param::clock_ticks_per_second(),
        ))
    }
}

/// Raises this process's limit of open files as far as it may, and fails if that is below `needed`.
///
/// # Errors
/// If the hard limit is too low.
pub fn raise_file_limit(needed: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|hard| hard < needed) {
        bail!(
            "{needed} open files are needed and {:?} allowed: raise the hard limit",
            limit.maximum
        );
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(())
}
