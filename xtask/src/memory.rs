//! `cargo xtask loom` and `cargo xtask miri`: what the compiler cannot know about shared memory.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// The models of the mailbox: the interleavings of a few steps.
pub(crate) fn loom(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("loom takes no arguments");
    }
    let mut models = shell::cargo();
    models.args(["test", "--profile", "tools", "-p", "corelane-core"]);
    models.args(["--lib", "mailbox::models"]);
    models.env("RUSTFLAGS", "--cfg loom");
    // Other flags mean another build of everything; it must not replace the usual one.
    models.env("CARGO_TARGET_DIR", shell::target_dir().join("loom"));
    shell::run(&mut models)
}

/// The unit tests of `wire` and `core` under Miri, or those that match; it needs a nightly toolchain.
pub(crate) fn miri(filters: &[String]) -> Result<()> {
    let has_miri = Command::new("cargo")
        .args(["+nightly", "miri", "--version"])
        .output()
        .is_ok_and(|answer| answer.status.success());
    if !has_miri {
        bail!(
            "Miri is not installed; type: rustup toolchain install nightly --component miri,rust-src"
        );
    }
    let mut tests = Command::new("cargo");
    tests.current_dir(shell::root());
    tests.args(["+nightly", "miri", "test", "--lib"]);
    tests.args(["-p", "corelane-wire", "-p", "corelane-core"]);
    tests.arg("--").args(filters);
    // Property tests keep their failures in files, which Miri forbids otherwise; it is a thousand times slower, so
    // that few cases must do.
    tests.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    tests.env("PROPTEST_CASES", "4");
    tests.env("CARGO_TARGET_DIR", shell::target_dir().join("miri"));
    // `cargo xtask` names its own toolchain to its children.
    tests.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    shell::run(&mut tests)
}
