//! Dead-letter queues, over a broker that is killed.

use std::collections::BTreeSet;

use corelane_client::{Client, DeadLetters, Offset};

use crate::Fixture;
use crate::client::{client_of, run};

const QUEUES: [&str; 3] = ["orders", "mails", "jobs"];
const EACH: u32 = 60;

/// Kills every message of a queue that is ready.
async fn kill_all(client: &Client, queue: &str) {
    let mut consumer = client.consumer(queue).credit(16).subscribe().await.unwrap();
    for _ in 0..EACH {
        let one = consumer.next().await.unwrap().unwrap();
        one.kill("nobody wants it").await.unwrap();
    }
    consumer.close().await.unwrap();
}

/// What is in the dead-letter queue: where each message died, and its body.
async fn buried(client: &Client) -> Vec<(String, String)> {
    let mut all = Vec::new();
    loop {
        let from = Offset(all.len() as u64);
        let page = match client.admin().peek("graves", from, 1_000).await {
            Ok(page) => page,
            // It is made by the first letter.
            Err(error) if error.to_string().contains("queue_not_found") => Vec::new(),
            Err(error) => panic!("{error}"),
        };
        if page.is_empty() {
            return all;
        }
        all.extend(page.iter().map(|one| {
            let one = one.as_ref().unwrap();
            let queue = one
                .headers()
                .into_iter()
                .find(|header| header.name == "corelane-dead-queue")
                .map(|header| String::from_utf8(header.value.to_vec()).unwrap())
                .unwrap();
            (queue, String::from_utf8(one.body().to_vec()).unwrap())
        }));
    }
}

/// Messages of all queues that are still dead.
async fn still_dead(client: &Client) -> u64 {
    let mut dead = 0;
    for queue in QUEUES {
        let subscription = client.admin().subscription(queue, "default");
        dead += subscription.show().await.unwrap().dead;
    }
    dead
}

#[test]
fn dead_messages_of_several_queues_arrive_once_over_kills() {
    let mut fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        for queue in QUEUES {
            let producer = client.producer(queue).build().unwrap();
            for number in 0..EACH {
                let body = format!("{queue} {number}");
                drop(
                    producer
                        .send(&corelane_client::Message::new(body))
                        .await
                        .unwrap(),
                );
            }
            assert_eq!(producer.close().await.confirmed, u64::from(EACH));
            kill_all(&client, queue).await;
        }
        assert_eq!(still_dead(&client).await, u64::from(3 * EACH));
        for queue in QUEUES {
            let subscription = client.admin().subscription(queue, "default");
            let to = subscription.forward_dead(DeadLetters::To("graves")).await;
            assert_eq!(to.unwrap().as_deref(), Some("graves"));
        }
    });
    // Whatever has been done so far.
    for _ in 0..4 {
        fixture = fixture.crash();
    }
    run(async {
        let client = client_of(&fixture).await;
        while still_dead(&client).await > 0 {
            tokio::task::yield_now().await;
        }
        let buried = buried(&client).await;
        let expected: BTreeSet<_> = QUEUES
            .iter()
            .flat_map(|queue| {
                (0..EACH).map(move |number| (queue.to_string(), format!("{queue} {number}")))
            })
            .collect();
        assert_eq!(buried.len(), expected.len(), "each of them once");
        assert_eq!(buried.into_iter().collect::<BTreeSet<_>>(), expected);
        for queue in QUEUES {
            let subscription = client.admin().subscription(queue, "default");
            let detail = subscription.show().await.unwrap();
            assert_eq!((detail.dead, detail.done), (0, u64::from(EACH)));
            assert_eq!(detail.enqueued, detail.accounted());
        }
    });
}
