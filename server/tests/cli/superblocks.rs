//! A lost superblock, made anew by `corelane log repair`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::broker::{folder, refused, serve};
use crate::files::{DAMAGED, content, findings, flip, log, set_aside, start_with};

/// Queues with a message each, in a directory of four partitions.
fn queues(directory: &Path, count: usize) -> Vec<String> {
    let broker = start_with(directory, "4");
    let queues: Vec<_> = (0..count).map(|number| format!("queue-{number}")).collect();
    for queue in &queues {
        broker.ok(&["enqueue", queue, &format!("body of {queue}")]);
    }
    assert!(broker.stop().success());
    queues
}

fn superblock(directory: &Path) -> PathBuf {
    directory.join("data/superblock")
}

fn all_are_served(directory: &Path, queues: &[String]) {
    let broker = start_with(directory, "4");
    for queue in queues {
        let body = broker.ok(&["dequeue", queue, "--wait", "0s"]);
        assert_eq!(body, format!("body of {queue}\n"));
    }
    assert!(broker.stop().success());
}

#[test]
fn damaged_superblock_is_made_anew_from_the_other_files() {
    let folder = folder();
    let directory = folder.path();
    let queues = queues(directory, 16);
    let good = fs::read(superblock(directory)).unwrap();
    flip(&superblock(directory), 13);
    let bad = fs::read(superblock(directory)).unwrap();

    let (code, said) = refused(&mut serve(directory));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("corelane log repair"), "{said}");
    let before = content(directory);
    let asked = log(directory, "repair", &[]);
    assert_eq!(asked.code(), DAMAGED);
    assert!(asked.stdout.contains("4 partitions"), "{}", asked.stdout);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert!(content(directory) == before, "nothing was written");

    let done = log(directory, "repair", &["--yes"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let aside = &set_aside(directory)[0];
    assert!(fs::read(aside.join("superblock.damaged")).unwrap() == bad);
    let made = fs::read(superblock(directory)).unwrap();
    assert_eq!(made[8..32], good[8..32], "level, partitions and log id");
    assert!(starts(&made) > starts(&good));
    assert_eq!(findings(directory).0, 0);
    all_are_served(directory, &queues);
}

fn starts(superblock: &[u8]) -> u64 {
    u64::from_le_bytes(superblock[48..56].try_into().unwrap())
}

#[test]
fn lost_superblock_is_made_anew_and_the_log_is_repaired_with_it() {
    let folder = folder();
    let directory = folder.path();
    let queues = queues(directory, 16);
    fs::remove_file(superblock(directory)).unwrap();
    let segment = directory.join("data/partitions/0000/00000000.log");
    flip(&segment, 100);
    assert_eq!(log(directory, "verify", &[]).code(), DAMAGED);
    let done = log(directory, "repair", &["--yes"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(done.stdout.lines().count(), 3, "{}", done.stdout);
    assert_eq!(findings(directory).0, 0);
    all_are_served(directory, &queues);
}

#[test]
fn count_of_partitions_that_the_queues_leave_open_has_to_be_said() {
    let folder = folder();
    let directory = folder.path();
    let queues = queues(directory, 1);
    fs::write(superblock(directory), b"").unwrap();
    let before = content(directory);
    let asked = log(directory, "repair", &["--yes"]);
    assert_eq!(asked.code(), DAMAGED);
    for word in ["may have been", "4, ", "--partitions"] {
        assert!(asked.stderr.contains(word), "{}", asked.stderr);
    }
    let possible = asked.stderr.split("been ").nth(1).unwrap();
    let possible = possible.split(", ...").next().unwrap();
    let is_possible = |count: &u32| possible.split(", ").any(|it| it == count.to_string());
    let wrong = (1..64).find(|count| !is_possible(count)).unwrap();
    let asked = log(
        directory,
        "repair",
        &["--yes", "--partitions", &wrong.to_string()],
    );
    assert_eq!(asked.code(), DAMAGED, "{}", asked.stdout);
    assert!(content(directory) == before, "nothing was written");
    let done = log(directory, "repair", &["--yes", "--partitions", "4"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    all_are_served(directory, &queues);
    let other = log(directory, "repair", &["--partitions", "8"]);
    assert_eq!(other.code(), 2, "{}", other.stderr);
}

#[test]
fn superblock_is_not_made_for_segments_of_two_logs() {
    let (here, there) = (folder(), folder());
    queues(here.path(), 16);
    queues(there.path(), 16);
    let name = "data/partitions/0000/00000000.log";
    fs::copy(there.path().join(name), here.path().join(name)).unwrap();
    fs::remove_file(superblock(here.path())).unwrap();
    let before = content(here.path());
    let asked = log(here.path(), "repair", &["--yes", "--partitions", "4"]);
    assert_eq!(asked.code(), DAMAGED);
    assert!(asked.stderr.contains("2 logs"), "{}", asked.stderr);
    assert!(content(here.path()) == before, "nothing was written");
}
