//! Runs of many seeds: threads, what failed, the pairs that were met, the last line.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::coverage::Coverage;
use super::operations::{Mood, Operation};
use super::perform::World;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many seeds.
    pub seeds: u64,
    /// The first.
    pub seed: u64,
    /// Operations of each.
    pub steps: u64,
    /// Threads; 0 stands for one per core.
    pub jobs: usize,
    /// Whether a long run fails when a pair of features never met.
    pub needs_pairs: bool,
}

#[derive(Default)]
struct Sum {
    coverage: Coverage,
    seeds: u64,
    failures: Vec<(u64, String)>,
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
    static DOING: RefCell<Option<(u64, Operation)>> = const { RefCell::new(None) };
}

/// Runs one seed; says what it met, or what failed.
pub(super) fn run_seed(seed: u64, steps: u64) -> Result<Coverage, String> {
    SEED.set(seed);
    let mut world = World::new(Mood::new(seed));
    let begun = world.begin();
    begun.map_err(|reason| format!("at the start: {reason}"))?;
    for step in 0..steps {
        let operation = world.mood.draw(&world.pair);
        DOING.set(Some((step, operation.clone())));
        let done = world.perform(&operation);
        done.map_err(|reason| format!("step {step}, {operation:?}: {reason}"))?;
    }
    DOING.set(None);
    world
        .drain()
        .map_err(|reason| format!("at the end: {reason}"))
}

/// Runs seeds, then prints the failures and the last line; true if none failed and every pair was met.
///
/// # Errors
/// If printing fails.
pub fn run(options: &Options, out: &mut impl Write) -> io::Result<bool> {
    name_the_seed_in_panics();
    let next = AtomicU64::new(options.seed);
    let sum = Mutex::new(Sum::default());
    let jobs = match options.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(options, &next, &sum));
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failures.sort_unstable();
    for (seed, text) in &sum.failures {
        writeln!(out, "seed {seed} failed: {text}")?;
        writeln!(out, "  replay: cargo xtask model --seed {seed} --seeds 1")?;
    }
    let missing = if options.needs_pairs && options.seeds >= PAIRS_SEEDS_MIN {
        sum.coverage.missing()
    } else {
        Vec::new()
    };
    for (one, other) in &missing {
        writeln!(out, "never met in {} seeds: {one} and {other}", sum.seeds)?;
    }
    let (met, pairs) = sum.coverage.pairs();
    let failed = sum.failures.len();
    writeln!(
        out,
        "model: {} seeds, failed {failed}, pairs {met} of {pairs}",
        sum.seeds
    )?;
    Ok(failed == 0 && missing.is_empty())
}

fn work(options: &Options, next: &AtomicU64, sum: &Mutex<Sum>) {
    let mut own = Sum::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= options.seed + options.seeds || own.failures.len() >= FAILURES_MAX {
            break;
        }
        own.seeds += 1;
        match run_seed(seed, options.steps) {
            Ok(coverage) => own.coverage.add(&coverage),
            Err(failure) => own.failures.push((seed, failure)),
        }
    }
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    sum.seeds += own.seeds;
    sum.coverage.add(&own.coverage);
    sum.failures.append(&mut own.failures);
}

/// A failed assertion of the engine ends the process; the seed and the operation must still be known.
fn name_the_seed_in_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        let seed = SEED.get();
        let doing = DOING.take();
        let text = format!(
            "seed {seed} failed: a panic\n  doing: {doing:?}\n  replay: cargo xtask model --seed {seed} --seeds 1\nmodel: 1 seeds, failed 1, pairs 0 of 0\n"
        );
        // Nothing is left to be told if even this cannot be printed.
        drop(io::stdout().write_all(text.as_bytes()));
        std::process::exit(1);
    }));
}

/// Fewer seeds need not meet every pair.
const PAIRS_SEEDS_MIN: u64 = 2_000;
const FAILURES_MAX: usize = 5;
