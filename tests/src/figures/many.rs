//! What queues and subscriptions cost that nobody uses.

use std::time::Duration;

use anyhow::ensure;
use corelane_client::{Client, Message, SubscriptionOptions};
use tokio::task::JoinSet;

use super::{Home, Setting, join};

/// Requests under way at a time.
const LANES: usize = 64;
/// Subscriptions of one queue.
const PER_QUEUE: usize = 100;

/// Makes so many `queues` with a message each, and `subscriptions` with a consumer each, and looks at the idle broker
/// for so many seconds.
///
/// # Errors
/// If the broker cannot be spoken to.
pub async fn many(
    setting: &Setting,
    (queues, subscriptions): (usize, usize),
    seconds: u64,
) -> anyhow::Result<String> {
    let home = Home::start(setting)?;
    let client = home.client().await?;
    let meter = home.meter();
    let alone = meter.resident_bytes()?;
    let mut tasks = JoinSet::new();
    for lane in 0..LANES {
        tasks.spawn(enqueue_one_each(client.clone(), lane, queues));
    }
    join(tasks).await?;
    let mut consumers = Vec::new();
    for number in 0..subscriptions {
        let queue = format!("q{}", number / PER_QUEUE);
        let name = format!("s{number}");
        let options = SubscriptionOptions::default();
        client
            .admin()
            .subscription(&queue, &name)
            .create(options)
            .await?;
        let consumer = client.consumer(&queue).subscription(&name).credit(10);
        consumers.push(consumer.subscribe().await?);
    }
    // What came before is written, and a checkpoint of it taken.
    tokio::time::sleep(Duration::from_secs(40)).await;
    let cpu = meter.cpu_percent(Duration::from_secs(seconds))?;
    let memory = meter.resident_bytes()?;
    drop(consumers);
    client.close().await;
    let (mib, per_queue) = (memory >> 20, (memory - alone) / queues.max(1) as u64);
    Ok(format!(
        "many: queues {queues} subscriptions {subscriptions} seconds {seconds} idle_cpu_percent {cpu:.2} \
         rss_mib {mib} bytes_per_queue {per_queue}"
    ))
}

async fn enqueue_one_each(client: Client, lane: usize, queues: usize) -> anyhow::Result<()> {
    for number in (lane..queues).step_by(LANES) {
        let producer = client.producer(&format!("q{number}")).build()?;
        let _receipt = producer.enqueue(&Message::new("one")).await.into_result()?;
        ensure!(producer.close().await.confirmed == 1);
    }
    Ok(())
}
