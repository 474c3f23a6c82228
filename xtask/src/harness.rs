//! `sim`, `mutants`, `kill-rounds`, `crowd` and `instructions`: binaries of `tests/`, built with optimisations.
//!
//! They are built with the profile `tools`: that of a release without link-time optimisation, which would cost more
//! time than it saves. What is measured (the demo, the benchmarks) is built as released.

use std::process::Command;

use anyhow::Result;

use crate::shell;
use crate::tools;

/// Runs one of the binaries with the given arguments; its last line is the result.
pub(crate) fn run(binary: &str, arguments: &[String]) -> Result<()> {
    if ["kill-rounds", "crowd"].contains(&binary) {
        // They start the real broker, which is a binary of another package.
        let mut build = shell::cargo();
        build.args(["build", "--profile", PROFILE, "--package", "corelane"]);
        shell::run(&mut build)?;
    }
    if binary == "instructions" {
        tools::debian_program("valgrind", "valgrind")?;
    }
    shell::run(&mut command(binary, arguments))
}

/// The command line of one of the binaries.
pub(crate) fn command(binary: &str, arguments: &[String]) -> Command {
    let mut command = shell::cargo();
    command.args(["run", "--profile", PROFILE, "--package", "corelane-tests"]);
    command.args(["--bin", binary, "--"]);
    command.args(arguments);
    command
}

/// See the root manifest.
const PROFILE: &str = "tools";
