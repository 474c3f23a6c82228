//! Running a built simulation until a seed fails for the reason that is expected.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A built simulation.
#[derive(Debug)]
pub(super) struct Simulation {
    binary: PathBuf,
}

/// How long a hunt may go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Seeds, beginning with 1.
    pub(super) seeds: u64,
    /// Time.
    pub(super) time: Duration,
}

/// How a hunt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hunt {
    /// A seed failed as expected.
    Caught {
        /// The first of its run that did.
        seed: u64,
        /// What it said.
        failure: String,
    },
    /// None did.
    Survived {
        /// How many seeds ran.
        seeds: u64,
        /// The first failure, if there was one that says something else.
        other: Option<String>,
    },
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) seed: u64,
    pub(super) text: String,
}

impl Simulation {
    pub(super) fn new(binary: PathBuf) -> Self {
        Self { binary }
    }

    /// Runs seeds from 1 on, in growing portions, until one fails with one of the `expected` texts.
    pub(super) fn hunt(&self, budget: &Budget, expected: &[String]) -> Result<Hunt> {
        let end = Instant::now() + budget.time;
        let mut seeds = 0;
        let mut other = None;
        let mut portion = PORTION_MIN;
        while seeds < budget.seeds {
            let count = portion.min(budget.seeds - seeds);
            let Some(failures) = self.run(seeds + 1, count, end)? else {
                return Ok(Hunt::Survived {
                    seeds,
                    other: Some(String::from("a seed did not end in time")),
                });
            };
            if let Some(found) = failures.iter().find(|failure| failure.says(expected)) {
                return Ok(Hunt::Caught {
                    seed: found.seed,
                    failure: found.text.clone(),
                });
            }
            if let (None, Some(first)) = (&other, failures.first()) {
                other = Some(format!("seed {}: {}", first.seed, first.text));
            }
            seeds += count;
            portion = (2 * portion).min(PORTION_MAX);
        }
        Ok(Hunt::Survived { seeds, other })
    }

    /// Runs `count` seeds and returns those that failed; `None` if they did not end in time.
    fn run(&self, start: u64, count: u64, end: Instant) -> Result<Option<Vec<Failure>>> {
        let (out, log) = (
            self.binary.with_extension("out"),
            self.binary.with_extension("err"),
        );
        let mut command = Command::new(&self.binary);
        command.arg("--no-coverage");
        command.args(["--start", &start.to_string(), "--seeds", &count.to_string()]);
        command.stdin(Stdio::null());
        command.env("RUST_BACKTRACE", "0");
        command
            .stdout(File::create(&out)?)
            .stderr(File::create(&log)?);
        let mut child = command.spawn().context("cannot start the simulation")?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let failures = failures(&read(&out)?, &read(&log)?);
        if status.success() == failures.is_empty() {
            return Ok(Some(failures));
        }
        bail!(
            "the simulation ended with {status} and named {} failed seeds",
            failures.len()
        )
    }
}

impl Failure {
    /// Whether one of the texts stands in it, as whole words.
    pub(super) fn says(&self, expected: &[String]) -> bool {
        expected.iter().any(|words| {
            self.text.match_indices(words.as_str()).any(|(at, found)| {
                let before = self.text[..at].chars().next_back();
                let behind = self.text[at + found.len()..].chars().next();
                !before.into_iter().chain(behind).any(char::is_alphanumeric)
            })
        })
    }
}

/// The failed seeds of a run by what it printed; of a panic, its message too.
pub(super) fn failures(out: &str, log: &str) -> Vec<Failure> {
    let mut failures = Vec::new();
    for line in out.lines() {
        let Some((seed, text)) = line
            .strip_prefix("seed ")
            .and_then(|rest| rest.split_once(" failed: "))
        else {
            continue;
        };
        let Ok(seed) = seed.parse() else { continue };
        let mut text = text.to_owned();
        if text == "a panic" {
            text = format!("a panic: {}", panic_message(log));
        }
        failures.push(Failure { seed, text });
    }
    failures
}

/// What follows the line that says where the panic was, up to the hint about backtraces.
fn panic_message(log: &str) -> String {
    let lines = log
        .lines()
        .skip_while(|line| !line.contains(" panicked at "));
    let message: Vec<&str> = lines
        .skip(1)
        .take_while(|line| !line.starts_with("note: "))
        .collect();
    message.join(" ")
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const PORTION_MIN: u64 = 8;
const PORTION_MAX: u64 = 512;
