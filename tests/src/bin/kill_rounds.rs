//! Kills a real broker under load, again and again, and checks the ledger.
//!
//! A round counts only if the broker confirmed at least 5,000 messages in it and died while batches
//! were on their way to the disk. Every `ERA_ROUNDS` rounds the queues are drained to the end, the
//! ledger is judged, and a new data directory begins. With `--power-cuts` the directory lies on a
//! file system of our own that drops, at each death, what was not synced.

#![expect(clippy::print_stdout, reason = "the verdict is this program's output")]

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use corelane_tests::ledger::{Ledger, Phase, Rendezvous, Verdict, consume, produce};
use corelane_tests::lossy::{CutReport, Mount};
use corelane_tests::process::{Broker, BrokerOptions};

/// Confirmed messages that make a round.
const ROUND_CONFIRMED_MIN: u64 = 5_000;
/// Rounds on one data directory.
const ERA_ROUNDS: u32 = 20;
/// The longest that anything may take before the run is called stuck.
const PATIENCE: Duration = Duration::from_mins(1);
/// Each has two producers and a consumer: three threads.
const QUEUES: [&str; 2] = ["left", "right"];

/// SIGKILL under load, restart, ledger check.
#[derive(Parser)]
struct Options {
    /// Rounds that must count.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Driver of the broker.
    #[arg(long, default_value = "auto")]
    driver: String,
    /// The broker's binary; the one beside this program if not given.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Cut the power too: what was not synced is lost (needs FUSE).
    #[arg(long)]
    power_cuts: bool,
    /// Where data directories are made.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Chooses the moments of death and what a power cut keeps.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut total = Verdict::default();
    let mut cuts = CutReport::default();
    let mut counted = 0;
    let mut era = 0_u32;
    while counted < options.rounds {
        let rounds = ERA_ROUNDS.min(options.rounds - counted);
        let seed = options.seed ^ (u64::from(era) << 32);
        let verdict = run_era(&options, rounds, seed, &mut cuts)?;
        total.add(&verdict);
        counted += rounds;
        era += 1;
        if !verdict.is_good() {
            break;
        }
    }
    print_counts(&options, counted, &cuts, &total);
    if options.power_cuts && (cuts.pages_lost == 0 || cuts.pages_torn == 0) {
        bail!("no page was lost, or none torn: the cuts prove nothing");
    }
    if total.resurrected > 0 {
        bail!("{} messages came back after their ack", total.resurrected);
    }
    if !total.is_good() {
        bail!("the broker broke its promise");
    }
    Ok(())
}

/// The last line.
fn print_counts(options: &Options, counted: u32, cuts: &CutReport, total: &Verdict) {
    let Verdict {
        confirmed,
        lost,
        phantom,
        duplicates,
        ..
    } = total;
    let ledger =
        format!("confirmed {confirmed}, lost {lost}, phantom {phantom}, duplicates {duplicates}");
    if options.power_cuts {
        println!(
            "power-cuts: {counted} cuts, pages lost {} torn {} kept {}, {ledger}",
            cuts.pages_lost, cuts.pages_torn, cuts.pages_kept
        );
    } else {
        println!("kill-rounds: {counted} rounds, {ledger}");
    }
}

/// Everything that one era's threads share.
#[derive(Default)]
struct Era {
    ledger: Ledger,
    rendezvous: Rendezvous,
}

/// The broker of an era and the disk under it.
struct Machine {
    broker: BrokerOptions,
    mount: Option<Mount>,
    seed: u64,
}

fn run_era(
    options: &Options,
    rounds: u32,
    seed: u64,
    cuts: &mut CutReport,
) -> anyhow::Result<Verdict> {
    let home = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let mount = options
        .power_cuts
        .then(|| Mount::new(home.path()).context("mounting the lossy file system"))
        .transpose()?;
    let machine = Machine {
        broker: broker_options(options, home.path())?,
        mount,
        seed,
    };
    let era = Era::default();
    thread::scope(|scope| {
        let (era, mut threads) = (&era, Vec::new());
        for (index, queue) in (0..).zip(QUEUES) {
            for number in [2 * index, 2 * index + 1] {
                threads.push(
                    scope.spawn(move || produce(number, queue, &era.ledger, &era.rendezvous)),
                );
            }
            threads.push(scope.spawn(|| consume(queue, &era.ledger, &era.rendezvous, None)));
        }
        let outcome = run_rounds(era, &machine, rounds, cuts);
        era.rendezvous.set(Phase::End);
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread of the run panicked"),
            }
        }
        outcome
    })?;
    Ok(era.ledger.verdict())
}

fn broker_options(options: &Options, home: &Path) -> anyhow::Result<BrokerOptions> {
    let mut broker = BrokerOptions::beside_this_program(&home.join("data"))?;
    broker.driver.clone_from(&options.driver);
    if let Some(binary) = &options.broker {
        broker.binary.clone_from(binary);
    }
    Ok(broker)
}

fn run_rounds(
    era: &Era,
    machine: &Machine,
    rounds: u32,
    cuts: &mut CutReport,
) -> anyhow::Result<()> {
    for round in 0..rounds {
        let seed = machine.seed ^ u64::from(round);
        let broker = Broker::start(&machine.broker)?;
        era.rendezvous.set(Phase::Load(broker.address));
        let wanted = era.ledger.confirmed_count() + ROUND_CONFIRMED_MIN + jitter(seed);
        wait_until("5,000 confirmed messages", || {
            era.ledger.confirmed_count() >= wanted
        })?;
        let unanswered = machine.kill(era, broker)?;
        if unanswered == 0 {
            bail!("the broker died with nothing in flight: the round does not count");
        }
        if let Some(mount) = &machine.mount {
            let report = mount.restore_power(seed);
            cuts.add(&report);
            println!("round {round}: {unanswered} batches in flight, {report:?}");
        }
    }
    let broker = Broker::start(&machine.broker)?;
    era.rendezvous.set(Phase::Drain(broker.address));
    // What a dead session holds comes back after 5 s of log time; then all must be settled.
    wait_until("the drain", || era.ledger.is_settled())?;
    broker.kill()
}

impl Machine {
    /// Ends the broker, power first where there is a mount, and counts the batches it still owed.
    fn kill(&self, era: &Era, broker: Broker) -> anyhow::Result<usize> {
        if let Some(mount) = &self.mount {
            mount.cut_power();
        }
        broker.kill()?;
        era.rendezvous.set(Phase::Down);
        era.rendezvous.wait_all_down(3 * QUEUES.len(), PATIENCE)
    }
}

/// Up to 4,095 messages more, so that deaths fall anywhere between two commits.
const fn jitter(seed: u64) -> u64 {
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52
}

/// Looks again every 2 ms, because the ledger is filled by other threads, and gives up after a minute.
fn wait_until(what: &str, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > PATIENCE {
            bail!("stuck: {what} did not come in {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
