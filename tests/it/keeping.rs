//! What queues keep and take, with a broker.

use std::time::Duration;

use corelane_client::{
    Aside, AsideCause, Client, Error, ErrorCode, Message, Offset, Outcome, Overflow, QueueOptions,
    Start, Subscription, SubscriptionOptions,
};

use crate::Fixture;
use crate::client::{client_of, run};

/// Enqueues messages one by one.
async fn fill(client: &Client, queue: &str, messages: u32) {
    for number in 0..messages {
        let message = Message::new(number.to_le_bytes().to_vec());
        let producer = client.producer(queue).build().unwrap();
        producer.enqueue(&message).await.into_result().unwrap();
    }
}

/// Consumes everything; how many messages, and the first offset.
async fn consume(client: &Client, queue: &str) -> (usize, Option<Offset>) {
    let mut offsets = Vec::new();
    loop {
        let (lease, wait) = (Duration::from_mins(1), Duration::ZERO);
        let deliveries = client.dequeue(queue, 100, lease, wait).await.unwrap();
        if deliveries.is_empty() {
            return (offsets.len(), offsets.first().copied());
        }
        for delivery in deliveries {
            offsets.push(delivery.offset());
            delivery.ack().await.unwrap();
        }
    }
}

fn is_refused(error: &Error, expected: ErrorCode) -> bool {
    matches!(error, Error::Refused { code, .. } if *code == expected)
}

async fn expired(subscription: &Subscription) -> u64 {
    subscription.show().await.unwrap().expired
}

#[test]
fn messages_are_kept_for_their_number_and_time_and_no_longer() {
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let admin = client.admin();
        let counted = QueueOptions::new().retention_count(20);
        assert!(admin.queue_configure("q", counted).await.unwrap());
        fill(&client, "q", 25).await;
        assert_eq!(consume(&client, "q").await, (20, Some(Offset(5))));
        // What everybody is done with is there still.
        let default = admin.subscription("q", "default");
        assert_eq!(default.seek(Start::Earliest).await.unwrap(), Offset(5));
        let refused = default.seek(Start::At(Offset(4))).await.unwrap_err();
        assert!(is_refused(&refused, ErrorCode::OffsetNotKept), "{refused}");
        assert_eq!(consume(&client, "q").await, (20, Some(Offset(5))));
        // Time passes without anybody.
        let timed = QueueOptions::of(admin.queue_config("q").await.unwrap());
        let timed = timed.retention(Duration::from_millis(1));
        admin.queue_configure("q", timed).await.unwrap();
        while admin.queue_show("q").await.unwrap().start < Offset(25) {}
        client.close().await;
    });
}

#[test]
fn full_queues_refuse_drop_or_bury() {
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let admin = client.admin();
        let ten = QueueOptions::new().messages_max(10);
        admin.queue_configure("refusing", ten).await.unwrap();
        fill(&client, "refusing", 10).await;
        let producer = client.producer("refusing");
        let producer = producer.give_up_after(Duration::from_millis(50));
        let producer = producer.build().unwrap();
        let Outcome::Rejected(error) = producer.enqueue(&Message::new("more")).await else {
            panic!("the queue is full");
        };
        assert!(is_refused(&error, ErrorCode::QueueFull), "{error}");
        assert_eq!(consume(&client, "refusing").await.0, 10);
        fill(&client, "refusing", 1).await;

        let dropping = ten.overflow(Overflow::DropOldest);
        admin.queue_configure("dropping", dropping).await.unwrap();
        let default = admin.subscription("dropping", "default");
        default
            .create(SubscriptionOptions::default())
            .await
            .unwrap();
        fill(&client, "dropping", 15).await;
        assert_eq!(expired(&default).await, 5);
        assert_eq!(consume(&client, "dropping").await, (10, Some(Offset(5))));

        let burying = ten.overflow(Overflow::Dead);
        admin.queue_configure("burying", burying).await.unwrap();
        let default = admin.subscription("burying", "default");
        default
            .create(SubscriptionOptions::default())
            .await
            .unwrap();
        fill(&client, "burying", 12).await;
        assert_eq!(consume(&client, "burying").await, (10, Some(Offset(2))));
        let dead = default
            .aside_list(Aside::Dead, Offset(0), 10)
            .await
            .unwrap();
        assert!(
            dead.rows
                .iter()
                .all(|row| row.cause == AsideCause::Overflow)
        );
        assert_eq!(default.show().await.unwrap().dead, 2);
        client.close().await;
    });
}

#[test]
fn what_is_kept_and_taken_survives_a_restart() {
    let fixture = Fixture::start();
    let options = QueueOptions::new()
        .retention_count(5)
        .messages_max(8)
        .slow_down_at(3);
    run(async {
        let client = client_of(&fixture).await;
        client.admin().queue_configure("q", options).await.unwrap();
        fill(&client, "q", 5).await;
        assert_eq!(consume(&client, "q").await.0, 5);
        client.close().await;
    });
    let fixture = fixture.crash();
    run(async {
        let client = client_of(&fixture).await;
        let admin = client.admin();
        assert_eq!(admin.queue_config("q").await.unwrap(), options.into());
        let default = admin.subscription("q", "default");
        assert_eq!(default.seek(Start::Earliest).await.unwrap(), Offset(0));
        assert_eq!(consume(&client, "q").await, (5, Some(Offset(0))));
        // Producers that are asked to slow down do so, and everything arrives.
        let producer = client.producer("q").build().unwrap();
        for _ in 0..8 {
            drop(producer.send(&Message::new("more")).await.unwrap());
        }
        assert_eq!(producer.close().await.confirmed, 8);
        client.close().await;
    });
}
