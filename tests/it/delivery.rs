use std::time::{Instant, SystemTime, UNIX_EPOCH};

use corelane_tests::raw::RawConnection;
use corelane_wire::{ConsumerId, Request, SessionId, SettleOutcome};

use crate::{Fixture, bodies};

#[test]
fn a_nacked_message_comes_back_first_with_a_second_attempt() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["a", "b"]).unwrap();
    let first = connection.dequeue("q", 1, 30_000, 0).unwrap();
    assert_eq!(
        connection.nack("q", &first[0], 0).unwrap(),
        SettleOutcome::Done
    );
    let again = connection.dequeue("q", 2, 30_000, 1_000).unwrap();
    assert_eq!(bodies(&again), ["a", "b"]);
    assert_eq!((again[0].attempt, again[1].attempt), (2, 1));
}

#[test]
fn a_delayed_nack_is_not_early() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["later"]).unwrap();
    let first = connection.dequeue("q", 1, 30_000, 0).unwrap();
    let start = Instant::now();
    connection.nack("q", &first[0], 300).unwrap();
    assert_eq!(connection.dequeue("q", 1, 30_000, 0).unwrap(), []);
    let again = connection.dequeue("q", 1, 30_000, 10_000).unwrap();
    assert_eq!(bodies(&again), ["later"]);
    assert!(start.elapsed().as_millis() >= 300);
}

#[test]
fn a_scheduled_message_is_not_early_over_a_kill_and_does_not_wait_behind_others() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    let due_ms = now_ms() + 1_000;
    connection.enqueue("q", &["a", "b"]).unwrap();
    connection.enqueue_due("q", "due", due_ms).unwrap();
    connection.enqueue("q", &["c"]).unwrap();
    let taken = connection.dequeue("q", 1, 30_000, 0).unwrap();
    assert_eq!(bodies(&taken), ["a"]);

    let fixture = fixture.crash();
    let mut connection = fixture.connect();
    let mut order = Vec::new();
    while order.last() != Some(&"due".to_owned()) {
        for message in connection.dequeue("q", 1, 30_000, 10_000).unwrap() {
            assert!(message.body != "due" || now_ms() >= due_ms);
            assert_eq!(connection.ack("q", &message).unwrap(), SettleOutcome::Done);
            order.push(message.body);
        }
    }
    assert!(
        ["b", "c"]
            .iter()
            .all(|body| order.iter().any(|it| it == body)),
        "{order:?}"
    );
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since_epoch.as_millis()).unwrap()
}

#[test]
fn a_lease_runs_out_and_its_ack_is_stale() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["x"]).unwrap();
    let first = connection.dequeue("q", 1, 1_000, 0).unwrap();
    let again = connection.dequeue("q", 1, 30_000, 10_000).unwrap();
    assert_eq!((bodies(&again), again[0].attempt), (vec!["x"], 2));
    assert_eq!(
        connection.ack("q", &first[0]).unwrap(),
        SettleOutcome::Stale
    );
    assert_eq!(connection.ack("q", &again[0]).unwrap(), SettleOutcome::Done);
    assert_eq!(
        connection.ack("q", &again[0]).unwrap(),
        SettleOutcome::AlreadyDone
    );
}

#[test]
fn an_extended_lease_lasts() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["x"]).unwrap();
    let first = connection.dequeue("q", 1, 1_000, 0).unwrap();
    assert_eq!(
        connection.extend("q", &first[0], 60_000).unwrap(),
        SettleOutcome::Done
    );
    assert_eq!(connection.dequeue("q", 1, 30_000, 1_500).unwrap(), []);
    assert_eq!(connection.ack("q", &first[0]).unwrap(), SettleOutcome::Done);
}

#[test]
fn a_waiting_dequeue_is_woken_by_an_enqueue() {
    let fixture = Fixture::start();
    let mut consumer = fixture.connect();
    let mut producer = fixture.connect();
    let waiting = std::thread::spawn(move || consumer.dequeue("q", 1, 30_000, 20_000).unwrap());
    producer.enqueue("q", &["wake"]).unwrap();
    assert_eq!(bodies(&waiting.join().unwrap()), ["wake"]);
}

#[test]
fn pushed_deliveries_never_exceed_the_credit() {
    let fixture = Fixture::start();
    let mut consumer = fixture.connect();
    consumer.subscribe("q", 2, 30_000).unwrap();
    let mut producer = fixture.connect();
    producer.enqueue("q", &["a", "b", "c", "d"]).unwrap();
    let mut held = Vec::new();
    while held.len() < 2 {
        held.extend(consumer.pushed().unwrap());
    }
    assert_eq!(bodies(&held), ["a", "b"]);
    // The two held messages are all that was leased.
    assert_eq!(leased(&mut producer, "q"), 2);
    let request = Request::Credit {
        consumer: ConsumerId(1),
        credit: 3,
    };
    consumer.send(&request).unwrap();
    let more = consumer
        .receive(|_, _| Ok(()))
        .and_then(|()| consumer.pushed());
    assert_eq!(bodies(&more.unwrap()), ["c"]);
}

#[test]
fn credit_0_stops_deliveries_and_keeps_leases() {
    let fixture = Fixture::start();
    let mut consumer = fixture.connect();
    consumer.subscribe("q", 1, 30_000).unwrap();
    let mut producer = fixture.connect();
    producer.enqueue("q", &["a", "b"]).unwrap();
    let held = consumer.pushed().unwrap();
    let stop = Request::Credit {
        consumer: ConsumerId(1),
        credit: 0,
    };
    consumer.call(&stop, |_| Ok(())).unwrap();
    assert_eq!(consumer.ack("q", &held[0]).unwrap(), SettleOutcome::Done);
    assert_eq!(leased(&mut producer, "q"), 0);
    let other = producer.dequeue("q", 5, 30_000, 0).unwrap();
    assert_eq!(bodies(&other), ["b"]);
}

#[test]
fn leases_of_a_lost_session_return_without_counting_an_attempt() {
    let fixture = Fixture::start();
    let mut lost = fixture.connect();
    lost.enqueue("q", &["x"]).unwrap();
    lost.dequeue("q", 1, 600_000, 0).unwrap();
    drop(lost);
    let mut other = fixture.connect();
    let again = other.dequeue("q", 1, 30_000, 20_000).unwrap();
    assert_eq!((bodies(&again), again[0].attempt), (vec!["x"], 1));
}

#[test]
fn a_resumed_session_keeps_its_leases() {
    let fixture = Fixture::start();
    let mut first = fixture.connect();
    first.enqueue("q", &["x"]).unwrap();
    let taken = first.dequeue("q", 1, 600_000, 0).unwrap();
    let session = first.session;
    assert_ne!(session, SessionId::default());
    drop(first);
    let mut second = RawConnection::connect(fixture.broker.address, session).unwrap();
    assert_eq!(second.session, session);
    let mut other = fixture.connect();
    assert_eq!(other.dequeue("q", 1, 30_000, 7_000).unwrap(), []);
    assert_eq!(second.ack("q", &taken[0]).unwrap(), SettleOutcome::Done);
}

fn leased(connection: &mut RawConnection, queue: &str) -> u64 {
    crate::queues::show(connection, queue).subscriptions[0].leased
}
