//! `corelane serve`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use corelane::config::{Config, Settings, keys};
use corelane::serve::{Addresses, Broker, Facts, StartError, usable_cores};
use tracing_subscriber::EnvFilter;

use super::exit::{CONFIG, FAILURE, Failure};
use super::log::Lines;
use super::output;

/// Arguments of `serve`: each key of the configuration, and the file itself.
#[derive(Debug, Args)]
pub(super) struct Serve {
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
    /// How shards talk to the machine: auto, uring or epoll.
    #[arg(long, value_name = "NAME")]
    driver: Option<String>,
    /// Partitions of a new data directory.
    #[arg(long, value_name = "N")]
    partitions: Option<String>,
    /// Memory per shard for recent log blocks.
    #[arg(long, value_name = "SIZE")]
    cache_bytes: Option<String>,
    /// How a commit becomes durable: fdatasync or rwf-dsync.
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
    /// Longest time from SIGTERM to the exit.
    #[arg(long, value_name = "TIME")]
    stop_timeout: Option<String>,
    /// A shard that stands still for so long aborts the process.
    #[arg(long, value_name = "TIME")]
    watchdog: Option<String>,
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

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.configuration()?;
        let mut log = start_log(&config)?;
        let result = serve(&config).map_err(|failure| failure.told_to(&mut log));
        log.flush_briefly();
        result
    }

    fn configuration(self) -> Result<Config, StartError> {
        let file = match &self.config {
            Some(path) => Settings::from_file(path)?,
            None => Settings::default(),
        };
        let environment = Settings::from_environment(|name| std::env::var(name).ok());
        let settings = self.flags().over(environment).over(file);
        let machine_cores = u16::try_from(usable_cores().len()).unwrap_or(u16::MAX);
        Ok(Config::resolve(&settings, machine_cores)?)
    }

    fn flags(self) -> Settings {
        let switch = |is_on: bool| is_on.then(|| "true".to_owned());
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
            .flag("shard_port", self.shard_port)
            .flag("stop_timeout", self.stop_timeout)
            .flag("watchdog", self.watchdog)
    }
}

fn serve(config: &Config) -> Result<(), Failure> {
    warn_of_unknown_variables();
    tracing::info!(event = "config", told = %config.told(), "configuration");
    let broker = Broker::start(config)?;
    tell_findings(config, broker.facts());
    broker
        .run(|addresses, facts| announce(config, addresses, facts))
        .map_err(|error| Failure::new(FAILURE, error.to_string()))
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = if error.is_config { CONFIG } else { FAILURE };
        Self::new(code, error.to_string())
    }
}

/// Log lines go to stderr: text for people, JSON for programs.
fn start_log(config: &Config) -> Result<Lines, StartError> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| {
        config.error(
            "log",
            &error.to_string(),
            "as in: info, or corelane=debug,info",
        )
    })?;
    let lines = Lines::to(std::io::stderr())
        .map_err(|error| config.error("log", &error.to_string(), "see `ulimit -u`"))?;
    let writer = lines.clone();
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone());
    if std::io::stderr().is_terminal() {
        format.init();
    } else {
        format.json().init();
    }
    Ok(lines)
}

/// A misspelt variable would be ignored in silence; an error would break machines where other
/// programs use the prefix.
fn warn_of_unknown_variables() {
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let is_known = |name: &str| {
            ["CORELANE_CONFIG", "CORELANE_SERVER"].contains(&name)
                || keys::KEYS.iter().any(|key| key.environment() == name)
        };
        if name.starts_with("CORELANE_") && !is_known(name) {
            tracing::warn!(name, "no setting has this environment variable");
        }
    }
}

/// What should be known but stops nothing.
fn tell_findings(config: &Config, facts: &Facts) {
    tracing::info!(
        event = "driver",
        driver = %facts.driver,
        asked = ?config.driver,
        commit = ?config.commit_mode,
        "driver"
    );
    tracing::info!(
        event = "recovered",
        partitions = facts.partitions,
        records = facts.records,
        millis = facts.recovery.as_millis(),
        epoch = facts.epoch,
        "recovered"
    );
    if !facts.damaged.is_empty() {
        tracing::error!(
            event = "damaged",
            partitions = ?facts.damaged,
            "partitions are damaged; they refuse everything, and their files are untouched"
        );
    }
    let path = config.data_dir.display();
    if facts.is_direct {
        tracing::info!(event = "direct", %path, "segments are written with O_DIRECT");
    } else {
        tracing::warn!(
            event = "no_direct",
            %path,
            "the file system of data_dir refuses O_DIRECT: segments are written through the page \
             cache, which is as safe and slower; `findmnt -T` tells its type, ext4 and xfs take it"
        );
    }
}

/// The lines of a start on stdout.
fn announce(config: &Config, addresses: &Addresses, facts: &Facts) {
    let cores: Vec<_> = facts.cores.iter().map(ToString::to_string).collect();
    let pinned = if cores.is_empty() {
        "not pinned".to_owned()
    } else {
        cores.join(",")
    };
    let server = if addresses.data.to_string() == DEFAULT_SERVER {
        String::new()
    } else {
        format!(" --server {}", addresses.data)
    };
    let text = format!(
        "corelane {version}  data {data}  control http://{control}  cores {count} ({pinned})  \
         dir {dir}\n\
         ok  {driver} driver, {partitions} partitions, {records} records recovered in {millis} ms\n\
         try: corelane{server} enqueue hello 'first message' && corelane{server} dequeue hello",
        version = env!("CARGO_PKG_VERSION"),
        data = addresses.data,
        control = addresses.control,
        count = addresses.shards.len(),
        dir = config.data_dir.display(),
        driver = facts.driver,
        partitions = facts.partitions,
        records = facts.records,
        millis = facts.recovery.as_millis(),
    );
    // A broker whose stdout is closed still serves.
    if output::line(&text).is_err() {
        tracing::debug!("stdout is closed");
    }
    tracing::info!(event = "ready", data = %addresses.data, control = %addresses.control, "ready");
}

/// Where the other commands look for a broker.
const DEFAULT_SERVER: &str = "127.0.0.1:7400";
