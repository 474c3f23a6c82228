use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};

use corelane_wire::{Correlation, Hello, Request};
use rustix::process::{Pid, Signal as Kill, kill_process};

use super::*;
use crate::config::Settings;

/// Set in a process with a shard that stands still: its data directory.
const CHILD: &str = "CORELANE_STUCK_SHARD_TEST";

/// A shard that draws a session this way never turns again.
fn stand_still() -> SessionId {
    tracing::info!("a shard stands still from now on");
    loop {
        std::thread::park();
    }
}

/// Runs a broker with a shard that stands still as soon as a client greets it.
fn serve_stuck(directory: &str, watchdog: &str) -> io::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stdout).init();
    let settings = Settings::default()
        .flag("data_dir", Some(directory.to_owned()))
        .flag("listen", Some("127.0.0.1:0".to_owned()))
        .flag("control", Some("127.0.0.1:0".to_owned()))
        .flag("cores", Some("1".to_owned()))
        .flag("stop_timeout", Some("1h".to_owned()))
        .flag("watchdog", Some(watchdog.to_owned()));
    let config = Config::resolve(&settings, 1).unwrap();
    let broker = Broker::start_with(&config, stand_still).unwrap();
    let mut client = None;
    broker.run(|addresses, _| {
        let mut stream = TcpStream::connect(addresses.data).unwrap();
        let mut hello = Vec::new();
        Request::Hello(Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            session: SessionId::NONE,
            resume: false,
            client_name: "test",
            tenant: "",
            token: &[],
        })
        .encode(Correlation(1), &mut hello);
        stream.write_all(&hello).unwrap();
        client = Some(stream);
    })
}

/// Runs one test of this file in a process of its own, which finds [`CHILD`] set.
fn child_running(test: &str, directory: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("serve::tests::{test}"), "--nocapture"])
        .env(CHILD, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The whole way in a process of its own: a shard that stands still, the control plane that
/// notices, the abort.
#[test]
fn stuck_shard_aborts_the_process() {
    if let Ok(directory) = std::env::var(CHILD) {
        let ended = serve_stuck(&directory, "2s");
        panic!("the broker ended by itself: {ended:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let child = child_running(
        "stuck_shard_aborts_the_process",
        &folder.path().join("data"),
    );
    // Its stdout ends with the process.
    let ended = child.wait_with_output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    let status = ended.status;
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}: {text}");
    assert!(text.contains("shard stands still"), "{text}");
}

/// Of a broker whose shard never ends, in a process of its own.
#[test]
fn second_signal_cuts_the_orderly_end_short() {
    if let Ok(directory) = std::env::var(CHILD) {
        return serve_stuck(&directory, "0s").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = child_running(
        "second_signal_cuts_the_orderly_end_short",
        &folder.path().join("data"),
    );
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_stuck = |line: io::Result<String>| line.unwrap().contains("stands still from now on");
    assert!(lines.any(is_stuck));
    let (sender, ended) = channel();
    let reader = std::thread::spawn(move || {
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        // A test that has failed waits no more.
        sender.send(()).unwrap_or_default();
        rest.join("\n")
    });
    let begun = Instant::now();
    // What comes within half a second of the first is taken for a copy of it.
    let patience = Duration::from_secs(20);
    loop {
        kill_process(Pid::from_child(&child), Kill::TERM).unwrap();
        match ended.recv_timeout(COPIES_WITHIN / 5) {
            Err(RecvTimeoutError::Timeout) if begun.elapsed() < patience => {}
            result => break result.unwrap_or_else(|_| child.kill().unwrap()),
        }
    }
    let took = begun.elapsed();
    let status = child.wait().unwrap();
    let text = reader.join().unwrap();
    assert!(status.success(), "{status}: {text}");
    assert!(took >= COPIES_WITHIN && took < patience, "{took:?}: {text}");
    assert!(text.contains("second signal; ending at once"), "{text}");
}
