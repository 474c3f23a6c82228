//! The first part of the demo: every line of a file through a broker that dies in the middle.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use corelane_bench::broker::Broker;
use corelane_client::{Client, Consumer, Message, Outcome, Pending, Producer, Tally};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::account::{Account, Sums};
use crate::text;

const QUEUE: &str = "demo-lines";
/// Longer than a lease, so that whatever the crash took away comes back within it.
const PATIENCE: Duration = Duration::from_mins(1);
/// Sent messages whose outcome nobody has looked at yet.
const OUTCOMES_MAX: usize = 1 << 16;
/// Messages without an answer: so few that the kill at half comes in the middle of the work.
const IN_FLIGHT_MAX: usize = 8192;
/// Messages that the consumer is willing to hold.
const CREDIT: u32 = 10_000;

/// What happened.
#[derive(Debug)]
pub(crate) struct Report {
    account: Account,
    /// Messages confirmed, and delivered, when the broker died.
    at_kill: (u64, u64),
    down: Duration,
    elapsed: Duration,
}

type SharedAccount = Arc<Mutex<Account>>;

/// Sends and consumes `lines`; kills and restarts the broker when half of them are confirmed.
pub(crate) async fn run(mut broker: Broker, lines: Vec<String>) -> Result<(Broker, Report)> {
    let begin = Instant::now();
    let half = lines.len() as u64 / 2;
    let account = Arc::new(Mutex::new(Account::new(lines.len())));
    let client = connect(broker.address).await?;
    client.admin().queue_create(QUEUE).await?;
    let consumer = client.consumer(QUEUE).credit(CREDIT).subscribe().await?;
    let consuming = tokio::spawn(consume(consumer, lines.clone(), Arc::clone(&account)));
    let producer = client.producer(QUEUE).in_flight_messages_max(IN_FLIGHT_MAX);
    let producer = Arc::new(producer.build()?);
    let (pending, outcomes) = mpsc::channel(OUTCOMES_MAX);
    let settling = tokio::spawn(settle(outcomes, Arc::clone(&account)));
    let producing = tokio::spawn(produce(Arc::clone(&producer), lines, pending));

    wait_for_confirmed(&producer, half).await?;
    broker.kill()?;
    let at_kill = (producer.tally().confirmed, lock(&account).sums().delivered);
    // A start is waited for on another thread; the client goes on with its attempts meanwhile.
    let restarting = tokio::task::spawn_blocking(move || {
        let down = broker.restart();
        down.map(|down| (broker, down))
    });
    let (broker, down) = restarting.await??;
    let tally = producing.await??;
    settling.await?;
    let confirmed = lock(&account).sums().confirmed;
    ensure!(
        tally.confirmed == confirmed,
        "{confirmed} counted, {tally:?}"
    );
    wait_until(&account, "all is delivered", |sums| sums.lost == 0).await?;
    wait_until_done(&client).await?;
    let elapsed = begin.elapsed();
    consuming.abort();
    client.close().await;
    let account = std::mem::replace(&mut *lock(&account), Account::new(0));
    let report = Report {
        account,
        at_kill,
        down,
        elapsed,
    };
    Ok((broker, report))
}

/// A client that tries again quickly: a person is watching.
pub(crate) async fn connect(address: SocketAddr) -> Result<Client> {
    Client::builder()
        .name("demo")
        .pauses(Duration::from_millis(20), Duration::from_millis(200))
        .call_timeout(Duration::from_secs(30))
        .connect(&address.to_string())
        .await
        .context("no connection to the broker")
}

async fn produce(
    producer: Arc<Producer>,
    lines: Vec<String>,
    pending: mpsc::Sender<(usize, Pending)>,
) -> Result<Tally> {
    for (index, line) in lines.into_iter().enumerate() {
        let sent = producer.send(&Message::new(line)).await?;
        pending
            .send((index, sent))
            .await
            .context("nobody waits for the outcomes")?;
    }
    Ok(producer.flush().await)
}

async fn settle(mut outcomes: mpsc::Receiver<(usize, Pending)>, account: SharedAccount) {
    while let Some((index, pending)) = outcomes.recv().await {
        let outcome = pending.await;
        let mut account = lock(&account);
        match outcome {
            Outcome::Confirmed(_) => account.confirm(index),
            Outcome::Rejected(_) => account.rejected += 1,
            Outcome::Unknown(_) => account.unknown += 1,
        }
    }
}

async fn consume(mut consumer: Consumer, lines: Vec<String>, account: SharedAccount) {
    while let Some(delivery) = consumer.next().await {
        let Ok(delivery) = delivery else {
            lock(&account).corrupt += 1;
            continue;
        };
        let body = delivery.body();
        let index = text::number(body).filter(|&index| {
            let sent = lines.get(index);
            sent.is_some_and(|line| line.as_bytes() == body)
        });
        lock(&account).deliver(index);
        // The ack is on its way; one that a crash took away shows as a duplicate.
        drop(delivery.ack());
    }
}

async fn wait_for_confirmed(producer: &Producer, messages: u64) -> Result<()> {
    let begin = Instant::now();
    while producer.tally().confirmed < messages {
        let tally = producer.tally();
        ensure!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?}: {tally:?}");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn wait_until(
    account: &SharedAccount,
    what: &str,
    is_reached: impl Fn(Sums) -> bool,
) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let sums = lock(account).sums();
        if is_reached(sums) {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
    let sums = lock(account).sums();
    bail!("waited {PATIENCE:?} until {what}: {sums:?}")
}

/// Waits until every ack has taken effect, so that late duplicates are counted too.
async fn wait_until_done(client: &Client) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let queue = client.admin().queue_show(QUEUE).await?;
        let open: u64 = queue
            .subscriptions
            .iter()
            .map(|one| one.ready + one.leased + one.delayed)
            .sum();
        if open == 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let queue = client.admin().queue_show(QUEUE).await?;
    bail!("waited {PATIENCE:?} until every ack took effect: {queue:?}")
}

/// A task that panics ends the process, so nobody sees a half-changed account.
fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Report {
    /// Nothing that was confirmed is missing, and nothing else arrived than what was sent.
    pub(crate) fn is_intact(&self) -> bool {
        self.account.sums().lost == 0 && self.account.corrupt == 0
    }

    pub(crate) fn print(&self) {
        let (confirmed, delivered) = self.at_kill;
        println!(
            "killed the broker (SIGKILL) after {confirmed} lines were confirmed and {delivered} delivered"
        );
        println!(
            "started it again on the same directory: serving after {} ms",
            self.down.as_millis()
        );
        println!(
            "all lines sent, consumed and acked after {:.2} s, crash and restart included",
            self.elapsed.as_secs_f64()
        );
    }

    /// The last line of the demo.
    pub(crate) fn print_verdict(&self) {
        let account = &self.account;
        if account.rejected + account.unknown + account.corrupt > 0 {
            println!(
                "not confirmed: rejected {}, unknown {}; corrupt deliveries {}",
                account.rejected, account.unknown, account.corrupt
            );
        }
        let sums = account.sums();
        println!(
            "demo: confirmed {} delivered {} lost {} duplicates {}",
            sums.confirmed, sums.delivered, sums.lost, sums.duplicates
        );
    }
}
