//! Every peer that is installed, end to end with a few messages; those that are not say so.
#![cfg(feature = "peers")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail like the test itself, and say what they skip"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use corelane_bench::compare::{self, Comparison, Load, Terms};
use corelane_bench::load::{Pacing, Verdict};
use corelane_bench::peers::{Class, Peer};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_corelane-bench");

/// The broker of the same build, which is there when the workspace is tested.
fn corelane() -> PathBuf {
    Path::new(BINARY).with_file_name("corelane")
}

fn compare(peer: Peer, class: Class, folder: &Path) -> Comparison {
    let terms = Terms {
        peers: vec![peer],
        class,
        corelane: corelane(),
        folder: folder.to_owned(),
        loads: vec![
            Load::Open { per_second: 1_000 },
            Load::Enqueue,
            Load::Both,
            Load::Drain { messages: 200 },
        ],
        rounds: 1,
        body_bytes: 300,
        producers: 2,
        consumers: 2,
        window: 16,
        credit: 50,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(300),
        drain: Duration::from_secs(20),
        pacing: Pacing::Sleep,
    };
    compare::run(&terms, |_| ()).unwrap()
}

/// All loads in both classes; a class that is not available is skipped with its reason.
fn measure(peer: Peer) {
    for class in [Class::Durable, Class::Async] {
        let folder = tempfile::tempdir().unwrap();
        let table = compare(peer, class, folder.path());
        if let Some(reason) = &table.subjects[0].not_available {
            println!("skipped: {}, {}: {reason}", peer.name(), class.name());
            continue;
        }
        println!("measured: {}, {}", peer.name(), class.name());
        assert_eq!(table.rows.len(), 4, "{table}");
        for row in &table.rows {
            let is_wrong = |verdict| matches!(verdict, &Verdict::Breach | &Verdict::Refused);
            assert!(!row.verdicts.iter().any(is_wrong), "{table}");
            assert!(row.median.messages.unwrap() > 0.0, "{table}");
            assert!(row.median.cpu_seconds_per_million.is_some(), "{table}");
        }
        assert_eq!(table.rows[3].median.messages, Some(200.0), "{table}");
        let open = &table.rows[0].median;
        assert!(open.confirm_p50_us.unwrap() > 0.0, "{table}");
        assert!(open.deliver_p50_us.unwrap() > 0.0, "{table}");
        // Nothing of a start is left.
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}

#[test]
fn corelane_is_compared_with_itself() {
    measure(Peer::Corelane);
}

#[test]
fn nats() {
    measure(Peer::Nats);
}

#[test]
fn redis() {
    measure(Peer::Redis);
}

#[test]
fn rabbitmq() {
    measure(Peer::Rabbitmq);
}

#[test]
fn beanstalkd() {
    measure(Peer::Beanstalkd);
}

#[test]
fn brokers_that_are_not_installed_read_not_available_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let compare = |output: &str| {
        let mut command = Command::new(BINARY);
        command.args(["compare", "--rounds", "1", "--output", output]);
        command.arg("--dir").arg(folder.path());
        command.arg("--corelane").arg(folder.path().join("none"));
        let output = command.env("PATH", folder.path()).output().unwrap();
        // Not a single figure is no comparison.
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table: Value = serde_json::from_str(&compare("json")).unwrap();
    let subjects = table["subjects"].as_array().unwrap();
    assert_eq!(subjects.len(), Peer::ALL.len());
    for (subject, peer) in subjects.iter().zip(Peer::ALL) {
        assert_eq!(subject["peer"], peer.name());
        assert_eq!(subject["version"], Value::Null);
        let reason = subject["not_available"].as_str().unwrap();
        let expected = if peer == Peer::Corelane {
            "cannot start"
        } else {
            "is not installed, or not on PATH"
        };
        assert!(reason.contains(expected), "{reason}");
    }
    assert_eq!(table["rows"], Value::Array(Vec::new()));
    let text = compare("text");
    assert_eq!(text.matches("not available: ").count(), 5, "{text}");
}

#[test]
fn the_schema_of_a_comparison_is_printed() {
    let output = Command::new(BINARY).args(["schema", "compare"]).output();
    let schema: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(
        schema["properties"]["schema"]["const"],
        "corelane-bench/compare/1"
    );
}
