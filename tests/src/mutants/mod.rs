//! Mutants: builds of the broker with one planted bug each, which the simulation must find.
//!
//! A simulation that passes proves nothing unless it fails when it should. Every file in `tests/mutants/` is a small
//! patch of production code; it is applied to a scratch copy of the workspace, the simulation is built there and runs
//! seed after seed until it fails. The mutant is caught if a seed breaks the rule that its patch names: a build that
//! fails for another reason has shown nothing about that rule. A mutant may name the reference model instead of the
//! simulation; one in code that neither can bring into trouble names the unit test that must fail.
#![expect(
    clippy::print_stdout,
    reason = "progress and verdicts are what this prints"
)]

mod crash_states;
mod drawn;
mod patch;
mod scratch;
mod simulation;
mod unit_test;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crash_states::CrashStates;
pub use drawn::Draw;
use patch::Mutant;
use scratch::Scratch;
use simulation::{Budget, Hunt};

/// Which mutants to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those marked as canaries.
    Canaries,
    /// Those of these names.
    Named(Vec<String>),
}

/// Prints the mutants of the repository at `root`.
///
/// # Errors
/// If a patch cannot be read, or a name is unknown.
pub fn list(root: &Path, selection: &Selection) -> Result<()> {
    for mutant in select(root, selection)? {
        let mark = if mutant.is_canary { "canary" } else { "" };
        println!("{:<37} {mark:<7} {}", mutant.name, mutant.expected());
        println!("    {}", mutant.about);
    }
    Ok(())
}

/// Hunts every mutant for at most `seeds_max` seeds; true if all were caught.
///
/// # Errors
/// If the unchanged build fails, a patch does not apply, or a mutant does not compile.
pub fn run(root: &Path, selection: &Selection, seeds_max: u64) -> Result<bool> {
    let mutants = select(root, selection)?;
    let scratch = Scratch::new(root)?;
    control(&scratch)?;
    let mut caught = 0;
    for mutant in &mutants {
        print!("{:<37} {:<35} ", mutant.name, mutant.expected());
        std::io::stdout().flush()?;
        scratch.restore()?;
        if let Some(test) = &mutant.test
            && !scratch.passes(test)?
        {
            bail!(
                "{} fails without any mutant, so it proves nothing",
                test.name
            );
        }
        scratch.apply(&mutant.path)?;
        let is_caught = is_caught(mutant, &scratch, seeds_max);
        caught += usize::from(is_caught.with_context(|| format!("mutant {}", mutant.name))?);
    }
    scratch.restore()?;
    println!("mutants: caught {caught} of {}", mutants.len());
    Ok(caught == mutants.len())
}

/// Draws some of the mutants that cargo-mutants proposes, and hunts them; true if nine of ten were caught.
///
/// # Errors
/// If the unchanged build fails, or `lister`, the program cargo-mutants, does.
pub fn run_drawn(root: &Path, lister: &Path, draw: &Draw) -> Result<bool> {
    let scratch = Scratch::new(root)?;
    control(&scratch)?;
    let caught = drawn::run(&scratch, lister, draw)?;
    scratch.restore()?;
    let count = draw.count;
    println!("mutants: caught {caught} of {count}");
    Ok(10 * caught >= 9 * count)
}

/// Whether everything that must find the mutant does; it is applied.
fn is_caught(mutant: &Mutant, scratch: &Scratch, seeds_max: u64) -> Result<bool> {
    let begun = Instant::now();
    let mut is_caught = true;
    if !mutant.expect.is_empty() {
        let (simulation, crash_states) = scratch.build()?;
        let budget = Budget {
            seeds: seeds_max,
            time: HUNT_TIME_MAX,
        };
        let hunt = simulation.hunt(&budget, &mutant.expect)?;
        println!("{}", told(&hunt, begun.elapsed()));
        is_caught &= matches!(hunt, Hunt::Caught { .. });
        is_caught &= is_harm_found(mutant, &crash_states)?;
    }
    if !mutant.model.is_empty() {
        let budget = Budget {
            seeds: seeds_max,
            time: HUNT_TIME_MAX,
        };
        let hunt = scratch.build_model()?.hunt(&budget, &mutant.model)?;
        println!("model: {}", told(&hunt, begun.elapsed()));
        is_caught &= matches!(hunt, Hunt::Caught { .. });
    }
    if let Some(test) = &mutant.test {
        let passes = scratch.passes(test)?;
        let verdict = if passes { "SURVIVED" } else { "failed" };
        println!(
            "{verdict} {:.1} s\n    {}",
            begun.elapsed().as_secs_f64(),
            test.name
        );
        is_caught &= !passes;
    }
    Ok(is_caught)
}

fn told(hunt: &Hunt, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match hunt {
        Hunt::Caught { seed, failure } => {
            format!(
                "seed {seed:<4} {seconds:>6.1} s\n    {}",
                shortened(failure)
            )
        }
        Hunt::Survived { seeds, other } => {
            let other = other.as_deref().unwrap_or("no seed failed");
            format!("SURVIVED {seeds} seeds, {seconds:.1} s\n    {other}")
        }
    }
}

/// What a line of a terminal takes.
fn shortened(text: &str) -> String {
    if text.chars().count() <= FAILURE_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(FAILURE_CHARS_MAX).collect();
    short.push_str(" ...");
    short
}

fn select(root: &Path, selection: &Selection) -> Result<Vec<Mutant>> {
    let mut mutants = patch::load(root)?;
    match selection {
        Selection::All => {}
        Selection::Canaries => mutants.retain(|mutant| mutant.is_canary),
        Selection::Named(names) => {
            if let Some(unknown) = names
                .iter()
                .find(|name| mutants.iter().all(|mutant| mutant.name != **name))
            {
                bail!("there is no mutant {unknown:?}: see --list");
            }
            mutants.retain(|mutant| names.contains(&mutant.name));
        }
    }
    Ok(mutants)
}

/// The same build without a patch must pass, or a failure of a mutant means nothing.
fn control(scratch: &Scratch) -> Result<()> {
    let begun = Instant::now();
    scratch.restore()?;
    let (simulation, crash_states) = scratch.build().context("the unchanged build")?;
    let built = begun.elapsed().as_secs_f64();
    let budget = Budget {
        seeds: CONTROL_SEEDS,
        time: HUNT_TIME_MAX,
    };
    let model = scratch.build_model()?.hunt(&budget, &[])?;
    if let Hunt::Survived {
        other: Some(failure),
        ..
    }
    | Hunt::Caught { failure, .. } = model
    {
        bail!("the model fails without any mutant, so mutants prove nothing: {failure}");
    }
    if let Some(harm) = crash_states.harm(CONTROL_STATES)? {
        bail!("the crash states do harm without any mutant, so mutants prove nothing: {harm}");
    }
    match simulation.hunt(&budget, &[])? {
        Hunt::Survived { other: None, .. } => {
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "control: {CONTROL_SEEDS} seeds and {CONTROL_STATES} crash states passed, {seconds:.1} s, {built:.1} s of them for the build"
            );
            Ok(())
        }
        Hunt::Survived {
            other: Some(failure),
            ..
        }
        | Hunt::Caught { failure, .. } => {
            bail!("the simulation fails without any mutant, so mutants prove nothing: {failure}")
        }
    }
}

/// Whether the crash states report the harm that the mutant names, if it names one.
fn is_harm_found(mutant: &Mutant, crash_states: &CrashStates) -> Result<bool> {
    if mutant.harms.is_empty() {
        return Ok(true);
    }
    let harm = crash_states.harm(CRASH_STATES_MAX)?;
    let is_expected = |harm: &String| {
        let mut kinds = mutant.harms.iter();
        kinds.any(|kind| harm.contains(&format!(" {kind}: ")))
    };
    let is_found = harm.as_ref().is_some_and(is_expected);
    let said = harm.as_deref().unwrap_or("no harm was done");
    let verdict = if is_found { "" } else { "SURVIVED " };
    println!("    {verdict}crash states: {}", shortened(said));
    Ok(is_found)
}

/// Seeds and crash states that the unchanged build must pass.
const CONTROL_SEEDS: u64 = 64;
const CONTROL_STATES: u64 = 1_000;
/// A mutant that lives through so many crash states has survived.
const CRASH_STATES_MAX: u64 = 20_000;
/// A mutant that makes a seed endless is not caught by it.
const HUNT_TIME_MAX: Duration = Duration::from_mins(10);
/// How much of a failure is shown; a replay of the seed would show all.
const FAILURE_CHARS_MAX: usize = 110;
