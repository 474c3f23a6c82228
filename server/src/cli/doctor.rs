//! `corelane doctor`: what a broker needs of this machine, and what of it is there.
//!
//! A check looks at one thing and judges it against the configuration that `serve` would have.
//! Looking and judging are apart, so that every judgement is tested with machines that are not at
//! hand. A check *fails* where the broker would not start or not as it is configured, and *warns*
//! where it would be slower or smaller than it could be. Nothing is changed; what is written for a
//! measurement has no name in the file system.

use std::path::{Path, PathBuf};

use clap::Args;
use corelane::config::{Config, DriverChoice};
use corelane_storage::{SUPERBLOCK_NAME, Superblock};
use serde::Serialize;

use self::disk::{CommitLatency, DirectWrites, FreeSpace};
use self::machine::{ClockSource, Cores, Governor, Kernel};
use self::permits::{IoUring, Memlock, OpenFiles};
use super::Common;
use super::exit::{Failure, UNHEALTHY};
use super::output::{self, Row};
use super::settings::Given;

mod disk;
mod machine;
mod permits;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    given: Given,
}

/// What the broker would need.
struct Needs {
    config: Config,
    partitions: u32,
    /// The data directory, or what is there of the way to it.
    folder: PathBuf,
}

/// What a check came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    check: &'static str,
    result: Verdict,
    found: String,
    wanted: String,
    why: &'static str,
    /// What to do; empty if nothing is.
    command: String,
}

/// What is looked at.
struct Check {
    name: &'static str,
    wanted: String,
    why: &'static str,
}

impl Doctor {
    pub(super) fn run(self, common: &Common) -> Result<(), Failure> {
        let needs = Needs::of(self.given.configuration()?);
        let findings = examine(&needs);
        output::list(common.output, &findings)?;
        let is_failed = |finding: &&Finding| finding.result == Verdict::Fail;
        match findings.iter().filter(is_failed).count() {
            0 => Ok(()),
            failed => Err(Failure::new(
                UNHEALTHY,
                format!("{failed} of {} checks failed", findings.len()),
            )),
        }
    }
}

fn examine(needs: &Needs) -> Vec<Finding> {
    let Needs { config, folder, .. } = needs;
    let direct = DirectWrites::look(folder);
    let is_direct = direct.is_taken();
    vec![
        Kernel::look().judge(config.driver),
        IoUring::look(folder).judge(config.driver),
        Memlock::look().judge(config.driver, config.cores),
        OpenFiles::look().judge(corelane::serve::files_needed(config, needs.partitions)),
        direct.judge(config.force_network_fs),
        CommitLatency::measure(folder, is_direct).judge(folder),
        FreeSpace::look(folder).judge(config.cores, folder),
        ClockSource::look().judge(),
        Governor::look().judge(),
        Cores::look().judge(config.cores),
    ]
}

impl Needs {
    fn of(config: Config) -> Self {
        Self {
            partitions: partitions_of(&config),
            folder: existing(&config.data_dir),
            config,
        }
    }
}

/// The partitions of the data directory that is there, or of the one that would be made.
fn partitions_of(config: &Config) -> u32 {
    let bytes = std::fs::read(config.data_dir.join(SUPERBLOCK_NAME)).ok();
    let superblock = bytes.and_then(|bytes| Superblock::decode(&bytes).ok());
    superblock.map_or_else(
        || config.partitions_if_new(),
        |superblock| superblock.partitions,
    )
}

/// The nearest folder on the way to a path that exists.
fn existing(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = whole.ancestors().find(|folder| folder.exists());
    there.unwrap_or(&whole).to_owned()
}

/// How bad it is that `io_uring` cannot be used: whoever asks for it by name gets no broker without.
const fn without_uring(driver: DriverChoice) -> Verdict {
    match driver {
        DriverChoice::Uring | DriverChoice::Glommio => Verdict::Fail,
        DriverChoice::Auto => Verdict::Warn,
        DriverChoice::Epoll => Verdict::Ok,
    }
}

impl Check {
    fn found(
        self,
        result: Verdict,
        found: impl Into<String>,
        command: impl Into<String>,
    ) -> Finding {
        let command = if result == Verdict::Ok {
            String::new()
        } else {
            command.into()
        };
        Finding {
            check: self.name,
            result,
            found: found.into(),
            wanted: self.wanted,
            why: self.why,
            command,
        }
    }
}

impl Row for Finding {
    const HEADINGS: &'static [&'static str] =
        &["CHECK", "RESULT", "FOUND", "WANTED", "WHY", "COMMAND"];

    fn cells(&self) -> Vec<String> {
        let result = match self.result {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        let command = if self.command.is_empty() {
            "-"
        } else {
            &self.command
        };
        vec![
            self.check.to_owned(),
            result.to_owned(),
            self.found.clone(),
            self.wanted.clone(),
            self.why.to_owned(),
            command.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests;
