//! `corelane queue configure|config`, and the flags that `queue create` shares with them.

use std::time::Duration;

use clap::{Args, ValueEnum};
use corelane::config::quantity::{format_bytes, format_duration, parse_bytes};
use corelane_client::{Overflow, QueueConfig, Storage};
use serde::Serialize;

use super::{Changed, Common, Failure, Named, tell};
use crate::cli::duration;
use crate::cli::output::{self, Row};

/// Arguments of `queue configure`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Configure {
    /// The queue.
    queue: String,
    #[command(flatten)]
    terms: Terms,
}

/// How long and how much a queue keeps, and how much it takes.
#[derive(PartialEq, Debug, Default, Args)]
pub(super) struct Terms {
    /// Keep messages this long although everybody is done with them, and no longer; 0s: until everybody is.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    retention: Option<Duration>,
    /// Keep them while they have this many bytes together; 0: no bound.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    retention_bytes: Option<u64>,
    /// Keep them while there are this many; 0: no bound.
    #[arg(long, value_name = "N")]
    retention_count: Option<u64>,
    /// Messages that wait or are under lease, at most; 0: any number.
    #[arg(long, value_name = "N")]
    messages_max: Option<u64>,
    /// About their bytes, at most; 0: any number.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    bytes_max: Option<u64>,
    /// What happens when there would be more.
    #[arg(long, value_enum)]
    overflow: Option<WhenFull>,
    /// How long a message lives that does not say so itself, from when it may first be given out; up to 366 days, 0s: for
    /// ever.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// With so many messages that wait or are under lease, producers are asked to slow down; 0: never.
    #[arg(long, value_name = "N")]
    slow_down_at: Option<u64>,
}

/// What happens when there would be more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum WhenFull {
    /// The batch is refused.
    Refuse,
    /// The oldest messages are dropped.
    DropOldest,
    /// The oldest messages that are ready are dead.
    Dead,
}

/// A configuration in JSON or in a line of a table.
#[derive(Serialize)]
struct Settings {
    queue: String,
    retention_ms: u64,
    retention_bytes: u64,
    retention_count: u64,
    messages_max: u64,
    bytes_max: u64,
    overflow: &'static str,
    ttl_ms: u64,
    slow_down_at: u64,
    storage: &'static str,
}

impl Configure {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.terms == Terms::default() {
            return Err(Failure::usage(
                "nothing to change\n  say what, such as --ttl 1h",
            ));
        }
        let client = common.connect().await?;
        let admin = client.admin();
        let config = self.terms.over(admin.queue_config(&self.queue).await?);
        admin.queue_configure(&self.queue, config).await?;
        client.close().await;
        let queue = &self.queue;
        let change = "configured";
        tell(common, &Changed { queue, change })
    }
}

impl Named {
    pub(super) async fn config(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let config = client.admin().queue_config(&self.queue).await?;
        client.close().await;
        output::one(common.output, &Settings::new(self.queue, &config))
    }
}

impl Terms {
    /// What is named replaces what was so before.
    pub(super) fn over(&self, config: QueueConfig) -> QueueConfig {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        QueueConfig {
            retention_ms: self.retention.map_or(config.retention_ms, millis),
            retention_bytes: self.retention_bytes.unwrap_or(config.retention_bytes),
            retention_count: self.retention_count.unwrap_or(config.retention_count),
            messages_max: self.messages_max.unwrap_or(config.messages_max),
            bytes_max: self.bytes_max.unwrap_or(config.bytes_max),
            overflow: self.overflow.map_or(config.overflow, WhenFull::overflow),
            ttl_ms: self.ttl.map_or(config.ttl_ms, millis),
            slow_down_at: self.slow_down_at.unwrap_or(config.slow_down_at),
            ..config
        }
    }
}

impl WhenFull {
    const fn overflow(self) -> Overflow {
        match self {
            Self::Refuse => Overflow::Refuse,
            Self::DropOldest => Overflow::DropOldest,
            Self::Dead => Overflow::Dead,
        }
    }
}

impl Settings {
    fn new(queue: String, config: &QueueConfig) -> Self {
        Self {
            queue,
            retention_ms: config.retention_ms,
            retention_bytes: config.retention_bytes,
            retention_count: config.retention_count,
            messages_max: config.messages_max,
            bytes_max: config.bytes_max,
            overflow: match config.overflow {
                Overflow::Refuse => "refuse",
                Overflow::DropOldest => "drop-oldest",
                Overflow::Dead => "dead",
            },
            ttl_ms: config.ttl_ms,
            slow_down_at: config.slow_down_at,
            storage: match config.storage {
                Storage::Durable => "durable",
                Storage::Memory => "memory",
            },
        }
    }
}

impl Row for Settings {
    const HEADINGS: &'static [&'static str] = &[
        "QUEUE",
        "RETENTION",
        "BYTES",
        "COUNT",
        "MESSAGES MAX",
        "BYTES MAX",
        "OVERFLOW",
        "TTL",
        "SLOW DOWN AT",
        "STORAGE",
    ];

    fn cells(&self) -> Vec<String> {
        let or = |value: u64, text: &str, shown: String| {
            if value == 0 { text.to_owned() } else { shown }
        };
        let size = |bytes| format_bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
        let time = |millis| format_duration(Duration::from_millis(millis));
        vec![
            self.queue.clone(),
            or(self.retention_ms, "none", time(self.retention_ms)),
            or(self.retention_bytes, "none", size(self.retention_bytes)),
            or(
                self.retention_count,
                "none",
                self.retention_count.to_string(),
            ),
            or(self.messages_max, "any", self.messages_max.to_string()),
            or(self.bytes_max, "any", size(self.bytes_max)),
            self.overflow.to_owned(),
            or(self.ttl_ms, "none", time(self.ttl_ms)),
            or(self.slow_down_at, "never", self.slow_down_at.to_string()),
            self.storage.to_owned(),
        ]
    }
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
    u64::try_from(bytes).map_err(|error| error.to_string())
}
