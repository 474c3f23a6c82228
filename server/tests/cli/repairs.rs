//! `corelane log repair`: a broker starts from what it leaves, and nothing that there was is gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use corelane::checkpoint::CheckpointJob;
use corelane::recovery::{PartitionState, open_partition};
use corelane_core::Limits;
use corelane_storage::{
    CheckpointConfig, Directory, DirectoryOptions, LogConfig, SUPERBLOCK_NAME, Superblock, Volume,
};
use corelane_wire::PartitionId;
use serde_json::Value;

use crate::broker::{corelane, end, folder, numbered};
use crate::files::{
    DAMAGED, PAGE, block_with, blocks, bodies, content, findings, flip, lines, log, segment,
    set_aside, start, ten_messages,
};

/// Repairs with `--yes`; what it says.
fn repaired(directory: &Path) -> (i32, Vec<Value>) {
    let ended = log(directory, "repair", &["--yes", "-o", "jsonl"]);
    assert!(!ended.stderr.contains("still damaged"), "{}", ended.stderr);
    (ended.code(), lines(&ended))
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
        let good = fs::read(&path).unwrap();
        for at in flips {
            flip(&path, at);
        }
        let bad = fs::read(&path).unwrap();
        let (code, said) = repaired(folder.path());
        assert_eq!((code, said.len()), (0, 1));
        assert_eq!(said[0]["lost"], Value::Null);
        assert!(fs::read(&path).unwrap() == good, "byte for byte");
        let aside = set_aside(folder.path());
        let kept = aside[0].join("partitions/0000/00000000.log");
        assert!(fs::read(kept).unwrap() == bad);
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

/// Every file of the partition with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder.join("partitions/0000")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let name = path.file_name().unwrap().into();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

/// Repairs, and sees that every file that there was is still in its place as it was, or set aside as it was, and that
/// nothing is left to be done; what it says.
fn repaired_without_a_loss_of_bytes(directory: &Path) -> Vec<Value> {
    let before = files(&directory.join("data"));
    let aside_before = set_aside(directory);
    let (code, said) = repaired(directory);
    assert_eq!(code, 0, "{said:?}");
    let mut aside = set_aside(directory);
    aside.retain(|path| !aside_before.contains(path));
    let now = files(&directory.join("data"));
    let aside: Vec<_> = aside.iter().map(|folder| files(folder)).collect();
    for (name, bytes) in &before {
        let mut places = aside.iter().chain([&now]).map(|files| files.get(name));
        let is_kept = places.any(|kept| kept == Some(bytes));
        assert!(is_kept, "{} is gone: {said:?}", name.display());
    }
    let again = log(directory, "repair", &["-o", "jsonl"]);
    assert_eq!(again.code(), 0, "{}", again.stdout);
    said
}

/// Writes a checkpoint of everything that is in the log, as a broker does after a while.
fn checkpoint(directory: &Path) {
    let data = directory.join("data");
    let mut volume = Directory::open(data, &DirectoryOptions::default()).unwrap();
    let superblock = volume.read_file(SUPERBLOCK_NAME).unwrap().unwrap();
    let log_id = Superblock::decode(&superblock).unwrap().log_id;
    let partition = PartitionId(0);
    let config = LogConfig::new(partition, log_id);
    let opened = open_partition(&mut volume, config, Limits::default()).unwrap();
    let PartitionState::Ready(mut ready) = opened.start.state else {
        panic!("the partition is damaged")
    };
    let cut = ready.engine.cut();
    let table = ready.log.segment_table(cut.end());
    let of = CheckpointConfig { partition, log_id };
    let mut job = CheckpointJob::new(cut, of, ready.checkpoint, table);
    job.run(&mut volume).unwrap();
}

fn checkpoint_file(directory: &Path, generation: u32) -> PathBuf {
    directory.join(format!("data/partitions/0000/{generation:08}.ckpt"))
}

/// Ten messages, of which the first is done, and two checkpoints below the last of them.
fn two_checkpoints(directory: &Path) {
    let put = |numbers: std::ops::Range<u32>| {
        let broker = start(directory);
        for number in numbers {
            broker.ok(&["enqueue", "q", &format!("body {number}")]);
        }
        broker
    };
    assert!(put(0..4).stop().success());
    checkpoint(directory);
    let broker = put(4..7);
    assert_eq!(broker.ok(&["dequeue", "q"]), "body 0\n");
    assert!(broker.stop().success());
    checkpoint(directory);
    put(7..10).kill();
}

/// A place in each part of a checkpoint's file: header, chunk, manifest and trailer.
fn parts(path: &Path) -> [usize; 4] {
    let bytes = fs::read(path).unwrap();
    let trailer = bytes.len() - PAGE;
    let manifest = u64::from_le_bytes(bytes[trailer + 48..][..8].try_into().unwrap());
    let manifest = usize::try_from(manifest).unwrap();
    assert!(manifest > PAGE, "it has a chunk");
    [20, PAGE + 8, manifest + 8, trailer + 20]
}

#[test]
fn damaged_newest_checkpoint_is_set_aside_and_nothing_is_lost() {
    for part in 0..4 {
        let folder = folder();
        let directory = folder.path();
        two_checkpoints(directory);
        let path = checkpoint_file(directory, 1);
        flip(&path, parts(&path)[part]);
        let (code, found, _) = findings(directory);
        assert_eq!((code, found.len()), (DAMAGED, 1), "part {part}: {found:?}");
        let said = repaired_without_a_loss_of_bytes(directory);
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0]["action"], "set checkpoint 1 aside");
        assert!(!path.exists() && checkpoint_file(directory, 0).exists());
        assert_eq!(findings(directory).0, 0);
        assert_eq!(taken(directory), numbered("body ", 1..10));
    }
}

#[test]
fn log_is_replayed_where_both_checkpoints_are_damaged() {
    for part in 0..4 {
        let folder = folder();
        let directory = folder.path();
        two_checkpoints(directory);
        for generation in [0, 1] {
            let path = checkpoint_file(directory, generation);
            flip(&path, parts(&path)[part]);
        }
        let said = repaired_without_a_loss_of_bytes(directory);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().all(|line| line["lost"].is_null()), "{said:?}");
        assert_eq!(findings(directory).0, 0);
        assert_eq!(taken(directory), numbered("body ", 1..10));
    }
}

/// Messages of a million bytes until the log goes on in this segment: which of them there are.
fn fill(directory: &Path, up_to: u32) -> std::ops::Range<u32> {
    let broker = start(directory);
    let mut count = 0;
    while !begins(&segment(directory, up_to)) {
        let lines = (count..count + 4).map(|number| format!("{}\n", long(number)));
        let lines: String = lines.collect();
        broker
            .run_with_input(&["enqueue", "q"], lines.as_bytes())
            .ok();
        count += 4;
    }
    broker.kill();
    0..count
}

fn long(number: u32) -> String {
    "0".repeat(1_000_000) + &format!("{number:06}")
}

fn begins(segment: &Path) -> bool {
    fs::read(segment).is_ok_and(|bytes| bytes.starts_with(b"CLSG"))
}

/// Sees that a broker gives out these long messages, and says whether it refused others as damaged.
fn served(directory: &Path, expected: &[u32]) -> bool {
    let broker = start(directory);
    let (mut numbers, mut is_refused) = (Vec::new(), false);
    while numbers.len() < expected.len() {
        let taken = broker.run(&["dequeue", "q", "--wait", "0s", "--lease", "1h"]);
        if taken.code() == 0 {
            let number = taken.stdout.trim_end().parse().expect("there is one more");
            assert_eq!(taken.stdout, long(number) + "\n");
            numbers.push(number);
        } else {
            assert!(taken.stderr.contains("damaged"), "{}", taken.stderr);
            is_refused = true;
        }
    }
    assert_eq!(numbers, expected);
    broker.ok(&["enqueue", "other", "more"]);
    assert_eq!(broker.ok(&["dequeue", "other"]), "more\n");
    assert!(broker.stop().success());
    is_refused
}

/// The long messages that the log of a directory has, with the segment of each.
fn long_logged(data: &Path) -> Vec<(u32, u64)> {
    let mut command = corelane();
    let dumped = end(command.args(["log", "dump"]).arg(data));
    let lines = lines(&dumped);
    let of_line = |line: &Value| {
        let segment = line["segment"].as_u64().unwrap();
        bodies(std::slice::from_ref(line))
            .iter()
            .map(|body| (body.parse().unwrap(), segment))
            .collect::<Vec<_>>()
    };
    let records = lines.iter().filter(|line| line.get("damaged").is_none());
    records.flat_map(of_line).collect()
}

fn in_segments(logged: &[(u32, u64)], wanted: impl Fn(u64) -> bool) -> Vec<u32> {
    let found = logged.iter().filter(|(_, segment)| wanted(*segment));
    found.map(|(number, _)| *number).collect()
}

/// Takes the checkpoints away that the broker took by itself, if it did.
fn without_checkpoints(directory: &Path) {
    for (name, _) in files(&directory.join("data")) {
        if name.extension().is_some_and(|it| it == "ckpt") {
            fs::remove_file(directory.join("data/partitions/0000").join(name)).unwrap();
        }
    }
}

#[test]
fn segment_that_is_missing_behind_the_checkpoint_ends_the_log_before_it() {
    let folder = folder();
    let directory = folder.path();
    fill(directory, 2);
    without_checkpoints(directory);
    let logged = long_logged(&directory.join("data"));
    fs::remove_file(segment(directory, 1)).unwrap();
    assert_eq!(findings(directory).0, DAMAGED);
    let said = repaired_without_a_loss_of_bytes(directory);
    assert!(said.iter().any(|line| !line["lost"].is_null()), "{said:?}");
    assert_eq!(findings(directory).0, 0);
    let aside = long_logged(&set_aside(directory)[0]);
    assert_eq!(
        in_segments(&aside, |_| true),
        in_segments(&logged, |segment| segment == 2),
        "they can be loaded again"
    );
    let kept = in_segments(&logged, |segment| segment == 0);
    assert!(!served(directory, &kept));
}

#[test]
fn segment_that_is_missing_below_the_checkpoint_costs_its_messages_and_no_others() {
    let folder = folder();
    let directory = folder.path();
    fill(directory, 2);
    checkpoint(directory);
    let logged = long_logged(&directory.join("data"));
    fs::remove_file(segment(directory, 1)).unwrap();
    let before = content(directory);
    let (code, said) = repaired(directory);
    assert_eq!((code, said.len()), (0, 1), "{said:?}");
    assert!(!said[0]["lost"].is_null(), "{said:?}");
    assert!(content(directory) == before, "there is nothing to be done");
    let kept = in_segments(&logged, |segment| segment != 1);
    assert!(served(directory, &kept));
}

#[test]
fn footer_is_made_anew_from_the_blocks() {
    for checkpointed in [false, true] {
        let folder = folder();
        let directory = folder.path();
        let all = fill(directory, 1);
        if checkpointed {
            checkpoint(directory);
        }
        let path = segment(directory, 0);
        let good = fs::read(&path).unwrap();
        let footer = blocks(&path).last().unwrap().0;
        flip(&path, footer + 140);
        let (code, found, _) = findings(directory);
        assert_eq!((code, found.len()), (DAMAGED, 1));
        assert_eq!(found[0]["lsns"], Value::Null, "no record is lost");
        let said = repaired_without_a_loss_of_bytes(directory);
        assert!(said.len() == 1 && said[0]["lost"].is_null(), "{said:?}");
        assert!(fs::read(&path).unwrap() == good, "byte for byte");
        assert!(!served(directory, &all.collect::<Vec<_>>()));
    }
}

/// Position and length.
type Block = (usize, usize);

#[test]
fn footer_is_made_anew_although_a_block_is_damaged_too() {
    // The body or the header of the first one, or of the last.
    let [front, back]: [fn(&[Block]) -> &Block; 2] =
        [|blocks| &blocks[0], |blocks| &blocks[blocks.len() - 1]];
    for (block, at) in [(front, 140), (front, 30), (back, 140), (back, 30)] {
        let folder = folder();
        let directory = folder.path();
        let all = fill(directory, 1);
        checkpoint(directory);
        let path = segment(directory, 0);
        let good = fs::read(&path).unwrap();
        let places = blocks(&path);
        let (footer, blocks) = places.split_last().unwrap();
        let (footer, damaged) = (footer.0, block(blocks).0);
        flip(&path, footer + 140);
        flip(&path, damaged + at);
        let said = repaired_without_a_loss_of_bytes(directory);
        let lost: Vec<_> = said.iter().filter(|line| !line["lost"].is_null()).collect();
        assert_eq!(lost.len(), 1, "the records of the block: {said:?}");
        let now = fs::read(&path).unwrap();
        assert!(now[footer..] == good[footer..], "the footer is back");
        let kept: Vec<_> = long_logged(&directory.join("data"))
            .into_iter()
            .map(|(number, _)| number)
            .collect();
        assert!(
            !kept.is_empty() && kept.len() < all.len(),
            "{kept:?} of {all:?}"
        );
        assert!(served(directory, &kept));
    }
}
