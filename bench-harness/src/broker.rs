//! The broker of this project as a process: started, killed, started again on the same ports.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::Process;

const ANY_PORT: &str = "127.0.0.1:0";

/// A broker that serves; dropping it kills it.
#[derive(Debug)]
pub struct Broker {
    binary: PathBuf,
    folder: PathBuf,
    further: Vec<String>,
    process: Process,
    /// The shared data port.
    pub address: SocketAddr,
    control: SocketAddr,
}

impl Broker {
    /// Starts `binary` with its data, port file and log in `folder`, on free ports.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn start(binary: &Path, folder: &Path) -> Result<Self> {
        Self::start_with(binary, folder, &[])
    }

    /// The same with further arguments of `corelane serve`.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn start_with(binary: &Path, folder: &Path, further: &[String]) -> Result<Self> {
        let mut process = spawn(binary, folder, [ANY_PORT, ANY_PORT], further)?;
        let (address, control) = process.wait_for("the broker", || read_ports(folder))?;
        Ok(Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            further: further.to_vec(),
            process,
            address,
            control,
        })
    }

    /// SIGKILL: nothing of the process runs after this.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same data and ports, and says how long that took.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn restart(&mut self) -> Result<Duration> {
        fs::remove_file(port_file(&self.folder)).context("the port file is gone")?;
        let begin = Instant::now();
        let (address, control) = (self.address.to_string(), self.control.to_string());
        let addresses = [address.as_str(), control.as_str()];
        self.process = spawn(&self.binary, &self.folder, addresses, &self.further)?;
        self.process
            .wait_for("the broker", || read_ports(&self.folder))?;
        Ok(begin.elapsed())
    }

    /// Its process.
    pub fn into_process(self) -> Process {
        self.process
    }
}

/// The arguments with which `corelane` serves on these addresses of the data port and the control port.
pub fn arguments(folder: &Path, [listen, control]: [&str; 2]) -> Vec<String> {
    let data = folder.join("data").display().to_string();
    let ports = port_file(folder).display().to_string();
    let arguments = [
        ["serve", "--dev"],
        ["--listen", listen],
        ["--shard-port", "0"],
        ["--control", control],
        ["--data-dir", &data],
        ["--port-file", &ports],
    ];
    arguments
        .as_flattened()
        .iter()
        .map(|&one| one.to_owned())
        .collect()
}

fn port_file(folder: &Path) -> PathBuf {
    folder.join("ports.json")
}

fn spawn(
    binary: &Path,
    folder: &Path,
    addresses: [&str; 2],
    further: &[String],
) -> Result<Process> {
    let mut command = Command::new(binary);
    command.args(arguments(folder, addresses)).args(further);
    Process::start(&mut command, folder.join("broker.log"))
}

/// Where the broker listens, which it writes when it serves; nothing while the file is missing or half written.
fn read_ports(folder: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = fs::read_to_string(port_file(folder)).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let address = |name: &str| ports.get(name)?.as_str()?.parse().ok();
    Some((address("data")?, address("control")?))
}
