//! `cargo xtask test`: every test of the workspace, and the runners' own closing lines last.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;
use crate::summary::{Counts, closes_cargo_test, closes_nextest};
use crate::tools;

/// Runs the task; arguments are test name filters.
pub(crate) fn run(filters: &[String]) -> Result<()> {
    let report = all_tests(filters)?;
    report.print();
    report.check()
}

/// What the runners said.
pub(crate) struct Report {
    closing_lines: Vec<String>,
    counts: Counts,
    is_green: bool,
}

impl Report {
    /// Prints the closing lines once more, then one line with their sum.
    pub(crate) fn print(&self) {
        println!();
        for line in &self.closing_lines {
            println!("{}", line.trim());
        }
        println!("{}", self.counts);
    }

    /// An error unless everything passed; a run of no test at all has not passed.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.is_green || self.counts.failed > 0 {
            bail!("tests failed");
        }
        if self.counts.passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}

/// Runs the unit and integration tests, then the doctests.
pub(crate) fn all_tests(filters: &[String]) -> Result<Report> {
    tools::announce_fuse()?;
    // For the client in docs/, which the tests of the manual run.
    tools::debian_program("python3", "python3")?;
    let mut report = Report {
        closing_lines: Vec::new(),
        counts: Counts::default(),
        is_green: true,
    };
    let mut tests = shell::cargo();
    if shell::is_on_path("cargo-nextest") {
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        tests.args(PEERS).arg("--no-tests=pass").args(filters);
        report.take(&mut tests, closes_nextest)?;
    } else {
        println!("note: cargo-nextest is not installed, so cargo test runs the tests");
        tests.args(["test", "--workspace", "--all-targets", "--no-fail-fast"]);
        report.take(tests.args(PEERS).args(filters), closes_cargo_test)?;
    }
    report.take_processes_again(filters)?;
    let mut doctests = shell::cargo();
    doctests.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    report.take(doctests.args(filters), closes_cargo_test)?;
    Ok(report)
}

impl Report {
    /// Runs the tests that start brokers once more, over the driver that these do not choose by
    /// themselves.
    fn take_processes_again(&mut self, filters: &[String]) -> Result<()> {
        println!("\nthe tests that start brokers, with CORELANE_TEST_DRIVER={OTHER_DRIVER}");
        let mut tests = shell::cargo();
        tests.env("CORELANE_TEST_DRIVER", OTHER_DRIVER);
        let targets = ["--package", "corelane", "--package", "corelane-tests"];
        let targets = targets.iter().chain(&["--test", "cli", "--test", "it"]);
        if shell::is_on_path("cargo-nextest") {
            tests.args(["nextest", "run", "--no-fail-fast", "--no-tests=pass"]);
            self.take(tests.args(targets).args(filters), closes_nextest)
        } else {
            tests.args(["test", "--no-fail-fast"]);
            self.take(tests.args(targets).args(filters), closes_cargo_test)
        }
    }

    fn take(&mut self, command: &mut Command, closes: fn(&str) -> bool) -> Result<()> {
        let watched = shell::watch(command, closes)?;
        self.is_green &= watched.success;
        self.counts.add(Counts::of_lines(&watched.kept));
        self.closing_lines.extend(watched.kept);
        Ok(())
    }
}

/// The comparison with other brokers adds no dependency, and its tests skip what is not installed.
pub(crate) const PEERS: [&str; 2] = ["--features", "corelane-bench/peers"];

/// See `Report::take_processes_again`.
const OTHER_DRIVER: &str = "epoll";
