//! Why the broker does not start: cause, setting and command, for the person at the terminal.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::config::{Config, ConfigError, keys};
use crate::driver::uring::Refusal;

/// A start that failed; nothing runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError {
    /// What is missing or in the way.
    pub cause: String,
    /// The setting that governs it, with its value's origin; empty if there is none.
    pub setting: String,
    /// A command that shows or mends it; empty if there is none.
    pub command: String,
    /// Whether the configuration is at fault, not the machine.
    pub is_config: bool,
}

impl StartError {
    /// An error of the machine under a setting.
    pub(super) fn of(config: &Config, key: &str, cause: String, command: String) -> Self {
        let known = keys::find(key).expect("asked for by its own name");
        let place = config.source(key).place(known);
        Self {
            cause,
            setting: format!(
                "{key} (from {place}); flag {}, variable {}",
                known.flag(),
                known.environment()
            ),
            command,
            is_config: false,
        }
    }

    /// An address that cannot be listened on.
    pub(super) fn listening(
        config: &Config,
        key: &str,
        address: SocketAddr,
        error: &io::Error,
    ) -> Self {
        let command = if error.kind() == io::ErrorKind::AddrNotAvailable {
            "ip -brief address".to_owned()
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            "sysctl net.ipv4.ip_unprivileged_port_start".to_owned()
        } else {
            format!("ss -ltnp 'sport = :{}'", address.port())
        };
        let cause = format!("cannot listen on {address}: {error}");
        Self::of(config, key, cause, command)
    }

    /// A driver that was asked for by name and cannot be had.
    pub(super) fn driver(config: &Config, refusal: &Refusal) -> Self {
        Self::of(
            config,
            "driver",
            refusal.cause.clone(),
            refusal.remedy.clone(),
        )
    }

    /// An error of the machine that no setting governs.
    pub(super) fn plain(cause: &str) -> Self {
        Self {
            cause: cause.to_owned(),
            setting: String::new(),
            command: String::new(),
            is_config: false,
        }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self {
            cause: error.to_string(),
            setting: String::new(),
            command: String::new(),
            is_config: true,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        if !self.setting.is_empty() {
            write!(f, "\n  setting: {}", self.setting)?;
        }
        if !self.command.is_empty() {
            write!(f, "\n  try: {}", self.command)?;
        }
        Ok(())
    }
}

impl std::error::Error for StartError {}
