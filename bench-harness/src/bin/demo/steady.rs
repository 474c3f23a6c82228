//! The second part of the demo: latency under a steady load.
//!
//! The loop is open: a thread of its own sends at fixed instants, whatever comes back, and
//! latencies count from those instants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corelane_bench::pace::{self, Pace};
use corelane_bench::record::Latencies;
use corelane_client::{Consumer, Message, Outcome, Pending, Producer};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::crash;

pub(crate) const QUEUE: &str = "demo-latency";
const BODY_BYTES: usize = 256;
/// Messages at the beginning that are sent and checked, but not measured.
const WARM_UP: usize = 500;
const PATIENCE: Duration = Duration::from_secs(30);

/// How much for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) per_second: u32,
    pub(crate) seconds: u32,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Steady {
    /// From the intended send to the receipt.
    pub(crate) confirm: Latencies,
    /// From the intended send to the consumer.
    pub(crate) deliver: Latencies,
    confirmed: usize,
    delivered: usize,
    corrupt: usize,
}

impl Steady {
    pub(crate) fn is_intact(&self) -> bool {
        self.delivered >= self.confirmed && self.corrupt == 0
    }
}

/// The instants at which messages were meant to leave, by their numbers.
type Intended = Arc<Mutex<Vec<Instant>>>;

/// Sends at the given rate and consumes at once.
pub(crate) async fn run(address: SocketAddr, load: Load) -> Result<Steady> {
    let count = WARM_UP + (load.per_second * load.seconds) as usize;
    let client = crash::connect(address).await?;
    client.admin().queue_create(QUEUE).await?;
    let consumer = client.consumer(QUEUE).subscribe().await?;
    let producer = client.producer(QUEUE).build()?;
    let intended = Intended::default();
    let (pending, outcomes) = mpsc::channel(count);
    let confirming = tokio::spawn(confirm(outcomes, Arc::clone(&intended)));
    let delivering = tokio::spawn(deliver(consumer, count, Arc::clone(&intended)));
    let sender = thread::spawn(move || send(&producer, load, &intended, &pending));
    let confirmed = timeout(PATIENCE, confirming)
        .await
        .context("a receipt is missing")??;
    let delivered = timeout(PATIENCE, delivering)
        .await
        .context("a delivery is missing")??;
    let Ok(sent) = sender.join() else {
        bail!("the sending thread panicked");
    };
    sent?;
    client.close().await;
    Ok(Steady {
        confirm: confirmed.latencies,
        deliver: delivered.latencies,
        confirmed: confirmed.count,
        delivered: delivered.count,
        corrupt: delivered.corrupt,
    })
}

/// The body of message `number`: its number, then bytes that follow from it.
pub(crate) fn body(number: usize) -> Vec<u8> {
    let mut body = (number as u64).to_le_bytes().to_vec();
    body.resize(BODY_BYTES, number.to_le_bytes()[0]);
    body
}

/// Runs on a thread of its own, because it sleeps to the microsecond.
fn send(
    producer: &Producer,
    load: Load,
    intended: &Intended,
    pending: &mpsc::Sender<(usize, Pending)>,
) -> Result<()> {
    // A refusal only makes the schedule coarser, which the latencies then show.
    drop(pace::sharpen_sleep());
    let count = WARM_UP + (load.per_second * load.seconds) as usize;
    let mut pace = Pace::new(load.per_second);
    for number in 0..count {
        let message = Message::new(body(number));
        let instant = pace.wait();
        push(intended, instant);
        let sent = producer.try_send(&message)?;
        pending
            .try_send((number, sent))
            .context("nobody waits for the receipts")?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Side {
    latencies: Latencies,
    count: usize,
    corrupt: usize,
}

impl Side {
    fn record(&mut self, number: usize, intended: &Intended) {
        self.count += 1;
        if number >= WARM_UP {
            self.latencies.record(at(intended, number).elapsed());
        }
    }
}

async fn confirm(mut outcomes: mpsc::Receiver<(usize, Pending)>, intended: Intended) -> Side {
    let mut side = Side::default();
    while let Some((number, pending)) = outcomes.recv().await {
        if let Outcome::Confirmed(_) = pending.await {
            side.record(number, &intended);
        }
    }
    side
}

async fn deliver(mut consumer: Consumer, count: usize, intended: Intended) -> Side {
    let mut side = Side::default();
    while side.count < count {
        let Some(delivery) = consumer.next().await else {
            break;
        };
        match delivery {
            Ok(delivery) if is_sent(delivery.body(), count) => {
                side.record(number(delivery.body()), &intended);
                drop(delivery.ack());
            }
            Ok(_) | Err(_) => side.corrupt += 1,
        }
    }
    side
}

fn is_sent(bytes: &[u8], count: usize) -> bool {
    bytes.len() == BODY_BYTES && number(bytes) < count && bytes == body(number(bytes))
}

/// The number in a body; nonsense in a body that is none of ours.
fn number(bytes: &[u8]) -> usize {
    let number = bytes
        .first_chunk()
        .map_or(u64::MAX, |first| u64::from_le_bytes(*first));
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn push(intended: &Intended, instant: Instant) {
    let mut instants = intended.lock().unwrap_or_else(PoisonError::into_inner);
    instants.push(instant);
}

fn at(intended: &Intended, number: usize) -> Instant {
    let instants = intended.lock().unwrap_or_else(PoisonError::into_inner);
    instants[number]
}
