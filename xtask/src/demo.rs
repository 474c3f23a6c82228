//! `cargo xtask demo` and `cargo xtask floor-ratio`: the broker as released, and a program that runs it.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

use crate::shell;

/// Builds what the demo needs and nothing else, then runs it; its last line is the result.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let folder = build("corelane-demo")?;
    let mut demo = Command::new(folder.join("corelane-demo"));
    demo.current_dir(shell::root());
    demo.arg("--broker").arg(folder.join("corelane"));
    // The system's folder of temporary files may lie in memory, where a commit means nothing.
    demo.arg("--dir").arg(shell::target_dir());
    demo.args(arguments);
    shell::run(&mut demo)
}

/// Measures the broker beside the floors; the last line is the result, and the status says whether it is near enough.
pub(crate) fn floor_ratio(arguments: &[String]) -> Result<ExitStatus> {
    let folder = build("corelane-bench")?;
    let mut bench = Command::new(folder.join("corelane-bench"));
    bench.current_dir(shell::root());
    bench
        .arg("floor-ratio")
        .arg("--dir")
        .arg(shell::target_dir());
    bench.args(arguments);
    let line = shell::shown(&bench);
    println!("$ {line}");
    bench
        .status()
        .with_context(|| format!("cannot start `{line}`"))
}

/// Builds the broker and a binary of the harness; the folder with both.
fn build(binary: &str) -> Result<PathBuf> {
    let mut build = shell::cargo();
    build.args(["build", "--release"]);
    build.args(["--package", "corelane", "--bin", "corelane"]);
    build.args(["--package", "corelane-bench", "--bin", binary]);
    shell::run(&mut build)?;
    Ok(shell::target_dir().join("release"))
}
