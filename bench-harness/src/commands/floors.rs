//! `probe`: the floors of this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use corelane_bench::probe::{CommitProbe, EchoProbe};
use corelane_bench::record::Latencies;
use corelane_bench::{machine, pace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder on the disk to measure.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Samples of each floor.
    #[arg(long, default_value_t = 5000)]
    count: u32,
    /// Samples per second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Bytes of an echoed frame.
    #[arg(long, default_value_t = 256)]
    frame_bytes: usize,
}

pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Err(error) = pace::sharpen_sleep() {
        eprintln!("note: the schedule is coarse: {error}");
    }
    println!("{}", machine::describe(&arguments.dir));
    let commit = CommitProbe::new(&arguments.dir)?.run(arguments.count, arguments.rate)?;
    if !commit.is_direct {
        println!("note: no O_DIRECT here, the commits went through the page cache");
    }
    print("4 KiB commit", &commit.latencies);
    let echo = EchoProbe::new(arguments.frame_bytes)?.run(arguments.count, arguments.rate)?;
    print("TCP echo", &echo);
    Ok(ExitCode::SUCCESS)
}

fn print(name: &str, latencies: &Latencies) {
    println!(
        "{name:<14} p50 {:>9.1} us  p99 {:>9.1} us",
        latencies.at(0.5).as_secs_f64() * 1e6,
        latencies.at(0.99).as_secs_f64() * 1e6
    );
}
