//! Starting other programs: everything that xtask does goes through these few functions.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// Root of the repository: the parent of this crate's folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask lies one level below the root")
        .to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command at the root, with the cargo that started us.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut line = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs a command with our own output streams; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// What a watched command left behind.
pub(crate) struct Watched {
    /// Whether it ended with success.
    pub(crate) success: bool,
    /// The lines that were asked for, in the order they came, stdout before stderr.
    pub(crate) kept: Vec<String>,
}

/// Runs a command, passes all of its output on and keeps the lines that `keep` accepts.
pub(crate) fn watch(command: &mut Command, keep: fn(&str) -> bool) -> Result<Watched> {
    let line = shown(command);
    println!("$ {line}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child.stdout.take().expect("stdout was piped");
    let stderr = child.stderr.take().expect("stderr was piped");
    let reader = thread::spawn(move || pass_on(stderr, &mut std::io::stderr(), keep));
    let mut kept = pass_on(stdout, &mut std::io::stdout(), keep);
    kept.extend(reader.join().expect("the reader thread does not panic"));
    let success = child.wait()?.success();
    Ok(Watched { success, kept })
}

/// Copies `from` to `to` line by line; a stream that closes early only ends the copy.
fn pass_on(from: impl Read, to: &mut dyn Write, keep: fn(&str) -> bool) -> Vec<String> {
    let mut kept = Vec::new();
    for bytes in BufReader::new(from).split(b'\n') {
        let Ok(bytes) = bytes else { break };
        let line = String::from_utf8_lossy(&bytes);
        if writeln!(to, "{line}").is_err() {
            break;
        }
        if keep(&line) {
            kept.push(line.into_owned());
        }
    }
    kept
}

/// Whether a program of this name can be found.
pub(crate) fn is_on_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
