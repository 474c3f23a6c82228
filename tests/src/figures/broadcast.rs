//! One broadcast, consumers by the thousand.

use std::time::Duration;

use anyhow::ensure;
use corelane_client::{
    Client, Consumer, Contract, Message, SubscriptionConfig, SubscriptionOptions,
};
use tokio::task::JoinSet;

use super::{Home, Setting, Times, join, wall_us};

const QUEUE: &str = "news";
const LIVE: &str = "live";
/// Consumers of one connection.
const EACH: usize = 1_000;

/// Enqueues `messages`, one every `pause`, and measures when each of the `consumers` has each.
///
/// # Errors
/// If a consumer misses one or gets them in another order, or the broker cannot be spoken to.
pub async fn broadcast(
    setting: &Setting,
    consumers: usize,
    (messages, pause): (u64, Duration),
) -> anyhow::Result<String> {
    let home = Home::start(setting)?;
    let client = home.client().await?;
    let live = client.admin().subscription(QUEUE, LIVE);
    let config = SubscriptionConfig {
        contract: Contract::Broadcast,
        ..SubscriptionConfig::default()
    };
    let start = None;
    live.create(SubscriptionOptions { start, config }).await?;
    let mut tasks = JoinSet::new();
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..consumers {
        if number % EACH == 0 {
            clients.push(home.client().await?);
        }
        if let Some(client) = clients.last() {
            let consumer = client.consumer(QUEUE).subscription(LIVE).subscribe();
            tasks.spawn(hear(consumer.await?, messages));
        }
    }
    ensure!(live.show().await?.consumers as usize == consumers);
    let meter = home.meter();
    let (memory, seconds) = (meter.resident_bytes()?, 5);
    let idle = meter.cpu_percent(Duration::from_secs(seconds))?;
    let producer = client.producer(QUEUE).build()?;
    let begin = wall_us();
    for _ in 0..messages {
        let message = Message::new(wall_us().to_le_bytes());
        producer.send(&message).await?.await.into_result()?;
        tokio::time::sleep(pause).await;
    }
    let mut all = Times::default();
    for times in join(tasks).await? {
        all.0.extend(times.0);
    }
    let took = Duration::from_micros(wall_us() - begin).as_secs_f64();
    let missed = live.show().await?.missed;
    ensure!(missed == 0, "{missed} messages were missed");
    let delivered = all.0.len();
    for client in clients {
        client.close().await;
    }
    let mib = memory >> 20;
    Ok(format!(
        "broadcast: consumers {consumers} messages {messages} delivered {delivered} missed {missed} \
         took_s {took:.1} from_enqueue {all} idle_cpu_percent {idle:.2} rss_mib {mib}"
    ))
}

async fn hear(mut consumer: Consumer, messages: u64) -> anyhow::Result<Times> {
    let mut times = Times::default();
    for number in 0..messages {
        let Some(message) = consumer.next().await.transpose()? else {
            break;
        };
        ensure!(
            message.offset().0 == number,
            "{} instead of {number}",
            message.offset()
        );
        let sent = message.body().try_into().map(u64::from_le_bytes)?;
        times.push(wall_us().saturating_sub(sent));
    }
    ensure!(times.0.len() as u64 == messages, "the stream ended");
    Ok(times)
}
