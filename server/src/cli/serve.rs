//! `corelane serve`.

use std::io::IsTerminal;

use clap::Args;
use corelane::config::{Config, ConfigError, keys};
use corelane::serve::{Addresses, Broker, Facts, StartError};

use super::exit::{CONFIG, FAILURE, Failure};
use super::log::Lines;
use super::output;
use super::settings::{self, Given};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    given: Given,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.given.configuration()?;
        let mut log = start_log(&config)?;
        let result = serve(&config).map_err(|failure| failure.told_to(&mut log));
        log.flush_briefly();
        result
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

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        StartError::from(error).into()
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = if error.is_config { CONFIG } else { FAILURE };
        Self::new(code, error.to_string())
    }
}

/// Log lines go to stderr: text for people, JSON for programs.
fn start_log(config: &Config) -> Result<Lines, StartError> {
    let filter = settings::log_filter(config)?;
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
            "partitions are damaged; they show at most what is before the damage, and their files are untouched"
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
