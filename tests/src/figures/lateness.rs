//! How late scheduled messages are.

use std::time::Duration;

use anyhow::ensure;
use corelane_client::{Message, Timestamp};

use super::{Home, Ledger, Setting, Times, fill, wall_us};

const QUEUE: &str = "later";

/// `messages` become due evenly over `spread`, beginning `lead` after the first is enqueued.
///
/// # Errors
/// If one is early, lost or comes twice, or the broker cannot be spoken to.
pub async fn lateness(
    setting: &Setting,
    messages: u64,
    (lead, spread): (Duration, Duration),
) -> anyhow::Result<String> {
    let home = Home::start(setting)?;
    let client = home.client().await?;
    let first_us = wall_us() + u64::try_from(lead.as_micros())?;
    let spread_us = u64::try_from(spread.as_micros())?;
    // Due times are whole milliseconds.
    let due_ms = |number: u64| (first_us + number * spread_us / messages) / 1_000;
    let producer = client.producer(QUEUE).build()?;
    fill(&producer, messages, |number| {
        Message::new(number.to_le_bytes()).due(Timestamp(due_ms(number) * 1_000_000))
    })
    .await?;
    ensure!(wall_us() < first_us, "enqueuing took longer than the lead");
    let memory = home.meter().resident_bytes()?;

    let mut consumer = client.consumer(QUEUE).credit(50_000).subscribe().await?;
    let (mut ledger, mut late, mut early) = (Ledger::new(messages), Times::default(), 0_u64);
    let mut settling = Vec::new();
    while !ledger.is_complete() {
        let Some(delivery) = consumer.next().await.transpose()? else {
            break;
        };
        let now = wall_us();
        let offset = delivery.offset().0;
        ledger.note(offset)?;
        let due = due_ms(offset) * 1_000;
        early += u64::from(now < due);
        late.push(now.saturating_sub(due));
        settling.push(delivery.ack());
        if settling.len() >= 1_000 {
            // Older ones are answered by now; none is waited for long.
            for one in settling.drain(..500) {
                one.await?;
            }
        }
    }
    for one in settling {
        one.await?;
    }
    client.close().await;
    ensure!(ledger.is_complete(), "messages are missing");
    ensure!(early == 0, "{early} messages were early");
    let mib = memory >> 20;
    Ok(format!(
        "lateness: messages {messages} seconds {} early {early} {late} rss_mib {mib}",
        spread.as_secs()
    ))
}
