//! Fills a real broker with a long backlog, kills it, and measures how it comes back from a cold page cache.
//!
//! The figures are printed and not judged: they depend on what else the machine does. A message that is lost, wrong
//! or comes after its ack fails the run.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use corelane_tests::backlog::{Plan, run};
use corelane_tests::process::BrokerOptions;

/// Fill, SIGKILL, a start from a cold page cache, drain.
#[derive(Parser)]
struct Options {
    /// Messages to enqueue.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// Bytes of a body.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    bytes: u32,
    /// Acks every so many before the kill.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    acked_every: Option<u64>,
    /// Messages under lease at the kill.
    #[arg(long, default_value_t = 0)]
    leased: u64,
    /// Messages given back with a delay before the kill.
    #[arg(long, default_value_t = 0)]
    delayed: u64,
    /// That delay.
    #[arg(long, default_value_t = 120)]
    delay_seconds: u64,
    /// Queues over which the messages are spread.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    queues: u64,
    /// Kills at once, without waiting for checkpoints.
    #[arg(long)]
    unsettled: bool,
    /// Driver of the broker.
    #[arg(long, default_value = "auto")]
    driver: String,
    /// The broker's binary; the one beside this program if not given.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where data directories are made.
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let home = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let mut broker = BrokerOptions::beside_this_program(home.path())?;
    broker.driver.clone_from(&options.driver);
    if let Some(binary) = &options.broker {
        broker.binary.clone_from(binary);
    }
    let plan = Plan {
        messages: options.messages,
        bytes: usize::try_from(options.bytes)?,
        queues: options.queues.min(options.messages),
        acked_every: options.acked_every,
        leased: options.leased,
        delayed: options.delayed,
        delay: Duration::from_secs(options.delay_seconds),
        is_settled: !options.unsettled,
    };
    let report = run(&plan, home.path(), &broker)?;
    println!("{report}");
    if !report.is_good() {
        bail!("the broker broke its promise");
    }
    Ok(())
}
