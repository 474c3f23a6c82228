//! One run: a broker under load, and backups of it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::command::{backup, restore};
use crate::control;
use crate::ledger::{CopyVerdict, Ledger, Phase, Rendezvous, check_copy, consume, produce};
use crate::process::{Broker, BrokerOptions};

/// Each has two producers and a consumer.
const QUEUES: [&str; 2] = ["left", "right"];
/// Messages confirmed between two backups, at least.
const CONFIRMED_MIN: u64 = 5_000;
/// The longest that anything may take before the run is called stuck.
const PATIENCE: Duration = Duration::from_mins(3);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Backups.
    pub rounds: u32,
    /// Bytes of a message body.
    pub body_bytes: usize,
    /// Bound of a backup's reads, so that it lasts while the log moves on.
    pub bytes_per_second: Option<u64>,
    /// Segments that must have become free before the first backup.
    pub freed_min: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Backups that were judged.
    pub rounds: u32,
    /// Messages confirmed in the run.
    pub confirmed: u64,
    /// Bytes of all backups.
    pub bytes: u64,
    /// Segments that became free while backups were taken.
    pub freed: u64,
    /// The figures of all copies.
    pub copies: CopyVerdict,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CopyVerdict {
            owed,
            delivered,
            lost,
            phantom,
            resurrected,
        } = self.copies;
        write!(
            f,
            "backup-rounds: {} rounds, confirmed {}, copied_mib {}, segments_freed_meanwhile {}, owed {owed}, \
             delivered {delivered}, lost {lost}, phantom {phantom}, resurrected {resurrected}",
            self.rounds,
            self.confirmed,
            self.bytes >> 20,
            self.freed,
        )
    }
}

/// A broker under load, and where its backups go.
struct Machine<'a> {
    plan: &'a Plan,
    options: &'a BrokerOptions,
    home: &'a Path,
    ledger: &'a Ledger,
    broker: &'a Broker,
}

/// Runs a plan with directories in `home`; `options` name the broker's data directory.
///
/// # Errors
/// If anything fails but the check of the copies, which is the report's.
pub fn run(plan: &Plan, home: &Path, options: &BrokerOptions) -> anyhow::Result<Report> {
    let ledger = Ledger::with_bodies(plan.body_bytes);
    let rendezvous = Rendezvous::default();
    let broker = Broker::start(options)?;
    let machine = Machine {
        plan,
        options,
        home,
        ledger: &ledger,
        broker: &broker,
    };
    thread::scope(|scope| {
        let (ledger, rendezvous) = (&ledger, &rendezvous);
        let mut threads = Vec::new();
        for (index, queue) in (0..).zip(QUEUES) {
            for number in [2 * index, 2 * index + 1] {
                threads.push(scope.spawn(move || produce(number, queue, ledger, rendezvous)));
            }
            threads.push(scope.spawn(|| consume(queue, ledger, rendezvous)));
        }
        rendezvous.set(Phase::Load(broker.address));
        let report = machine.rounds();
        rendezvous.set(Phase::End);
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread of the run panicked"),
            }
        }
        report
    })
}

impl Machine<'_> {
    fn rounds(&self) -> anyhow::Result<Report> {
        let mut report = Report::default();
        wait_until("room becomes free", || {
            Ok(self.freed()? >= self.plan.freed_min)
        })?;
        for round in 0..self.plan.rounds {
            let wanted = self.ledger.confirmed_count() + CONFIRMED_MIN;
            wait_until("messages are confirmed", || {
                Ok(self.ledger.confirmed_count() >= wanted)
            })?;
            self.round(round, &mut report)?;
        }
        report.confirmed = self.ledger.confirmed_count();
        Ok(report)
    }

    /// Takes a backup under load, restores it, and has a second broker give away what it holds.
    fn round(&self, round: u32, report: &mut Report) -> anyhow::Result<()> {
        let binary = &self.options.binary;
        let copy = self.home.join(format!("backup-{round}"));
        let data = self.home.join(format!("restored-{round}"));
        let (begun, freed) = (self.ledger.moment(), self.freed()?);
        let rate = self.plan.bytes_per_second;
        let told = backup(binary, &self.options.data, &copy, rate)?;
        let (over, freed) = (self.ledger.moment(), self.freed()? - freed);
        restore(binary, &copy, &data)?;
        fs::remove_dir_all(&copy)?;
        let restored = BrokerOptions {
            data: data.clone(),
            ..self.options.clone()
        };
        let restored = Broker::start(&restored).context("on the restored directory")?;
        let verdict = check_copy(self.ledger, (&begun, &over), &QUEUES, restored.address)?;
        restored.kill()?;
        fs::remove_dir_all(&data)?;
        report.rounds += 1;
        report.bytes += told["bytes"].as_u64().context("a summary without bytes")?;
        report.freed += freed;
        report.copies.add(&verdict);
        Ok(())
    }

    fn freed(&self) -> anyhow::Result<u64> {
        let (_, metrics) = control::get(self.broker.control, "/metrics")?;
        control::counter(&metrics, "corelane_segments_freed_total")
    }
}

/// Looks again every 10 ms, because other threads and the broker make it so.
fn wait_until(what: &str, is_so: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > PATIENCE {
            bail!("stuck: {what} did not happen in {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
