//! Ephemeral subscriptions over a broker that is killed: what clients see of them, and what is on the disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use corelane_client::{
    Acked, Class, Client, Consumer, Error, ErrorCode, Message, QueueConfig, Storage,
};

use crate::Fixture;
use crate::client::{client_of, run};

const QUEUE: &str = "news";
const TAP: &str = "tap#ephemeral";

async fn listen(client: &Client) -> Consumer {
    let consumer = client.consumer(QUEUE).subscription(TAP).credit(1_000);
    consumer.subscribe().await.unwrap()
}

async fn enqueue(client: &Client, from: u64, count: u64) {
    let producer = client.producer(QUEUE).build().unwrap();
    for number in from..from + count {
        drop(producer.send(&Message::new(number.to_string())).await);
    }
    assert_eq!(producer.close().await.confirmed, count);
}

/// Takes and finishes these messages; every ack is answered.
async fn finish(consumer: &mut Consumer, from: u64, count: u64) {
    let mut acks = Vec::new();
    for number in from..from + count {
        let message = consumer.next().await.unwrap().unwrap();
        assert_eq!(message.body(), number.to_string().as_bytes());
        acks.push(message.ack());
    }
    for ack in acks {
        assert_eq!(ack.await, Ok(Acked::Done));
    }
}

async fn subscriptions(client: &Client) -> Vec<String> {
    let queue = client.admin().queue_show(QUEUE).await.unwrap();
    let subscriptions = queue.subscriptions.into_iter();
    subscriptions.map(|it| it.name).collect()
}

/// The kinds of all records of a broker that does not run.
fn kinds(binary: &Path, data: &Path) -> BTreeSet<String> {
    let dump = Command::new(binary)
        .args(["log", "dump"])
        .arg(data)
        .output();
    let dump = dump.unwrap();
    assert!(dump.status.success(), "{dump:?}");
    let lines = String::from_utf8(dump.stdout).unwrap();
    let kinds = lines.lines().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["kind"].as_str().unwrap().to_owned()
    });
    kinds.collect()
}

/// Whether a file below this folder names the subscription.
fn is_named(folder: &Path) -> bool {
    let mut paths = std::fs::read_dir(folder).unwrap();
    paths.any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_named(&path);
        }
        let bytes = std::fs::read(&path).unwrap();
        let name = TAP.as_bytes();
        bytes.windows(name.len()).any(|found| found == name)
    })
}

#[test]
fn ten_thousand_deliveries_and_acks_write_nothing_and_a_kill_ends_them() {
    run(async {
        let fixture = Fixture::start();
        let client = client_of(&fixture).await;
        let mut consumer = listen(&client).await;
        enqueue(&client, 0, 10_000).await;
        finish(&mut consumer, 0, 10_000).await;
        let tap = client.admin().subscription(QUEUE, TAP);
        let detail = tap.show().await.unwrap();
        assert_eq!((detail.enqueued, detail.done), (10_000, 10_000));
        let mut held = {
            enqueue(&client, 10_000, 1).await;
            consumer.next().await.unwrap().unwrap()
        };
        assert_eq!(held.extend(Duration::from_mins(1)).await, Ok(()));
        let restarting = tokio::task::spawn_blocking(move || {
            fixture.crash_and(|options| {
                let kinds = kinds(&options.binary, &options.data);
                let expected = ["create", "enqueue", "epoch"].map(str::to_owned);
                assert_eq!(kinds, BTreeSet::from(expected));
                assert!(!is_named(&options.data), "a file names the subscription");
            })
        });
        let fixture = restarting.await.unwrap();
        let other = client_of(&fixture).await;
        assert_eq!(subscriptions(&other).await, Vec::<String>::new());
        let mut consumer = listen(&other).await;
        enqueue(&other, 10_001, 1).await;
        finish(&mut consumer, 10_001, 1).await;
        let queue = other.admin().queue_show(QUEUE).await.unwrap();
        assert_eq!(queue.start.0, 0, "nothing went because of it");
    });
}

#[test]
fn a_queue_in_memory_has_them_too() {
    run(async {
        let fixture = Fixture::start();
        let (client, watcher) = (client_of(&fixture).await, client_of(&fixture).await);
        let config = QueueConfig {
            storage: Storage::Memory,
            ..QueueConfig::PLAIN
        };
        client.admin().queue_configure(QUEUE, config).await.unwrap();
        let mut consumer = listen(&client).await;
        let producer = watcher
            .producer(QUEUE)
            .class(Class::Memory)
            .build()
            .unwrap();
        drop(producer.send(&Message::new("0")).await);
        assert_eq!(producer.close().await.confirmed, 1);
        finish(&mut consumer, 0, 1).await;
        assert_eq!(subscriptions(&watcher).await, [TAP]);
        drop(consumer);
        client.close().await;
        gone(&watcher).await;
    });
}

/// Waits until the list has no subscription, which takes less than 5 s.
async fn gone(watcher: &Client) {
    let left = Instant::now();
    while !subscriptions(watcher).await.is_empty() {
        assert!(left.elapsed() < Duration::from_secs(5), "it is still there");
        tokio::task::yield_now().await;
    }
}

#[test]
fn it_is_gone_within_five_seconds_of_its_last_consumer() {
    run(async {
        let fixture = Fixture::start();
        let (first, second) = (client_of(&fixture).await, client_of(&fixture).await);
        let watcher = client_of(&fixture).await;
        let one = listen(&first).await;
        let mut two = listen(&second).await;
        assert_eq!(subscriptions(&watcher).await, [TAP]);
        first.close().await;
        drop(one);
        enqueue(&watcher, 0, 10).await;
        // What the first one was given comes back with its session.
        let mut taken = BTreeSet::new();
        while taken.len() < 10 {
            let message = two.next().await.unwrap().unwrap();
            taken.insert(message.offset());
            message.ack().await.unwrap();
        }
        assert_eq!(subscriptions(&watcher).await, [TAP], "one still listens");
        drop(two);
        second.close().await;
        gone(&watcher).await;
        let shown = watcher.admin().subscription(QUEUE, TAP).show().await;
        let Err(Error::Refused { code, .. }) = shown else {
            panic!("{shown:?}");
        };
        assert_eq!(code, ErrorCode::SubscriptionNotFound);
    });
}
