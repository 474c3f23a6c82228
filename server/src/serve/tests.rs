use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use corelane_wire::{Correlation, Hello, Request};

use super::*;
use crate::config::Settings;

/// Set in the process that is to be aborted: its data directory.
const CHILD: &str = "CORELANE_STUCK_SHARD_TEST";

/// A shard that draws a session this way never turns again.
fn stand_still() -> SessionId {
    loop {
        std::thread::park();
    }
}

/// Runs a broker with a shard that stands still as soon as a client greets it.
fn serve_until_aborted(directory: &str) {
    tracing_subscriber::fmt().with_writer(io::stdout).init();
    let settings = Settings::default()
        .flag("data_dir", Some(directory.to_owned()))
        .flag("listen", Some("127.0.0.1:0".to_owned()))
        .flag("control", Some("127.0.0.1:0".to_owned()))
        .flag("cores", Some("1".to_owned()))
        .flag("watchdog", Some("2s".to_owned()));
    let config = Config::resolve(&settings, 1).unwrap();
    let broker = Broker::start_with(&config, stand_still).unwrap();
    let mut client = None;
    let ended = broker.run(|addresses, _| {
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
    });
    panic!("the broker ended by itself: {ended:?}");
}

/// The whole way in a process of its own: a shard that stands still, the control plane that
/// notices, the abort.
#[test]
fn stuck_shard_aborts_the_process() {
    if let Ok(directory) = std::env::var(CHILD) {
        return serve_until_aborted(&directory);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serve::tests::stuck_shard_aborts_the_process"])
        .arg("--nocapture")
        .env(CHILD, folder.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its stdout ends with the process.
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}: {text}");
    assert!(text.contains("shard stands still"), "{text}");
}
