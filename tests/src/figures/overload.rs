//! More is offered than the broker can take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use corelane_client::{Client, Error, Message, Outcome, Producer};
use tokio::task::JoinSet;

use super::{Home, Setting, Times};

const QUEUE: &str = "work";
const PROBE: &str = "probe";
const PRODUCERS: usize = 8;
const CONSUMERS: usize = 2;
/// For so long the broker shows what it can do before more is offered.
const CALM: Duration = Duration::from_secs(10);
/// Latencies are normal again when they are at most so many times what they were.
const NORMAL: f64 = 2.0;

/// What happened so far.
#[derive(Default)]
struct Counts {
    done: AtomicU64,
    offered: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

/// Measures what the broker can take, then offers `factor` times as much for so long.
///
/// # Errors
/// If the broker cannot be spoken to, or stays slow for more than a minute.
pub async fn overload(setting: &Setting, factor: u64, during: Duration) -> anyhow::Result<String> {
    let home = Home::start(setting)?;
    let client = home.client().await?;
    let counts = Arc::new(Counts::default());
    let mut consumers = JoinSet::new();
    for _ in 0..CONSUMERS {
        consumers.spawn(consume(home.client().await?, Arc::clone(&counts)));
    }
    let mut before = probe(&client, CALM / 5).await?;
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        producers.push(home.client().await?.producer(QUEUE).build()?);
    }
    // As much as is taken, and no more: a producer waits for its receipt.
    let peak = closed_loop(&producers, &counts).await?;
    let memory = home.meter().resident_bytes()?;

    let (begin, done) = (Instant::now(), counts.done.load(Ordering::Relaxed));
    let mut offering = JoinSet::new();
    for producer in producers {
        let rate = peak * factor / PRODUCERS as u64;
        offering.spawn(offer(producer, rate, during, Arc::clone(&counts)));
    }
    while let Some(ended) = offering.join_next().await {
        ended??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let done = counts.done.load(Ordering::Relaxed) - done;
    let most = home.meter().resident_bytes_max()?;
    let normal = until_normal(&client, before.quantile(990)).await?;
    counts.is_over.store(true, Ordering::Relaxed);
    consumers.shutdown().await;
    client.close().await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (goodput, peak) = (done as f64 / seconds, peak as f64);
    let (offered, refused) = (&counts.offered, &counts.refused);
    Ok(format!(
        "overload: factor {factor} seconds {seconds:.0} peak_per_s {peak:.0} offered {} not_taken {} \
         goodput_per_s {goodput:.0} goodput_over_peak {:.2} rss_mib {} rss_max_mib {} normal_after_s {normal:.1}",
        offered.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed),
        goodput / peak,
        memory >> 20,
        most >> 20
    ))
}

/// Takes and acknowledges whatever comes.
async fn consume(client: Client, counts: Arc<Counts>) -> anyhow::Result<()> {
    let mut consumer = client.consumer(QUEUE).credit(20_000).subscribe().await?;
    let mut settling = Vec::new();
    while let Some(delivery) = consumer.next().await.transpose()? {
        settling.push(delivery.ack());
        if settling.len() >= 2_000 {
            for one in settling.drain(..1_000) {
                one.await?;
                counts.done.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// What is done a second while producers wait for receipts.
async fn closed_loop(producers: &[Producer], counts: &Arc<Counts>) -> anyhow::Result<u64> {
    let begin = Instant::now();
    let done = counts.done.load(Ordering::Relaxed);
    let message = Message::new(vec![b'x'; 256]);
    while begin.elapsed() < CALM {
        for producer in producers {
            let mut pending = Vec::new();
            for _ in 0..500 {
                pending.push(producer.send(&message).await?);
            }
            // The last one's receipt: those before it came sooner.
            if let Some(last) = pending.pop() {
                last.await.into_result()?;
            }
        }
    }
    let done = counts.done.load(Ordering::Relaxed) - done;
    Ok(done / begin.elapsed().as_secs().max(1))
}

/// Offers messages at a rate; what finds no room is not taken.
async fn offer(
    producer: Producer,
    rate: u64,
    during: Duration,
    counts: Arc<Counts>,
) -> anyhow::Result<()> {
    let message = Message::new(vec![b'x'; 256]);
    let begin = Instant::now();
    let mut offered = 0;
    while begin.elapsed() < during {
        let due = u64::try_from(begin.elapsed().as_millis())? * rate / 1_000;
        while offered < due {
            offered += 1;
            match producer.try_send(&message) {
                Ok(pending) => drop(pending),
                Err(Error::Full) => {
                    // All that is due would find the same.
                    counts
                        .refused
                        .fetch_add(due - offered + 1, Ordering::Relaxed);
                    offered = due;
                }
                Err(error) => return Err(error.into()),
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    counts.offered.fetch_add(offered, Ordering::Relaxed);
    // What it took is sent; the rest of the run does not wait for it.
    drop(producer);
    Ok(())
}

/// How long a message takes from its enqueue to its receipt in a queue that nobody else uses.
async fn probe(client: &Client, during: Duration) -> anyhow::Result<Times> {
    let producer = client.producer(PROBE).build()?;
    let begin = Instant::now();
    let mut times = Times::default();
    while begin.elapsed() < during {
        let sent = Instant::now();
        let outcome = producer.enqueue(&Message::new("probe")).await;
        ensure!(matches!(outcome, Outcome::Confirmed(_)), "{outcome:?}");
        times.push(u64::try_from(sent.elapsed().as_micros())?);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(times)
}

/// Seconds until a second's receipts are as fast as before.
async fn until_normal(client: &Client, before_ms: f64) -> anyhow::Result<f64> {
    let begin = Instant::now();
    loop {
        let at = begin.elapsed();
        let mut times = probe(client, Duration::from_millis(500)).await?;
        if times.quantile(500) <= before_ms * NORMAL {
            return Ok(at.as_secs_f64());
        }
        ensure!(at < Duration::from_mins(1), "still slow: {times}");
    }
}
