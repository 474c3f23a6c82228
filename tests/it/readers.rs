//! Readers over a broker that is killed, readers that stand by, and broadcasts.

use corelane_client::{
    Client, Contract, Error, ErrorCode, Message, Offset, Reader, Start, Subscription,
    SubscriptionConfig, SubscriptionOptions,
};

use crate::Fixture;
use crate::client::{client_of, run};

const QUEUE: &str = "journal";
const NAME: &str = "audit";
const MESSAGES: u64 = 300;

/// A reader's subscription of a queue with messages that are numbered like their offsets.
async fn filled(client: &Client) -> Subscription {
    let audit = reader_of(client).await;
    let producer = client.producer(QUEUE).build().unwrap();
    for number in 0..MESSAGES {
        drop(producer.send(&Message::new(number.to_string())).await);
    }
    assert_eq!(producer.close().await.confirmed, MESSAGES);
    audit
}

/// The offset of the next message, which says the same in its body.
async fn next(reader: &mut Reader) -> u64 {
    let message = reader.next().await.unwrap().unwrap();
    let offset = message.offset().0;
    assert_eq!(message.body(), offset.to_string().as_bytes());
    offset
}

async fn crash(fixture: Fixture) -> Fixture {
    let restarting = tokio::task::spawn_blocking(move || fixture.crash());
    restarting.await.unwrap()
}

#[test]
fn a_reader_goes_on_at_its_checkpoint_over_kills() {
    run(async {
        let mut fixture = Fixture::start();
        filled(&client_of(&fixture).await).await;
        let mut checkpoint = 0;
        for _ in 0..3 {
            let client = client_of(&fixture).await;
            let mut reader = client.reader(QUEUE, NAME).subscribe().await.unwrap();
            for expected in checkpoint..checkpoint + 70 {
                assert_eq!(next(&mut reader).await, expected, "in order, none skipped");
            }
            // What is answered survives; twenty more were read, and come again.
            let audit = client.admin().subscription(QUEUE, NAME);
            checkpoint += 50;
            assert_eq!(
                audit.checkpoint(Offset(checkpoint)).await,
                Ok(Offset(checkpoint))
            );
            fixture = crash(fixture).await;
        }
        let client = client_of(&fixture).await;
        let audit = client.admin().subscription(QUEUE, NAME);
        let detail = audit.show().await.unwrap();
        assert_eq!((detail.finished, detail.done), (Offset(150), 150));
        assert_eq!(detail.enqueued, detail.accounted());
        let mut reader = client.reader(QUEUE, NAME).subscribe().await.unwrap();
        for expected in 150..MESSAGES {
            assert_eq!(next(&mut reader).await, expected);
        }
    });
}

#[test]
fn the_next_reader_goes_on_when_the_active_one_goes() {
    run(async {
        let fixture = Fixture::start();
        let (first, second) = (client_of(&fixture).await, client_of(&fixture).await);
        filled(&first).await;
        let mut active = first
            .reader(QUEUE, NAME)
            .credit(10)
            .subscribe()
            .await
            .unwrap();
        let mut standby = second
            .reader(QUEUE, NAME)
            .credit(10)
            .subscribe()
            .await
            .unwrap();
        for expected in 0..3 {
            assert_eq!(next(&mut active).await, expected);
        }
        let read = active.next().await.unwrap().unwrap();
        assert_eq!(active.checkpoint(&read).await, Ok(Offset(4)));
        let beyond = first
            .admin()
            .subscription(QUEUE, NAME)
            .checkpoint(Offset(99))
            .await;
        let refused = beyond.unwrap_err();
        assert!(
            matches!(
                &refused,
                Error::Refused {
                    code: ErrorCode::OutOfRange,
                    ..
                }
            ),
            "{refused:?}"
        );
        // The credit moves on with the checkpoint.
        for expected in 4..14 {
            assert_eq!(next(&mut active).await, expected);
        }
        first.close().await;
        for expected in 4..14 {
            assert_eq!(next(&mut standby).await, expected);
        }
    });
}

/// The bodies of so many messages, which come without a lease.
async fn hear(consumer: &mut corelane_client::Consumer, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let message = consumer.next().await.unwrap().unwrap();
        heard.push(String::from_utf8(message.body().to_vec()).unwrap());
    }
    heard
}

async fn enqueue(client: &Client, bodies: &[String]) {
    let producer = client.producer(QUEUE).build().unwrap();
    for body in bodies {
        drop(producer.send(&Message::new(body.clone())).await);
    }
    assert_eq!(producer.close().await.confirmed, bodies.len() as u64);
}

#[test]
fn a_broadcast_is_heard_by_everybody_and_kept_for_nobody_over_a_kill() {
    run(async {
        let mut fixture = Fixture::start();
        let config = SubscriptionConfig {
            contract: Contract::Broadcast,
            ..SubscriptionConfig::default()
        };
        let client = client_of(&fixture).await;
        enqueue(&client, &["before".to_owned()]).await;
        let live = client.admin().subscription(QUEUE, "live");
        let start = None;
        let created = live.create(SubscriptionOptions { start, config }).await;
        assert_eq!(created, Ok(true));
        for round in 0..2 {
            let client = client_of(&fixture).await;
            let live = client.admin().subscription(QUEUE, "live");
            let mut consumers = Vec::new();
            for _ in 0..3 {
                let consumer = client.consumer(QUEUE).subscription("live").subscribe();
                consumers.push(consumer.await.unwrap());
            }
            let bodies: Vec<_> = (0..200).map(|number| format!("{round}.{number}")).collect();
            enqueue(&client, &bodies).await;
            for consumer in &mut consumers {
                assert_eq!(hear(consumer, bodies.len()).await, bodies);
            }
            let detail = live.show().await.unwrap();
            assert_eq!((detail.config, detail.consumers), (config, 3));
            assert_eq!((detail.enqueued, detail.missed), (0, 0));
            fixture = crash(fixture).await;
        }
        // The first subscription that messages are kept for begins with all of them.
        let client = client_of(&fixture).await;
        let queue = client.admin().queue_show(QUEUE).await.unwrap();
        assert_eq!((queue.start, queue.end), (Offset(0), Offset(401)));
        let audit = reader_of(&client).await;
        assert_eq!(audit.show().await.unwrap().ready, 401);
    });
}

async fn reader_of(client: &Client) -> Subscription {
    let audit = client.admin().subscription(QUEUE, NAME);
    let config = SubscriptionConfig {
        contract: Contract::Reader,
        ..SubscriptionConfig::default()
    };
    let start = Some(Start::Earliest);
    audit
        .create(SubscriptionOptions { start, config })
        .await
        .unwrap();
    audit
}
