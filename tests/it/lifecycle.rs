use std::time::{Duration, Instant};

use corelane_tests::process::Broker;
use corelane_wire::{ProducerId, Sequence};

use crate::{Fixture, bodies, connect};

#[test]
fn confirmed_messages_survive_sigkill_in_order() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    for queue in ["a", "b", "c", "d"] {
        connection.enqueue(queue, &["one", "two"]).unwrap();
        connection.enqueue(queue, &["three"]).unwrap();
    }
    let fixture = fixture.crash();
    let mut connection = fixture.connect();
    for queue in ["a", "b", "c", "d"] {
        let taken = connection.dequeue(queue, 10, 30_000, 0).unwrap();
        assert_eq!(bodies(&taken), ["one", "two", "three"]);
    }
}

#[test]
fn an_ack_survives_sigkill() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["done", "open"]).unwrap();
    let taken = connection.dequeue("q", 1, 30_000, 0).unwrap();
    connection.ack("q", &taken[0]).unwrap();
    let fixture = fixture.crash();
    let taken = fixture.connect().dequeue("q", 10, 30_000, 0).unwrap();
    assert_eq!(bodies(&taken), ["open"]);
}

#[test]
fn every_start_opens_a_new_epoch_and_old_leases_of_a_lost_record_are_stale() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["x"]).unwrap();
    let before = connection.dequeue("q", 1, 1_000, 0).unwrap();
    let fixture = fixture.crash();
    let mut connection = fixture.connect();
    // The old lease runs out, or its record never reached the disk; then the message is there again.
    let after = connection.dequeue("q", 1, 30_000, 20_000).unwrap();
    assert_eq!(bodies(&after), ["x"]);
    assert!(after[0].lease.epoch > before[0].lease.epoch);
}

#[test]
fn a_retry_after_a_crash_gets_the_first_receipt() {
    let fixture = Fixture::start();
    let producer = ProducerId(77);
    let mut connection = fixture.connect();
    let first = connection
        .enqueue_as("q", &["once"], producer, Sequence(0))
        .unwrap();
    assert!(!first.duplicate);
    let fixture = fixture.crash();
    let mut connection = fixture.connect();
    let again = connection
        .enqueue_as("q", &["once"], producer, Sequence(0))
        .unwrap();
    assert!(again.duplicate);
    assert_eq!(again.range, first.range);
    let taken = connection.dequeue("q", 10, 30_000, 0).unwrap();
    assert_eq!(bodies(&taken), ["once"]);
}

#[test]
fn sigterm_drains_and_exits_0_within_5_seconds_and_nothing_is_lost() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["kept"]).unwrap();
    let Fixture {
        broker,
        options,
        _home,
    } = fixture;
    let start = Instant::now();
    let status = broker.terminate().unwrap();
    assert!(status.success(), "{status}");
    assert!(start.elapsed() < Duration::from_secs(5));
    let broker = Broker::start(&options).unwrap();
    let taken = connect(broker.address).dequeue("q", 1, 30_000, 0).unwrap();
    assert_eq!(bodies(&taken), ["kept"]);
}
