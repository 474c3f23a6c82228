//! The broker as a process: started, killed, started again on the same ports.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A start replays the log; this is far beyond what any log of the demo needs.
const START_TIMEOUT: Duration = Duration::from_mins(1);
const ANY_PORT: &str = "127.0.0.1:0";

/// A broker that serves; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Broker {
    binary: PathBuf,
    folder: PathBuf,
    child: Child,
    /// The shared data port.
    pub(crate) address: SocketAddr,
    control: SocketAddr,
}

impl Broker {
    /// Starts `binary` with its data, port file and log in `folder`, on free ports.
    pub(crate) fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let mut child = spawn(binary, folder, ANY_PORT, ANY_PORT)?;
        let (address, control) = wait_for_ports(&mut child, folder)?;
        Ok(Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            child,
            address,
            control,
        })
    }

    /// SIGKILL: nothing of the process runs after this.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill the broker")?;
        self.child.wait().context("cannot wait for the broker")?;
        Ok(())
    }

    /// Starts it again on the same data and ports, and says how long that took.
    pub(crate) fn restart(&mut self) -> Result<Duration> {
        fs::remove_file(port_file(&self.folder)).context("the port file is gone")?;
        let begin = Instant::now();
        let (address, control) = (self.address.to_string(), self.control.to_string());
        self.child = spawn(&self.binary, &self.folder, &address, &control)?;
        wait_for_ports(&mut self.child, &self.folder)?;
        Ok(begin.elapsed())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only if the process has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn port_file(folder: &Path) -> PathBuf {
    folder.join("ports.json")
}

fn spawn(binary: &Path, folder: &Path, listen: &str, control: &str) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("broker.log"))?;
    Command::new(binary)
        .args(["serve", "--dev", "--listen", listen, "--shard-port", "0"])
        .args(["--control", control])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--port-file")
        .arg(port_file(folder))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

/// Waits until the broker has written where it listens, which it does when it serves.
fn wait_for_ports(child: &mut Child, folder: &Path) -> Result<(SocketAddr, SocketAddr)> {
    let begin = Instant::now();
    while begin.elapsed() < START_TIMEOUT {
        if let Some(ports) = read_ports(folder) {
            return Ok(ports);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the broker ended: {status}\n{}", end_of_log(folder));
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!(
        "the broker does not serve after {START_TIMEOUT:?}\n{}",
        end_of_log(folder)
    )
}

/// Nothing while the file is missing or half written.
fn read_ports(folder: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = fs::read_to_string(port_file(folder)).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let address = |name: &str| ports.get(name)?.as_str()?.parse().ok();
    Some((address("data")?, address("control")?))
}

/// The last lines that the broker wrote.
fn end_of_log(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("broker.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(20);
    lines[first..].join("\n")
}
