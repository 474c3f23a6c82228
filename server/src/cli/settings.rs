//! The configuration as a command gets it: flags over environment over file over defaults.

use std::path::{Path, PathBuf};

use clap::Args;
use corelane::config::{Config, ConfigError, Settings};
use corelane::serve::usable_cores;
use tracing_subscriber::EnvFilter;

/// What a command line gives of the configuration: each key, and the file itself.
#[derive(Debug, Args)]
pub(super) struct Given {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "CORELANE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of everything that is kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address and shared port of the native protocol.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Port of shard 0; 0 lets the system pick each shard's.
    #[arg(long, value_name = "PORT")]
    shard_port: Option<String>,
    /// Address and port of health checks and metrics.
    #[arg(long, value_name = "ADDR:PORT")]
    control: Option<String>,
    /// Shards to run, one pinned thread each.
    #[arg(long, value_name = "N")]
    cores: Option<String>,
    /// Development: data in ./corelane-data, loopback addresses only.
    #[arg(long)]
    dev: bool,
    /// How shards talk to the machine: auto, uring, epoll, or glommio, which is experimental.
    #[arg(long, value_name = "NAME")]
    driver: Option<String>,
    /// Partitions of a new data directory.
    #[arg(long, value_name = "N")]
    partitions: Option<String>,
    /// Memory per shard for recent log blocks.
    #[arg(long, value_name = "SIZE")]
    cache_bytes: Option<String>,
    /// How a commit becomes durable: fdatasync, linked or rwf-dsync.
    #[arg(long, value_name = "NAME")]
    commit_mode: Option<String>,
    /// Threads per shard that write and sync.
    #[arg(long, value_name = "N")]
    commit_threads: Option<String>,
    /// Connections per shard at most.
    #[arg(long, value_name = "N")]
    connections_max: Option<String>,
    /// Where to write the actual ports as JSON when ready.
    #[arg(long, value_name = "FILE")]
    port_file: Option<String>,
    /// Bytes per second that are read to find damage.
    #[arg(long, value_name = "SIZE")]
    scrub_bytes_per_second: Option<String>,
    /// Longest time from SIGTERM to the exit.
    #[arg(long, value_name = "TIME")]
    stop_timeout: Option<String>,
    /// A shard that stands still for so long aborts the process.
    #[arg(long, value_name = "TIME")]
    watchdog: Option<String>,
    /// A write of a log that has not returned after so long counts as failed.
    #[arg(long, value_name = "TIME")]
    write_timeout: Option<String>,
    /// Which log lines to print.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Listen on addresses that other machines can reach, without authentication.
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Keep data on a network file system.
    #[arg(long)]
    force_network_fs: bool,
}

/// Which data directory: what `serve` with the same arguments would use.
#[derive(Debug, Args)]
pub(super) struct Directory {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "CORELANE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of everything that is kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Development: data in ./corelane-data.
    #[arg(long)]
    dev: bool,
}

impl Directory {
    /// Where it is.
    pub(super) fn path(self) -> Result<PathBuf, ConfigError> {
        let flags = Settings::default()
            .flag("data_dir", self.data_dir)
            .flag("dev", switch(self.dev));
        Ok(configuration(self.config.as_deref(), flags)?.data_dir)
    }
}

impl Given {
    pub(super) fn configuration(self) -> Result<Config, ConfigError> {
        let file = self.config.clone();
        configuration(file.as_deref(), self.flags())
    }

    fn flags(self) -> Settings {
        Settings::default()
            .flag("allow_unauthenticated", switch(self.allow_unauthenticated))
            .flag("cache_bytes", self.cache_bytes)
            .flag("commit_mode", self.commit_mode)
            .flag("commit_threads", self.commit_threads)
            .flag("connections_max", self.connections_max)
            .flag("control", self.control)
            .flag("cores", self.cores)
            .flag("data_dir", self.data_dir)
            .flag("dev", switch(self.dev))
            .flag("driver", self.driver)
            .flag("force_network_fs", switch(self.force_network_fs))
            .flag("listen", self.listen)
            .flag("log", self.log)
            .flag("partitions", self.partitions)
            .flag("port_file", self.port_file)
            .flag("scrub_bytes_per_second", self.scrub_bytes_per_second)
            .flag("shard_port", self.shard_port)
            .flag("stop_timeout", self.stop_timeout)
            .flag("watchdog", self.watchdog)
            .flag("write_timeout", self.write_timeout)
    }
}

fn switch(is_on: bool) -> Option<String> {
    is_on.then(|| "true".to_owned())
}

/// Flags over the environment over a file.
fn configuration(file: Option<&Path>, flags: Settings) -> Result<Config, ConfigError> {
    let file = match file {
        Some(path) => Settings::from_file(path)?,
        None => Settings::default(),
    };
    let environment = Settings::from_environment(|name| std::env::var(name).ok());
    resolve(&flags.over(environment).over(file))
}

/// Validates settings for this machine.
pub(super) fn resolve(settings: &Settings) -> Result<Config, ConfigError> {
    let machine_cores = u16::try_from(usable_cores().len()).unwrap_or(u16::MAX);
    let config = Config::resolve(settings, machine_cores)?;
    log_filter(&config)?;
    Ok(config)
}

/// Which log lines the configuration wants.
pub(super) fn log_filter(config: &Config) -> Result<EnvFilter, ConfigError> {
    EnvFilter::try_new(&config.log).map_err(|error| {
        config.error(
            "log",
            &error.to_string(),
            "as in: info, or corelane=debug,info",
        )
    })
}
