//! Programs that some tasks need beyond rustc and cc.
//!
//! A missing one is installed where that is possible, saying so; otherwise the error names the
//! command to type.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Folder of the cargo tools that we installed ourselves: nothing outside `target/` is touched.
fn folder() -> PathBuf {
    shell::target_dir().join("tools")
}

/// Path of a cargo tool: the user's own one, or ours, installed at the first need, in this version if it matters.
pub(crate) fn cargo_tool(name: &str, version: Option<&str>) -> Result<PathBuf> {
    if shell::is_on_path(name) {
        return Ok(PathBuf::from(name));
    }
    let ours = folder().join("bin").join(name);
    if ours.is_file() {
        return Ok(ours);
    }
    println!("{name} is not installed: building it once into target/tools (minutes)");
    let wanted = version.map_or_else(|| name.to_owned(), |version| format!("{name}@{version}"));
    let mut install = shell::cargo();
    install
        .args(["install", "--locked", "--quiet", &wanted, "--root"])
        .arg(folder());
    shell::run(&mut install).with_context(|| {
        format!("{name} could not be installed; type: cargo install --locked {wanted}")
    })?;
    Ok(ours)
}

/// Makes sure that a program of a Debian package is there.
pub(crate) fn debian_program(program: &str, package: &str) -> Result<()> {
    if shell::is_on_path(program) {
        return Ok(());
    }
    let by_hand = format!("apt-get update && apt-get install -y {package}");
    if !shell::is_on_path("apt-get") || !is_root()? {
        bail!("`{program}` is missing; type as root: {by_hand}");
    }
    println!("`{program}` is missing: installing the package {package}");
    let mut install = Command::new("sh");
    install.args(["-c", &by_hand]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    shell::run(&mut install)
}

/// Says what the FUSE tests will do on this machine. Root mounts without any helper program.
pub(crate) fn announce_fuse() -> Result<()> {
    if !PathBuf::from("/dev/fuse").exists() {
        println!("note: no /dev/fuse here, so the tests that mount a faulty disk skip themselves");
    } else if !is_root()? && !shell::is_on_path("fusermount3") {
        println!("note: the tests that mount a faulty disk need root, or: apt-get install fuse3");
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc")?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    Ok(uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0"))
}
