//! `corelane log`: real directories, damaged in each kind of place.

use serde_json::Value;

use crate::broker::{Broker, folder, numbered};
use crate::files::{
    DAMAGED, PAGE, block_with, bodies, content, findings, flip, lines, log, segment, start,
    start_with, ten_messages,
};

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
