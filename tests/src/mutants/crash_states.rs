//! Judging the crash states of a build with a planted bug: the harness must report the harm that the patch names.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A built crash-states harness.
#[derive(Debug)]
pub(super) struct CrashStates {
    binary: PathBuf,
}

impl CrashStates {
    pub(super) fn new(binary: PathBuf) -> Self {
        Self { binary }
    }

    /// Judges so many states; the first harm, if one was done.
    pub(super) fn harm(&self, states: u64) -> Result<Option<String>> {
        let mut command = Command::new(&self.binary);
        command.args(["--states", &states.to_string()]);
        command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
        let output = command
            .output()
            .context("cannot start the crash-states harness")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let harm = first_harm(&text);
        if output.status.success() == harm.is_none() {
            return Ok(harm);
        }
        bail!(
            "the crash-states harness ended with {} and named {harm:?}",
            output.status
        )
    }
}

/// The first line that names a state and what was wrong with it.
pub(super) fn first_harm(out: &str) -> Option<String> {
    let mut lines = out.lines().filter(|line| line.starts_with("seed "));
    lines
        .find(|line| line.contains(" state "))
        .map(str::to_owned)
}
