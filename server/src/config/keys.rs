//! The table of configuration keys: the one source of what exists, what it may be and what it does.
//!
//! Parsing, `config template`, `config show` and the table in the manual are all made of it or
//! compared with it by a test.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use super::quantity::{format_bytes, format_duration};
use super::{Config, DriverChoice};
use crate::driver::CommitMode;

/// One key, under the same name in the file, the environment and the command line.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// Its default, as documentation shows it.
    pub default: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// A value for the template; empty where the default is one.
    sample: &'static str,
    /// Its value in a configuration, as a flag would have it; empty where it has none.
    pub value: fn(&Config) -> String,
}

/// What a key may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// On or off.
    Switch,
    /// A whole number between these, both included.
    Number {
        /// The least.
        min: u32,
        /// The greatest.
        max: u32,
    },
    /// Bytes, with or without a unit.
    Size,
    /// A span of time with its unit.
    Duration,
    /// An address and a port.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file or directory.
    Path,
    /// Log filters.
    Filter,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("true or false"),
            Self::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Size => f.write_str("a size such as 65536, 64KiB, 32MiB or 1GiB"),
            Self::Duration => f.write_str("a duration such as 500ms, 30s, 5m or 2h"),
            Self::Address => f.write_str("ADDRESS:PORT, as in 127.0.0.1:7400 or [::1]:7400"),
            Self::Choice(words) => {
                let (last, others) = words.split_last().expect("a choice has words");
                write!(f, "{} or {last}", others.join(", "))
            }
            Self::Path => f.write_str("a path"),
            Self::Filter => {
                f.write_str("error, warn, info, debug, or filters such as corelane=debug,info")
            }
        }
    }
}

impl Key {
    /// Its environment variable.
    #[must_use]
    pub fn environment(&self) -> String {
        format!("CORELANE_{}", self.name.to_uppercase())
    }

    /// Its flag of `corelane serve`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// A line of a configuration file that sets it: to its default where that is one value.
    #[must_use]
    pub fn line(&self) -> String {
        let value = if self.sample.is_empty() {
            self.default
        } else {
            self.sample
        };
        match self.kind {
            Kind::Switch | Kind::Number { .. } => format!("{} = {value}", self.name),
            Kind::Size
            | Kind::Duration
            | Kind::Address
            | Kind::Choice(_)
            | Kind::Path
            | Kind::Filter => format!("{} = {value:?}", self.name),
        }
    }
}

/// The key of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known key that a misspelt one most likely means: at most a third of its letters differ.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static Key> {
    let plain = name.replace('-', "_").to_lowercase();
    KEYS.iter()
        .map(|key| (edit_distance(&plain, key.name), key))
        .filter(|(distance, key)| *distance <= key.name.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// Letters to insert, drop or exchange to make one word the other (Levenshtein).
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let exchange = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = exchange.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Every key that exists, in alphabetical order.
pub const KEYS: &[Key] = &[
    Key {
        name: "allow_unauthenticated",
        default: "false",
        kind: Kind::Switch,
        doc: "Listen on addresses that other machines can reach, although clients are not asked who they are.",
        sample: "",
        value: |config| config.allow_unauthenticated.to_string(),
    },
    Key {
        name: "cache_bytes",
        default: "32MiB",
        kind: Kind::Size,
        doc: "Memory per shard for recent log blocks, from which deliveries are served without reading the disk.",
        sample: "",
        value: |config| format_bytes(config.cache_bytes),
    },
    Key {
        name: "commit_mode",
        default: "fdatasync",
        kind: Kind::Choice(&["fdatasync", "linked", "rwf-dsync"]),
        doc: "How a commit becomes durable: a write and then a sync by a thread, the same linked in io_uring, or one write that is synced.",
        sample: "",
        value: |config| commit_mode(config.commit_mode),
    },
    Key {
        name: "commit_threads",
        default: "4",
        kind: Kind::Number { min: 1, max: 64 },
        doc: "Threads per shard that write and sync; as many of its partitions commit at the same time. Not used where io_uring commits.",
        sample: "",
        value: |config| config.commit_threads.to_string(),
    },
    Key {
        name: "connections_max",
        default: "16384",
        kind: Kind::Number {
            min: 1,
            max: 1_000_000,
        },
        doc: "Connections per shard at most; a further one is closed at once.",
        sample: "",
        value: |config| config.connections_max.to_string(),
    },
    Key {
        name: "control",
        default: "127.0.0.1:7480",
        kind: Kind::Address,
        doc: "Address and port of health checks and metrics; port 0 lets the system pick.",
        sample: "",
        value: |config| address(config.control),
    },
    Key {
        name: "cores",
        default: "all that the process may use",
        kind: Kind::Number {
            min: 1,
            max: CORES_MAX,
        },
        doc: "Shards to run, one pinned thread each; may change at any start.",
        sample: "4",
        value: |config| config.cores.to_string(),
    },
    Key {
        name: "data_dir",
        default: "/var/lib/corelane, with dev ./corelane-data",
        kind: Kind::Path,
        doc: "Directory of everything that is kept; one broker at a time may use it.",
        sample: "/var/lib/corelane",
        value: |config| path(&config.data_dir),
    },
    Key {
        name: "dev",
        default: "false",
        kind: Kind::Switch,
        doc: "Development: data in ./corelane-data, loopback addresses only.",
        sample: "",
        value: |config| config.dev.to_string(),
    },
    Key {
        name: "driver",
        default: "auto",
        kind: Kind::Choice(&["auto", "uring", "epoll", "glommio"]),
        doc: "How shards talk to the machine; auto is uring where this machine allows it, else epoll; glommio is experimental.",
        sample: "",
        value: |config| driver(config.driver),
    },
    Key {
        name: "force_network_fs",
        default: "false",
        kind: Kind::Switch,
        doc: "Keep data on a network file system, although its locks and syncs cannot be relied on.",
        sample: "",
        value: |config| config.force_network_fs.to_string(),
    },
    Key {
        name: "listen",
        default: "127.0.0.1:7400",
        kind: Kind::Address,
        doc: "Address and shared port of the native protocol; port 0 lets the system pick it and the shards' own ports.",
        sample: "",
        value: |config| address(config.listen),
    },
    Key {
        name: "log",
        default: "info",
        kind: Kind::Filter,
        doc: "Which log lines go to stderr.",
        sample: "",
        value: |config| config.log.clone(),
    },
    Key {
        name: "partitions",
        default: "4 per core, at least 8",
        kind: Kind::Number {
            min: 1,
            max: PARTITIONS_MAX,
        },
        doc: "Partitions of a new data directory; fixed when it is created.",
        sample: "16",
        value: |config| config.partitions_if_new().to_string(),
    },
    Key {
        name: "port_file",
        default: "none",
        kind: Kind::Path,
        doc: "File to which the actual ports are written as JSON when the broker is ready.",
        sample: "/run/corelane/ports.json",
        value: |config| config.port_file.as_deref().map(path).unwrap_or_default(),
    },
    Key {
        name: "scrub_bytes_per_second",
        default: "8MiB",
        kind: Kind::Size,
        doc: "Bytes per second, over all shards, that are read in the background to find damage; 0 switches that off.",
        sample: "",
        value: |config| format_bytes(config.scrub_bytes_per_second),
    },
    Key {
        name: "shard_port",
        default: "7500",
        kind: Kind::Number {
            min: 0,
            max: PORT_MAX,
        },
        doc: "Port of shard 0; shard n listens on the n-th after it; 0 lets the system pick each.",
        sample: "",
        value: |config| config.shard_port.to_string(),
    },
    Key {
        name: "stop_timeout",
        default: "4s",
        kind: Kind::Duration,
        doc: "How long the shards may take from SIGTERM or SIGINT on; then the process exits without them.",
        sample: "",
        value: |config| format_duration(config.stop_timeout),
    },
    Key {
        name: "volatile_bytes",
        default: "64MiB",
        kind: Kind::Size,
        doc: "Memory, over all shards, for the messages of memory-only queues; what is beyond it goes to unnamed files of the data directory.",
        sample: "",
        value: |config| format_bytes(config.volatile_bytes),
    },
    Key {
        name: "watchdog",
        default: "10s",
        kind: Kind::Duration,
        doc: "A shard that stands still for so long aborts the process; 2s at least, 0s switches that off.",
        sample: "",
        value: |config| format_duration(config.watchdog),
    },
    Key {
        name: "write_timeout",
        default: "10s",
        kind: Kind::Duration,
        doc: "A write or sync of a log that has not returned after so long counts as failed and poisons its partition; 1s at least, 0s switches that off.",
        sample: "",
        value: |config| format_duration(config.write_timeout),
    },
];

fn address(address: SocketAddr) -> String {
    address.to_string()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn commit_mode(mode: CommitMode) -> String {
    match mode {
        CommitMode::Fdatasync => "fdatasync".to_owned(),
        CommitMode::Linked => "linked".to_owned(),
        CommitMode::RwfDsync => "rwf-dsync".to_owned(),
    }
}

fn driver(choice: DriverChoice) -> String {
    match choice {
        DriverChoice::Auto => "auto".to_owned(),
        DriverChoice::Uring => "uring".to_owned(),
        DriverChoice::Epoll => "epoll".to_owned(),
        DriverChoice::Glommio => "glommio".to_owned(),
    }
}

/// Shards at most in one process.
const CORES_MAX: u32 = 1_024;
/// Partitions at most in one data directory.
const PARTITIONS_MAX: u32 = 65_536;
/// The last port.
const PORT_MAX: u32 = 65_535;
