//! Commands as a reader types them, one after the other in one folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use corelane_tests::process::{Broker, BrokerOptions};

/// The addresses that the pages show; here every broker has free ports of its own.
const SHOWN_DATA: &str = "127.0.0.1:7400";
const SHOWN_CONTROL: &str = "127.0.0.1:7480";

/// A folder with a broker; a broker that a page starts takes its place.
pub(super) struct Session {
    folder: TempDir,
    path: String,
    driver: String,
    data: String,
    control: String,
    /// Started by commands of the page.
    started: Vec<Child>,
    _broker: Broker,
}

/// What a command left.
pub(super) struct Came {
    pub(super) is_success: bool,
    pub(super) output: String,
}

impl Session {
    pub(super) fn start(root: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(root.join("docs"), folder.path().join("docs")).unwrap();
        let options = BrokerOptions::beside_this_program(&folder.path().join("first")).unwrap();
        let broker = Broker::start(&options).unwrap();
        let binaries = options.binary.parent().unwrap().to_str().unwrap();
        Self {
            path: format!("{binaries}:{}", std::env::var("PATH").unwrap()),
            driver: options.driver,
            data: broker.address.to_string(),
            control: broker.control.to_string(),
            folder,
            started: Vec::new(),
            _broker: broker,
        }
    }

    /// Runs a line: `corelane serve` in the background until it serves, anything else to its end.
    pub(super) fn run(&mut self, typed: &str) -> Came {
        let line = typed
            .replace(SHOWN_DATA, &self.data)
            .replace(SHOWN_CONTROL, &self.control);
        if line.starts_with("corelane serve") {
            return self.serve(line.split(" &").next().unwrap_or_default());
        }
        // `$!` is the process id of what was last started in the background.
        let last = self.started.last().map_or(0, Child::id);
        let line = line.replace("$!", &last.to_string());
        let ended = self.shell(&format!("exec 2>&1; {line}")).output().unwrap();
        Came {
            is_success: ended.status.success(),
            output: self.as_shown(&String::from_utf8(ended.stdout).unwrap()),
        }
    }

    fn serve(&mut self, line: &str) -> Came {
        let mut shell = self.shell(&format!("exec {line}"));
        let shell = shell.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = shell.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut output = String::new();
        // The last of the lines that it prints when it serves.
        while !output.contains("try: ") {
            let Some(line) = lines.next() else { break };
            output += &(line.unwrap() + "\n");
        }
        self.started.push(child);
        let Ok(ports) = fs::read_to_string(self.ports()) else {
            let is_success = false;
            return Came { is_success, output };
        };
        let ports: serde_json::Value = serde_json::from_str(&ports).unwrap();
        let port = |name: &str| ports[name].as_str().unwrap().to_owned();
        (self.data, self.control) = (port("data"), port("control"));
        Came {
            is_success: true,
            output: self.as_shown(&output),
        }
    }

    fn ports(&self) -> PathBuf {
        self.folder.path().join("ports.json")
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env("PATH", &self.path)
            .env("CORELANE_SERVER", &self.data)
            .env("CORELANE_LISTEN", "127.0.0.1:0")
            .env("CORELANE_CONTROL", "127.0.0.1:0")
            .env("CORELANE_CORES", "2")
            .env("CORELANE_DRIVER", &self.driver)
            .env("CORELANE_PORT_FILE", self.ports());
        shell
    }

    /// An output with the addresses of the pages.
    fn as_shown(&self, output: &str) -> String {
        output
            .replace(&self.data, SHOWN_DATA)
            .replace(&self.control, SHOWN_CONTROL)
            .replace(&format!("--server {SHOWN_DATA} "), "")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in &mut self.started {
            // Both fail only when the process is gone, which is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
