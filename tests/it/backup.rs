//! `corelane backup` and `corelane restore`, beside a broker and without one.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use corelane_tests::copies::{Plan, backup, corelane, restore, run};
use corelane_tests::process::{Broker, BrokerOptions};

use crate::{Fixture, bodies, connect};

/// A backup of a broker that holds a few messages and was killed.
struct Stopped {
    options: BrokerOptions,
    backup: PathBuf,
    home: tempfile::TempDir,
}

impl Stopped {
    fn new() -> Self {
        let Fixture {
            broker,
            options,
            _home: home,
        } = Fixture::start();
        let mut connection = connect(broker.address);
        connection
            .enqueue("q", &["done", "leased", "open"])
            .unwrap();
        let taken = connection.dequeue("q", 1, 30_000, 0).unwrap();
        connection.ack("q", &taken[0]).unwrap();
        broker.kill().unwrap();
        let copy = home.path().join("copy");
        backup(&options.binary, &options.data, &copy, None).unwrap();
        Self {
            options,
            backup: copy,
            home,
        }
    }

    fn restored(&self, name: &str) -> BrokerOptions {
        let data = self.home.path().join(name);
        restore(&self.options.binary, &self.backup, &data).unwrap();
        BrokerOptions {
            data,
            ..self.options.clone()
        }
    }

    /// A segment with something in it.
    fn segment(&self) -> PathBuf {
        let found = files_below(&self.backup)
            .into_iter()
            .find(|path| path.extension().is_some_and(|it| it == "log"));
        found.unwrap()
    }

    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let mut command = corelane(&self.options.binary, &["restore"]);
        refusal(code, command.arg(&self.backup).args(arguments))
    }
}

/// Killed when dropped, so that no test leaves it running.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn refusal(code: i32, command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_restored_directory_has_what_the_stopped_broker_held() {
    let stopped = Stopped::new();
    let options = stopped.restored("first");
    let broker = Broker::start(&options).unwrap();
    let mut connection = connect(broker.address);
    let taken = connection.dequeue("q", 10, 30_000, 0).unwrap();
    assert_eq!(bodies(&taken), ["leased", "open"]);
    let receipt = connection.enqueue("q", &["new"]).unwrap();
    assert_eq!(receipt.range.first.0, 3);
    let options = stopped.restored("second");
    let other = Broker::start(&options).unwrap();
    let taken_there = connect(other.address).dequeue("q", 10, 30_000, 0).unwrap();
    assert_eq!(bodies(&taken_there), ["leased", "open"]);
}

#[test]
fn a_restored_directory_goes_on_in_an_epoch_of_its_own() {
    let stopped = Stopped::new();
    let broker = Broker::start(&stopped.options).unwrap();
    let went_on = connect(broker.address).dequeue("q", 1, 30_000, 0).unwrap();
    let options = stopped.restored("elsewhere");
    let broker = Broker::start(&options).unwrap();
    let restored = connect(broker.address).dequeue("q", 1, 30_000, 0).unwrap();
    assert!(restored[0].lease.epoch > went_on[0].lease.epoch);
    let superblock = |data: &Path| fs::read(data.join("superblock")).unwrap();
    let (here, there) = (superblock(&stopped.options.data), superblock(&options.data));
    assert_eq!(here[16..32], there[16..32], "the log id");
    assert_ne!(here[32..48], there[32..48], "the data uuid");
}

#[test]
fn a_damaged_backup_is_refused_by_file_and_range_and_writes_nothing() {
    let stopped = Stopped::new();
    let data = stopped.home.path().join("data-of-nothing");
    let data_argument = data.to_str().unwrap();
    let segment = stopped.segment();
    let mut file = fs::File::options().write(true).open(&segment).unwrap();
    file.seek(SeekFrom::Start(8_200)).unwrap();
    file.write_all(b"rot").unwrap();
    for arguments in [["--verify-only"], [data_argument]] {
        let said = stopped.refused(11, &arguments);
        let bytes = fs::metadata(&segment).unwrap().len();
        let range = format!("bytes 0 to {}: wrong checksum", bytes.min(1 << 20));
        assert!(said.contains(segment.to_str().unwrap()), "{said}");
        assert!(said.contains(&range), "{said}");
    }
    file.set_len(8_200).unwrap();
    assert!(
        stopped
            .refused(11, &["--verify-only"])
            .contains("it has 8200 bytes and not")
    );
    fs::remove_file(&segment).unwrap();
    assert!(
        stopped
            .refused(11, &[data_argument])
            .contains("the file is missing")
    );
    let manifest = stopped.backup.join("manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"v\":1", "\"v\":2", 1)).unwrap();
    assert!(
        stopped
            .refused(11, &[data_argument])
            .contains("wrong checksum")
    );
    fs::remove_file(&manifest).unwrap();
    assert!(
        stopped
            .refused(1, &[data_argument])
            .contains("has no manifest")
    );
    assert!(!data.exists());
}

#[test]
fn nothing_is_written_into_a_directory_that_holds_something_or_is_the_data_itself() {
    let stopped = Stopped::new();
    let full = stopped.home.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "kept").unwrap();
    let said = stopped.refused(1, &[full.to_str().unwrap()]);
    assert!(said.contains("is not empty"), "{said}");
    let attempt = |target: &Path| {
        let mut command = corelane(&stopped.options.binary, &["backup"]);
        let command = command.arg(target).arg("--data-dir");
        refusal(1, command.arg(&stopped.options.data))
    };
    assert!(attempt(&full).contains("is not empty"));
    assert!(attempt(&stopped.backup).contains("is not empty"));
    assert!(attempt(&stopped.options.data.join("inside")).contains("lies in the data directory"));
    assert_eq!(files_below(&full), [full.join("mine")]);
    let mut command = corelane(&stopped.options.binary, &["backup"]);
    let command = command
        .arg(stopped.home.path().join("new"))
        .arg("--data-dir");
    assert!(refusal(1, command.arg(&full)).contains("is no data directory"));
}

#[test]
fn a_backup_that_is_killed_is_none_and_leaves_no_links() {
    let (fixture, home) = (Fixture::start(), tempfile::tempdir().unwrap());
    let mut connection = fixture.connect();
    for queue in ["a", "b", "c", "d", "e", "f"] {
        connection.enqueue(queue, &["x"]).unwrap();
    }
    let target = home.path().join("copy");
    let data = &fixture.options.data;
    let mut command = corelane(
        &fixture.options.binary,
        &["backup", "--bytes-per-second", "1"],
    );
    let child = command.arg(&target).arg("--data-dir").arg(data).spawn();
    let mut running = Running(child.unwrap());
    // It waits for years after its first range.
    while !target.join("partitions").is_dir() || files_below(&target).is_empty() {
        assert!(running.0.try_wait().unwrap().is_none(), "it goes on");
        thread::yield_now();
    }
    assert!(linked(data) > 0);
    let mut second = corelane(&fixture.options.binary, &["backup"]);
    let second = second.arg(home.path().join("other"));
    let said = refusal(1, second.arg("--data-dir").arg(data));
    assert!(
        said.contains(&format!("process {} takes a backup", running.0.id())),
        "{said}"
    );
    drop(running);
    assert!(linked(data) > 0, "a killed process takes nothing away");
    let mut command = corelane(&fixture.options.binary, &["restore", "--verify-only"]);
    assert!(refusal(1, command.arg(&target)).contains("has no manifest"));
    let fixture = fixture.crash();
    assert_eq!(linked(&fixture.options.data), 0);
    let whole = home.path().join("whole");
    backup(&fixture.options.binary, &fixture.options.data, &whole, None).unwrap();
    assert_eq!(linked(&fixture.options.data), 0);
}

fn linked(data: &Path) -> usize {
    let files = files_below(&data.join("partitions"));
    let links = files.iter().map(|path| fs::metadata(path).unwrap().nlink());
    links.filter(|links| *links > 1).count()
}

#[test]
fn a_backup_under_load_holds_what_was_confirmed() {
    let home = tempfile::tempdir().unwrap();
    let options = BrokerOptions::beside_this_program(&home.path().join("data")).unwrap();
    let plan = Plan {
        rounds: 1,
        body_bytes: 256,
        bytes_per_second: None,
        freed_min: 0,
        confirmed_min: 5_000,
    };
    let report = run(&plan, home.path(), &options).unwrap();
    assert!(report.copies.is_good(), "{report}");
    assert_eq!(report.rounds, 1);
    assert!(report.copies.delivered > 0, "{report}");
}
