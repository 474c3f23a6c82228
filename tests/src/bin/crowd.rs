//! Measures what connections by the thousand cost a real broker that runs with two shards.
//!
//! A connection that is not served, or not closed in time, fails the run. A figure that misses its bound does not:
//! it is printed, because a busy machine misses bounds that the broker keeps.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]
#![expect(
    clippy::cast_precision_loss,
    reason = "counts and bytes are far below 2^52"
)]

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Parser;
use corelane_tests::crowd::{
    Latencies, Meter, Pair, Report, Sources, Wanted, await_end, greet, raise_file_limit,
};
use corelane_tests::process::{Broker, BrokerOptions};
use tempfile::TempDir;

/// Threads that open connections.
const OPENERS: usize = 4;
/// Half-open connections must be gone after this, or the run fails.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// The pair runs for so long before its latencies are looked at.
const WARM_UP: Duration = Duration::from_secs(2);
/// The latencies before the storm are those of this time.
const BEFORE: Duration = Duration::from_secs(5);

/// What many connections cost: processor time, memory, and the latency of others.
#[derive(Parser)]
struct Options {
    /// Driver of the broker.
    #[arg(long, default_value = "auto")]
    driver: String,
    /// The broker's binary; the one beside this program if not given.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Connections that greet and then say nothing, and connections of the storm.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Connections that never greet.
    #[arg(long, default_value_t = 5_000)]
    half_open: usize,
    /// For how long an idle broker is watched.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Over how long the storm is spread.
    #[arg(long, default_value_t = 4)]
    storm_seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    raise_file_limit((options.connections.max(options.half_open) + 256) as u64)?;
    let mut report = Report::default();
    let outcome = measure(&options, &mut report);
    print!("{report}");
    let (met, points) = report.met();
    println!(
        "crowd: driver {}, points met {met} of {points}",
        options.driver
    );
    outcome
}

fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let sources = Sources::default();
    idle(options, &sources, report)?;
    storm(options, &sources, report)?;
    half_open(options, &sources, report)
}

/// A broker on a directory of its own.
struct Home {
    broker: Broker,
    _directory: TempDir,
}

impl Home {
    fn start(options: &Options) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut broker = BrokerOptions::beside_this_program(&directory.path().join("data"))?;
        broker.driver.clone_from(&options.driver);
        if let Some(binary) = &options.broker {
            broker.binary.clone_from(binary);
        }
        Ok(Self {
            broker: Broker::start(&broker)?,
            _directory: directory,
        })
    }

    fn meter(&self) -> Meter {
        Meter::new(self.broker.id())
    }

    fn address(&self) -> SocketAddr {
        self.broker.address
    }
}

/// Nobody is connected; then many are, and say nothing.
fn idle(options: &Options, sources: &Sources, report: &mut Report) -> anyhow::Result<()> {
    let home = Home::start(options)?;
    let (meter, during) = (home.meter(), Duration::from_secs(options.seconds));
    let cpu = meter.cpu_percent(during)?;
    let alone = meter.resident_bytes()?;
    report.point("CPU, no connection", (cpu, "%"), Wanted::AtMost(1.0));
    let mebibytes = alone as f64 / f64::from(1 << 20);
    report.point(
        "memory, no connection",
        (mebibytes, "MiB"),
        Wanted::AtMost(64.0),
    );
    let served = open_all(options.connections, Duration::ZERO, &|| {
        let mut stream = sources.open(home.address())?;
        greet(&mut stream)?;
        Ok(stream)
    })?;
    let each = per_connection(meter, alone, served.streams.len())?;
    report.point(
        "memory per idle connection",
        (each, "KiB"),
        Wanted::AtMost(8.0),
    );
    // Greeting them all leaves something to do for a moment.
    thread::sleep(WARM_UP);
    let cpu = meter.cpu_percent(during)?;
    report.point("CPU, all of them idle", (cpu, "%"), Wanted::AtMost(1.0));
    Ok(())
}

/// Everybody connects at once while two others work.
fn storm(options: &Options, sources: &Sources, report: &mut Report) -> anyhow::Result<()> {
    let home = Home::start(options)?;
    let pair = Pair::default();
    let (mut before, mut meanwhile, served) = thread::scope(|scope| {
        let working = pair.start(scope, home.address());
        drop(pair.measure(WARM_UP));
        let before = pair.measure(BEFORE);
        let spread = Duration::from_secs(options.storm_seconds);
        let served = open_all(options.connections, spread, &|| {
            let mut stream = sources.open(home.address())?;
            greet(&mut stream)?;
            Ok(stream)
        });
        let meanwhile = pair.take();
        pair.end();
        match working.join() {
            Ok(result) => result?,
            Err(_) => bail!("the pair panicked"),
        }
        Ok((before, meanwhile, served?))
    })?;
    let wanted = Wanted::Exactly(options.connections as f64);
    report.point("storm: served", (served.streams.len() as f64, ""), wanted);
    report.note(
        "storm: from first to last",
        (served.took.as_secs_f64(), "s"),
    );
    let slowest = served.slowest.as_secs_f64();
    report.point(
        "storm: slowest greeting",
        (slowest, "s"),
        Wanted::AtMost(5.0),
    );
    compare(&mut before, &mut meanwhile, report)
}

fn compare(
    before: &mut Latencies,
    meanwhile: &mut Latencies,
    report: &mut Report,
) -> anyhow::Result<()> {
    if before.count() == 0 || meanwhile.count() == 0 {
        bail!("the pair had no message through");
    }
    let calm = before.all_but_one_in(100).as_secs_f64() * 1e3;
    let stormy = meanwhile.all_but_one_in(100).as_secs_f64() * 1e3;
    report.note("pair: messages before", (before.count() as f64, ""));
    report.note(
        "pair: messages in the storm",
        (meanwhile.count() as f64, ""),
    );
    report.note("pair: p99 before", (calm, "ms"));
    report.note("pair: p99 in the storm", (stormy, "ms"));
    report.point(
        "pair: p99 in the storm over p99 before",
        (stormy / calm, "x"),
        Wanted::AtMost(3.0),
    );
    Ok(())
}

/// Many connect and never greet.
fn half_open(options: &Options, sources: &Sources, report: &mut Report) -> anyhow::Result<()> {
    let home = Home::start(options)?;
    let meter = home.meter();
    let alone = meter.resident_bytes()?;
    let mut opened = open_all(options.half_open, Duration::ZERO, &|| {
        sources.open(home.address())
    })?;
    let last = Instant::now();
    if let Some(first) = opened.streams.first_mut() {
        // When the first is closed, the broker has accepted all: what they cost shows only then.
        await_end(first, last + CLOSED_WITHIN)?;
    }
    let each = per_connection(meter, alone, opened.streams.len())?;
    for stream in &mut opened.streams {
        await_end(stream, last + CLOSED_WITHIN)?;
    }
    let took = last.elapsed().as_secs_f64();
    report.point(
        "memory per half-open connection",
        (each, "KiB"),
        Wanted::AtMost(8.0),
    );
    let wanted = Wanted::Exactly(options.half_open as f64);
    report.point(
        "half-open: closed",
        (opened.streams.len() as f64, ""),
        wanted,
    );
    report.point(
        "half-open: closed after the last came",
        (took, "s"),
        Wanted::AtMost(5.0),
    );
    greet(&mut sources.open(home.address())?)
}

/// Connections that were opened.
struct Opened {
    streams: Vec<TcpStream>,
    /// The longest that one took.
    slowest: Duration,
    /// From the first to the last.
    took: Duration,
}

/// Opens `count` connections, each at its time if they are to be spread, and fails with the first that fails.
fn open_all(
    count: usize,
    spread: Duration,
    open: &(dyn Fn() -> anyhow::Result<TcpStream> + Sync),
) -> anyhow::Result<Opened> {
    let start = Instant::now();
    let (mut streams, mut slowest) = (Vec::with_capacity(count), Duration::ZERO);
    thread::scope(|scope| {
        let share = |opener: usize| (opener..count).step_by(OPENERS);
        let openers: Vec<_> = (0..OPENERS)
            .map(|opener| {
                scope.spawn(move || {
                    let mut opened = Vec::new();
                    for number in share(opener) {
                        let due = spread.mul_f64(number as f64 / count as f64);
                        // The storm has a speed; nothing is waited for.
                        thread::sleep(due.saturating_sub(start.elapsed()));
                        let begin = Instant::now();
                        opened.push((open()?, begin.elapsed()));
                    }
                    anyhow::Ok(opened)
                })
            })
            .collect();
        for opener in openers {
            let Ok(opened) = opener.join() else {
                bail!("a thread that opens connections panicked");
            };
            for (stream, took) in opened? {
                streams.push(stream);
                slowest = slowest.max(took);
            }
        }
        Ok(())
    })?;
    Ok(Opened {
        streams,
        slowest,
        took: start.elapsed(),
    })
}

/// KiB that each of `count` connections added.
fn per_connection(meter: Meter, alone: u64, count: usize) -> anyhow::Result<f64> {
    let added = meter.resident_bytes()?.saturating_sub(alone);
    Ok(added as f64 / 1_024.0 / count.max(1) as f64)
}
