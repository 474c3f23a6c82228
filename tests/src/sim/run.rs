//! Runs of many seeds: threads, the summary, the last line.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::sim::coverage::Coverage;
use crate::sim::world::{Outcome, World};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many seeds.
    pub seeds: u64,
    /// The first.
    pub start: u64,
    /// Threads; 0 stands for one per core.
    pub jobs: usize,
    /// Whether a long run fails when a required counter stayed 0.
    pub needs_coverage: bool,
}

#[derive(Debug, Default)]
struct Sum {
    coverage: Coverage,
    seeds: u64,
    failures: Vec<(u64, String)>,
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Runs one seed; every hundredth twice, since a trace that differs makes every other seed worthless too.
pub fn run_seed(seed: u64) -> Outcome {
    let mut outcome = World::new(seed, false).run();
    if seed.is_multiple_of(DETERMINISM_EVERY) && outcome.failure.is_none() {
        let again = World::new(seed, false).run();
        outcome.coverage.determinism_checked += 1;
        if again.digest != outcome.digest {
            let (first, second) = (outcome.digest, again.digest);
            outcome.failure = Some(format!("not deterministic: {first:x?} and {second:x?}"));
        }
    }
    outcome
}

/// Runs seeds, then prints the failures, a summary and the last line; true if none failed.
///
/// # Errors
/// If printing fails.
pub fn run(options: &Options, out: &mut impl Write) -> io::Result<bool> {
    name_the_seed_in_panics();
    let begun = Instant::now();
    let next = AtomicU64::new(options.start);
    let end = options.start + options.seeds;
    let sum = Mutex::new(Sum::default());
    let jobs = match options.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(&next, end, &sum));
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failures.sort_unstable();
    for (seed, text) in &sum.failures {
        writeln!(out, "seed {seed} failed: {text}")?;
        writeln!(out, "  replay: cargo xtask sim --seed {seed}")?;
    }
    print_coverage(&mut sum.coverage, out)?;
    let missing = if options.needs_coverage {
        required_and_missing(&mut sum.coverage, options.seeds)
    } else {
        Vec::new()
    };
    for name in &missing {
        writeln!(out, "never met in {} seeds: {name}", sum.seeds)?;
    }
    let milliseconds = begun.elapsed().as_millis().max(1);
    let rate = u128::from(sum.seeds) * 3_600_000 / milliseconds;
    let failed = sum.failures.len() + missing.len();
    writeln!(
        out,
        "sim: {} seeds, failed {failed}, seeds_per_hour {rate}",
        sum.seeds
    )?;
    Ok(failed == 0)
}

/// What a run of that many seeds should have met and did not; a short one need not meet everything.
pub fn required_and_missing(coverage: &mut Coverage, seeds: u64) -> Vec<&'static str> {
    if seeds < COVERAGE_SEEDS_MIN {
        return Vec::new();
    }
    coverage.missing()
}

/// Runs one seed, printing what happens to standard error; true if it did not fail.
///
/// # Errors
/// If printing fails.
pub fn replay(seed: u64, is_verbose: bool, out: &mut impl Write) -> io::Result<bool> {
    name_the_seed_in_panics();
    SEED.set(seed);
    let mut outcome = World::new(seed, is_verbose).run();
    print_coverage(&mut outcome.coverage, out)?;
    let (hash, events) = outcome.digest;
    writeln!(out, "trace: {events} events, hash {hash:016x}")?;
    let failed = u8::from(outcome.failure.is_some());
    if let Some(failure) = outcome.failure {
        writeln!(out, "seed {seed} failed: {failure}")?;
    }
    writeln!(out, "sim: 1 seeds, failed {failed}, seeds_per_hour 0")?;
    Ok(failed == 0)
}

fn work(next: &AtomicU64, end: u64, sum: &Mutex<Sum>) {
    let mut own = Sum::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end || own.failures.len() >= FAILURES_MAX {
            break;
        }
        SEED.set(seed);
        let outcome = run_seed(seed);
        own.seeds += 1;
        own.coverage.add(&outcome.coverage);
        if let Some(failure) = outcome.failure {
            own.failures.push((seed, failure));
        }
    }
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    sum.seeds += own.seeds;
    sum.coverage.add(&own.coverage);
    sum.failures.append(&mut own.failures);
}

/// A failed assertion of the broker ends the process; the seed must still be known.
fn name_the_seed_in_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        let seed = SEED.get();
        let text = format!(
            "seed {seed} failed: a panic\n  replay: cargo xtask sim --seed {seed}\nsim: 1 seeds, failed 1, seeds_per_hour 0\n"
        );
        // Nothing is left to be told if even this cannot be printed.
        drop(io::stdout().write_all(text.as_bytes()));
        std::process::exit(1);
    }));
}

fn print_coverage(coverage: &mut Coverage, out: &mut impl Write) -> io::Result<()> {
    let rows = coverage.rows();
    for line in rows.chunks(4) {
        let cells: Vec<String> = line
            .iter()
            .map(|(name, count)| format!("{name:<24}{count:>10}"))
            .collect();
        writeln!(out, "  {}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

const DETERMINISM_EVERY: u64 = 100;
const COVERAGE_SEEDS_MIN: u64 = 2_000;
const FAILURES_MAX: usize = 20;
