use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::Fixture;

fn run(fixture: &Fixture, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(&fixture.options.binary)
        .args(["--server", &fixture.broker.address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn lines_go_in_and_come_out_in_order() {
    let fixture = Fixture::start();
    let lines: Vec<String> = (0..1_000).map(|number| format!("line {number}")).collect();
    let input = lines.join("\n") + "\n";
    stdout(&run(&fixture, &["enqueue", "lines", "-"], &input));
    let output = run(
        &fixture,
        &["dequeue", "lines", "-n", "1000", "-o", "jsonl"],
        "",
    );
    let text = stdout(&output);
    let bodies: Vec<String> = text
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["body"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected: Vec<&str> = input.lines().collect();
    assert_eq!(bodies, expected);
}

#[test]
fn dequeue_acks_unless_told_not_to() {
    let fixture = Fixture::start();
    stdout(&run(&fixture, &["enqueue", "q", "hello"], ""));
    for arguments in [
        ["dequeue", "q", "-n", "1", "--wait", "5s", "--no-ack"].as_slice(),
        &["peek", "q"],
        &["dequeue", "q", "-n", "1", "--wait", "5s"],
    ] {
        let output = stdout(&run(&fixture, arguments, ""));
        assert!(output.contains("hello"), "{arguments:?}: {output}");
    }
    let output = stdout(&run(
        &fixture,
        &["dequeue", "q", "-n", "1", "--wait", "0s"],
        "",
    ));
    assert!(!output.contains("hello"), "{output}");
}

#[test]
fn queues_are_managed_and_tables_and_json_agree() {
    let fixture = Fixture::start();
    stdout(&run(&fixture, &["queue", "create", "jobs"], ""));
    stdout(&run(&fixture, &["enqueue", "jobs", "one"], ""));
    let table = stdout(&run(&fixture, &["queue", "ls"], ""));
    assert!(table.contains("jobs"), "{table}");
    let json = stdout(&run(&fixture, &["queue", "show", "jobs", "-o", "json"], ""));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["v"], 1, "{json}");
    stdout(&run(&fixture, &["queue", "rm", "jobs", "--yes"], ""));
    let gone = run(&fixture, &["queue", "show", "jobs"], "");
    assert_eq!(code(&gone), Some(4));
}

#[test]
fn exit_codes_are_those_documented() {
    let fixture = Fixture::start();
    assert_eq!(code(&run(&fixture, &["no-such-command"], "")), Some(2));
    assert_eq!(
        code(&run(&fixture, &["queue", "show", "absent"], "")),
        Some(4)
    );
    // Off a terminal nothing is asked: without --yes a removal is a usage error.
    assert_eq!(
        code(&run(&fixture, &["queue", "rm", "absent"], "")),
        Some(2)
    );
    let Fixture {
        broker,
        options,
        _home,
    } = fixture;
    let address = broker.address.to_string();
    broker.kill().unwrap();
    let output = Command::new(&options.binary)
        .args(["--server", &address, "queue", "ls"])
        .output()
        .unwrap();
    assert_eq!(code(&output), Some(6));
}
