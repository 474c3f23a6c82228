//! The files of a data directory: what is in them, and damage to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use serde_json::Value;

use crate::broker::{Broker, Ended, PATIENCE, corelane, end, serve};

/// The exit code for damage.
pub(crate) const DAMAGED: i32 = 11;
pub(crate) const PAGE: usize = 4_096;

/// A broker with one partition.
pub(crate) fn start(directory: &Path) -> Broker {
    start_with(directory, "1")
}

pub(crate) fn start_with(directory: &Path, partitions: &str) -> Broker {
    let mut command = serve(directory);
    let arguments = ["--cores", "1", "--partitions", partitions];
    Broker::spawn(directory, command.args(arguments))
}

pub(crate) fn segment(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("data/partitions/0000/{number:08}.log"))
}

/// `corelane log COMMAND DIR ARGUMENTS`.
pub(crate) fn log(directory: &Path, name: &str, arguments: &[&str]) -> Ended {
    let mut command = corelane();
    command
        .args(["log", name])
        .arg(directory.join("data"))
        .args(arguments);
    end(&mut command)
}

pub(crate) fn lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What `log verify` finds; the last line is the summary.
pub(crate) fn findings(directory: &Path) -> (i32, Vec<Value>, Value) {
    let ended = log(directory, "verify", &["-o", "jsonl"]);
    let mut lines = lines(&ended);
    let summary = lines.pop().expect("a summary");
    (ended.code(), lines, summary)
}

/// A place of a file that holds a block: position and bytes.
pub(crate) fn blocks(path: &Path) -> Vec<(usize, usize)> {
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
pub(crate) fn block_with(path: &Path, wanted: &[u8]) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let blocks = blocks(path);
    let holds = |(at, length): &&(usize, usize)| {
        let mut windows = bytes[*at..at + length].windows(wanted.len());
        windows.any(|found| found == wanted)
    };
    blocks.iter().find(holds).expect("it is in the log").0
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Every file with its content and when it was changed.
pub(crate) fn content(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
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
pub(crate) fn ten_messages(directory: &Path) -> Vec<(usize, usize)> {
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

pub(crate) fn ends_with_a_seal(path: &Path) -> bool {
    let last = blocks(path).last().map_or(0, |last| last.0);
    std::fs::read(path).unwrap()[last + 68] == 1
}

/// The bodies of the messages in a dump.
pub(crate) fn bodies(lines: &[Value]) -> Vec<&str> {
    let enqueued = lines.iter().filter_map(|line| line["messages"].as_array());
    let bodies = enqueued.flatten().map(|message| &message["body"]);
    bodies.map(|body| body.as_str().unwrap()).collect()
}

/// The folders of what was set aside.
pub(crate) fn set_aside(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("data")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("set-aside-")
    };
    paths.filter(is_aside).collect()
}
