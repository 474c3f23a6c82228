//! The figures on file, and where they come from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::report::Figures;

/// What figures depend on besides the code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The compiler, as `rustc --version` has it.
    pub rustc: String,
    /// The profile of the build.
    pub profile: String,
    /// The kind of processor.
    pub arch: String,
    /// The tool that counted.
    pub valgrind: String,
}

/// The figures on file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Baseline {
    /// Where they come from.
    pub origin: Origin,
    /// Instructions per message, by placement and step.
    pub instructions_per_message: BTreeMap<String, Figures>,
}

impl Origin {
    /// That of this program.
    ///
    /// # Errors
    /// If rustc or Valgrind does not say its version.
    pub fn here() -> Result<Self> {
        let program = std::env::current_exe()?;
        let profile = program.parent().and_then(Path::file_name);
        Ok(Self {
            rustc: version_of("rustc")?,
            profile: profile.unwrap_or_default().to_string_lossy().into_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            valgrind: version_of("valgrind")?,
        })
    }

    /// What is different, in words, one line for each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        [
            ("rustc", &self.rustc, &other.rustc),
            ("profile", &self.profile, &other.profile),
            ("arch", &self.arch, &other.arch),
            ("valgrind", &self.valgrind, &other.valgrind),
        ]
        .into_iter()
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(name, ours, theirs)| format!("{name}: the baseline has {theirs}, here is {ours}"))
        .collect()
    }
}

impl Baseline {
    /// Where it lies in the repository.
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is missing or not what was written.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("no baseline at {}: make one with --bless", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

fn version_of(program: &str) -> Result<String> {
    let answer = Command::new(program).arg("--version").output();
    let answer = answer.with_context(|| format!("cannot start {program}"))?;
    if !answer.status.success() {
        bail!("`{program} --version` failed: {}", answer.status);
    }
    Ok(String::from_utf8(answer.stdout)?.trim().to_owned())
}
