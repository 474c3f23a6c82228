//! One queue, many subscriptions, each of which gets everything.

use std::time::Instant;

use anyhow::ensure;
use corelane_client::{Client, Message, Start, SubscriptionOptions};
use tokio::task::JoinSet;

use super::{Home, Ledger, Setting, fill, join};

const QUEUE: &str = "events";

/// Enqueues `messages` with bodies of so many `bytes`, while each of the subscriptions takes and acknowledges all.
///
/// # Errors
/// If a subscription misses a message or gets one twice, or the broker cannot be spoken to.
pub async fn fan_out(
    setting: &Setting,
    subscriptions: usize,
    (messages, bytes): (u64, usize),
) -> anyhow::Result<String> {
    let home = Home::start(setting)?;
    let client = home.client().await?;
    let names: Vec<_> = (0..subscriptions)
        .map(|number| format!("s{number}"))
        .collect();
    for name in &names {
        let start = Some(Start::Earliest);
        let options = SubscriptionOptions {
            start,
            ..SubscriptionOptions::default()
        };
        client
            .admin()
            .subscription(QUEUE, name)
            .create(options)
            .await?;
    }
    let written = home.bytes_written()?;
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for name in names {
        let client = home.client().await?;
        tasks.spawn(take_all(client, name, messages));
    }
    let body = vec![b'x'; bytes];
    let producer = client.producer(QUEUE).build()?;
    fill(&producer, messages, |_| Message::new(body.clone())).await?;
    let enqueued = begin.elapsed();
    let delivered: u64 = join(tasks).await?.into_iter().sum();
    let took = begin.elapsed().as_secs_f64();
    let written = home.bytes_written()? - written;
    let queue = client.admin().queue_show(QUEUE).await?;
    ensure!(queue.start == queue.end, "the queue keeps messages");
    client.close().await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (ratio, rate) = (
        written as f64 / (messages * bytes as u64) as f64,
        delivered as f64 / took,
    );
    Ok(format!(
        "fan-out: subscriptions {subscriptions} messages {messages} bytes {bytes} delivered {delivered} \
         complete yes enqueue_s {:.1} took_s {took:.1} deliveries_per_s {rate:.0} written_over_bodies {ratio:.3}",
        enqueued.as_secs_f64()
    ))
}

async fn take_all(client: Client, name: String, messages: u64) -> anyhow::Result<u64> {
    let consumer = client.consumer(QUEUE).subscription(&name).credit(20_000);
    let mut consumer = consumer.subscribe().await?;
    let mut ledger = Ledger::new(messages);
    let mut settling = Vec::new();
    while !ledger.is_complete() {
        let Some(delivery) = consumer.next().await.transpose()? else {
            break;
        };
        ledger.note(delivery.offset().0)?;
        settling.push(delivery.ack());
        if settling.len() >= 10_000 {
            for one in settling.drain(..5_000) {
                one.await?;
            }
        }
    }
    for one in settling {
        one.await?;
    }
    ensure!(ledger.is_complete(), "{name} misses messages");
    client.close().await;
    Ok(ledger.count)
}
