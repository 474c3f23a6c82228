//! The examples of the Rust client, each run against a broker.

use std::process::Command;

use crate::Fixture;

/// Runs the binary of an example; what it printed.
fn run(fixture: &Fixture, example: &str) -> String {
    let mut command = Command::new(example);
    let ended = command.arg(fixture.broker.address.to_string()).output();
    let ended = ended.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{:?}: {said}", ended.status);
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn job_queue_retries_buries_and_redrives() {
    let fixture = Fixture::start();
    let said = run(&fixture, env!("CARGO_BIN_EXE_example-job-queue"));
    let (attempts, rest): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| line.starts_with("attempt "));
    assert_eq!(
        rest,
        [
            "20 jobs enqueued",
            "the workers have done 15 jobs",
            "job 0 is dead after 3 attempts: the printer is on fire",
            "job 5 is dead after 3 attempts: the printer is on fire",
            "job 7 is dead after 1 attempts: there is no such page",
            "job 10 is dead after 3 attempts: the printer is on fire",
            "job 15 is dead after 3 attempts: the printer is on fire",
            "4 jobs redriven",
            "the workers have done 4 jobs",
            "1 dead jobs purged",
            "20 jobs: 19 done, 1 purged",
        ]
    );
    // 16 once, 4 three times, and these 4 again from the first attempt on.
    let with = |attempt: &str| {
        attempts
            .iter()
            .filter(|line| line.starts_with(attempt))
            .count()
    };
    assert_eq!(
        [with("attempt 1 "), with("attempt 2 "), with("attempt 3 ")],
        [24, 4, 4]
    );
    assert_eq!(attempts.len(), 32);
}

#[test]
fn replay_goes_on_at_the_checkpoint() {
    let fixture = Fixture::start();
    let said = run(&fixture, env!("CARGO_BIN_EXE_example-replay"));
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "1000 payments enqueued",
            "first run: read 450, account has 400",
            "second run: read 600, account has 1000",
            "sum 500500",
            "replay: read 1000, sum 500500",
        ]
    );
}

#[test]
fn fan_out_gives_every_service_and_every_dashboard_everything() {
    let fixture = Fixture::start();
    let said = run(&fixture, env!("CARGO_BIN_EXE_example-fan-out"));
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "500 events enqueued once",
            "billing has done 500",
            "mail has done 500",
            "search has done 500",
            "a dashboard has seen 500",
            "a dashboard has seen 500",
            "a dashboard has seen 500",
            "a dashboard has seen 500",
            "the queue keeps 0 events",
        ]
    );
}
