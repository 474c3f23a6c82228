//! One run: a broker under load, and backups of it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::command::{backup, restore};
use super::probe::{Beside, Stage, Waits, p99_us, probe};
use super::watch::{Seen, watch};
use crate::control;
use crate::ledger::{
    CopyVerdict, Deferral, Ledger, Phase, Rendezvous, check_copy, consume, produce,
};
use crate::process::{Broker, BrokerOptions};

/// Each has two producers and a consumer.
const QUEUES: [&str; 2] = ["left", "right"];
/// Messages that are not acknowledged at most: then producers wait, so that the front of the log becomes free.
const OPEN_MAX: u64 = 16_000;
/// What keeps segments from becoming free by themselves, so that messages have to be relocated; most of these are still
/// there when a backup is over, and owed by the copy.
const DEFERRAL: Deferral = Deferral {
    one_in: 128,
    delay_ms: 40_000,
};
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
    /// Messages confirmed between two backups, at least.
    pub confirmed_min: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Backups that were judged.
    pub rounds: u32,
    /// Messages confirmed in the run.
    pub confirmed: u64,
    /// Bytes of all backups.
    pub bytes: u64,
    /// Segments that became free while backups were taken.
    pub freed: u64,
    /// Bytes of messages that were relocated while backups were taken.
    pub relocated: u64,
    /// What became of segment files.
    pub seen: Seen,
    /// How long an enqueue took.
    pub waits: Waits,
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
            "backup-rounds: {} rounds, confirmed {}, copied_mib {}, segments_freed_meanwhile {}, \
             relocated_mib_meanwhile {}, segments_reused {}, links_outlived {}, enqueue_p99_us {} of {} quiet, \
             {} of {} beside a backup, owed {owed}, delivered {delivered}, lost {lost}, phantom {phantom}, \
             resurrected {resurrected}",
            self.rounds,
            self.confirmed,
            self.bytes >> 20,
            self.freed,
            self.relocated >> 20,
            self.seen.reused,
            self.seen.outlived,
            p99_us(&self.waits.quiet),
            self.waits.quiet.len(),
            p99_us(&self.waits.backup),
            self.waits.backup.len(),
        )
    }
}

impl Report {
    /// Whether segments went, and were used again, while backups had links to segments.
    pub const fn has_met_reuse(&self) -> bool {
        self.freed > 0 && self.seen.reused > 0 && self.seen.outlived > 0
    }
}

/// A broker under load, and where its backups go.
struct Machine<'a> {
    plan: &'a Plan,
    options: &'a BrokerOptions,
    home: &'a Path,
    ledger: &'a Ledger,
    broker: &'a Broker,
    stage: &'a Stage,
}

/// What a broker had let go and relocated.
struct Moved {
    freed: u64,
    relocated: u64,
}

/// Runs a plan with directories in `home`; `options` name the broker's data directory.
///
/// # Errors
/// If anything fails but the check of the copies, which is the report's.
pub fn run(plan: &Plan, home: &Path, options: &BrokerOptions) -> anyhow::Result<Report> {
    let ledger = Ledger::with_bodies(plan.body_bytes).bounded(OPEN_MAX);
    let (rendezvous, stage, is_over) = <(Rendezvous, Stage, AtomicBool)>::default();
    let broker = Broker::start(options)?;
    let machine = Machine {
        plan,
        options,
        home,
        ledger: &ledger,
        broker: &broker,
        stage: &stage,
    };
    thread::scope(|scope| {
        let (ledger, rendezvous, stage) = (&ledger, &rendezvous, &stage);
        let watching = scope.spawn(|| watch(&options.data, &is_over));
        let probing = scope.spawn(|| probe(broker.address, plan.body_bytes, stage));
        let mut threads = Vec::new();
        for (index, queue) in (0..).zip(QUEUES) {
            for number in [2 * index, 2 * index + 1] {
                threads.push(scope.spawn(move || produce(number, queue, ledger, rendezvous)));
            }
            let deferral = Some(DEFERRAL);
            threads.push(scope.spawn(move || consume(queue, ledger, rendezvous, deferral)));
        }
        rendezvous.set(Phase::Load(broker.address));
        let report = machine.rounds();
        rendezvous.set(Phase::End);
        stage.set(Beside::End);
        is_over.store(true, Ordering::Relaxed);
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread of the run panicked"),
            }
        }
        let (Ok(seen), Ok(waits)) = (watching.join(), probing.join()) else {
            bail!("a thread of the run panicked");
        };
        let mut report = report?;
        (report.seen, report.waits) = (seen, waits?);
        // What came wrong to the clients of the broker that went on.
        let live = ledger.verdict();
        report.copies.phantom += live.phantom;
        report.copies.resurrected += live.resurrected;
        Ok(report)
    })
}

impl Machine<'_> {
    fn rounds(&self) -> anyhow::Result<Report> {
        let mut report = Report::default();
        wait_until("room becomes free", || {
            Ok(self.moved()?.freed >= self.plan.freed_min)
        })?;
        for round in 0..self.plan.rounds {
            self.stage.set(Beside::Nothing);
            let wanted = self.ledger.confirmed_count() + self.plan.confirmed_min;
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
        self.stage.set(Beside::Check);
        let (begun, before) = (self.ledger.moment(), self.moved()?);
        let rate = self.plan.bytes_per_second;
        self.stage.set(Beside::Backup);
        let told = backup(binary, &self.options.data, &copy, rate)?;
        self.stage.set(Beside::Check);
        let (over, after) = (self.ledger.moment(), self.moved()?);
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
        report.freed += after.freed - before.freed;
        report.relocated += after.relocated - before.relocated;
        report.copies.add(&verdict);
        self.ledger.strike_out(&begun.acked);
        Ok(())
    }

    fn moved(&self) -> anyhow::Result<Moved> {
        let (_, metrics) = control::get(self.broker.control, "/metrics")?;
        Ok(Moved {
            freed: control::counter(&metrics, "corelane_segments_freed_total")?,
            relocated: control::counter(&metrics, "corelane_relocated_bytes_total")?,
        })
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
