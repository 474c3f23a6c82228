//! Dumps of a queue, and what loading them gives.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Instant;

use corelane_wire::ErrorCode;
use corelane_wire::limits::MESSAGE_BYTES_MAX;
use serde_json::{Value, json};

use crate::broker::{Broker, Ended, PATIENCE, end, folder, numbered, serve, serve_at};
use crate::wire::{Wire, enqueue};

/// Longest body of a message without attributes: its entry has a header of 12 bytes.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 12;

/// The lines of a dump without what the broker gave: version, offset and time.
fn contents(dump: &str) -> Vec<Value> {
    let lines = dump.lines().enumerate().map(|(index, line)| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        assert_eq!(fields.remove("v"), Some(json!(1)));
        assert_eq!(fields.remove("offset"), Some(json!(index)));
        assert!(fields.remove("enqueued_ms").unwrap().as_u64() > Some(0));
        line
    });
    lines.collect()
}

fn summary(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Enqueues each body as it is.
fn enqueue_all(broker: &Broker, queue: &str, bodies: &[Vec<u8>]) {
    let mut wire = Wire::greeted(broker);
    for (number, body) in (0..).zip(bodies) {
        let answer = wire.ask(&enqueue(number, queue, body));
        assert_eq!(answer.code(), ErrorCode::Ok);
    }
}

#[test]
fn dump_and_load_give_the_same_bodies_in_the_same_order() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let bodies: Vec<Vec<u8>> = vec![
        (0..=255).collect(),
        Vec::new(),
        // Six characters a byte in JSON, and base64.
        vec![1; BODY_BYTES_MAX],
        vec![0xff; BODY_BYTES_MAX],
        "\u{e4}\u{1f980}\u{feff}\u{2028}\r\n\"".into(),
    ];
    enqueue_all(&broker, "from", &bodies);
    let more = numbered("message ", 0..2_500);
    broker
        .run_with_input(&["enqueue", "from"], more.as_bytes())
        .ok();

    let dump = broker.ok(&["dump", "from"]);
    let expected = contents(&dump);
    assert_eq!(expected.len(), 2_505);
    assert_eq!(expected[1], json!({"body": ""}));
    assert!(expected[0]["body"]["base64"].is_string());
    assert_eq!(expected[2_504], json!({"body": "message 2499"}));
    let loaded = broker.run_with_input(&["load", "to", "-o", "json"], dump.as_bytes());
    let loaded = summary(&loaded.ok());
    assert_eq!(loaded["queue"], "to");
    assert_eq!(
        (&loaded["confirmed"], &loaded["failed"]),
        (&json!(2_505), &json!(0))
    );
    assert_eq!(loaded["last_offset"], 2_504);
    assert_eq!(contents(&broker.ok(&["dump", "to"])), expected);
    // As bytes, not only as lines.
    let taken = broker
        .command(&["dequeue", "to", "-n", "2505"])
        .output()
        .unwrap();
    assert!(taken.stdout == [bodies.join(&b'\n'), more.into()].join(&b'\n'));
}

#[test]
fn dump_and_load_give_the_same_keys_and_headers() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut command = broker.command(&["enqueue", "from", "", "--key", "k\u{e4}"]);
    for header in ["tag=1", "b\u{e4}=\u{1f980}", "tag=2", "tag="] {
        command.args(["--header", header]);
    }
    end(&mut command).ok();
    let dump = broker.ok(&["dump", "from"]);
    let headers = json!([
        {"name": "tag", "value": "1"},
        {"name": "b\u{e4}", "value": "\u{1f980}"},
        {"name": "tag", "value": "2"},
        {"name": "tag", "value": ""},
    ]);
    let expected = json!({"key": "k\u{e4}", "headers": headers, "body": ""});
    assert_eq!(contents(&dump), [expected]);
    broker.run_with_input(&["load", "to"], dump.as_bytes()).ok();
    assert_eq!(contents(&broker.ok(&["dump", "to"])), contents(&dump));
}

#[test]
fn binary_keys_and_header_values_are_loaded_as_they_were() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let line = json!({
        "v": 1,
        "key": {"base64": "//4="},
        "headers": [
            {"name": "tag", "value": {"base64": "/w=="}},
            {"name": "tag", "value": {"base64": "/w=="}},
        ],
        "body": {"base64": "gIGC"},
    });
    broker
        .run_with_input(&["load", "q"], line.to_string().as_bytes())
        .ok();
    let dump = broker.ok(&["dump", "q"]);
    let mut expected = line;
    expected.as_object_mut().unwrap().remove("v");
    assert_eq!(contents(&dump), [expected]);
}

#[test]
fn dump_takes_nothing_and_shows_what_is_kept() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker
        .run_with_input(&["enqueue", "q"], b"one\ntwo\nthree\n")
        .ok();
    let before = broker.ok(&["queue", "show", "q", "-o", "json"]);
    let dump = broker.ok(&["dump", "q"]);
    assert_eq!(dump.lines().count(), 3);
    assert_eq!(broker.ok(&["queue", "show", "q", "-o", "json"]), before);
    assert_eq!(broker.ok(&["dump", "q", "-o", "jsonl"]), dump);
    assert_eq!(broker.ok(&["peek", "q", "-o", "jsonl"]), dump);
    let last = broker.ok(&["dump", "q", "--from", "2"]);
    assert_eq!(last, dump.lines().last().unwrap().to_owned() + "\n");
    assert_eq!(broker.ok(&["dump", "q", "--from", "3"]), "");
    // Leased messages are kept; done ones go.
    broker.ok(&["dequeue", "q", "-n", "3", "--no-ack"]);
    assert_eq!(broker.ok(&["dump", "q"]), dump);
    broker.ok(&["dequeue", "q"]);
    let (_, rest) = dump.split_once('\n').unwrap();
    assert_eq!(broker.ok(&["dump", "q"]), rest);
    broker.ok(&["dequeue", "q", "-n", "2"]);
    assert_eq!(broker.ok(&["dump", "q"]), "");
}

#[test]
fn dump_to_a_file_says_how_many_and_overwrites_nothing() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.run_with_input(&["enqueue", "q"], b"one\ntwo\n").ok();
    let file = folder.path().join("q.jsonl");
    let file = file.to_str().unwrap();
    let dumped = summary(&broker.ok(&["dump", "q", "--file", file, "-o", "json"]));
    let expected =
        json!({"v": 1, "queue": "q", "messages": 2, "first_offset": 0, "last_offset": 1});
    assert_eq!(dumped, expected);
    let lines = std::fs::read_to_string(file).unwrap();
    assert_eq!(lines, broker.ok(&["dump", "q"]));
    let again = broker.run(&["dump", "q", "--file", file]);
    assert_eq!(again.code(), 1);
    assert!(
        again.stderr.contains("q.jsonl: File exists"),
        "{}",
        again.stderr
    );
    assert_eq!(std::fs::read_to_string(file).unwrap(), lines);

    let loaded = broker.ok(&["load", "other", "--file", file]);
    assert!(loaded.starts_with("QUEUE  CONFIRMED  FAILED"), "{loaded}");
    assert_eq!(broker.ok(&["dequeue", "other", "-n", "2"]), "one\ntwo\n");
    // A queue that is not there leaves no file.
    let none = folder.path().join("none.jsonl");
    let refused = broker.run(&["dump", "nowhere", "--file", none.to_str().unwrap()]);
    assert_eq!((refused.code(), refused.stdout.as_str()), (4, ""));
    assert!(!none.exists());
    let refused = broker.run(&["load", "q", "--file", none.to_str().unwrap()]);
    assert_eq!(refused.code(), 1);
    assert!(
        refused.stderr.contains("cannot read "),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("none.jsonl"), "{}", refused.stderr);
}

#[test]
fn bad_line_is_named_and_nothing_after_it_is_enqueued() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let message = |body: &str| json!({"v": 1, "body": body}).to_string();
    let too_large = message(&"x".repeat(BODY_BYTES_MAX + 1));
    let no_key = json!({"v": 1, "key": "", "body": "x"}).to_string();
    for (queue, bad, reason) in [
        (
            "json",
            "{\"v\":1,\"body\":\"x",
            "line 3: not a message: EOF",
        ),
        ("empty", "", "line 3: not a message: EOF"),
        (
            "base64",
            r#"{"v":1,"body":{"base64":"*"}}"#,
            "line 3: not a message: the base64",
        ),
        ("large", &too_large, "line 3: "),
        ("key", &no_key, "line 3: "),
    ] {
        let lines = [&message("one"), &message("two"), bad, &message("four"), ""].join("\n");
        let ended = broker.run_with_input(&["load", queue, "-o", "json"], lines.as_bytes());
        assert_eq!(ended.code(), 1, "{queue}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{queue}: {}", ended.stderr);
        let told = summary(&ended.stdout);
        assert_eq!(
            (&told["confirmed"], &told["failed"]),
            (&json!(2), &json!(0))
        );
        let kept = contents(&broker.ok(&["dump", queue]));
        assert_eq!(kept, [json!({"body": "one"}), json!({"body": "two"})]);
    }
    // What is not there is no message either, and no queue.
    let nothing = summary(
        &broker
            .run_with_input(&["load", "none", "-o", "json"], b"")
            .ok(),
    );
    assert_eq!(
        (&nothing["confirmed"], &nothing["first_offset"]),
        (&json!(0), &Value::Null)
    );
}

#[test]
fn dump_and_load_end_with_the_codes_of_the_other_commands() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.ok(&["enqueue", "q", "x"]);
    assert_eq!(broker.run(&["dump", "nowhere"]).code(), 4);
    assert_eq!(broker.run(&["dump", "bad name"]).code(), 2);
    assert_eq!(broker.run(&["load", "bad name"]).code(), 2);
    let json = broker.run(&["dump", "q", "-o", "json"]);
    assert_eq!((json.code(), json.stdout.as_str()), (2, ""));
    let address = broker.data();
    assert!(broker.stop().success());
    for command in ["dump", "load"] {
        let mut corelane = crate::broker::corelane();
        let ended = end(corelane
            .args(["--server", &address, command, "q"])
            .stdin(Stdio::null()));
        assert_eq!(
            (ended.code(), ended.stdout.as_str()),
            (6, ""),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn load_beside_a_broker_that_is_killed_and_started_again_makes_no_duplicates() {
    const LINES: u32 = 40_000;
    let folder = folder();
    let broker = Broker::spawn(folder.path(), serve(folder.path()).args(["--cores", "1"]));
    let (_, own) = broker.ports["shards"][0]
        .as_str()
        .unwrap()
        .rsplit_once(':')
        .unwrap();
    let (shared, own) = (broker.data(), own.to_owned());
    let line = |number: u32| json!({"v": 1, "body": number.to_string()}).to_string() + "\n";
    let (early, late) = (0..LINES / 2, LINES / 2..LINES);
    let mut load = broker
        .command(&["load", "q", "-o", "json", "--timeout", "60s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = load.stdin.take().unwrap();
    let early = std::thread::spawn(move || {
        let lines: String = early.map(line).collect();
        stdin.write_all(lines.as_bytes()).unwrap();
        stdin
    });
    let begun = Instant::now();
    while broker.run(&["dump", "q"]).stdout.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "nothing was loaded");
    }
    broker.kill();
    let mut command = serve_at(&shared, folder.path());
    command.args(["--cores", "1", "--shard-port", &own]);
    let broker = Broker::spawn(folder.path(), &mut command);
    let mut stdin = early.join().unwrap();
    stdin
        .write_all(late.map(line).collect::<String>().as_bytes())
        .unwrap();
    drop(stdin);
    let loaded = Ended::from(load.wait_with_output().unwrap());
    assert_eq!(summary(&loaded.ok())["confirmed"], LINES);
    let bodies = contents(&broker.ok(&["dump", "q"])).into_iter();
    let bodies: Vec<String> = bodies
        .map(|line| line["body"].as_str().unwrap().into())
        .collect();
    assert_eq!(bodies.join("\n") + "\n", numbered("", 0..LINES));
}
