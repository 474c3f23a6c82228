//! `corelane config`: the template of a configuration, a check of one, and what holds.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use corelane::config::keys::{KEYS, Key};
use corelane::config::{Config, Settings, Source, template};
use serde::Serialize;

use super::Common;
use super::exit::Failure;
use super::output::{self, Format, Row};
use super::settings::{self, Given};

/// Arguments of `config`.
#[derive(Debug, Subcommand)]
pub(super) enum Configuration {
    /// Print a configuration file with every key, explained and switched off.
    Template,
    /// Check a configuration file, alone: without flags and environment.
    Check {
        /// The file (TOML).
        file: PathBuf,
    },
    /// Show the configuration that `serve` would have with the same arguments.
    Show(Box<Show>),
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Every key with the value that holds, not only those that were given.
    #[arg(long)]
    effective: bool,
    #[command(flatten)]
    given: Given,
}

/// A key in the template.
#[derive(Serialize)]
struct Described {
    key: &'static str,
    default: &'static str,
    values: String,
    flag: String,
    environment: String,
    meaning: &'static str,
}

/// A file that was checked.
#[derive(Serialize)]
struct Checked {
    file: String,
    keys: usize,
}

/// A key with the value that holds.
#[derive(Serialize)]
struct Shown {
    key: &'static str,
    /// Missing where the key has no default.
    value: Option<String>,
    source: &'static str,
    /// The flag, the variable, or the file with its line.
    from: String,
}

impl Configuration {
    pub(super) fn run(self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Template if common.output == Format::Table => {
                output::bytes(&[template().as_bytes()])
            }
            Self::Template => {
                let keys: Vec<_> = KEYS.iter().map(Described::of).collect();
                output::list(common.output, &keys)
            }
            Self::Check { file } => check(common, &file),
            Self::Show(show) => {
                let config = show.given.configuration()?;
                let keys = KEYS.iter().map(|key| Shown::of(&config, key));
                let is_told = |shown: &Shown| show.effective || shown.source != DEFAULT;
                let keys: Vec<_> = keys.filter(is_told).collect();
                output::list(common.output, &keys)
            }
        }
    }
}

fn check(common: &Common, file: &std::path::Path) -> Result<(), Failure> {
    let settings = Settings::from_file(file)?;
    let config = settings::resolve(&settings)?;
    let keys = KEYS.iter().map(|key| config.source(key.name));
    let checked = Checked {
        file: file.display().to_string(),
        keys: keys.filter(|source| **source != Source::Default).count(),
    };
    output::one(common.output, &checked)
}

impl Described {
    fn of(key: &Key) -> Self {
        Self {
            key: key.name,
            default: key.default,
            values: key.kind.to_string(),
            flag: key.flag(),
            environment: key.environment(),
            meaning: key.doc,
        }
    }
}

impl Row for Described {
    const HEADINGS: &'static [&'static str] = &["KEY", "DEFAULT", "VALUES", "MEANING"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.key.to_owned(),
            self.default.to_owned(),
            self.values.clone(),
            self.meaning.to_owned(),
        ]
    }
}

impl Row for Checked {
    const HEADINGS: &'static [&'static str] = &["FILE", "KEYS"];

    fn cells(&self) -> Vec<String> {
        vec![self.file.clone(), self.keys.to_string()]
    }
}

impl Shown {
    fn of(config: &Config, key: &'static Key) -> Self {
        let value = Some((key.value)(config)).filter(|value| !value.is_empty());
        let source = config.source(key.name);
        Self {
            key: key.name,
            value,
            source: match source {
                Source::Flag => "flag",
                Source::Environment => "environment",
                Source::Program => "program",
                Source::File { .. } => "file",
                Source::Default => DEFAULT,
            },
            from: source.place(key),
        }
    }
}

impl Row for Shown {
    const HEADINGS: &'static [&'static str] = &["KEY", "VALUE", "FROM"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.key.to_owned(),
            self.value.clone().unwrap_or_else(|| "-".to_owned()),
            self.from.clone(),
        ]
    }
}

const DEFAULT: &str = "default";
