//! The load generator against the real broker: every message is accounted for.

use std::time::Duration;

use corelane_bench::load::{Account, Loop, Pacing, Plan, Report, Verdict, exit_code, run};

use crate::Fixture;

/// What a busy machine may add to any run; it says nothing about the messages.
const OF_THE_MACHINE: [Verdict; 4] = [
    Verdict::Noisy,
    Verdict::Overloaded,
    Verdict::GeneratorLimited,
    Verdict::TooFewSamples,
];

fn plan(fixture: &Fixture) -> Plan {
    Plan {
        pacing: Pacing::Sleep,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(1),
        objective: Duration::from_secs(1),
        ..Plan::new(fixture.broker.address, 0x1234_5678)
    }
}

fn assert_intact(report: &Report) {
    let account = report.account;
    let expected = Account {
        sent: account.sent,
        confirmed: account.sent,
        delivered: account.sent,
        ..Account::default()
    };
    assert_eq!(account, expected, "{report}");
    assert!(account.sent > 0, "{report}");
    assert_eq!(report.stale_acks, 0, "{report}");
    assert_eq!(exit_code(&report.verdicts, &OF_THE_MACHINE), 0, "{report}");
}

#[test]
fn an_open_loop_over_several_queues_is_intact() {
    let fixture = Fixture::start();
    let plan = Plan {
        mode: Loop::Open { per_second: 2_000 },
        producers: 6,
        consumers: 4,
        queues: 3,
        connections: 3,
        batch: 4,
        threads: 2,
        ..plan(&fixture)
    };
    let report = run(&plan).unwrap();
    assert_intact(&report);
    assert_eq!(report.account.sent, 2_000);
    assert!(report.server.starts_with("corelane"), "{report}");
}

#[test]
fn a_closed_loop_is_intact_and_leaves_no_queue() {
    let fixture = Fixture::start();
    let plan = Plan {
        mode: Loop::Closed,
        body_bytes: 1_024,
        window: 64,
        ..plan(&fixture)
    };
    assert_intact(&run(&plan).unwrap());
    // Its queue is gone, so that the same run can be made again, from offset 0.
    assert_intact(&run(&plan).unwrap());
}

#[test]
fn a_backlog_is_enqueued_whole_and_then_drained() {
    let fixture = Fixture::start();
    let plan = Plan {
        mode: Loop::Backlog { messages: 5_000 },
        producers: 2,
        consumers: 3,
        connections: 3,
        threads: 2,
        ..plan(&fixture)
    };
    let report = run(&plan).unwrap();
    assert_intact(&report);
    assert_eq!(report.account.sent, 5_000);
    // All of them in the time of the drain, which the time of the enqueues is no part of.
    let drained = report.consumed_per_second.unwrap() * report.seconds;
    assert_eq!(drained.round().to_string(), "5000", "{report}");
}

#[test]
fn messages_without_producer_ids_are_intact_too() {
    let fixture = Fixture::start();
    let plan = Plan {
        is_idempotent: false,
        ..plan(&fixture)
    };
    assert_intact(&run(&plan).unwrap());
}

#[test]
fn messages_of_class_memory_are_intact_too() {
    let fixture = Fixture::start();
    for (is_memory_only, name) in [(false, "memory"), (true, "memory-only")] {
        let plan = Plan {
            class: corelane_wire::CLASS_MEMORY,
            is_memory_only,
            ..plan(&fixture)
        };
        let report = run(&plan).unwrap();
        assert_intact(&report);
        assert_eq!(report.class, name);
    }
}
