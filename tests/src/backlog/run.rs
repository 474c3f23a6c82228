//! The whole: a small backlog for comparison, then the long one through a kill.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::before::Consumer;
use super::book::Book;
use super::disk;
use super::drain::Drain;
use super::fill::fill;
use super::layout::Layout;
use super::report::Report;
use crate::control;
use crate::crowd::Meter;
use crate::process::{Broker, BrokerOptions};

/// Messages of the small backlog.
const SMALL: u64 = 100_000;
/// How often it is filled and drained; the middle rate counts.
const SMALL_ROUNDS: usize = 5;
/// Checkpoints come after 30 s at the latest.
const CHECKPOINT_WITHIN: Duration = Duration::from_mins(2);
/// Checkpoints have settled when none is written for so long.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What is done before the kill.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Messages to enqueue.
    pub messages: u64,
    /// Bytes of a body; at least 8.
    pub bytes: usize,
    /// Over how many queues they are spread.
    pub queues: u64,
    /// Every so many is acked.
    pub acked_every: Option<u64>,
    /// Messages under lease at the kill.
    pub leased: u64,
    /// Messages given back with a delay.
    pub delayed: u64,
    /// That delay.
    pub delay: Duration,
    /// Whether the kill waits for checkpoints.
    pub is_settled: bool,
}

impl Plan {
    fn layout(&self, name: &str, messages: u64) -> Layout {
        Layout {
            name: name.to_owned(),
            messages,
            // As many messages a queue, however many there are.
            queues: (self.queues * messages / self.messages).max(1),
            bytes: self.bytes,
        }
    }
}

/// A broker with a backlog, ready to be killed.
struct Filled {
    broker: Broker,
    /// Its leases last as long as it is connected.
    _holder: Consumer,
    /// Messages a second.
    rate: f64,
    /// When what is delayed is ready again.
    due: Instant,
}

/// Runs the plan with brokers on new folders below `home`; `options` say the rest about them.
///
/// # Errors
/// If the broker refuses what it must take, ends by itself, or brings no first message.
pub fn run(plan: &Plan, home: &Path, options: &BrokerOptions) -> anyhow::Result<Report> {
    let small_drain_per_s = small(plan, &on(options, &home.join("small")))?;
    let options = on(options, &home.join("data"));
    let mut book = Book::new(plan.layout("backlog", plan.messages))?;
    let is_over = AtomicBool::new(false);
    let (mut report, disk_bytes) = thread::scope(|scope| {
        let gauge = scope.spawn(|| disk::fullest(&options.data, &is_over));
        let outcome = kill_and_drain(plan, &options, &mut book);
        is_over.store(true, Ordering::Relaxed);
        let Ok(disk_bytes) = gauge.join() else {
            bail!("the thread that looks at the disk panicked");
        };
        Ok((outcome?, disk_bytes?))
    })?;
    report.disk_bytes = disk_bytes;
    report.small_drain_per_s = small_drain_per_s;
    Ok(report)
}

/// These options for another data directory.
fn on(options: &BrokerOptions, data: &Path) -> BrokerOptions {
    BrokerOptions {
        data: data.to_owned(),
        ..options.clone()
    }
}

/// The rate at which a small backlog is drained by a broker that was never stopped.
fn small(plan: &Plan, options: &BrokerOptions) -> anyhow::Result<f64> {
    let broker = Broker::start(options)?;
    let mut rates = Vec::new();
    for round in 0..SMALL_ROUNDS {
        let name = format!("small-{round}");
        let mut book = Book::new(plan.layout(&name, SMALL.min(plan.messages)))?;
        fill(broker.address, &mut book)?;
        book.restart();
        rates.push(Drain::connect(broker.address, &mut book)?.run(Instant::now())?);
        if book.lost() > 0 || book.wrong > 0 {
            bail!("the small backlog did not come back whole: {book:?}");
        }
    }
    broker.kill()?;
    std::fs::remove_dir_all(&options.data)?;
    rates.sort_by(f64::total_cmp);
    Ok(rates[SMALL_ROUNDS / 2])
}

fn kill_and_drain(plan: &Plan, options: &BrokerOptions, book: &mut Book) -> anyhow::Result<Report> {
    let filled = prepare(plan, options, book)?;
    let live_bytes = book.unsettled * plan.bytes as u64;
    let before = Meter::new(filled.broker.id()).resident_bytes_max()?;
    filled.broker.kill()?;
    let cooled_by = disk::cool(&options.data)?;
    book.restart();
    let start = Instant::now();
    let broker = Broker::start(options)?;
    let serving = start.elapsed();
    let mut drain = Drain::connect(broker.address, book)?;
    drain.take_first()?;
    let first_answer = start.elapsed();
    let drain_per_s = drain.run(filled.due)?;
    let after = Meter::new(broker.id()).resident_bytes_max()?;
    let recovered = recovery_line(&broker)?;
    broker.kill()?;
    Ok(Report {
        messages: plan.messages,
        filled_per_s: filled.rate,
        cooled_by,
        serving,
        first_answer,
        recovered,
        resident_bytes: [before, after],
        drain_per_s,
        small_drain_per_s: 0.0,
        disk_bytes: 0,
        live_bytes,
        lost: book.lost(),
        wrong: book.wrong,
        duplicates: book.duplicates,
        resurrected: book.resurrected,
    })
}

/// Everything up to the kill.
fn prepare(plan: &Plan, options: &BrokerOptions, book: &mut Book) -> anyhow::Result<Filled> {
    let broker = Broker::start(options)?;
    let start = Instant::now();
    fill(broker.address, book)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = plan.messages as f64 / start.elapsed().as_secs_f64();
    if let Some(every) = plan.acked_every {
        Consumer::connect(broker.address)?.ack_every(every, book)?;
    }
    let mut holder = Consumer::connect(broker.address)?;
    holder.hold(plan.leased, book)?;
    holder.delay(plan.delayed, plan.delay, book)?;
    let due = if plan.delayed > 0 {
        Instant::now() + plan.delay
    } else {
        Instant::now()
    };
    if plan.is_settled {
        await_checkpoints(&broker)?;
    }
    Ok(Filled {
        broker,
        _holder: holder,
        rate,
        due,
    })
}

/// Returns when a checkpoint was written from now on, and none any more for a while.
fn await_checkpoints(broker: &Broker) -> anyhow::Result<()> {
    let begin = Instant::now();
    let before = checkpoints(broker)?;
    let (mut written, mut changed) = (before, begin);
    while written == before || changed.elapsed() < SETTLED_AFTER {
        if begin.elapsed() > CHECKPOINT_WITHIN {
            bail!("checkpoints did not settle in {CHECKPOINT_WITHIN:?}");
        }
        // The broker tells only when it is asked.
        thread::sleep(Duration::from_millis(50));
        let now = checkpoints(broker)?;
        if now != written {
            (written, changed) = (now, Instant::now());
        }
    }
    Ok(())
}

fn checkpoints(broker: &Broker) -> anyhow::Result<u64> {
    let (_, metrics) = control::get(broker.control, "/metrics")?;
    control::counter(&metrics, "corelane_checkpoints_total")
}

/// The line in which the broker says what it recovered.
fn recovery_line(broker: &Broker) -> anyhow::Result<String> {
    let log = broker.log()?;
    let line = log.lines().find(|line| line.contains("recovered"));
    Ok(line.context("the broker logs its recovery")?.to_owned())
}
