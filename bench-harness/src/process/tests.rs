use std::process::Command;
use std::time::{Duration, Instant};

use super::{Process, Stat, stat};

fn shell(script: &str, folder: &std::path::Path) -> Process {
    let mut command = Command::new("sh");
    Process::start(command.args(["-c", script]), folder.join("log")).unwrap()
}

#[test]
fn a_name_with_brackets_does_not_shift_the_fields() {
    let line = "17 (a) b (c) S 4 17 17 0 -1 0 0 0 0 0 3 5 7 11 20 0 1 0 99";
    let expected = Stat {
        id: 17,
        parent: 4,
        ticks: 26,
    };
    assert_eq!(stat(line), Some(expected));
    assert_eq!(stat("17 (a) S 4"), None);
}

#[test]
fn children_are_measured_and_killed_too() {
    let folder = tempfile::tempdir().unwrap();
    // The child prints its number when it has burnt time; the parent only waits for it.
    let script =
        "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo $$; sleep 600' & wait";
    let mut process = shell(script, folder.path());
    let child = process
        .wait_for("sh", || {
            let log = std::fs::read_to_string(folder.path().join("log")).ok()?;
            log.strip_suffix('\n')?.parse::<u32>().ok()
        })
        .unwrap();
    assert!(process.cpu().unwrap() > Duration::ZERO);
    process.kill().unwrap();
    let begin = Instant::now();
    while is_alive(child) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{child} lives");
    }
}

/// Whether a process is there and no zombie, which its new parent may not have reaped yet.
fn is_alive(id: u32) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = line
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

#[test]
fn one_that_ends_at_once_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = shell("echo no such option >&2; exit 3", folder.path());
    let error = process.wait_for("sh", || None::<()>).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sh ended: exit status: 3\nno such option"
    );
}
