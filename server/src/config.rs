//! The broker's configuration: read once at start, validated whole, never changed after.
//!
//! Four layers, the upper winning key by key: flag, environment (`CORELANE_` and the key in upper
//! case), TOML file, default. The key table in [`keys`] is the only list of what exists; a key
//! that is not in it is an error with its line and the nearest known name, because a misspelt
//! limit that silently does nothing is found out at the worst moment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub mod keys;
pub mod quantity;

mod file;
mod template;
mod values;

use self::keys::{KEYS, Key};
use self::values::Values;

pub use self::template::template;
use crate::driver::CommitMode;

/// A validated configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Whether non-loopback addresses may be listened on although there is no authentication.
    pub allow_unauthenticated: bool,
    /// Memory for written and read-back blocks, per shard.
    pub cache_bytes: usize,
    /// How a commit becomes durable.
    pub commit_mode: CommitMode,
    /// Commit threads per shard.
    pub commit_threads: usize,
    /// Connections at most, per shard.
    pub connections_max: usize,
    /// Address of the control port.
    pub control: SocketAddr,
    /// Shards to run.
    pub cores: u16,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Development: data in `./corelane-data`, loopback only.
    pub dev: bool,
    /// Which driver to use.
    pub driver: DriverChoice,
    /// Whether to keep data on a network file system, whose locks and syncs cannot be relied on.
    pub force_network_fs: bool,
    /// Address of the shared data port.
    pub listen: SocketAddr,
    /// Which log lines to print, as in `info` or `corelane=debug,info`.
    pub log: String,
    /// Partition count of a new data directory; `None` is the default for the cores.
    pub partitions: Option<u32>,
    /// Where to write the actual ports as JSON once the broker is ready.
    pub port_file: Option<PathBuf>,
    /// Bytes per second that are read to find damage, over all shards; zero: none.
    pub scrub_bytes_per_second: usize,
    /// Port of shard 0; shard `n` has the `n`-th after it. 0 lets the system pick each.
    pub shard_port: u16,
    /// How long the shards may take from the signal on; then the process exits without them.
    pub stop_timeout: Duration,
    /// Memory for the messages of memory-only queues; beyond it they go to files.
    pub volatile_bytes: usize,
    /// How long a shard may stand still before the process is aborted; zero switches that off.
    pub watchdog: Duration,
    /// How long a write of a log may take before it counts as failed; zero switches that off.
    pub write_timeout: Duration,
    /// The values that were given, as they were given, and where.
    told: BTreeMap<&'static str, (String, Source)>,
}

/// Which driver to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverChoice {
    /// `io_uring` where this machine allows it, else epoll.
    Auto,
    /// epoll.
    Epoll,
    /// `io_uring`.
    Uring,
    /// An executor of glommio; experimental, and not in every build.
    Glommio,
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The program in which the broker is embedded.
    Program,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// Built in.
    Default,
}

/// Raw values by key, from one layer or from several merged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Source)>,
}

/// A configuration that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Where it stands: `corelane.toml:3`, `--listen` or `CORELANE_LISTEN`.
    pub place: String,
    /// What is wrong with it.
    pub cause: String,
    /// What to do about it.
    pub hint: String,
}

impl Settings {
    /// Adds or replaces a value that came from the command line.
    ///
    /// # Panics
    /// If the table has no such key.
    #[must_use]
    pub fn flag(mut self, key: &str, value: Option<String>) -> Self {
        let key = keys::find(key).expect("flags are named like keys");
        if let Some(value) = value {
            self.values.insert(key.name, (value, Source::Flag));
        }
        self
    }

    /// Adds or replaces a value that the embedding program gave.
    ///
    /// # Errors
    /// If the table has no such key.
    pub fn program(mut self, key: &str, value: &str) -> Result<Self, ConfigError> {
        let Some(known) = keys::find(key) else {
            return Err(ConfigError {
                place: Source::PROGRAM.to_owned(),
                cause: format!("there is no key {key}"),
                hint: "`corelane config template` lists the keys".to_owned(),
            });
        };
        let given = (value.to_owned(), Source::Program);
        self.values.insert(known.name, given);
        Ok(self)
    }

    /// The values in the environment, through `lookup` for the sake of tests.
    #[must_use]
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let mut values = BTreeMap::new();
        for key in KEYS {
            if let Some(value) = lookup(&key.environment()) {
                values.insert(key.name, (value, Source::Environment));
            }
        }
        Self { values }
    }

    /// Puts these values over others, which fill what these leave open.
    #[must_use]
    pub fn over(mut self, lower: Self) -> Self {
        for (key, value) in lower.values {
            self.values.entry(key).or_insert(value);
        }
        self
    }
}

impl Config {
    /// Validates settings; what they leave open takes its default.
    ///
    /// # Errors
    /// If a value does not parse, is out of range, or contradicts another one.
    pub fn resolve(settings: &Settings, machine_cores: u16) -> Result<Self, ConfigError> {
        let values = Values::of(settings);
        let dev = values.boolean("dev")?;
        let data_dir = values.text("data_dir").unwrap_or(if dev {
            "./corelane-data"
        } else {
            "/var/lib/corelane"
        });
        let config = Self {
            allow_unauthenticated: values.boolean("allow_unauthenticated")?,
            cache_bytes: values.bytes("cache_bytes", CACHE_BYTES_DEFAULT)?,
            commit_mode: values.commit_mode()?,
            commit_threads: values.number("commit_threads")?.unwrap_or(4),
            connections_max: values.number("connections_max")?.unwrap_or(16_384),
            control: values.address("control", 7480)?,
            cores: values.number("cores")?.unwrap_or(machine_cores),
            data_dir: PathBuf::from(data_dir),
            dev,
            driver: values.driver()?,
            force_network_fs: values.boolean("force_network_fs")?,
            listen: values.address("listen", 7400)?,
            log: values.text("log").unwrap_or("info").to_owned(),
            partitions: values.number("partitions")?,
            port_file: values.text("port_file").map(PathBuf::from),
            scrub_bytes_per_second: values
                .bytes("scrub_bytes_per_second", SCRUB_BYTES_PER_SECOND_DEFAULT)?,
            shard_port: values.number("shard_port")?.unwrap_or(SHARD_PORT_DEFAULT),
            stop_timeout: values.duration("stop_timeout", Duration::from_secs(4))?,
            volatile_bytes: values.bytes("volatile_bytes", VOLATILE_BYTES_DEFAULT)?,
            watchdog: values.duration("watchdog", Duration::from_secs(10))?,
            write_timeout: values.duration("write_timeout", Duration::from_secs(10))?,
            told: settings.values.clone(),
        };
        config.check()?;
        Ok(config)
    }

    /// What contradicts itself although each value is fine.
    fn check(&self) -> Result<(), ConfigError> {
        for (key, address) in [("listen", self.listen), ("control", self.control)] {
            self.check_exposure(key, address)?;
        }
        if !self.watchdog.is_zero() && self.watchdog < WATCHDOG_MIN {
            return Err(self.error(
                "watchdog",
                &format!(
                    "{:?} is too short: an idle shard turns twice a second",
                    self.watchdog
                ),
                "take 2s or more, or 0s to switch it off",
            ));
        }
        if !self.write_timeout.is_zero() && self.write_timeout < WRITE_TIMEOUT_MIN {
            return Err(self.error(
                "write_timeout",
                &format!(
                    "{:?} is too short: a disk that is only busy may take as long",
                    self.write_timeout
                ),
                "take 1s or more, or 0s to switch it off",
            ));
        }
        let last = u32::from(self.shard_port) + u32::from(self.cores) - 1;
        if self.shard_port != 0 && last > u32::from(u16::MAX) {
            return Err(self.error(
                "shard_port",
                &format!(
                    "{} shards from port {} on would end at {last}",
                    self.cores, self.shard_port
                ),
                "take a lower port, or 0 to let the system pick each",
            ));
        }
        Ok(())
    }

    fn check_exposure(&self, key: &str, address: SocketAddr) -> Result<(), ConfigError> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        if self.dev {
            return Err(self.error(
                key,
                &format!("{address} is not a loopback address, and --dev serves only this machine"),
                &format!("start without --dev, or use 127.0.0.1:{}", address.port()),
            ));
        }
        if self.allow_unauthenticated {
            return Ok(());
        }
        Err(self.error(
            key,
            &format!(
                "{address} can be reached from other machines, and this version does not ask \
                 clients who they are"
            ),
            "if the network keeps strangers out, add the line: allow_unauthenticated = true",
        ))
    }

    /// Where the value of a key came from.
    ///
    /// # Panics
    /// If the table has no such key.
    #[must_use]
    pub fn source(&self, key: &str) -> &Source {
        assert!(keys::find(key).is_some(), "there is no key {key}");
        self.told
            .get(key)
            .map_or(&Source::Default, |(_, source)| source)
    }

    /// What was given, with its origin, for the log of a start; the rest has its default.
    #[must_use]
    pub fn told(&self) -> String {
        let told = KEYS.iter().filter_map(|key| {
            let (value, source) = self.told.get(key.name)?;
            Some(format!("{} = {value} ({})", key.name, source.place(key)))
        });
        told.collect::<Vec<_>>().join(", ")
    }

    /// An error about a value that is fine by itself but not on this machine.
    #[must_use]
    pub fn error(&self, key: &str, cause: &str, hint: &str) -> ConfigError {
        let key = keys::find(key).expect("asked for by its own name");
        ConfigError {
            place: self.source(key.name).place(key),
            cause: format!("{}: {cause}", key.name),
            hint: hint.to_owned(),
        }
    }

    /// The partition count of a new data directory: 4 per core and at least 8, so that cores can
    /// be added later.
    #[must_use]
    pub fn partitions_if_new(&self) -> u32 {
        self.partitions
            .unwrap_or_else(|| (u32::from(self.cores) * 4).max(8))
    }
}

impl Source {
    const PROGRAM: &str = "set by the program";

    /// How to name a key's place to the user.
    #[must_use]
    pub fn place(&self, key: &Key) -> String {
        match self {
            Self::Flag => key.flag(),
            Self::Environment => key.environment(),
            Self::Program => Self::PROGRAM.to_owned(),
            Self::File { path, line } => format!("{}:{line}", path.display()),
            Self::Default => "default".to_owned(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.cause)?;
        if !self.hint.is_empty() {
            write!(f, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// First port of the shards' own ports.
const SHARD_PORT_DEFAULT: u16 = 7500;
/// Shortest watchdog: four times as long as the longest wait of an idle shard.
const WATCHDOG_MIN: Duration = Duration::from_secs(2);
/// Shortest bound of a write: when it begins to count as stalled.
const WRITE_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Under 5 % of a disk that reads 200 MiB a second: 700 GB a day.
const SCRUB_BYTES_PER_SECOND_DEFAULT: usize = 8 << 20;
/// Block cache per shard.
const CACHE_BYTES_DEFAULT: usize = 32 << 20;
/// Messages of memory-only queues, of the node.
const VOLATILE_BYTES_DEFAULT: usize = 64 << 20;

#[cfg(test)]
mod tests;
