//! `probe`: the floors of this machine.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use corelane_bench::load::Quantiles;
use corelane_bench::probe::{self, Cell, DiskProbe, EchoProbe, Place, Way};
use corelane_bench::record::Latencies;
use corelane_bench::{clock, machine, pace};
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
    /// What to print: columns, or one JSON object per line.
    #[arg(long, short, value_enum, default_value = "text", global = true)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Commits: three ways, into pre-written blocks and into a growing file.
    Disk(Disk),
    /// TCP echo on the loopback, one after the other and at 1,000 a second.
    Net {
        /// Seconds of each row.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// A hop between cores, the lateness of sleepers, and the clock.
    Cpu,
}

#[derive(Debug, clap::Args)]
struct Disk {
    /// Folder on the disk to measure; 320 MiB must be free.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Seconds of each row.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Bytes of a commit.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "4096,16384,65536,262144,1048576"
    )]
    bytes: Vec<u32>,
    /// Commits at a time.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    depth: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// One line of the output.
#[derive(Debug, Serialize)]
struct Row {
    /// `corelane-bench/probe/1`.
    schema: &'static str,
    probe: String,
    /// Bytes of one operation; none where there are no bytes.
    bytes: Option<u32>,
    /// Operations at a time.
    depth: u32,
    /// Operations per second; none where they were made at a rate.
    per_second: Option<f64>,
    #[serde(flatten)]
    quantiles: Quantiles,
}

pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    if let Err(error) = pace::sharpen_sleep() {
        eprintln!("note: sleep is coarse: {error}");
    }
    let print = |row: &Row| print(row, arguments.output);
    let folder = match &arguments.what {
        What::Disk(disk) => disk.dir.as_path(),
        What::Net { .. } | What::Cpu => Path::new("."),
    };
    if arguments.output == Output::Text {
        println!("{}", machine::describe(folder));
        println!(
            "{:<26}{:>9}{:>6}{:>11}{:>9}{:>10}{:>10}{:>10}{:>10}  us",
            "", "bytes", "depth", "per second", "MB/s", "p50", "p90", "p99", "max"
        );
    }
    match &arguments.what {
        What::Disk(disk) => disk.measure(print)?,
        What::Net { seconds } => net(Duration::try_from_secs_f64(*seconds)?, print)?,
        What::Cpu => cpu(print)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Disk {
    fn measure(&self, print: impl Fn(&Row) -> Result<()>) -> Result<()> {
        let duration = Duration::try_from_secs_f64(self.seconds)?;
        let probe = DiskProbe::new(&self.dir)?;
        if !probe.is_direct() {
            eprintln!("note: no O_DIRECT here, the commits go through the page cache");
        }
        for way in [Way::Linked, Way::RwfDsync, Way::Blocking] {
            for cell in self.cells(way) {
                match probe.run(cell, duration) {
                    Ok(latencies) => print(&row(cell, &latencies, duration))?,
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        return Err(error.into());
                    }
                    Err(error) => {
                        eprintln!("note: {}: left out: {error}", name(cell));
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn cells(&self, way: Way) -> Vec<Cell> {
        let mut cells = Vec::new();
        for place in [Place::PreWritten, Place::Growing] {
            for &bytes in &self.bytes {
                // Calls that block are made one at a time.
                let depths = self
                    .depth
                    .iter()
                    .filter(|&&depth| way != Way::Blocking || depth == 1);
                cells.extend(depths.map(|&depth| Cell {
                    way,
                    place,
                    bytes,
                    depth,
                }));
            }
        }
        cells
    }
}

fn net(duration: Duration, print: impl Fn(&Row) -> Result<()>) -> Result<()> {
    for bytes in [64, 1_024] {
        let mut echo = EchoProbe::new(bytes, None)?;
        let latencies = echo.run_for(duration)?;
        let bytes = u32::try_from(bytes).ok();
        let row = |probe: &str, latencies: &Latencies, per_second| Row {
            schema: SCHEMA,
            probe: probe.to_owned(),
            bytes,
            depth: 1,
            per_second,
            quantiles: Quantiles::of(latencies, 1),
        };
        let rate = per_second(latencies.count(), duration);
        print(&row("tcp echo", &latencies, Some(rate)))?;
        let count = u32::try_from(duration.as_millis())?;
        let paced = echo.run(count, 1_000)?;
        print(&row("tcp echo at 1000/s", &paced, None))?;
    }
    Ok(())
}

fn cpu(print: impl Fn(&Row) -> Result<()>) -> Result<()> {
    let plain = |probe: String, latencies: &Latencies| Row {
        schema: SCHEMA,
        probe,
        bytes: None,
        depth: 1,
        per_second: None,
        quantiles: Quantiles::of(latencies, 1),
    };
    let cores = clock::cores()?;
    if let Some((first, others)) = cores.split_first() {
        for other in others {
            let latencies = probe::hop(*first, *other, HOPS)?;
            print(&plain(format!("hop core {first} to {other}"), &latencies))?;
        }
        if others.is_empty() {
            eprintln!("note: one core, so there is no hop");
        }
    }
    for (interval, count) in [(100, 20_000), (1_000, 2_000)] {
        let late = probe::timer_lateness(Duration::from_micros(interval), count);
        print(&plain(format!("sleep of {interval} us, late by"), &late))?;
    }
    let mut reads = Latencies::default();
    for _ in 0..CLOCK_ROUNDS {
        reads.record(probe::clock_read());
    }
    print(&plain("clock read".to_owned(), &reads))
}

fn row(cell: Cell, latencies: &Latencies, duration: Duration) -> Row {
    Row {
        schema: SCHEMA,
        probe: name(cell),
        bytes: Some(cell.bytes),
        depth: cell.depth,
        per_second: Some(per_second(latencies.count(), duration)),
        quantiles: Quantiles::of(latencies, 1),
    }
}

fn name(cell: Cell) -> String {
    let way = match cell.way {
        Way::Linked => "linked",
        Way::RwfDsync => "rwf-dsync",
        Way::Blocking => "blocking",
    };
    let place = match cell.place {
        Place::PreWritten => "pre-written",
        Place::Growing => "growing",
    };
    format!("commit {way} {place}")
}

fn print(row: &Row, output: Output) -> Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string(row)?);
        return Ok(());
    }
    let quantiles = &row.quantiles;
    let number = |value: Option<f64>, digits| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let megabytes = row
        .bytes
        .and_then(|bytes| Some(f64::from(bytes) * row.per_second? / 1e6));
    println!(
        "{:<26}{:>9}{:>6}{:>11}{:>9}{:>10}{:>10}{:>10}{:>10}",
        row.probe,
        row.bytes
            .map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
        row.depth,
        number(row.per_second, 0),
        number(megabytes, 1),
        number(quantiles.p50_us, 2),
        number(quantiles.p90_us, 2),
        number(quantiles.p99_us, 2),
        number(Some(quantiles.max_us), 2)
    );
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is shown with a few digits"
)]
fn per_second(count: u64, duration: Duration) -> f64 {
    count as f64 / duration.as_secs_f64()
}

const SCHEMA: &str = "corelane-bench/probe/1";
const HOPS: u64 = 100_000;
const CLOCK_ROUNDS: u32 = 200;
