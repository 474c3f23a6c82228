//! What subscriptions promise, over a broker that is killed.

use corelane_tests::raw::RawConnection;
use corelane_wire::{
    Contract, Lane, OnSubscription, Request, Response, SettleOutcome, Start, SubscriptionAnswer,
    SubscriptionConfig, SubscriptionVerb,
};

use crate::{Fixture, bodies};

fn create(connection: &mut RawConnection, config: SubscriptionConfig) {
    let request = Request::Subscription(OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        verb: SubscriptionVerb::Create {
            start: Some(Start::Earliest),
            config,
        },
    });
    connection
        .call(&request, |response| {
            let created = SubscriptionAnswer::Created { created: true };
            assert_eq!(*response, Response::Subscription(created));
            Ok(())
        })
        .unwrap();
}

#[test]
fn at_most_once_gives_nothing_twice_over_kills() {
    let mut fixture = Fixture::start();
    let mut connection = fixture.connect();
    let config = SubscriptionConfig {
        contract: Contract::AtMostOnce,
        ..SubscriptionConfig::PLAIN
    };
    create(&mut connection, config);
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
fn only_one_session_at_a_time_holds_messages_of_single_active() {
    let fixture = Fixture::start();
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    let config = SubscriptionConfig {
        contract: Contract::SingleActive,
        ..SubscriptionConfig::PLAIN
    };
    create(&mut first, config);
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
