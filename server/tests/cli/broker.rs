//! A broker as a process, and commands as processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest that anything may take; never waited for in full.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker process on ports that the system picked, killed when dropped.
pub(crate) struct Broker {
    pub(crate) child: Child,
    pub(crate) ports: Value,
    pub(crate) ready: String,
}

/// What a command ended with.
pub(crate) struct Ended {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn corelane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CORELANE_") {
            command.env_remove(name);
        }
    }
    command
}

/// A broker over the driver that the environment names, if it does.
pub(crate) fn serve(directory: &Path) -> Command {
    let mut command = serve_at("127.0.0.1:0", directory);
    if let Ok(driver) = std::env::var("CORELANE_TEST_DRIVER") {
        command.args(["--driver", &driver]);
    }
    command
}

/// A broker over this driver.
pub(crate) fn serve_over(driver: &str, directory: &Path) -> Command {
    let mut command = serve_at("127.0.0.1:0", directory);
    command.args(["--driver", driver]);
    command
}

/// A broker on this address.
pub(crate) fn serve_at(listen: &str, directory: &Path) -> Command {
    let mut command = corelane();
    let data = directory.join("data");
    command.args(["serve", "--listen", listen, "--control", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(data);
    command.arg("--port-file").arg(directory.join("ports.json"));
    command
}

impl Broker {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::spawn(directory, &mut serve(directory))
    }

    pub(crate) fn spawn(directory: &Path, command: &mut Command) -> Self {
        Self::spawn_logging_to(directory, command, Stdio::piped())
    }

    pub(crate) fn spawn_logging_to(directory: &Path, command: &mut Command, log: Stdio) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !ready.contains("try: ") {
            let Some(line) = lines.next() else {
                let mut log = String::new();
                if let Some(mut stderr) = child.stderr.take() {
                    stderr.read_to_string(&mut log).unwrap();
                }
                panic!("the broker ended: {ready}{log}");
            };
            ready.push_str(&line.unwrap());
            ready.push('\n');
        }
        if let Some(mut stderr) = child.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        }
        let ports = std::fs::read(directory.join("ports.json")).unwrap();
        Self {
            child,
            ports: serde_json::from_slice(&ports).unwrap(),
            ready,
        }
    }

    pub(crate) fn data(&self) -> String {
        self.ports["data"].as_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = corelane();
        command.args(["--server", &self.data()]).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        end(self.command(arguments).stdin(Stdio::null()))
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        // A command that refuses its input closes the pipe.
        drop(writer.join().unwrap());
        Ended::from(output)
    }

    /// Runs a command that must succeed; its stdout.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).ok()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let control: SocketAddr = self.ports["control"].as_str().unwrap().parse().unwrap();
        let mut stream = TcpStream::connect(control).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// Waits until the sum of a metric over the shards is this. They publish at the end of a turn,
    /// after what a client sees of it.
    pub(crate) fn until_metric(&self, name: &str, expected: f64) {
        let begun = Instant::now();
        loop {
            let (status, metrics) = self.get("/metrics");
            assert_eq!(status, 200);
            let of_it = |line: &&str| line.split('{').next() == Some(name);
            let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
            let sum: f64 = metrics.lines().filter(of_it).filter_map(value).sum();
            if (sum - expected).abs() < f64::EPSILON {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is {sum}: {metrics}");
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.child.wait().unwrap()
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap()
    }

    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code(), 0, "{}", self.stderr);
        self.stdout
    }
}

pub(crate) fn end(command: &mut Command) -> Ended {
    Ended::from(command.output().unwrap())
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A start that must fail: its code and what it says.
pub(crate) fn refused(command: &mut Command) -> (i32, String) {
    let ended = end(command.stdin(Stdio::null()));
    assert_eq!(ended.stdout, "");
    (ended.code(), ended.stderr)
}

/// A line for each number.
pub(crate) fn numbered(before: &str, numbers: Range<u32>) -> String {
    let lines = numbers.map(|number| [before, &number.to_string(), "\n"].concat());
    lines.collect()
}
