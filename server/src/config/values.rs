//! From text to typed values, with errors that name the place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::keys::{Key, Kind};
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
            Some(other) => Err(self.refuse(key, other)),
        }
    }

    /// A number in the range that the table gives the key.
    ///
    /// # Panics
    /// If that range is wider than `N`, or the key is no number.
    pub(super) fn number<N: TryFrom<u32>>(&self, key: &str) -> Result<Option<N>, ConfigError> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let Kind::Number { min, max } = known(key).kind else {
            panic!("{key} is no number");
        };
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => {
                let number = N::try_from(number);
                Ok(Some(number.ok().expect("the table keeps to the type")))
            }
            Ok(_) | Err(_) => Err(self.refuse(key, text)),
        }
    }

    pub(super) fn bytes(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        self.text(key).map_or(Ok(default), |text| {
            parse_bytes(text).map_err(|_| self.refuse(key, text))
        })
    }

    pub(super) fn duration(&self, key: &str, default: Duration) -> Result<Duration, ConfigError> {
        self.text(key).map_or(Ok(default), |text| {
            parse_duration(text).map_err(|_| self.refuse(key, text))
        })
    }

    pub(super) fn address(&self, key: &str, port: u16) -> Result<SocketAddr, ConfigError> {
        let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        self.text(key).map_or(Ok(default), |text| {
            text.parse().map_err(|_| self.refuse(key, text))
        })
    }

    pub(super) fn driver(&self) -> Result<DriverChoice, ConfigError> {
        match self.text("driver") {
            None | Some("auto") => Ok(DriverChoice::Auto),
            Some("epoll") => Ok(DriverChoice::Epoll),
            Some("uring") => Ok(DriverChoice::Uring),
            Some("glommio") => Ok(DriverChoice::Glommio),
            Some(other) => Err(self.refuse("driver", other)),
        }
    }

    pub(super) fn commit_mode(&self) -> Result<CommitMode, ConfigError> {
        let key = "commit_mode";
        match self.text(key) {
            None | Some("fdatasync") => Ok(CommitMode::Fdatasync),
            Some("linked") => Ok(CommitMode::Linked),
            Some("rwf-dsync") => Ok(CommitMode::RwfDsync),
            Some(other) => Err(self.refuse(key, other)),
        }
    }

    fn refuse(&self, key: &str, value: &str) -> ConfigError {
        let known = known(key);
        let source = self.settings.values.get(key);
        ConfigError {
            place: source.map_or_else(String::new, |(_, source)| source.place(known)),
            cause: format!("{key} = {value:?}: expected {}", known.kind),
            hint: String::new(),
        }
    }
}

fn known(key: &str) -> &'static Key {
    keys::find(key).expect("asked for by its own name")
}
