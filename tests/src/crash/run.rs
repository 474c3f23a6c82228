//! Runs of many states: threads, the summary, the last line; and the replay of one state.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::harm::{Harm, Verdict};
use super::judge::Judge;
use super::setup::Setup;
use super::state::{Crash, Run};

pub use super::state::StateId;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many states.
    pub states: u64,
    /// The seed of the first script.
    pub seed: u64,
    /// Threads; 0 stands for one per core.
    pub jobs: usize,
}

/// What was counted, by all threads.
#[derive(Debug, Default)]
struct Totals {
    scripts: AtomicU64,
    faulty_runs: AtomicU64,
    states: AtomicU64,
    again: AtomicU64,
    lost: AtomicU64,
    wrong: AtomicU64,
    unrecovered: AtomicU64,
    slow: AtomicU64,
    longest_us: AtomicU64,
}

/// Known to the panic hook, which has to print the last line too.
static TOTALS: Totals = Totals {
    scripts: AtomicU64::new(0),
    faulty_runs: AtomicU64::new(0),
    states: AtomicU64::new(0),
    again: AtomicU64::new(0),
    lost: AtomicU64::new(0),
    wrong: AtomicU64::new(0),
    unrecovered: AtomicU64::new(0),
    slow: AtomicU64::new(0),
    longest_us: AtomicU64::new(0),
};

thread_local! {
    static STATE: Cell<(u64, StateId)> = const { Cell::new((0, StateId { run: 0, number: 0, again: None })) };
}

impl Totals {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    fn harms(&self) -> u64 {
        Self::of(&self.lost) + Self::of(&self.wrong) + Self::of(&self.unrecovered)
    }

    fn last_line(&self) -> String {
        format!(
            "crash-states: {} states, lost {}, wrong {}, unrecovered {}",
            Self::of(&self.states),
            Self::of(&self.lost),
            Self::of(&self.wrong),
            Self::of(&self.unrecovered),
        )
    }

    /// Counts a harm and prints how to see it again.
    fn report(&self, seed: u64, state: StateId, harm: &Harm) {
        let counter = match harm {
            Harm::Lost(_) => &self.lost,
            Harm::Wrong(_) => &self.wrong,
            Harm::Unrecovered(_) => &self.unrecovered,
        };
        Self::add(counter, 1);
        let text = format!(
            "seed {seed} state {state} {harm}\n  replay: cargo xtask crash-states --seed {seed} --state {state}\n"
        );
        // Nothing is left to be told if even this cannot be printed.
        drop(io::stdout().write_all(text.as_bytes()));
    }
}

/// Runs states until there were as many as asked for, then prints a summary and the last line; true if none did harm.
///
/// # Errors
/// If printing fails.
pub fn run(options: &Options, out: &mut impl Write) -> io::Result<bool> {
    name_the_state_in_panics();
    let begun = Instant::now();
    let jobs = match options.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    let seeds = AtomicU64::new(options.seed);
    let left = AtomicU64::new(options.states);
    let per_script = (options.states / (8 * jobs as u64)).clamp(PER_SCRIPT_MIN, PER_SCRIPT_MAX);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while Totals::of(&left) > 0 && TOTALS.harms() < HARMS_MAX {
                    let seed = seeds.fetch_add(1, Ordering::Relaxed);
                    Explorer {
                        seed,
                        left: &left,
                        per_script,
                    }
                    .explore();
                }
            });
        }
    });
    print_summary(begun, out)?;
    Ok(TOTALS.harms() == 0)
}

fn print_summary(begun: Instant, out: &mut impl Write) -> io::Result<()> {
    let states = Totals::of(&TOTALS.states);
    let milliseconds = begun.elapsed().as_millis().max(1);
    writeln!(
        out,
        "scripts {}, runs with a fault {}, crashes and faults within a recovery {}, states_per_second {}",
        Totals::of(&TOTALS.scripts),
        Totals::of(&TOTALS.faulty_runs),
        Totals::of(&TOTALS.again),
        u128::from(states) * 1_000 / milliseconds,
    )?;
    writeln!(
        out,
        "longest recovery {:.1} ms, slow because the machine was busy {}",
        Duration::from_micros(Totals::of(&TOTALS.longest_us)).as_secs_f64() * 1_000.0,
        Totals::of(&TOTALS.slow),
    )?;
    writeln!(out, "{}", TOTALS.last_line())
}

/// One script: states of the run without a fault, and of some with one.
struct Explorer<'a> {
    seed: u64,
    /// States that are still wanted, of all scripts.
    left: &'a AtomicU64,
    /// States of this script.
    per_script: u64,
}

impl Explorer<'_> {
    fn explore(&self) {
        Totals::add(&TOTALS.scripts, 1);
        let calls = self.explore_run(0, 0, self.per_script * 2 / 3);
        let faulty = (self.per_script / PER_FAULT).max(2);
        for run in 1..=faulty {
            if Totals::of(self.left) == 0 {
                return;
            }
            Totals::add(&TOTALS.faulty_runs, 1);
            self.explore_run(run, calls, PER_FAULT / 3);
        }
    }

    /// States of one run, spread evenly; returns the operations of the disk that it asked for.
    fn explore_run(&self, run: u64, calls: u64, states_max: u64) -> u64 {
        let id = StateId {
            run,
            ..StateId::default()
        };
        STATE.set((self.seed, id));
        let played = match Run::new(self.seed, run, calls) {
            Ok(played) => played,
            Err(harm) => {
                Totals::add(&TOTALS.states, 1);
                TOTALS.report(self.seed, id, &harm);
                return calls;
            }
        };
        let mut judge = Judge::new(&played.setup, &played.reference);
        let count = played.crashes().count() as u64;
        // What happens within recoveries takes about half of the states.
        let stride = (2 * count).div_ceil(states_max).max(1);
        let chosen = played
            .crashes()
            .filter(|crash| crash.number % stride == self.seed % stride);
        for (index, crash) in chosen.enumerate() {
            let state = StateId {
                number: crash.number,
                ..id
            };
            if !self.look(state, || played.judge(&mut judge, crash)) {
                break;
            }
            if index.is_multiple_of(AGAIN_EVERY) {
                self.look_again(state, (&played, crash), &mut judge);
            }
        }
        Totals::add(&TOTALS.slow, judge.slow);
        let longest = u64::try_from(judge.longest.as_micros()).unwrap_or(u64::MAX);
        TOTALS.longest_us.fetch_max(longest, Ordering::Relaxed);
        played.played.calls
    }

    /// Crashes and faults within the recovery from a state.
    fn look_again(&self, state: StateId, (run, crash): (&Run, Crash), judge: &mut Judge<'_>) {
        // One that fails was reported as the state itself.
        let Ok(recovery) = run.recovery(crash) else {
            return;
        };
        let agains = recovery.agains(self.seed ^ crash.number);
        for (number, again) in (1..).zip(agains) {
            let state = StateId {
                again: Some(number),
                ..state
            };
            let is_wanted = self.look(state, || run.judge_again(judge, (crash, &again), &recovery));
            if !is_wanted {
                return;
            }
            Totals::add(&TOTALS.again, 1);
        }
    }

    /// Judges one state, if one is still wanted; false if none is.
    fn look(&self, state: StateId, judge: impl FnOnce() -> Verdict) -> bool {
        let take = |left: u64| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if taken.is_err() || TOTALS.harms() >= HARMS_MAX {
            return false;
        }
        STATE.set((self.seed, state));
        Totals::add(&TOTALS.states, 1);
        if let Err(harm) = judge() {
            TOTALS.report(self.seed, state, &harm);
        }
        true
    }
}

/// Judges one state again, and prints what it is; true if it did no harm.
///
/// # Errors
/// If printing fails.
pub fn replay(seed: u64, state: StateId, out: &mut impl Write) -> io::Result<bool> {
    name_the_state_in_panics();
    STATE.set((seed, state));
    writeln!(out, "{:?}", Setup::draw(seed))?;
    let verdict = match look_at(seed, state, out)? {
        Ok(verdict) => verdict,
        Err(missing) => {
            writeln!(out, "{missing}")?;
            return Ok(false);
        }
    };
    Totals::add(&TOTALS.states, 1);
    if let Err(harm) = &verdict {
        TOTALS.report(seed, state, harm);
    }
    writeln!(out, "{}", TOTALS.last_line())?;
    Ok(verdict.is_ok())
}

/// The verdict over one state, or why there is no such state.
fn look_at(seed: u64, state: StateId, out: &mut impl Write) -> io::Result<Result<Verdict, String>> {
    let run = match Run::new(seed, 0, 0) {
        Ok(first) if state.run > 0 => Run::new(seed, state.run, first.played.calls),
        first => first,
    };
    let run = match run {
        Ok(run) => run,
        Err(harm) => return Ok(Ok(Err(harm))),
    };
    writeln!(out, "fault: {:?}", run.fault)?;
    if state.number == 0 {
        return Ok(Ok(Ok(())));
    }
    let Some(crash) = run.crashes().find(|crash| crash.number == state.number) else {
        return Ok(Err(format!("there is no state {state}")));
    };
    writeln!(
        out,
        "after {} changes, then {:?}",
        crash.changes, crash.choice
    )?;
    for write in run.disk(crash.changes).unsynced() {
        writeln!(out, "  not synced: {write:?}")?;
    }
    if let Some(moment) = run.played.moments.get(crash.changes) {
        writeln!(out, "  next would be {:?}", moment.change)?;
    }
    let required = run.reference.required(crash.changes);
    writeln!(out, "  confirmed up to {required}")?;
    let mut judge = Judge::new(&run.setup, &run.reference);
    let Some(number) = state.again else {
        return Ok(Ok(run.judge(&mut judge, crash)));
    };
    let recovery = match run.recovery(crash) {
        Ok(recovery) => recovery,
        Err(harm) => return Ok(Ok(Err(harm))),
    };
    let agains = recovery.agains(seed ^ crash.number);
    let again = (1..).zip(&agains).find(|(at, _)| *at == number);
    let Some((_, again)) = again else {
        return Ok(Err(format!("there is no state {state}")));
    };
    writeln!(out, "  within its recovery {again:?}")?;
    Ok(Ok(run.judge_again(&mut judge, (crash, again), &recovery)))
}

/// A failed assertion of the broker ends the process; the state must still be known.
fn name_the_state_in_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        let (seed, state) = STATE.get();
        TOTALS.report(seed, state, &Harm::Unrecovered("a panic".to_owned()));
        drop(io::stdout().write_all(format!("{}\n", TOTALS.last_line()).as_bytes()));
        std::process::exit(1);
    }));
}

/// States of one script at least and at most.
const PER_SCRIPT_MIN: u64 = 600;
const PER_SCRIPT_MAX: u64 = 20_000;
/// For so many states of a script one run has a fault.
const PER_FAULT: u64 = 300;
/// Of so many states one has crashes and faults within its recovery.
const AGAIN_EVERY: usize = 100;
/// Harms after which a run ends.
const HARMS_MAX: u64 = 20;
