//! `cargo xtask ci`: exactly what CI runs, stopping at the first step that fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::fuzz;
use crate::harness;
use crate::memory;
use crate::shell;
use crate::testing;
use crate::tidy;
use crate::tools;

/// Seeds of the simulation in one run of CI; a person runs ten times as many.
const SIMULATION_SEEDS: &str = "2000";
/// Seeds of the reference model in one run of CI.
const MODEL_SEEDS: &str = "300";
/// Crash states in one run of CI; the gate of a release has a million.
const CRASH_STATES: &str = "20000";

/// Bit flips in one run of CI: these in data, and every so many byte of what describes it.
const BIT_FLIPS: [&str; 4] = ["--flips", "2000", "--stride", "37"];

/// Runs all steps, then prints their times and the test runners' closing lines.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("ci takes no arguments");
    }
    let mut steps = Steps::default();
    steps.run("fmt", || cargo(&["fmt", "--all", "--check"]))?;
    steps.run("tidy", || tidy::run(&[]))?;
    steps.run("clippy", clippy)?;
    steps.run("rustdoc", rustdoc)?;
    steps.run("book", book)?;
    steps.run("deny", deny)?;
    let mut report = None;
    steps.run("tests", || {
        let tests = testing::all_tests(&[])?;
        tests.print();
        tests.check()?;
        report = Some(tests);
        Ok(())
    })?;
    steps.run("loom", || memory::loom(&[]))?;
    steps.run("simulation", || {
        harness::run("sim", &["--seeds".to_owned(), SIMULATION_SEEDS.to_owned()])
    })?;
    steps.run("model", || {
        harness::run("model", &["--seeds".to_owned(), MODEL_SEEDS.to_owned()])
    })?;
    steps.run("crash states", || {
        harness::run(
            "crash-states",
            &["--states".to_owned(), CRASH_STATES.to_owned()],
        )
    })?;
    steps.run("bit flips", || {
        harness::run("bit-flips", &BIT_FLIPS.map(str::to_owned))
    })?;
    steps.run("instructions", || harness::run("instructions", &[]))?;
    steps.run("canary", canary)?;
    steps.run("fuzz smoke", || fuzz::run(&["--smoke".to_owned()]))?;
    steps.print();
    report.expect("the step `tests` ran").print();
    Ok(())
}

#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n== ci: {name}");
        let begin = Instant::now();
        step().with_context(|| format!("step {name:?} failed"))?;
        self.done.push((name, begin.elapsed()));
        Ok(())
    }

    fn print(&self) {
        println!("\n== ci: times");
        let mut total = Duration::ZERO;
        for (name, time) in &self.done {
            println!("{name:<12} {:>7.1} s", time.as_secs_f64());
            total += *time;
        }
        println!("{:<12} {:>7.1} s", "total", total.as_secs_f64());
    }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    shell::run(shell::cargo().args(arguments))
}

/// All of it as it is built without a word, then what only the optional features compile.
fn clippy() -> Result<()> {
    let lint = |selection: &[&str]| {
        let rest = ["--all-targets", "--", "--deny", "warnings"];
        cargo(&[&["clippy"], selection, &rest].concat())
    };
    lint(&["--workspace"])?;
    lint(&[&["--package", "corelane-bench"], &testing::PEERS[..]].concat())?;
    lint(&["--package", "corelane", "--features", "glommio"])
}

fn rustdoc() -> Result<()> {
    let mut doc = shell::cargo();
    doc.args(["doc", "--workspace", "--no-deps"]);
    doc.arg("--lib");
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    shell::run(&mut doc)
}

/// Building mdbook itself takes longer than all it would tell: tidy has checked links and pages.
fn book() -> Result<()> {
    if shell::is_on_path("mdbook") {
        return shell::run(
            std::process::Command::new("mdbook")
                .args(["build", &shell::root().join("docs").to_string_lossy()]),
        );
    }
    println!("skipped: mdbook is not installed (cargo install --locked mdbook);");
    println!("tidy has checked the links of docs/ and that SUMMARY.md lists every page");
    Ok(())
}

/// Licences, bans and sources; the advisory database lies outside the registries.
fn deny() -> Result<()> {
    let tool = tools::cargo_tool("cargo-deny", None)?;
    let mut deny = std::process::Command::new(tool);
    deny.current_dir(shell::root());
    deny.args(["--all-features", "check", "--hide-inclusion-graph"]);
    deny.args(["licenses", "bans", "sources"]);
    shell::run(&mut deny)
}

/// Builds with a planted bug must fail the simulation, and some the crash states, or neither proves anything.
fn canary() -> Result<()> {
    harness::run("mutants", &["--canary".to_owned()])
}
