//! The schedule of an open loop.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// The last part of a wait that is polled, not slept, because a sleeper wakes late.
pub const POLLED: Duration = Duration::from_micros(50);

/// Instants at equal distances, whatever happens between them.
///
/// A sender that falls behind does not skip: the instants stay where they were meant, and its
/// lateness shows in the latencies.
#[derive(Debug)]
pub struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    /// A schedule of `per_second` instants that begins now.
    ///
    /// # Panics
    /// If `per_second` is zero.
    pub fn new(per_second: u32) -> Self {
        Self {
            next: Instant::now(),
            interval: Duration::from_secs(1) / per_second,
        }
    }

    /// Waits for the next instant and returns it; returns at once if it has passed. The last [`POLLED`] is not slept.
    pub fn wait(&mut self) -> Instant {
        let intended = self.next;
        self.next += self.interval;
        let left = intended.saturating_duration_since(Instant::now());
        let slept = left.saturating_sub(POLLED);
        if !slept.is_zero() {
            thread::sleep(slept);
        }
        while Instant::now() < intended {
            std::hint::spin_loop();
        }
        intended
    }
}

/// Asks the kernel to wake the calling thread on time rather than up to 50 us late.
///
/// # Errors
/// If the kernel refuses; the schedule is then that much coarser.
pub fn sharpen_sleep() -> io::Result<()> {
    let thread = std::fs::read_link("/proc/thread-self")?;
    let id = thread.file_name().unwrap_or_default();
    std::fs::write(
        std::path::Path::new("/proc").join(id).join("timerslack_ns"),
        "1",
    )
}
