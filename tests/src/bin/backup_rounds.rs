//! Backs a real broker up under load, again and again, restores each backup and checks it by the ledger.

#![expect(clippy::print_stdout, reason = "the verdict is this program's output")]

use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;
use corelane_tests::copies::{Plan, run};
use corelane_tests::process::BrokerOptions;

/// Backup under load, restore, start, ledger check.
#[derive(Parser)]
struct Options {
    /// Backups.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Bytes of a message body.
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    bytes: u32,
    /// Bytes that a backup reads per second at most, so that it lasts while segments go.
    #[arg(long, default_value_t = 32 << 20)]
    bytes_per_second: u64,
    /// Segments that must have become free before the first backup.
    #[arg(long, default_value_t = 4)]
    freed_min: u64,
    /// Messages confirmed between two backups, at least.
    #[arg(long, default_value_t = 50_000)]
    confirmed_min: u64,
    /// Driver of the broker.
    #[arg(long, default_value = "auto")]
    driver: String,
    /// The broker's binary; the one beside this program if not given.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where directories are made.
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let home = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let mut broker = BrokerOptions::beside_this_program(&home.path().join("data"))?;
    broker.driver.clone_from(&options.driver);
    if let Some(binary) = &options.broker {
        broker.binary.clone_from(binary);
    }
    let plan = Plan {
        rounds: options.rounds,
        body_bytes: usize::try_from(options.bytes)?.next_multiple_of(8),
        bytes_per_second: Some(options.bytes_per_second),
        freed_min: options.freed_min,
        confirmed_min: options.confirmed_min,
    };
    let report = run(&plan, home.path(), &broker)?;
    println!("{report}");
    if !report.copies.is_good() {
        bail!("a copy is not one of what the broker had promised");
    }
    if !report.has_met_reuse() {
        bail!("no segment went while a backup had a link to it, or none was used again");
    }
    Ok(())
}
