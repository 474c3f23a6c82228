//! The binary: what it prints, and the code it exits with.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers fail like the test itself"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_corelane-bench");
/// What a busy machine may add to any run.
const ACCEPT: [&str; 2] = [
    "--accept",
    "noisy,overloaded,generator-limited,too-few-samples",
];
const SHORT: [&str; 7] = [
    "--no-floors",
    "--warm-up",
    "0",
    "--seconds",
    "0.3",
    "--drain",
    "2",
];

fn bench(arguments: &[&str]) -> Output {
    let command = &mut Command::new(BINARY);
    command.args(arguments).output().unwrap()
}

fn run(arguments: &[&str]) -> Output {
    bench(&[&["run"], &SHORT[..], arguments].concat())
}

/// A responder that makes a mistake with message 100; killed when it is dropped.
struct Wrong {
    child: Child,
    address: String,
}

impl Wrong {
    fn start(mistake: &str) -> Self {
        let mut child = Command::new(BINARY)
            .args(["responder", "--mistake", mistake])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, address }
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_run_prints_one_json_object_and_exits_with_0() {
    let output = run(&[&["--responder", "-o", "json"], &ACCEPT[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "corelane-bench/run/1");
    assert_eq!(report["account"]["confirmed"], 300);
    assert_eq!(report["response"]["count"], 300);
    assert_eq!(report["command"][1], "run");
}

#[test]
fn what_went_wrong_is_the_exit_code() {
    for (mistake, found) in [("lose", "lost 1 "), ("duplicate", "duplicates 1 ")] {
        let wrong = Wrong::start(mistake);
        let output = run(&[&["--server", &wrong.address], &ACCEPT[..]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(22), "{text}");
        assert!(text.contains(found) && text.contains("BREACH"), "{text}");
    }
    let wrong = Wrong::start("refuse");
    let arguments = ["--server", &wrong.address, "--consumers", "0"];
    let output = run(&[&arguments, &ACCEPT[..]].concat());
    assert_eq!(output.status.code(), Some(26), "{output:?}");
}

#[test]
fn too_few_samples_give_no_p99_and_their_own_exit_code() {
    let accept = ["--accept", "noisy,overloaded,generator-limited"];
    let output = run(&[&["--responder"], &accept[..]].concat());
    assert_eq!(output.status.code(), Some(25), "{output:?}");
}

#[test]
fn what_cannot_be_run_is_an_error_and_a_wrong_flag_a_usage() {
    let output = run(&["--responder", "--size", "31"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("a body of 31 bytes"), "{said}");
    assert_eq!(run(&["--rate", "fast"]).status.code(), Some(2));
    assert_eq!(run(&["--closed", "--rate", "5"]).status.code(), Some(2));
}

#[test]
fn the_schema_is_printed() {
    let output = bench(&["schema"]);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        schema["properties"]["schema"]["const"],
        "corelane-bench/run/1"
    );
}

#[test]
fn probes_print_a_row_for_each_point() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let disk = [
        "probe",
        "disk",
        "--dir",
        dir,
        "--seconds",
        "0.02",
        "--bytes",
        "4096,8192",
    ];
    let output = bench(&[&disk[..], &["--depth", "1,2", "-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let blocking = rows
        .iter()
        .filter(|row| row["probe"].as_str().unwrap().contains("blocking"));
    assert_eq!(blocking.count(), 4, "{text}");
    // Two ways through io_uring, two places, two sizes, two depths; unless io_uring is not there.
    assert!([4, 20].contains(&rows.len()), "{text}");
    let output = bench(&["probe", "net", "--seconds", "0.05"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("tcp echo").count(), 4, "{text}");
    let wrong = ["probe", "disk", "--dir", dir, "--bytes", "1000"];
    assert_eq!(bench(&wrong).status.code(), Some(1));
}
