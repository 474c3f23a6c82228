//! A real broker process: started, watched, killed.
//!
//! Owned by a test or a tool; dropping the handle kills the process, so nothing is left running.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// The file in a broker's scratch folder that takes its stderr.
const STDERR: &str = "stderr.txt";

/// Names the driver of the brokers that tests start, as `--driver` takes it; without it they choose.
const DRIVER_VARIABLE: &str = "CORELANE_TEST_DRIVER";

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// The `corelane` binary.
    pub binary: PathBuf,
    /// The data directory; made by the broker if absent.
    pub data: PathBuf,
    /// The driver, as `--driver` takes it.
    pub driver: String,
    /// The number of shards.
    pub cores: u16,
    /// What else stands on the command line.
    pub arguments: Vec<String>,
}

impl BrokerOptions {
    /// The binary built beside the running program, on `data`, with two shards and the driver that the environment
    /// variable `CORELANE_TEST_DRIVER` names, else `auto`.
    ///
    /// # Errors
    /// If no `corelane` binary lies beside the running program or in the folder above.
    pub fn beside_this_program(data: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let binary = program
            .ancestors()
            .skip(1)
            .take(2)
            .map(|folder| folder.join("corelane"))
            .find(|candidate| candidate.is_file())
            .context("no `corelane` binary beside this program: run `cargo build -p corelane`")?;
        Ok(Self {
            binary,
            data: data.to_owned(),
            driver: std::env::var(DRIVER_VARIABLE).unwrap_or_else(|_| "auto".to_owned()),
            cores: 2,
            arguments: Vec::new(),
        })
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// Kept open, or the broker could not write to it.
    _stdout: BufReader<ChildStdout>,
    /// Holds its port file and what it wrote to stderr.
    scratch: TempDir,
    /// The shared data port.
    pub address: SocketAddr,
    /// The control port.
    pub control: SocketAddr,
}

impl Broker {
    /// Starts a broker on free ports and returns when it serves.
    ///
    /// # Errors
    /// If it cannot be started, or ends before it serves; what it wrote to stderr is in the error.
    pub fn start(options: &BrokerOptions) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let ports = scratch.path().join("ports.json");
        let stderr = fs::File::create(scratch.path().join(STDERR))?;
        let mut child = Command::new(&options.binary)
            .env_remove(DRIVER_VARIABLE)
            .args(["serve", "--dev", "--listen", "127.0.0.1:0"])
            .args(["--control", "127.0.0.1:0", "--driver", &options.driver])
            .arg("--cores")
            .arg(options.cores.to_string())
            .arg("--data-dir")
            .arg(&options.data)
            .arg("--port-file")
            .arg(&ports)
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", options.binary.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        if line.is_empty() {
            let status = child.wait()?;
            let said = fs::read_to_string(scratch.path().join(STDERR))?;
            bail!("the broker ended before it served: {status}: {said}");
        }
        let text = fs::read_to_string(&ports).context("the broker wrote no port file")?;
        let ports: serde_json::Value = serde_json::from_str(&text)?;
        let address = |name: &str| -> anyhow::Result<SocketAddr> {
            let text = ports.get(name).and_then(serde_json::Value::as_str);
            Ok(text
                .with_context(|| format!("the port file has no {name}"))?
                .parse()?)
        };
        Ok(Self {
            address: address("data")?,
            control: address("control")?,
            child,
            _stdout: stdout,
            scratch,
        })
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// If the process had ended before, by itself: that is a crash of its own.
    pub fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = self.log()?;
            bail!("the broker ended by itself: {status}: {said}");
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        let sent = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        if !sent.success() {
            bail!("cannot send SIGTERM: {sent}");
        }
        Ok(self.child.wait()?)
    }

    /// What it wrote to stderr until now.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.scratch.path().join(STDERR))?)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only when the process is gone, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
