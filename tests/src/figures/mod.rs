//! What deliveries cost a real broker: scheduled messages by the million, many subscriptions, many consumers, many queues,
//! and more than it can take.
//!
//! Each figure starts a broker of its own on an empty directory, and speaks to it through the Rust client.

mod broadcast;
mod fan_out;
mod lateness;
mod many;
mod overload;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use corelane_client::{Client, Message, Pending, Producer};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::crowd::Meter;
use crate::process::{Broker, BrokerOptions};

pub use broadcast::broadcast;
pub use fan_out::fan_out;
pub use lateness::lateness;
pub use many::many;
pub use overload::overload;

/// How the broker is started.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its driver.
    pub driver: String,
    /// Its binary; the one beside this program if not given.
    pub binary: Option<PathBuf>,
}

/// A broker on a directory of its own.
struct Home {
    broker: Broker,
    _directory: TempDir,
}

impl Home {
    fn start(setting: &Setting) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut options = BrokerOptions::beside_this_program(&directory.path().join("data"))?;
        options.driver.clone_from(&setting.driver);
        if let Some(binary) = &setting.binary {
            options.binary.clone_from(binary);
        }
        Ok(Self {
            broker: Broker::start(&options)?,
            _directory: directory,
        })
    }

    async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.broker.address.to_string()).await?)
    }

    fn meter(&self) -> Meter {
        Meter::new(self.broker.id())
    }

    /// Bytes that the process had written to the disk so far.
    fn bytes_written(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.broker.id()))?;
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(line
            .context("/proc says nothing of bytes written")?
            .parse()?)
    }
}

/// Runs one figure to its end.
///
/// # Errors
/// If something is lost, early or doubled, or the broker cannot be spoken to.
pub fn run<T>(figure: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(figure)
}

/// Microseconds since the Unix epoch, by the clock that the broker reads too.
fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// Enqueues what `message` makes of the numbers, and waits until all of it is confirmed.
async fn fill(
    producer: &Producer,
    count: u64,
    message: impl Fn(u64) -> Message,
) -> anyhow::Result<()> {
    let mut pending: Vec<Pending> = Vec::new();
    for number in 0..count {
        pending.push(producer.send(&message(number)).await?);
        if pending.len() >= 10_000 {
            confirm(&mut pending).await?;
        }
    }
    confirm(&mut pending).await
}

async fn confirm(pending: &mut Vec<Pending>) -> anyhow::Result<()> {
    for receipt in pending.drain(..) {
        receipt.await.into_result()?;
    }
    Ok(())
}

/// Waits for all of them; the first failure is that of all.
async fn join<T: 'static>(mut tasks: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(one) = tasks.join_next().await {
        all.push(one??);
    }
    Ok(all)
}

/// Durations, of which quantiles are asked.
#[derive(Debug, Default)]
struct Times(Vec<u64>);

impl Times {
    fn push(&mut self, micros: u64) {
        self.0.push(micros);
    }

    /// So many of a thousand are at most so long; in milliseconds.
    fn quantile(&mut self, of_thousand: usize) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() * of_thousand / 1_000).min(self.0.len().saturating_sub(1));
        let micros = self.0.get(at).copied().unwrap_or(0);
        Duration::from_micros(micros).as_secs_f64() * 1e3
    }
}

impl fmt::Display for Times {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = Self(self.0.clone());
        write!(
            formatter,
            "p50_ms {:.2} p99_ms {:.2} max_ms {:.2}",
            times.quantile(500),
            times.quantile(990),
            times.quantile(1_000)
        )
    }
}

/// Which messages came: each once, and none that was not enqueued.
#[derive(Debug)]
struct Ledger {
    seen: Vec<bool>,
    count: u64,
}

impl Ledger {
    fn new(messages: u64) -> Self {
        let seen = vec![false; usize::try_from(messages).unwrap_or(0)];
        Self { seen, count: 0 }
    }

    fn note(&mut self, offset: u64) -> anyhow::Result<()> {
        let at = usize::try_from(offset)?;
        match self.seen.get_mut(at) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => bail!("message {offset} came twice"),
            None => bail!("message {offset} was never enqueued"),
        }
        self.count += 1;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.count == self.seen.len() as u64
    }
}
