//! From text to typed values, with errors that name the place.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::quantity::{parse_bytes, parse_duration};
use super::{ConfigError, DriverChoice, Settings, keys};
use crate::driver::CommitMode;

/// Reads typed values out of settings.
pub(super) struct Values<'a> {
    settings: &'a Settings,
}

impl<'a> Values<'a> {
    pub(super) const fn of(settings: &'a Settings) -> Self {
        Self { settings }
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        let (value, _) = self.settings.values.get(key)?;
        Some(value)
    }

    pub(super) fn boolean(&self, key: &str) -> Result<bool, ConfigError> {
        match self.text(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(self.refuse(key, other, "expected true or false")),
        }
    }

    pub(super) fn number<N>(
        &self,
        key: &str,
        default: N,
        range: std::ops::RangeInclusive<N>,
    ) -> Result<N, ConfigError>
    where
        N: std::str::FromStr + PartialOrd + fmt::Display,
    {
        let Some(text) = self.text(key) else {
            return Ok(default);
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            Ok(_) | Err(_) => {
                let (low, high) = range.into_inner();
                let expected = format!("expected a number from {low} to {high}");
                Err(self.refuse(key, text, &expected))
            }
        }
    }

    pub(super) fn bytes(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        self.text(key).map_or(Ok(default), |text| {
            parse_bytes(text).map_err(|cause| self.refuse(key, text, &cause.to_string()))
        })
    }

    pub(super) fn duration(&self, key: &str, default: Duration) -> Result<Duration, ConfigError> {
        self.text(key).map_or(Ok(default), |text| {
            parse_duration(text).map_err(|cause| self.refuse(key, text, &cause.to_string()))
        })
    }

    pub(super) fn address(&self, key: &str, port: u16) -> Result<SocketAddr, ConfigError> {
        let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        self.text(key).map_or(Ok(default), |text| {
            text.parse().map_err(|_| {
                let expected = "expected ADDRESS:PORT, as in 127.0.0.1:7400 or [::1]:7400";
                self.refuse(key, text, expected)
            })
        })
    }

    pub(super) fn driver(&self) -> Result<DriverChoice, ConfigError> {
        match self.text("driver") {
            None | Some("auto") => Ok(DriverChoice::Auto),
            Some("epoll") => Ok(DriverChoice::Epoll),
            Some("uring") => Ok(DriverChoice::Uring),
            Some(other) => Err(self.refuse("driver", other, "expected auto, uring or epoll")),
        }
    }

    pub(super) fn commit_mode(&self) -> Result<CommitMode, ConfigError> {
        let key = "commit_mode";
        match self.text(key) {
            None | Some("fdatasync") => Ok(CommitMode::Fdatasync),
            Some("rwf-dsync") => Ok(CommitMode::RwfDsync),
            Some(other) => Err(self.refuse(key, other, "expected fdatasync or rwf-dsync")),
        }
    }

    fn refuse(&self, key: &str, value: &str, expected: &str) -> ConfigError {
        let known = keys::find(key).expect("asked for by its own name");
        let source = self.settings.values.get(key);
        ConfigError {
            place: source.map_or_else(String::new, |(_, source)| source.place(known)),
            cause: format!("{key} = {value:?}: {expected}"),
            hint: String::new(),
        }
    }
}
