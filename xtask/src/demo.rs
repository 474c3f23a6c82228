//! `cargo xtask demo`: builds the broker and the demo, and runs it.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Builds what the demo needs and nothing else, then runs it; its last line is the result.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut build = shell::cargo();
    build.args(["build", "--release"]);
    build.args(["--package", "corelane", "--bin", "corelane"]);
    build.args(["--package", "corelane-bench", "--bin", "corelane-demo"]);
    shell::run(&mut build)?;
    let folder = shell::target_dir().join("release");
    let mut demo = Command::new(folder.join("corelane-demo"));
    demo.current_dir(shell::root());
    demo.arg("--broker").arg(folder.join("corelane"));
    // The system's folder of temporary files may lie in memory, where a commit means nothing.
    demo.arg("--dir").arg(shell::target_dir());
    demo.args(arguments);
    shell::run(&mut demo)
}
