//! Messages whose time to live ends, in a real broker.

use std::time::Duration;

use corelane_client::{
    Client, Delivery, DequeueOptions, Error, ErrorCode, Message, Outcome, QueueConfig, Start,
    Storage, SubscriptionOptions,
};
use corelane_tests::control::{counter, get};

use crate::Fixture;
use crate::client::{client_of, run};

const HOUR: Duration = Duration::from_hours(1);
const TTL: Duration = Duration::from_millis(400);
const NAME: &str = "default";

async fn enqueue(client: &Client, queue: &str, class: corelane_client::Class, message: Message) {
    let producer = client.producer(queue).class(class).build().unwrap();
    let outcome = producer.enqueue(&message).await;
    assert!(outcome.is_confirmed(), "{outcome:?}");
}

async fn create(client: &Client, queue: &str) {
    let start = Some(Start::Earliest);
    let options = SubscriptionOptions {
        start,
        ..SubscriptionOptions::default()
    };
    let on = client.admin().subscription(queue, NAME);
    assert_eq!(on.create(options).await, Ok(true));
}

async fn take(client: &Client, queue: &str, wait: Duration) -> Vec<String> {
    let options = DequeueOptions {
        subscription: NAME,
        count: 100,
        lease: HOUR,
        wait,
    };
    let taken = client.dequeue_with(queue, options).await.unwrap();
    let bodies = taken.iter().map(Delivery::body);
    bodies
        .map(|body| String::from_utf8(body.to_vec()).unwrap())
        .collect()
}

/// How many messages a subscription has that expired, and how many are ready.
async fn expired(client: &Client, queue: &str) -> (u64, u64) {
    let detail = client.admin().subscription(queue, NAME).show().await;
    let detail = detail.unwrap();
    assert_eq!(detail.enqueued, detail.accounted(), "{detail:?}");
    (detail.expired, detail.ready)
}

/// Waits until twice the time to live has passed by the clock of the broker, from when it was asked.
async fn wait_for_clock(client: &Client) {
    create(client, "clock").await;
    let tick = Message::new("tick").delay(2 * TTL);
    enqueue(client, "clock", corelane_client::Class::Durable, tick).await;
    assert_eq!(take(client, "clock", HOUR).await, ["tick"]);
}

#[test]
fn messages_expire_behind_others_over_a_kill_and_are_counted() {
    let fixture = Fixture::start();
    let fixture = run(async {
        let client = client_of(&fixture).await;
        create(&client, "q").await;
        let config = QueueConfig {
            ttl_ms: 400,
            ..QueueConfig::PLAIN
        };
        for message in [Message::new("a"), Message::new("b").ttl(TTL)] {
            enqueue(&client, "q", corelane_client::Class::Durable, message).await;
        }
        client.admin().queue_configure("q", config).await.unwrap();
        for message in [Message::new("c"), Message::new("d").ttl(HOUR)] {
            enqueue(&client, "q", corelane_client::Class::Durable, message).await;
        }
        client.close().await;
        fixture
    })
    .crash();
    run(async {
        let client = client_of(&fixture).await;
        wait_for_clock(&client).await;
        assert_eq!(expired(&client, "q").await, (2, 2));
        assert_eq!(take(&client, "q", Duration::ZERO).await, ["a", "d"]);
        client.close().await;
    });
    let (_, metrics) = get(fixture.broker.control, "/metrics").unwrap();
    assert_eq!(counter(&metrics, "corelane_messages_expired").unwrap(), 2);
}

#[test]
fn messages_of_a_memory_only_queue_expire_too() {
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let config = QueueConfig {
            storage: Storage::Memory,
            ttl_ms: 400,
            ..QueueConfig::PLAIN
        };
        assert!(client.admin().queue_configure("m", config).await.unwrap());
        create(&client, "m").await;
        for message in [Message::new("a"), Message::new("b").ttl(HOUR)] {
            enqueue(&client, "m", corelane_client::Class::Memory, message).await;
        }
        wait_for_clock(&client).await;
        assert_eq!(expired(&client, "m").await, (1, 1));
        assert_eq!(take(&client, "m", Duration::ZERO).await, ["b"]);
        client.close().await;
    });
}

#[test]
fn a_time_to_live_of_nothing_or_more_than_a_year_is_is_not_sent() {
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let producer = client.producer("q").build().unwrap();
        for ttl in [Duration::ZERO, 367 * 24 * HOUR] {
            let outcome = producer.enqueue(&Message::new("x").ttl(ttl)).await;
            let Outcome::Rejected(error) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(error.to_string().contains("time to live"), "{error}");
            assert_eq!(error.code(), None, "no broker was asked: {error}");
        }
        let shown = client.admin().queue_show("q").await;
        let code = shown.map_err(|error: Error| error.code());
        assert_eq!(code.map(|_| ()), Err(Some(ErrorCode::QueueNotFound)));
        client.close().await;
    });
}
