//! Backups of a directory with a partition that a broker would not serve.

use std::fs;
use std::path::Path;

use crate::broker::{Ended, corelane, end, folder, numbered};
use crate::files::{DAMAGED, block_with, findings, flip, log, segment, start, ten_messages};

fn backup(directory: &Path, target: &Path, flags: &[&str]) -> Ended {
    let mut command = corelane();
    command.arg("backup").arg(target).args(flags);
    end(command.arg("--data-dir").arg(directory.join("data")))
}

fn peeked(directory: &Path) -> String {
    let broker = start(directory);
    let peeked = broker.ok(&["peek", "q", "-n", "20", "-o", "jsonl"]);
    assert!(broker.stop().success());
    peeked
}

#[test]
fn damaged_partition_fails_a_backup_unless_it_is_to_be_copied_as_it_is() {
    let (here, there) = (folder(), folder());
    ten_messages(here.path());
    let path = segment(here.path(), 0);
    flip(&path, block_with(&path, b"body 4") + 140);
    let target = here.path().join("copy");

    // A read-only partition of a broker that runs.
    let broker = start(here.path());
    let refused = backup(here.path(), &target, &[]);
    assert_eq!(refused.code(), DAMAGED, "{}", refused.stdout);
    for word in [
        "partition 0 is damaged",
        "records",
        "corelane log repair",
        "--with-damaged",
    ] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    assert!(!target.join("manifest.jsonl").exists());
    fs::remove_dir_all(&target).unwrap();
    let taken = backup(here.path(), &target, &["--with-damaged"]);
    assert_eq!(taken.code(), 0, "{}", taken.stderr);
    assert!(
        taken.stderr.contains("not whole in the backup"),
        "{}",
        taken.stderr
    );
    assert!(broker.stop().success());

    let mut command = corelane();
    let restored = command
        .arg("restore")
        .arg(&target)
        .arg(there.path().join("data"));
    let told = end(restored);
    assert_eq!(told.code(), 0, "{}", told.stderr);
    assert!(
        told.stderr.contains("not whole in the backup"),
        "{}",
        told.stderr
    );
    let copied = fs::read(segment(there.path(), 0)).unwrap();
    assert!(copied == fs::read(&path).unwrap(), "byte for byte");
    assert_eq!(findings(there.path()).0, DAMAGED);
    assert_eq!(peeked(there.path()), peeked(here.path()));

    // What a good copy of the file would bring back is still there to be brought back, and repair works as well.
    assert_eq!(log(there.path(), "repair", &["--yes"]).code(), 0);
    let broker = start(there.path());
    let taken = broker.ok(&["dequeue", "q", "-n", "10", "--wait", "0s"]);
    assert_eq!(taken, numbered("body ", 0..4));
    assert!(broker.stop().success());
}
