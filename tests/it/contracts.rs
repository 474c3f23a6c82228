//! What subscriptions promise, over a broker that is killed.

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use corelane_tests::by_key::{Book, Shape};
use corelane_tests::raw::RawConnection;
use corelane_wire::{
    Contract, Lane, Offset, OffsetRange, OffsetRanges, OnSchedule, Request, Response,
    ScheduleAnswer, ScheduleVerb, ScheduledInfo, SettleOutcome, Timestamp,
};

use crate::{Fixture, bodies};

#[test]
fn at_most_once_gives_nothing_twice_over_kills() {
    let mut fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.create_with("q", Contract::AtMostOnce).unwrap();
    let all: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = all.iter().map(String::as_str).collect();
    connection.enqueue("q", &texts).unwrap();
    let mut taken = Vec::new();
    for _ in 0..3 {
        for _ in 0..5 {
            let messages = connection.dequeue("q", 2, 30_000, 10_000).unwrap();
            assert!(messages.iter().all(|message| message.attempt == 1));
            taken.extend(messages.into_iter().map(|message| message.body));
        }
        fixture = fixture.crash();
        connection = fixture.connect();
    }
    assert_eq!(taken, all, "what was answered was done, and nothing else");
    assert_eq!(connection.dequeue("q", 1, 30_000, 0).unwrap(), []);
}

#[test]
fn messages_of_a_key_stay_in_order_while_others_fail_and_the_broker_is_killed() {
    let mut fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.create_with("q", Contract::KeyOrdered).unwrap();
    let book = Book::new(Shape {
        keys: 12,
        failing: 3,
        per_key: 40,
        is_ordered: true,
    });
    book.fill(&mut connection, "q").unwrap();
    for kills in [1, 2, 3] {
        let connections: Vec<_> = (0..8).map(|_| fixture.connect()).collect();
        fixture = thread::scope(|scope| {
            let workers: Vec<_> = connections
                .into_iter()
                .map(|mut connection| {
                    let book = &book;
                    scope.spawn(move || book.work(&mut connection, "q", 3))
                })
                .collect();
            book.wait_for(kills * 70);
            let fixture = fixture.crash();
            for worker in workers {
                // Each ends because the broker did, and for nothing else.
                let error = worker.join().unwrap().unwrap_err();
                assert!(error.is::<std::io::Error>(), "{error:#}");
            }
            fixture
        });
    }
    book.work(&mut fixture.connect(), "q", 3).unwrap();
    let kept = fixture.connect().dequeue("q", 100, 30_000, 20_000).unwrap();
    assert!(
        book.are_failing(&kept),
        "the first of each failing key: {kept:?}"
    );
}

#[test]
fn only_one_session_at_a_time_holds_messages_of_single_active() {
    let fixture = Fixture::start();
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    first.create_with("q", Contract::SingleActive).unwrap();
    first.enqueue("q", &["a", "b", "c"]).unwrap();
    let held = first.dequeue("q", 1, 30_000, 10_000).unwrap();
    assert_eq!(bodies(&held), ["a"]);
    assert_eq!(second.dequeue("q", 1, 30_000, 0).unwrap(), []);
    let more = first.dequeue("q", 1, 30_000, 10_000).unwrap();
    assert_eq!(bodies(&more), ["b"], "the same session goes on");
    for message in held.iter().chain(&more) {
        assert_eq!(first.ack("q", message).unwrap(), SettleOutcome::Done);
    }
    let next = second.dequeue("q", 1, 30_000, 10_000).unwrap();
    assert_eq!(bodies(&next), ["c"]);

    // Its leases outlive a kill, and so does what they stand for.
    let fixture = fixture.crash();
    let mut third = fixture.connect();
    assert_eq!(third.dequeue("q", 1, 30_000, 0).unwrap(), []);
    let again = third.dequeue("q", 1, 30_000, 20_000).unwrap();
    assert_eq!(bodies(&again), ["c"], "when its session is over");
}

#[test]
fn what_is_cancelled_or_moved_stays_so_over_a_kill() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.create_with("q", Contract::Competing).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let due_ms = u64::try_from(now.as_millis()).unwrap() + 3_600_000;
    for body in ["cancelled", "moved", "late"] {
        connection.enqueue_due("q", body, due_ms).unwrap();
    }
    let changed = |connection: &mut RawConnection, verb| {
        let lane = Lane(0);
        let request = Request::Schedule(OnSchedule {
            queue: "q",
            lane,
            verb,
        });
        let answer = connection.call(&request, |response| {
            let Response::Schedule(answer) = response else {
                bail!("answered with {response:?}");
            };
            Ok(answer.clone())
        });
        answer.unwrap()
    };
    let mut bytes = Vec::new();
    let (first, count) = (Offset(0), 1);
    OffsetRanges::put(OffsetRange { first, count }, &mut bytes);
    let ranges = OffsetRanges::read(&bytes).unwrap();
    let answer = changed(&mut connection, ScheduleVerb::Cancel { ranges });
    assert_eq!(answer, ScheduleAnswer::Cancelled { count: 1 });
    let mut bytes = Vec::new();
    let (first, count) = (Offset(0), 2);
    OffsetRanges::put(OffsetRange { first, count }, &mut bytes);
    let ranges = OffsetRanges::read(&bytes).unwrap();
    let answer = changed(&mut connection, ScheduleVerb::Move { due_ms: 0, ranges });
    assert_eq!(answer, ScheduleAnswer::Moved { count: 1 });

    let fixture = fixture.crash();
    let mut connection = fixture.connect();
    let taken = connection.dequeue("q", 9, 30_000, 10_000).unwrap();
    assert_eq!(bodies(&taken), ["moved"]);
    let verb = ScheduleVerb::List {
        from: Offset(0),
        limit: 9,
    };
    let ScheduleAnswer::List { rows, more } = changed(&mut connection, verb) else {
        panic!("another answer");
    };
    let due = Timestamp::from_millis(due_ms);
    let (first, count) = (Offset(2), 1);
    let range = OffsetRange { first, count };
    assert_eq!((rows, more), (vec![ScheduledInfo { range, due }], false));
}
