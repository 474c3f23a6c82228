//! Floors of the cores: a hop from one to another, the clock, and sleep.

use std::hint;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::pin;
use crate::pace;
use crate::record::Latencies;

/// The time in which a value written on core `from` is seen on core `to`: half of a round trip, `count` times.
///
/// # Errors
/// If the process may not run on one of the cores, or they are the same.
pub fn hop(from: usize, to: usize, count: u64) -> io::Result<Latencies> {
    if from == to {
        return Err(io::Error::other("a hop needs two cores"));
    }
    let (there, back) = (Line::default(), Line::default());
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let pinned = pin(to);
            for number in 1..=count {
                // Without its core it still answers, so that the other side does not wait for ever.
                there.wait_for(number);
                back.write(number);
            }
            pinned
        });
        let call = scope.spawn(|| {
            let pinned = pin(from);
            let mut latencies = Latencies::default();
            for number in 1..=count {
                let begin = Instant::now();
                there.write(number);
                back.wait_for(number);
                latencies.record(begin.elapsed() / 2);
            }
            pinned.map(|()| latencies)
        });
        let latencies = call.join().map_err(|_| io::Error::other("panicked"))??;
        echo.join().map_err(|_| io::Error::other("panicked"))??;
        Ok(latencies)
    })
}

/// How late a thread wakes that sleeps for `interval`, `count` times.
pub fn timer_lateness(interval: Duration, count: u64) -> Latencies {
    let sleeper = thread::spawn(move || {
        // A refusal leaves the slack of 50 us, which then shows.
        drop(pace::sharpen_sleep());
        let mut latencies = Latencies::default();
        for _ in 0..count {
            let begin = Instant::now();
            thread::sleep(interval);
            latencies.record(begin.elapsed().saturating_sub(interval));
        }
        latencies
    });
    sleeper.join().unwrap_or_default()
}

/// What one look at the clock costs, on average over a million.
pub fn clock_read() -> Duration {
    let begin = Instant::now();
    for _ in 0..CLOCK_READS {
        hint::black_box(Instant::now());
    }
    begin.elapsed() / CLOCK_READS
}

/// A cache line of its own: two of the usual 64 bytes, because neighbours are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line {
    value: AtomicU64,
}

impl Line {
    fn write(&self, value: u64) {
        self.value.store(value, Ordering::Release);
    }

    /// Spins; gives the core away now and then, in case both threads share one.
    fn wait_for(&self, value: u64) {
        let mut spins = 0_u32;
        while self.value.load(Ordering::Acquire) != value {
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(SPINS_MAX) {
                thread::yield_now();
            }
            hint::spin_loop();
        }
    }
}

const CLOCK_READS: u32 = 1_000_000;
const SPINS_MAX: u32 = 100_000;
