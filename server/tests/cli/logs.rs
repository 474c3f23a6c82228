//! `corelane log`: real directories, damaged in each kind of place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use serde_json::Value;

use crate::broker::{Broker, Ended, PATIENCE, corelane, end, folder, numbered, serve};

/// The exit code for damage.
const DAMAGED: i32 = 11;
const PAGE: usize = 4_096;

/// A broker with one partition.
fn start(directory: &Path) -> Broker {
    start_with(directory, "1")
}

fn start_with(directory: &Path, partitions: &str) -> Broker {
    let mut command = serve(directory);
    let arguments = ["--cores", "1", "--partitions", partitions];
    Broker::spawn(directory, command.args(arguments))
}

fn segment(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("data/partitions/0000/{number:08}.log"))
}

/// `corelane log COMMAND DIR ARGUMENTS`.
fn log(directory: &Path, name: &str, arguments: &[&str]) -> Ended {
    let mut command = corelane();
    command
        .args(["log", name])
        .arg(directory.join("data"))
        .args(arguments);
    end(&mut command)
}

fn lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What `log verify` finds; the last line is the summary.
fn findings(directory: &Path) -> (i32, Vec<Value>, Value) {
    let ended = log(directory, "verify", &["-o", "jsonl"]);
    let mut lines = lines(&ended);
    let summary = lines.pop().expect("a summary");
    (ended.code(), lines, summary)
}

/// A place of a file that holds a block: position and bytes.
fn blocks(path: &Path) -> Vec<(usize, usize)> {
    let bytes = std::fs::read(path).unwrap();
    let mut blocks = Vec::new();
    let mut at = 2 * PAGE;
    while bytes.get(at..at + 4) == Some(b"CLBK") {
        let body = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        let length = (128 + body as usize).next_multiple_of(PAGE);
        blocks.push((at, length));
        at += length;
    }
    blocks
}

/// Where the first block begins that holds these bytes.
fn block_with(path: &Path, wanted: &[u8]) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let blocks = blocks(path);
    let holds = |(at, length): &&(usize, usize)| {
        let mut windows = bytes[*at..at + length].windows(wanted.len());
        windows.any(|found| found == wanted)
    };
    blocks.iter().find(holds).expect("it is in the log").0
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Every file with its content and when it was changed.
fn content(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let changed = entry.metadata().unwrap().modified().unwrap();
            if path.is_dir() {
                folders.push(path.clone());
                files.insert(path, (Vec::new(), changed));
            } else {
                let bytes = std::fs::read(&path).unwrap();
                files.insert(path, (bytes, changed));
            }
        }
    }
    files
}

/// Ten messages, each in a block of its own, with a SEAL behind them, and an orderly end.
fn ten_messages(directory: &Path) -> Vec<(usize, usize)> {
    let broker = start(directory);
    for number in 0..10 {
        broker.ok(&["enqueue", "q", &format!("body {number}")]);
    }
    // A few milliseconds after the last commit a SEAL attests it.
    let path = segment(directory, 0);
    let begun = Instant::now();
    while !ends_with_a_seal(&path) {
        assert!(begun.elapsed() < PATIENCE, "no SEAL was written");
        std::thread::yield_now();
    }
    assert!(broker.stop().success());
    blocks(&path)
}

fn ends_with_a_seal(path: &Path) -> bool {
    let last = blocks(path).last().map_or(0, |last| last.0);
    std::fs::read(path).unwrap()[last + 68] == 1
}

/// The bodies of the messages in a dump.
fn bodies(lines: &[Value]) -> Vec<&str> {
    let enqueued = lines.iter().filter_map(|line| line["messages"].as_array());
    let bodies = enqueued.flatten().map(|message| &message["body"]);
    bodies.map(|body| body.as_str().unwrap()).collect()
}

#[test]
fn whole_directory_is_clean_and_is_not_changed() {
    let folder = folder();
    ten_messages(folder.path());
    let before = content(folder.path());
    let (code, found, summary) = findings(folder.path());
    assert_eq!((code, found.len()), (0, 0));
    assert_eq!(summary["damages"], 0);
    assert!(summary["records"].as_u64().unwrap() >= 12, "{summary}");
    let dumped = log(folder.path(), "dump", &["-o", "jsonl"]);
    assert_eq!(dumped.code(), 0, "{}", dumped.stderr);
    let dumped = lines(&dumped);
    let expected = numbered("body ", 0..10);
    assert_eq!(bodies(&dumped), expected.lines().collect::<Vec<_>>());
    let kinds: Vec<_> = dumped
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[..3], ["epoch", "create", "enqueue"]);
    assert_eq!(dumped[1]["fields"]["name"], "q");
    assert!(
        dumped
            .windows(2)
            .all(|pair| pair[0]["lsn"].as_u64() < pair[1]["lsn"].as_u64())
    );
    assert!(content(folder.path()) == before, "nothing was written");
}

#[test]
fn dump_is_cut_to_a_partition_and_to_records() {
    let folder = folder();
    ten_messages(folder.path());
    let part = log(folder.path(), "dump", &["--from", "3", "--to", "5"]);
    let numbers: Vec<_> = lines(&part)
        .iter()
        .map(|line| line["lsn"].clone())
        .collect();
    assert_eq!(numbers, [3, 4]);
    assert_eq!(part.code(), 0);
    let other = log(folder.path(), "dump", &["--partition", "1"]);
    assert_eq!(other.code(), 2, "{}", other.stderr);
    assert!(
        other.stderr.contains("the directory has 1"),
        "{}",
        other.stderr
    );
}

#[test]
fn directory_of_a_running_broker_is_refused() {
    let folder = folder();
    let broker = start(folder.path());
    for name in ["verify", "dump"] {
        let refused = log(folder.path(), name, &[]);
        assert_eq!(refused.code(), 1, "{}", refused.stdout);
        let pid = broker.child.id().to_string();
        assert!(refused.stderr.contains(&pid), "{}", refused.stderr);
    }
    assert!(broker.stop().success());
}

#[test]
fn rot_is_named_and_the_dump_goes_on_behind_it() {
    let folder = folder();
    let blocks = ten_messages(folder.path());
    let (position, bytes) = blocks[5];
    let path = segment(folder.path(), 0);
    flip(&path, position + 140);
    let before = content(folder.path());
    let (code, found, summary) = findings(folder.path());
    assert_eq!((code, found.len()), (DAMAGED, 1));
    let found = &found[0];
    assert_eq!(found["file"], "partitions/0000/00000000.log");
    assert_eq!(
        found["bytes"],
        serde_json::json!([position, position + bytes])
    );
    assert_eq!(found["damaged"], true);
    let lost = found["lsns"][1].as_u64().unwrap() - found["lsns"][0].as_u64().unwrap();
    assert_eq!(summary["records_damaged"], lost);
    let dumped = log(folder.path(), "dump", &[]);
    assert_eq!(dumped.code(), DAMAGED);
    let dumped = lines(&dumped);
    assert_eq!(bodies(&dumped).len(), 9, "one message is lost");
    assert!(bodies(&dumped).contains(&"body 9"));
    let ranges = dumped.iter().filter(|line| line.get("damaged").is_some());
    assert_eq!(ranges.count(), 1);
    let table = log(folder.path(), "verify", &[]);
    assert!(table.stdout.contains("body checksum"), "{}", table.stdout);
    assert!(content(folder.path()) == before, "nothing was written");
}

#[test]
fn torn_end_is_no_damage_and_rot_of_an_attested_end_is() {
    let folder = folder();
    let blocks = ten_messages(folder.path());
    let path = segment(folder.path(), 0);
    let seal = blocks.last().unwrap().0;
    let (last, length) = blocks[blocks.len() - 2];
    flip(&path, last + 140);
    let (code, found, _) = findings(folder.path());
    assert_eq!((code, found.len()), (DAMAGED, 1), "the SEAL attests it");
    assert_eq!(found[0]["bytes"], serde_json::json!([last, last + length]));
    // Without its SEAL nothing does.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[seal..seal + PAGE].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let (code, found, summary) = findings(folder.path());
    assert_eq!((code, found.len()), (0, 1));
    assert!(found[0]["found"].as_str().unwrap().contains("torn"));
    assert_eq!(summary["damages"], 0);
    let broker = start(folder.path());
    let taken = broker.ok(&["dequeue", "q", "-n", "20", "--wait", "0s"]);
    assert_eq!(taken, numbered("body ", 0..9));
    assert!(broker.stop().success());
    assert_eq!(findings(folder.path()).0, 0);
}

#[test]
fn headers_and_superblock_are_looked_at() {
    let folder = folder();
    ten_messages(folder.path());
    let path = segment(folder.path(), 0);
    flip(&path, 100);
    let (code, found, _) = findings(folder.path());
    assert_eq!((code, found.len()), (DAMAGED, 1));
    assert_eq!(found[0]["bytes"], serde_json::json!([0, PAGE]));
    flip(&path, PAGE + 100);
    let (code, found, _) = findings(folder.path());
    assert_eq!((code, found.len()), (DAMAGED, 1));
    assert_eq!(found[0]["bytes"], serde_json::json!([0, 2 * PAGE]));
    assert_eq!(found[0]["lsns"], Value::Null, "no record is lost");
    flip(&folder.path().join("data/superblock"), 20);
    let refused = log(folder.path(), "verify", &[]);
    assert_eq!(refused.code(), DAMAGED);
    assert!(refused.stderr.contains("superblock"), "{}", refused.stderr);
}

/// Two queues in different partitions of two, and which is in partition 0.
fn queues_apart(broker: &Broker) -> [String; 2] {
    let mut queues = [None, None];
    for number in 0.. {
        let name = format!("q{number}");
        let created = broker.ok(&["queue", "create", &name, "-o", "json"]);
        assert!(created.contains("created"));
        let shown = broker.ok(&["queue", "show", &name, "-o", "json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let partition = usize::try_from(shown["partition"].as_u64().unwrap()).unwrap();
        queues[partition] = Some(name);
        if let [Some(first), Some(second)] = &queues {
            return [first.clone(), second.clone()];
        }
    }
    unreachable!("numbers do not end")
}

#[test]
fn partition_with_rot_in_its_tail_is_read_only_and_the_others_serve() {
    let folder = folder();
    let start = || start_with(folder.path(), "2");
    let broker = start();
    let [damaged, whole] = queues_apart(&broker);
    for number in 0..6 {
        for queue in [&damaged, &whole] {
            broker.ok(&["enqueue", queue, &format!("body {number}")]);
        }
    }
    broker.kill();
    let path = segment(folder.path(), 0);
    let position = block_with(&path, b"body 3");
    flip(&path, position + 140);
    let rotten = std::fs::read(&path).unwrap();

    let broker = start();
    let (status, ready) = broker.get("/readyz");
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(status, 200);
    assert_eq!(ready["partitions"]["serving"], 1);
    assert_eq!(ready["partitions"]["damaged"], 1);
    for code in ["read_only", "partly_damaged"] {
        let reasons = ready["reasons"].as_array().unwrap();
        let reason = reasons.iter().find(|reason| reason["code"] == code);
        assert_eq!(reason.unwrap()["partitions"], serde_json::json!([0]));
    }
    broker.until_metric("corelane_partitions_damaged", 1.0);
    // What is before the damage is shown, and nothing is taken or put.
    let dumped = broker.ok(&["dump", &damaged]);
    let shown: Vec<Value> = dumped
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shown: Vec<_> = shown.iter().map(|line| line["body"].clone()).collect();
    assert_eq!(shown, ["body 0", "body 1", "body 2"]);
    assert!(broker.ok(&["queue", "ls"]).contains(&damaged));
    let requests: [&[&str]; 4] = [
        &["enqueue", &damaged, "more"],
        &["dequeue", &damaged, "--wait", "0s"],
        &["queue", "create", &damaged],
        &["queue", "rm", &damaged, "--yes"],
    ];
    for request in requests {
        let refused = broker.run(request);
        assert_eq!(refused.code(), 1, "{}", refused.stdout);
        for word in ["damaged", "records", "corelane log verify"] {
            assert!(refused.stderr.contains(word), "{}", refused.stderr);
        }
    }
    // The other partition serves.
    broker.ok(&["enqueue", &whole, "body 6"]);
    let taken = broker.ok(&["dequeue", &whole, "-n", "7"]);
    assert_eq!(taken, numbered("body ", 0..7));
    assert!(broker.stop().success());
    assert!(
        std::fs::read(&path).unwrap() == rotten,
        "nothing was written"
    );

    // A good copy in its place, and all is there.
    flip(&path, position + 140);
    let broker = start();
    let taken = broker.ok(&["dequeue", &damaged, "-n", "6"]);
    assert_eq!(taken, numbered("body ", 0..6));
    assert!(broker.stop().success());
}

/// Repairs with `--yes`; what it says.
fn repaired(directory: &Path) -> (i32, Vec<Value>) {
    let ended = log(directory, "repair", &["--yes", "-o", "jsonl"]);
    assert!(!ended.stderr.contains("still damaged"), "{}", ended.stderr);
    (ended.code(), lines(&ended))
}

/// The folders of what was set aside.
fn set_aside(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("data")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("set-aside-")
    };
    paths.filter(is_aside).collect()
}

/// What is in a queue, in its order.
fn taken(directory: &Path) -> String {
    let broker = start(directory);
    let taken = broker.ok(&["dequeue", "q", "-n", "10", "--wait", "0s", "--no-ack"]);
    broker.ok(&["enqueue", "q", "more"]);
    assert!(broker.stop().success());
    taken
}

#[test]
fn repair_without_yes_changes_nothing_and_a_clean_directory_needs_none() {
    let folder = folder();
    let blocks = ten_messages(folder.path());
    let clean = log(folder.path(), "repair", &["--yes", "-o", "jsonl"]);
    assert_eq!((clean.code(), clean.stdout.as_str()), (0, ""));
    flip(&segment(folder.path(), 0), blocks[5].0 + 140);
    let before = content(folder.path());
    let asked = log(folder.path(), "repair", &[]);
    assert_eq!(asked.code(), DAMAGED);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert!(asked.stdout.contains("end the log"), "{}", asked.stdout);
    assert!(asked.stdout.contains("lost"), "{}", asked.stdout);
    assert!(content(folder.path()) == before, "nothing was written");
}

#[test]
fn headers_are_repaired_without_a_loss() {
    for flips in [vec![100], vec![PAGE + 100], vec![100, PAGE + 100]] {
        let folder = folder();
        ten_messages(folder.path());
        let path = segment(folder.path(), 0);
        let good = std::fs::read(&path).unwrap();
        for at in flips {
            flip(&path, at);
        }
        let bad = std::fs::read(&path).unwrap();
        let (code, said) = repaired(folder.path());
        assert_eq!((code, said.len()), (0, 1));
        assert_eq!(said[0]["lost"], Value::Null);
        assert!(std::fs::read(&path).unwrap() == good, "byte for byte");
        let aside = set_aside(folder.path());
        let kept = aside[0].join("partitions/0000/00000000.log");
        assert!(std::fs::read(kept).unwrap() == bad);
        assert_eq!(findings(folder.path()).0, 0);
        assert_eq!(taken(folder.path()), numbered("body ", 0..10));
    }
}

#[test]
fn log_is_cut_before_rot_and_what_is_behind_is_set_aside() {
    let folder = folder();
    ten_messages(folder.path());
    let path = segment(folder.path(), 0);
    flip(&path, block_with(&path, b"body 4") + 140);
    let (code, said) = repaired(folder.path());
    assert_eq!(code, 0);
    let lost: Vec<_> = said.iter().filter(|line| !line["lost"].is_null()).collect();
    assert_eq!(lost.len(), 1, "{said:?}");
    // What was set aside is a directory of its own, and has what is behind the damage.
    let aside = set_aside(folder.path());
    let mut command = corelane();
    let dumped = end(command.args(["log", "dump"]).arg(&aside[0]));
    assert_eq!(dumped.code(), DAMAGED);
    let dumped = lines(&dumped);
    let found = bodies(&dumped);
    assert_eq!(found.len(), 9, "all but the damaged one");
    assert!(found.contains(&"body 9"));
    assert_eq!(findings(folder.path()).0, 0);
    assert_eq!(taken(folder.path()), numbered("body ", 0..4));
    assert_eq!(taken(folder.path()), numbered("body ", 0..4) + "more\n");
}

#[test]
fn log_whose_first_block_is_rotten_begins_anew() {
    let folder = folder();
    let blocks = ten_messages(folder.path());
    let path = segment(folder.path(), 0);
    flip(&path, blocks[0].0 + 140);
    let (code, said) = repaired(folder.path());
    assert_eq!(code, 0);
    assert_eq!(said.last().unwrap()["lost"][0], 0);
    assert_eq!(findings(folder.path()).0, 0);
    let broker = start(folder.path());
    broker.ok(&["enqueue", "q", "new"]);
    assert_eq!(broker.ok(&["dequeue", "q"]), "new\n");
    assert!(broker.stop().success());
}

#[test]
fn repair_is_refused_while_a_broker_runs() {
    let folder = folder();
    let broker = start(folder.path());
    let refused = log(folder.path(), "repair", &["--yes"]);
    assert_eq!(refused.code(), 1);
    let pid = broker.child.id().to_string();
    assert!(refused.stderr.contains(&pid), "{}", refused.stderr);
    assert!(broker.stop().success());
    assert!(set_aside(folder.path()).is_empty());
}
