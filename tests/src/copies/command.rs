//! `corelane backup` and `corelane restore` as processes.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::bail;

/// A command of the binary that is tested, without an input and with its outputs piped.
pub fn corelane(binary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Takes a backup; returns what was told as JSON.
///
/// # Errors
/// If the command fails.
pub fn backup(
    binary: &Path,
    data: &Path,
    target: &Path,
    bytes_per_second: Option<u64>,
) -> anyhow::Result<serde_json::Value> {
    let mut command = corelane(binary, &["backup", "-o", "json"]);
    command.arg(target).arg("--data-dir").arg(data);
    if let Some(rate) = bytes_per_second {
        command.arg("--bytes-per-second").arg(rate.to_string());
    }
    told(command)
}

/// Makes a data directory of a backup; returns what was told as JSON.
///
/// # Errors
/// If the command fails.
pub fn restore(binary: &Path, backup: &Path, target: &Path) -> anyhow::Result<serde_json::Value> {
    let mut command = corelane(binary, &["restore", "-o", "json"]);
    command.arg(backup).arg(target);
    told(command)
}

fn told(mut command: Command) -> anyhow::Result<serde_json::Value> {
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {said}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
