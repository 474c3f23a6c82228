//! Whole runs over TCP, against a responder that makes one mistake or none.

use std::time::Duration;

use crate::load::{Account, Loop, Pacing, Plan, Report, Verdict, exit_code, run};
use crate::responder::{Mistake, Responder, ResponderOptions};

/// What a busy machine may add to any run; it says nothing about the messages.
const OF_THE_MACHINE: [Verdict; 4] = [
    Verdict::Noisy,
    Verdict::Overloaded,
    Verdict::GeneratorLimited,
    Verdict::TooFewSamples,
];

/// 1,000 messages in half a second.
fn small(responder: &Responder) -> Plan {
    Plan {
        mode: Loop::Open { per_second: 2_000 },
        pacing: Pacing::Sleep,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(500),
        drain: Duration::from_secs(10),
        objective: Duration::from_secs(1),
        ..Plan::new(responder.address(), 0x0123_4567_89ab_cdef)
    }
}

fn with(mistake: Option<(Mistake, u64)>) -> Responder {
    let core = None;
    Responder::start(ResponderOptions { core, mistake }).unwrap()
}

fn run_with(mistake: Mistake) -> Report {
    let responder = with(Some((mistake, 500)));
    let plan = Plan {
        // Some wait in vain for what is missing.
        drain: Duration::from_secs(2),
        ..small(&responder)
    };
    run(&plan).unwrap()
}

fn assert_breach(report: &Report, expected: Account) {
    assert_eq!(report.account, expected);
    assert_eq!(exit_code(&report.verdicts, &OF_THE_MACHINE), 22);
}

const INTACT: Account = Account {
    sent: 1_000,
    confirmed: 1_000,
    refused: 0,
    unknown: 0,
    delivered: 1_000,
    lost: 0,
    duplicates: 0,
    reordered: 0,
    corrupt: 0,
    phantoms: 0,
};

#[test]
fn an_intact_run_has_exit_code_0_and_all_histograms() {
    let report = run(&small(&with(None))).unwrap();
    assert_eq!(report.account, INTACT);
    assert_eq!(exit_code(&report.verdicts, &OF_THE_MACHINE), 0);
    for series in [
        report.response,
        report.service,
        report.send_lag,
        report.own_lag,
        report.end_to_end,
    ] {
        assert_eq!(series.unwrap().count, 1_000);
    }
    assert_eq!((report.censored, report.unsent), (0, 0));
}

#[test]
fn threads_connections_queues_and_batches_are_all_accounted_for() {
    let responder = with(None);
    let plan = Plan {
        mode: Loop::Open { per_second: 20_000 },
        producers: 7,
        consumers: 5,
        queues: 3,
        connections: 4,
        threads: 2,
        batch: 10,
        body_bytes: 1_500,
        ..small(&responder)
    };
    let report = run(&plan).unwrap();
    let expected = Account {
        sent: 10_000,
        confirmed: 10_000,
        delivered: 10_000,
        ..INTACT
    };
    assert_eq!(report.account, expected);
    assert_eq!(report.threads.len(), 2);
    assert_eq!(exit_code(&report.verdicts, &OF_THE_MACHINE), 0);
}

#[test]
fn a_lost_message_is_a_breach() {
    let report = run_with(Mistake::Lose);
    let expected = Account {
        delivered: 999,
        lost: 1,
        ..INTACT
    };
    assert_breach(&report, expected);
}

#[test]
fn a_duplicate_is_a_breach() {
    let report = run_with(Mistake::Duplicate);
    let expected = Account {
        duplicates: 1,
        ..INTACT
    };
    assert_breach(&report, expected);
}

#[test]
fn two_messages_that_change_places_are_a_breach() {
    let report = run_with(Mistake::Reorder);
    let expected = Account {
        reordered: 1,
        ..INTACT
    };
    assert_breach(&report, expected);
}

#[test]
fn a_spoiled_byte_is_a_breach() {
    let expected = Account {
        delivered: 999,
        lost: 1,
        corrupt: 1,
        ..INTACT
    };
    assert_breach(&run_with(Mistake::Corrupt), expected);
    // With a checksum that is right again the protocol sees nothing; the payload does.
    assert_breach(&run_with(Mistake::Forge), expected);
}

#[test]
fn a_refused_message_that_comes_all_the_same_is_a_phantom() {
    let report = run_with(Mistake::Refuse);
    let expected = Account {
        confirmed: 999,
        refused: 1,
        phantoms: 1,
        ..INTACT
    };
    assert_breach(&report, expected);
    assert_eq!(report.refusal.unwrap(), "busy (2001): planted");
}

#[test]
fn a_pause_of_the_responder_counts_for_all_that_were_due_in_it() {
    let responder = with(Some((Mistake::Pause(Duration::from_millis(300)), 200)));
    let plan = Plan {
        window: 1,
        ..small(&responder)
    };
    let report = run(&plan).unwrap();
    assert_eq!(report.account, INTACT);
    let (response, service) = (report.response.unwrap(), report.service.unwrap());
    // 600 messages were due while one waited: those due in its first half took 150 ms and more.
    assert!(response.p90_us.unwrap() > 150_000.0, "{response:?}");
    // To a loop that does not count from the intended instant, only one message was slow.
    assert!(
        service.p90_us.unwrap() < response.p90_us.unwrap() / 2.0,
        "{service:?}"
    );
    // The window was full meanwhile: that is not the generator's own lateness.
    let (lag, own) = (report.send_lag.unwrap(), report.own_lag.unwrap());
    assert!(
        own.p90_us.unwrap() < lag.p90_us.unwrap() / 2.0,
        "{own:?} {lag:?}"
    );
}

#[test]
fn what_never_left_is_censored_and_the_run_is_overloaded() {
    // The pause outlasts the run and its drain, so that the window of one batch never opens.
    let responder = with(Some((Mistake::Pause(Duration::from_millis(1_500)), 200)));
    let plan = Plan {
        window: 1,
        drain: Duration::from_millis(200),
        ..small(&responder)
    };
    let report = run(&plan).unwrap();
    assert_eq!((report.account.sent, report.unsent), (201, 799));
    assert_eq!(report.censored, 799);
    assert_eq!(report.response.unwrap().count, 1_000);
    let others = [Verdict::Noisy, Verdict::GeneratorLimited];
    assert_eq!(exit_code(&report.verdicts, &others), 23);
}

#[test]
fn a_closed_loop_finds_throughput_and_says_nothing_about_latency() {
    let responder = with(None);
    let plan = Plan {
        mode: Loop::Closed,
        window: 32,
        ..small(&responder)
    };
    let report = run(&plan).unwrap();
    let account = report.account;
    assert!(account.sent > 32, "{account:?}");
    assert_eq!(
        (account.confirmed, account.delivered),
        (account.sent, account.sent)
    );
    assert_eq!((report.response, report.end_to_end), (None, None));
    assert_eq!(exit_code(&report.verdicts, &OF_THE_MACHINE), 0);
}

#[test]
fn a_backlog_that_the_broker_does_not_keep_is_lost() {
    // The responder delivers what is enqueued to whom it knows, and keeps nothing for those who come later.
    let responder = with(None);
    let plan = Plan {
        mode: Loop::Backlog { messages: 1_000 },
        producers: 3,
        connections: 2,
        threads: 2,
        drain: Duration::from_secs(1),
        ..small(&responder)
    };
    let report = run(&plan).unwrap();
    let expected = Account {
        delivered: 0,
        lost: 1_000,
        ..INTACT
    };
    assert_breach(&report, expected);
    assert!(report.achieved_per_second > 0.0, "{report}");
    assert_eq!(report.consumed_per_second, Some(0.0));
    assert_eq!((report.response, report.end_to_end), (None, None));
}

#[test]
fn without_consumers_nothing_is_lost() {
    let responder = with(None);
    let plan = Plan {
        consumers: 0,
        ..small(&responder)
    };
    let report = run(&plan).unwrap();
    let expected = Account {
        delivered: 0,
        ..INTACT
    };
    assert_eq!((report.account, report.end_to_end), (expected, None));
}
