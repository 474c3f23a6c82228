//! `sim`, `model`, `crash-states`, `bit-flips`, `mutants`, `kill-rounds`, `backup-rounds`, `backlog`, `disk-full`, `crowd`, `figures` and `instructions`: binaries of `tests/`, built with optimisations.
//!
//! They are built with the profile `tools`: that of a release without link-time optimisation, which would cost more
//! time than it saves. What is measured (the demo, the benchmarks) is built as released.

use std::process::Command;

use anyhow::Result;

use crate::shell;
use crate::tools;

/// Runs one of the binaries with the given arguments; its last line is the result.
pub(crate) fn run(binary: &str, arguments: &[String]) -> Result<()> {
    if [
        "kill-rounds",
        "backup-rounds",
        "backlog",
        "disk-full",
        "crowd",
        "figures",
    ]
    .contains(&binary)
    {
        // They start the real broker, which is a binary of another package.
        let mut build = shell::cargo();
        build.args(["build", "--profile", PROFILE, "--package", "corelane"]);
        shell::run(&mut build)?;
    }
    if binary == "instructions" {
        tools::debian_program("valgrind", "valgrind")?;
    }
    let mut command = command(binary, arguments);
    if arguments.iter().any(|argument| argument == "--drawn") {
        let lister = tools::cargo_tool("cargo-mutants", Some(MUTANTS_VERSION))?;
        command.arg("--lister").arg(lister);
    }
    if ["crash-states", "bit-flips"].contains(&binary) {
        // Every recovery takes a window of 4 MiB of which it needs little. As a mapping of its own it is zeroed page
        // by page as it is used; otherwise a third of the time would go into zeroing it.
        command.env("MALLOC_MMAP_THRESHOLD_", "1048576");
    }
    shell::run(&mut command)
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
/// Another one may propose other mutants for the same seed.
const MUTANTS_VERSION: &str = "27.1.0";
