//! Mutants that cargo-mutants proposes and a seed draws: many small changes that nobody thought of.
//!
//! Each is run against the unit tests of its package; one that lives through them meets the simulation and the crash
//! states for a while, of which any failure counts.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use super::scratch::Scratch;
use super::simulation::{Budget, Hunt};
use crate::sim::random::splitmix;

/// The packages in which mutants are drawn.
const PACKAGES: [&str; 2] = ["corelane-core", "corelane-storage"];
/// A change that makes a test endless is found by this, or by what so many runs of the unchanged tests take.
const TEST_TIME: Duration = Duration::from_mins(5);
const TEST_TIMES: u32 = 5;
/// What a mutant that its unit tests did not find meets then.
const SEEDS: u64 = 256;
const STATES: u64 = 5_000;
const HUNT_TIME_MAX: Duration = Duration::from_mins(20);

/// One proposal, as `cargo mutants --list --json --diff` prints it.
#[derive(Debug, Deserialize)]
pub(super) struct Proposal {
    package: String,
    pub(super) name: String,
    file: String,
    diff: String,
}

/// What became of one.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    /// By what.
    Caught(String),
    Missed,
    /// It does not compile.
    Unviable,
}

/// Which mutants are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// So many that compile.
    pub count: usize,
    /// What draws them.
    pub seed: u64,
    /// Behind so many of its draws.
    pub skip: usize,
}

/// Draws until so many mutants that compile have met the tests; how many were caught.
pub(super) fn run(scratch: &Scratch, lister: &Path, draw: &Draw) -> Result<usize> {
    let Draw { count, seed, skip } = *draw;
    let proposals = drawn(list(scratch, lister)?, seed);
    println!("{} mutants proposed, drawn by seed {seed}", proposals.len());
    let time_max = control(scratch)?;
    let (mut met, mut caught, mut missed) = (0, 0, Vec::new());
    for (proposal, number) in proposals.iter().zip(1..).skip(skip) {
        if met == count {
            break;
        }
        let begun = Instant::now();
        let fate = fate(scratch, proposal, time_max).with_context(|| proposal.name.clone())?;
        let said = match &fate {
            Fate::Caught(by) => by,
            Fate::Missed => "MISSED",
            Fate::Unviable => "does not compile, not counted",
        };
        let seconds = begun.elapsed().as_secs_f64();
        println!("{number}. {}\n    {said}, {seconds:.1} s", proposal.name);
        met += usize::from(fate != Fate::Unviable);
        caught += usize::from(matches!(fate, Fate::Caught(_)));
        if fate == Fate::Missed {
            missed.push(&proposal.name);
        }
    }
    ensure!(
        met == count,
        "only {met} mutants that compile were proposed"
    );
    for name in missed {
        println!("missed: {name}");
    }
    Ok(caught)
}

fn list(scratch: &Scratch, lister: &Path) -> Result<Vec<Proposal>> {
    let mut command = Command::new(lister);
    command.current_dir(scratch.tree());
    command.args(["mutants", "--list", "--json", "--diff"]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", lister.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("the list of cargo-mutants")
}

/// The proposals in the order in which the seed draws them.
pub(super) fn drawn(mut proposals: Vec<Proposal>, seed: u64) -> Vec<Proposal> {
    proposals.sort_by(|one, other| one.name.cmp(&other.name));
    let mut state = seed;
    for last in (1..proposals.len()).rev() {
        let at = splitmix(&mut state) % (last as u64 + 1);
        proposals.swap(last, usize::try_from(at).expect("an index"));
    }
    proposals
}

impl Proposal {
    /// The change as `git apply` reads it: in its own header the new path is a description.
    pub(super) fn patch(&self) -> String {
        let mut patch = format!("--- a/{0}\n+++ b/{0}\n", self.file);
        for line in self.diff.lines().skip(2) {
            writeln!(patch, "{line}").expect("a string takes it");
        }
        patch
    }
}

/// Without any mutant the unit tests pass, or a failure means nothing; how long they may take with one.
fn control(scratch: &Scratch) -> Result<Duration> {
    let mut longest = Duration::ZERO;
    for package in PACKAGES {
        let is_built = unit_tests(scratch, package, &["--no-run"]).status()?;
        ensure!(is_built.success(), "the tests of {package} do not compile");
        let begun = Instant::now();
        let passed = unit_tests(scratch, package, &[]).status()?;
        ensure!(
            passed.success(),
            "the tests of {package} fail without any mutant"
        );
        longest = longest.max(begun.elapsed());
    }
    Ok(TEST_TIME.max(TEST_TIMES * longest))
}

fn unit_tests(scratch: &Scratch, package: &str, rest: &[&str]) -> Command {
    let mut command = scratch.cargo("test");
    command.args(["--quiet", "--package", package, "--lib"]);
    command.args(rest);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    command
}

fn fate(scratch: &Scratch, proposal: &Proposal, time_max: Duration) -> Result<Fate> {
    scratch.restore()?;
    scratch.apply_text(&proposal.name, &proposal.patch())?;
    let test = |rest: &[&str]| unit_tests(scratch, &proposal.package, rest);
    if !test(&["--no-run"]).status()?.success() {
        return Ok(Fate::Unviable);
    }
    match succeeds(&mut test(&[]), time_max)? {
        Some(true) => {}
        Some(false) => return Ok(Fate::Caught("caught by unit tests".to_owned())),
        None => return Ok(Fate::Caught("caught: unit tests do not end".to_owned())),
    }
    let (simulation, crash_states) = scratch.build()?;
    let budget = Budget {
        seeds: SEEDS,
        time: HUNT_TIME_MAX,
    };
    let caught = |by: &str, said: &str| Ok(Fate::Caught(format!("caught by {by}: {said}")));
    match simulation.hunt(&budget, &[])? {
        Hunt::Survived { other: None, .. } => {}
        Hunt::Survived {
            other: Some(said), ..
        }
        | Hunt::Caught { failure: said, .. } => return caught("the simulation", &said),
    }
    match crash_states.harm(STATES)? {
        Some(said) => caught("the crash states", &said),
        None => Ok(Fate::Missed),
    }
}

/// Whether the command succeeded; `None` if it did not end in time and was killed with all that it started.
fn succeeds(command: &mut Command, time_max: Duration) -> Result<Option<bool>> {
    let mut child = command.process_group(0).spawn()?;
    let end = Instant::now() + time_max;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() > end {
            kill_process_group(Pid::from_child(&child), Signal::KILL)?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
