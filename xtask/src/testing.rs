//! `cargo xtask test`: every test of the workspace, and the runners' own closing lines last; or those
//! that are about one driver.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;
use crate::summary::{Counts, closes_cargo_test, closes_nextest};
use crate::tools;

/// Runs the task; arguments are test name filters, after `--driver NAME` if it is about one driver.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let report = match arguments {
        [flag, driver, filters @ ..] if flag == "--driver" => tests_over(driver, filters)?,
        filters => all_tests(filters)?,
    };
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
    let mut report = Report::new();
    if !shell::is_on_path("cargo-nextest") {
        println!("note: cargo-nextest is not installed, so cargo test runs the tests");
    }
    let all = [&["--workspace", "--all-targets"], &PEERS[..]].concat();
    report.take_tests(&all, None, filters)?;
    println!("\nthe tests that start brokers, over the driver that these do not choose");
    report.take_tests(&PROCESSES, Some(OTHER_DRIVER), filters)?;
    let mut doctests = shell::cargo();
    doctests.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    report.take(doctests.args(filters), closes_cargo_test)?;
    Ok(report)
}

/// Runs the tests of the drivers, and those that start brokers over this one.
fn tests_over(driver: &str, filters: &[String]) -> Result<Report> {
    tools::announce_fuse()?;
    tools::debian_program("python3", "python3")?;
    let feature = format!("corelane/{driver}");
    let build: &[&str] = match driver {
        "glommio" => &["--features", &feature],
        _ => &[],
    };
    let mut report = Report::new();
    let own = [&["--package", "corelane", "--lib"], build].concat();
    report.take_tests(&own, Some(driver), filters)?;
    let processes = [&PROCESSES, build].concat();
    report.take_tests(&processes, Some(driver), filters)?;
    Ok(report)
}

impl Report {
    fn new() -> Self {
        Self {
            closing_lines: Vec::new(),
            counts: Counts::default(),
            is_green: true,
        }
    }

    /// Runs the tests of some targets, and has the brokers that they start run over `driver`.
    fn take_tests(
        &mut self,
        targets: &[&str],
        driver: Option<&str>,
        filters: &[String],
    ) -> Result<()> {
        let mut tests = shell::cargo();
        if let Some(driver) = driver {
            tests.env("CORELANE_TEST_DRIVER", driver);
        }
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
/// The driver that brokers do not choose by themselves where they can choose.
const OTHER_DRIVER: &str = "epoll";
/// The tests that start brokers.
const PROCESSES: [&str; 8] = [
    "--package",
    "corelane",
    "--package",
    "corelane-tests",
    "--test",
    "cli",
    "--test",
    "it",
];
