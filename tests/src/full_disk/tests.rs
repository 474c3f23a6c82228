//! What the last line says, and what is no good run.

use std::process::Command;
use std::time::Duration;

use super::report::{Report, summary};
use super::small::{Kind, Missing};

fn good() -> Report {
    Report {
        disk_bytes: 1 << 20,
        confirmed: [700, 600],
        healed_after: Some(Duration::from_secs(1)),
        lost: 0,
        unsettled: 0,
        wrong: 0,
        duplicates: 0,
        resurrected: 0,
    }
}

#[test]
fn last_line_names_every_disk_and_one_that_cannot_be_had() {
    let missing = Missing::unless_succeeds(&mut Command::new("/no-such-program")).unwrap_err();
    assert!(missing.to_string().starts_with("`/no-such-program` said: "));
    let outcomes = [(Kind::Ext4, Ok(good())), (Kind::Tmpfs, Err(missing))];
    assert_eq!(
        summary(&outcomes),
        "disk-full: ext4 confirmed 1300 lost 0 healed yes, tmpfs not available"
    );
}

#[test]
fn room_that_does_not_come_back_fails_a_run() {
    assert!(good().is_good());
    let mut report = good();
    report.healed_after = None;
    assert!(!report.is_good());
    assert!(summary(&[(Kind::Ext4, Ok(report))]).ends_with("healed no"));
}

#[test]
fn a_message_that_is_lost_kept_wrong_or_twice_there_fails_a_run() {
    let counters: [fn(&mut Report) -> &mut u64; 5] = [
        |report| &mut report.lost,
        |report| &mut report.unsettled,
        |report| &mut report.wrong,
        |report| &mut report.duplicates,
        |report| &mut report.resurrected,
    ];
    for counter in counters {
        let mut report = good();
        *counter(&mut report) = 1;
        assert!(!report.is_good(), "{report}");
    }
}
