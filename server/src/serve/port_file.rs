//! The port file: tells scripts and tests where a broker that picked its ports can be reached.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Addresses;
use super::error::StartError;
use crate::config::Config;

/// The file of `--port-file`; none if it was not asked for. It exists while the broker serves.
#[derive(Debug)]
pub struct PortFile {
    path: Option<PathBuf>,
}

/// Its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Content {
    /// Version of this schema.
    v: u32,
    /// The broker's process.
    pid: u32,
    data: String,
    shards: Vec<String>,
    control: String,
}

impl PortFile {
    /// Removes what an earlier broker left, so that nobody reads its ports for ours.
    pub(super) fn claim(config: &Config) -> Result<Self, StartError> {
        let path = config.port_file.clone();
        if let Some(path) = &path
            && let Err(error) = remove(path)
        {
            let cause = format!("cannot replace {}: {error}", path.display());
            return Err(StartError::of(config, "port_file", cause, String::new()));
        }
        Ok(Self { path })
    }

    /// Writes it whole: a reader sees all of it or nothing.
    pub(super) fn write(&self, addresses: &Addresses) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let content = Content {
            v: 1,
            pid: std::process::id(),
            data: addresses.data.to_string(),
            shards: addresses.shards.iter().map(ToString::to_string).collect(),
            control: addresses.control.to_string(),
        };
        let mut name = path.clone().into_os_string();
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        std::fs::write(&temporary, serde_json::to_vec(&content)?)
            .and_then(|()| std::fs::rename(&temporary, path))
            .map_err(|error| {
                let path = path.display();
                let text =
                    format!("cannot write the port file {path}: {error} (setting port_file)");
                io::Error::new(error.kind(), text)
            })
    }

    /// Removes it at an orderly end.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.path
            && let Err(error) = remove(path)
        {
            tracing::warn!(%error, path = %path.display(), "cannot remove the port file");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
