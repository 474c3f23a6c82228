//! File systems that are small or odd, each in a mount namespace that ends with its broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use corelane_wire::{ErrorCode, Response};

use crate::broker::{Broker, Ended, PATIENCE, corelane, folder, serve};
use crate::wire::{Wire, dequeue, enqueue};

/// Bytes of the disk: a first start asks for 64 MiB, and two brokers make some spare segments.
const DISK_BYTES: u64 = 96 << 20;

/// A broker whose data directory is a small disk.
fn start_on_small_disk(directory: &Path) -> Broker {
    let mut command = serve_on(directory, "tmpfs", &format!("size={DISK_BYTES}"));
    Broker::spawn(directory, &mut command)
}

/// A broker whose data directory is a file system of its own. Needs `unshare` and the right to
/// mount in a namespace of one's own; as root or not.
fn serve_on(directory: &Path, kind: &str, options: &str) -> Command {
    let disk = directory.join("data");
    std::fs::create_dir(&disk).unwrap();
    let serve = serve(directory);
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t \"$1\" -o \"$2\" none \"$3\" && shift 3 && exec \"$@\"";
    command.args(["sh", "-c", script, "sh", kind, options]);
    command.arg(&disk).arg(serve.get_program());
    command.args(serve.get_args());
    command
}

/// A file on the broker's disk, as it is seen from outside.
fn on_disk_of(broker: &Broker, directory: &Path, name: &str) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", broker.child.id()));
    let inside = directory.join("data").join(name);
    root.join(inside.strip_prefix("/").unwrap())
}

/// Writes a file until nothing more fits.
fn fill(path: &Path) {
    let error = std::fs::write(path, vec![0; usize::try_from(DISK_BYTES).unwrap()]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
}

/// Enqueues until that is refused; how many were confirmed.
fn enqueue_until_full(wire: &mut Wire, body: &[u8]) -> u64 {
    for number in 0..10_000 {
        let code = wire.ask(&enqueue(number, "q", body)).code();
        if code != ErrorCode::Ok {
            assert_eq!(code, ErrorCode::DiskFull);
            return number;
        }
    }
    panic!("the disk is larger than it should be")
}

#[test]
fn full_disk_refuses_messages_serves_the_rest_and_recovers_without_a_restart() {
    let folder = folder();
    let broker = start_on_small_disk(folder.path());
    let mut wire = Wire::greeted(&broker);
    let body = vec![7; 100_000];
    assert_eq!(wire.ask(&enqueue(0, "q", &body)).code(), ErrorCode::Ok);
    let filler = on_disk_of(&broker, folder.path(), "filler");
    fill(&filler);
    let confirmed = 1 + enqueue_until_full(&mut wire, &body);
    let (status, ready) = broker.get("/readyz");
    assert!(status == 200 && ready.contains("disk_full"), "{ready}");
    let create = broker.run(&["queue", "create", "another", "--timeout", "500ms"]);
    assert_ne!(create.code(), 0, "{}", create.stdout);
    assert!(create.stderr.contains("disk"), "{}", create.stderr);
    // All that was confirmed is given out and acknowledged.
    let count = confirmed.to_string();
    let taken = broker.ok(&["dequeue", "q", "-n", &count, "--wait", "1s", "-o", "jsonl"]);
    assert_eq!(taken.lines().count() as u64, confirmed);
    assert!(taken.lines().all(|line| line.len() > body.len()));

    std::fs::remove_file(&filler).unwrap();
    let begun = Instant::now();
    while wire.ask(&enqueue(1, "q", &body)).code() == ErrorCode::DiskFull {
        assert!(begun.elapsed() < PATIENCE, "there is room again");
        std::thread::yield_now();
    }
    let answer = wire.ask(&dequeue(2, "q", 10_000));
    let Response::Dequeued(deliveries) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(deliveries.count(), 1, "what was acknowledged is gone");
    assert!(broker.stop().success());
}

#[test]
fn broker_starts_on_the_disk_that_it_filled() {
    let folder = folder();
    // The disk is there as long as this broker, which only keeps it.
    let keeper = start_on_small_disk(folder.path());
    let inside = on_disk_of(&keeper, folder.path(), "inner");
    std::fs::create_dir(&inside).unwrap();
    let second = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = corelane();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(["--control", "127.0.0.1:0", "--cores", "1"]);
        command.arg("--data-dir").arg(&inside);
        command
            .arg("--port-file")
            .arg(second.path().join("ports.json"));
        Broker::spawn(second.path(), &mut command)
    };
    let broker = start();
    let mut wire = Wire::greeted(&broker);
    let body = vec![7; 100_000];
    assert_eq!(wire.ask(&enqueue(0, "q", &body)).code(), ErrorCode::Ok);
    let confirmed = 1 + enqueue_until_full(&mut wire, &body);
    assert!(broker.stop().success());
    fill(&on_disk_of(&keeper, folder.path(), "filler"));

    let broker = start();
    let shown = broker.ok(&["queue", "show", "q", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["end"], confirmed);
    let taken: Ended = broker.run(&["dequeue", "q", "-n", "5"]);
    assert_eq!(taken.ok().lines().count(), 5);
    assert!(broker.stop().success());
}

/// The line of a start that says how segments are written.
fn says_of_direct(kind: &str, options: &str) -> String {
    let folder = folder();
    let path = folder.path().join("log");
    let log = std::fs::File::create(&path).unwrap();
    let mut command = serve_on(folder.path(), kind, options);
    let broker = Broker::spawn_logging_to(folder.path(), &mut command, log.into());
    broker.ok(&["enqueue", "q", "one"]);
    assert_eq!(broker.ok(&["dequeue", "q"]), "one\n");
    assert!(broker.stop().success());
    let log = std::fs::read_to_string(path).unwrap();
    let mut lines = log.lines().filter(|line| line.contains("O_DIRECT"));
    let line = lines.next().expect("a start says it").to_owned();
    assert_eq!(lines.next(), None);
    line
}

#[test]
fn segments_are_written_directly_or_not_and_the_log_says_which() {
    // Kernels differ about tmpfs; either way it works.
    let line = says_of_direct("tmpfs", &format!("size={DISK_BYTES}"));
    assert!(line.contains("/data"), "{line}");
    // A ramfs is nothing but page cache.
    let line = says_of_direct("ramfs", "mode=700");
    assert!(
        line.contains("WARN") && line.contains("findmnt -T"),
        "{line}"
    );
    assert!(line.contains("data_dir"), "{line}");
}
