//! `corelane doctor` on this machine.

use std::process::Command;

use serde_json::Value;

use crate::broker::{Broker, Ended, corelane, end, folder};

/// The findings by check, and whether the exit code is theirs.
fn findings(ended: &Ended) -> Vec<Value> {
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["v"], 1);
    let items = document["items"].as_array().unwrap().clone();
    let has_failed = items.iter().any(|item| item["result"] == "fail");
    assert_eq!(ended.code(), if has_failed { 10 } else { 0 });
    assert_eq!(has_failed, ended.stderr.contains("checks failed"));
    items
}

fn of<'a>(items: &'a [Value], check: &str) -> &'a Value {
    items.iter().find(|item| item["check"] == check).unwrap()
}

#[test]
fn every_check_finds_something_and_leaves_nothing() {
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    let ended = end(corelane().args(["doctor", "-o", "json", "--data-dir", path]));
    let items = findings(&ended);
    let checks: Vec<_> = items
        .iter()
        .map(|item| item["check"].as_str().unwrap())
        .collect();
    assert_eq!(
        checks,
        [
            "kernel",
            "io_uring",
            "memlock",
            "open files",
            "o_direct",
            "commit latency",
            "free space",
            "clock source",
            "cpu governor",
            "cores"
        ]
    );
    let manual = include_str!("../../../docs/operating.md");
    for item in &items {
        for column in ["found", "wanted", "why"] {
            assert_ne!(item[column], "", "{item}");
        }
        let row = format!("| `{}` |", item["check"].as_str().unwrap());
        assert!(manual.contains(&row), "docs/operating.md lacks {row}");
    }
    let latency = of(&items, "commit latency")["found"].as_str().unwrap();
    assert!(
        latency.starts_with("p50 ") && latency.contains(" us, p99 "),
        "{latency}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn failed_check_ends_with_its_own_code_and_a_command() {
    let folder = folder();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100 && exec \"$@\"", "sh"]);
    let doctor = corelane();
    command
        .arg(doctor.get_program())
        .args(["doctor", "--cores", "2", "-o", "json", "--data-dir"]);
    let items = findings(&end(command.arg(folder.path())));
    let files = of(&items, "open files");
    assert_eq!(files["result"], "fail");
    assert_eq!(files["found"], "100");
    let hint = files["command"].as_str().unwrap();
    assert!(hint.contains("LimitNOFILE="), "{hint}");
    let nowhere = end(corelane().args(["doctor", "--data-dir", "/proc/nowhere"]));
    assert_eq!(nowhere.code(), 10, "{}", nowhere.stderr);
    assert!(
        nowhere.stdout.contains("cannot write in /proc"),
        "{}",
        nowhere.stdout
    );
    assert_eq!(end(corelane().args(["doctor", "--cores", "0"])).code(), 3);
}

#[test]
fn broker_in_use_is_not_disturbed() {
    let folder = folder();
    let broker = Broker::spawn(
        folder.path(),
        crate::broker::serve(folder.path()).args(["--partitions", "3"]),
    );
    let data = folder.path().join("data");
    let mut doctor = corelane();
    doctor.args([
        "doctor",
        "-o",
        "json",
        "--cores",
        "1",
        "--connections-max",
        "100",
        "--data-dir",
    ]);
    let items = findings(&end(doctor.arg(&data)));
    // Of the partitions that are there: 64 + 16 + 3 * 17, and 16 or 100 connections.
    assert_eq!(of(&items, "open files")["wanted"], "231, at least 147");
    assert_ne!(of(&items, "commit latency")["result"], "fail");
    broker.ok(&["enqueue", "q", "x"]);
    assert!(broker.stop().success());
}
