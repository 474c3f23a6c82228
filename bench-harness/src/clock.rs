//! One clock for everything that a run measures, and the cores that its threads may use.

use std::io;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Nanoseconds since the run began, by `CLOCK_MONOTONIC`; copies agree on every thread.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that shows 0 now.
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// What it shows.
    pub fn now(&self) -> u64 {
        // 2^64 ns are more than 500 years.
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The cores that this process may run on, in their order.
///
/// # Errors
/// If the kernel does not tell.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect())
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// If the process may not use that core.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::other(format!("no core has the number {core}")));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Calls `action` on one core, if one is named; what it starts stays there, and the calling thread does not.
///
/// # Errors
/// If the process may not use that core.
pub fn on_core<T>(core: Option<usize>, action: impl FnOnce() -> T) -> io::Result<T> {
    let Some(core) = core else {
        return Ok(action());
    };
    let before = sched_getaffinity(None)?;
    pin(core)?;
    let done = action();
    sched_setaffinity(None, &before)?;
    Ok(done)
}
