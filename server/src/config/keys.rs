//! The table of configuration keys.

/// One key, under the same name in the file, the environment and the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// Its default, as documentation shows it.
    pub default: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
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
        doc: "Listen on addresses that other machines can reach, although clients are not asked who they are.",
    },
    Key {
        name: "cache_bytes",
        default: "32MiB",
        doc: "Memory per shard for recent log blocks, from which deliveries are served without reading the disk.",
    },
    Key {
        name: "commit_mode",
        default: "fdatasync",
        doc: "How a commit becomes durable: fdatasync (a write, then a sync) or rwf-dsync (one write that is synced).",
    },
    Key {
        name: "commit_threads",
        default: "4",
        doc: "Threads per shard that write and sync; as many of its partitions commit at the same time (epoll driver).",
    },
    Key {
        name: "connections_max",
        default: "16384",
        doc: "Connections per shard at most; a further one is closed at once.",
    },
    Key {
        name: "control",
        default: "127.0.0.1:7480",
        doc: "Address and port of health checks and metrics; port 0 lets the system pick.",
    },
    Key {
        name: "cores",
        default: "all that the process may use",
        doc: "Shards to run, one pinned thread each; may change at any start.",
    },
    Key {
        name: "data_dir",
        default: "/var/lib/corelane, with dev ./corelane-data",
        doc: "Directory of everything that is kept; one broker at a time may use it.",
    },
    Key {
        name: "dev",
        default: "false",
        doc: "Development: data in ./corelane-data, loopback addresses only.",
    },
    Key {
        name: "driver",
        default: "auto",
        doc: "How shards talk to the machine: auto, uring or epoll.",
    },
    Key {
        name: "force_network_fs",
        default: "false",
        doc: "Keep data on a network file system, although its locks and syncs cannot be relied on.",
    },
    Key {
        name: "listen",
        default: "127.0.0.1:7400",
        doc: "Address and shared port of the native protocol; port 0 lets the system pick it and the shards' own ports.",
    },
    Key {
        name: "log",
        default: "info",
        doc: "Which log lines go to stderr: error, warn, info, debug, or filters such as corelane=debug,info.",
    },
    Key {
        name: "partitions",
        default: "4 per core, at least 8",
        doc: "Partitions of a new data directory; fixed when it is created.",
    },
    Key {
        name: "port_file",
        default: "none",
        doc: "File to which the actual ports are written as JSON when the broker is ready.",
    },
    Key {
        name: "shard_port",
        default: "7500",
        doc: "Port of shard 0; shard n listens on the n-th after it; 0 lets the system pick each.",
    },
    Key {
        name: "stop_timeout",
        default: "4s",
        doc: "How long the shards may take from SIGTERM or SIGINT on; then the process exits without them.",
    },
    Key {
        name: "watchdog",
        default: "10s",
        doc: "A shard that stands still for so long aborts the process; 2s at least, 0s switches that off.",
    },
];
