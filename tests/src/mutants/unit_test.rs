//! Running one unit test of a build with a planted bug: it must fail.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::patch::UnitTest;

/// Builds the package's tests with this command and runs the one that is named; whether it passed.
pub(super) fn passes(mut cargo: Command, test: &UnitTest) -> Result<bool> {
    cargo.args(["--package", &test.package, "--lib"]);
    cargo.args(["--", &test.name]);
    cargo.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
    let output = cargo.output().context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    match verdict(&said, &test.name) {
        Some(passed) => Ok(passed),
        None => bail!(
            "the test {} of {} did not run:\n{said}{}",
            test.name,
            test.package,
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// What the test harness said of the one test whose path ends like this.
pub(super) fn verdict(said: &str, name: &str) -> Option<bool> {
    let mut results = said.lines().filter_map(|line| {
        let (path, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let is_it = path == name || path.ends_with(&format!("::{name}"));
        is_it.then_some(result)
    });
    match (results.next(), results.next()) {
        (Some("ok"), None) => Some(true),
        (Some("FAILED"), None) => Some(false),
        _ => None,
    }
}
