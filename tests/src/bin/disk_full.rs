//! A real broker on disks that it fills: on ext4 in a small image, and on a small tmpfs.
//!
//! A message that is lost, wrong, twice there or comes after its ack fails the run, and so does a broker that does not
//! take messages again by itself. A disk that this machine does not mount is a row that says so.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;
use corelane_tests::full_disk::{
    Kind, Missing, Outcome, Report, SmallDisk, namespace, run, summary,
};
use corelane_tests::process::BrokerOptions;

/// Fill, refuse, serve the rest, drain, heal, restart.
#[derive(Parser)]
struct Options {
    /// Size of each disk.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(96..=65_536))]
    mebibytes: u64,
    /// Driver of the broker.
    #[arg(long)]
    driver: Option<String>,
    /// The broker's binary; the one beside this program if not given.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where the image lies and the disks are mounted.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Says that the mounts of this process are its own.
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let outcomes = if options.inside {
        on_both(&options)?
    } else {
        let mut arguments: Vec<String> = std::env::args().skip(1).collect();
        arguments.push("--inside".to_owned());
        let missing = match namespace::enter(&std::env::current_exe()?, &arguments) {
            Ok(never) => match never {},
            Err(missing) => missing,
        };
        KINDS.map(|kind| (kind, Err(missing.clone()))).to_vec()
    };
    for (kind, outcome) in &outcomes {
        match outcome {
            Ok(report) => println!("{}, {report}", kind.name()),
            Err(missing) => println!("{}: not available: {missing}", kind.name()),
        }
    }
    println!("{}", summary(&outcomes));
    judge(&outcomes)
}

const KINDS: [Kind; 2] = [Kind::Ext4, Kind::Tmpfs];

fn on_both(options: &Options) -> anyhow::Result<Vec<Outcome>> {
    let home = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let home = home.path();
    let mut broker = BrokerOptions::beside_this_program(home)?;
    if let Some(driver) = &options.driver {
        broker.driver.clone_from(driver);
    }
    if let Some(binary) = &options.broker {
        broker.binary.clone_from(binary);
    }
    let one = |kind: Kind| {
        let disk = SmallDisk::mount(kind, options.mebibytes, home)?;
        let outcome: Result<_, Missing> = match disk {
            Ok(disk) => Ok(run(&disk, &broker)?),
            Err(missing) => Err(missing),
        };
        Ok((kind, outcome))
    };
    KINDS.into_iter().map(one).collect()
}

/// An error if a disk that was there was not served well, or none was there.
fn judge(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let mut reports = outcomes
        .iter()
        .filter_map(|(_, outcome)| outcome.as_ref().ok());
    if reports.clone().next().is_none() {
        bail!("no disk could be mounted");
    }
    if !reports.all(Report::is_good) {
        bail!("the broker broke its promise");
    }
    Ok(())
}
