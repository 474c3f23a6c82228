//! Bit flips: what one bit that goes bad does to a data directory, bit by bit.
//!
//! A directory is what a script of `super::script` left, after a crash in which every write reached the media: closed
//! segments with footers, two generations of checkpoints, a superblock and a tail. One bit is flipped, and the
//! directory is opened as a start does it; then every record is read as for a delivery, and every chunk of the
//! checkpoints as for an engine. A flip must be harmless, or somebody must have been told; what is handed out is right.

mod directory;
mod places;
mod report;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use self::directory::Directory;
use self::places::Flip;
use self::report::Report;
use crate::sim::random::{Concern, Random};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Random flips in the data of closed segments; a tenth as many in each of the other kinds of random places.
    pub flips: u64,
    /// Of the bytes that are all flipped, every so many one.
    pub stride: usize,
    /// The seed of the first script.
    pub seed: u64,
    /// Threads; 0 stands for one per core.
    pub jobs: usize,
}

/// What came of one flip.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    /// Every record and every chunk is as it was written.
    Harmless,
    /// Somebody was told: the start was refused, the partition is damaged, an older checkpoint was taken, a read
    /// failed. What was read is right.
    Detected,
    /// The last block was cut with a word to the log, since nothing attests it: the one documented loss.
    Cut,
    /// Something was handed out that was never written.
    Wrong(String),
    /// Something is gone, and nobody was told.
    Undetected(String),
    /// An assertion failed.
    Panic(String),
}

/// Flips bits, then prints a table and the last line; true if none did harm.
///
/// # Errors
/// If printing fails.
pub fn run(options: &Options, out: &mut impl Write) -> io::Result<bool> {
    let begun = Instant::now();
    // Panics are outcomes; what they say is in the report.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let report = flip_all(options);
    std::panic::set_hook(hook);
    report.print(begun.elapsed(), out)?;
    Ok(report.is_clean())
}

fn flip_all(options: &Options) -> Report {
    let mut report = Report::default();
    let mut seeds = options.seed..;
    for (number, directory) in (0..SCRIPTS).zip(seeds.by_ref().filter_map(Directory::new)) {
        let mut random = Random::stream(directory.seed(), Concern::Nemesis);
        let places = directory.places();
        let mut flips = places.random(options.flips / SCRIPTS, &mut random);
        if number == 0 {
            flips.extend(places.every(options.stride, &mut random));
        }
        judge_all(&directory, &flips, options.jobs, &mut report);
    }
    report
}

fn judge_all(directory: &Directory, flips: &[Flip], jobs: usize, report: &mut Report) {
    let jobs = match jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    let next = AtomicUsize::new(0);
    let shared = Mutex::new(report);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(flip) = flips.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = judge(directory, flip);
                    let mut report = shared.lock().expect("nobody panics while counting");
                    report.count(directory.seed(), flip, outcome);
                }
            });
        }
    });
}

fn judge(directory: &Directory, flip: &Flip) -> Outcome {
    let judged = catch_unwind(AssertUnwindSafe(|| directory.judge(flip)));
    judged.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Outcome::Panic(text.unwrap_or_default())
    })
}

/// Directories over which random flips are spread.
const SCRIPTS: u64 = 8;

#[cfg(test)]
mod tests;
