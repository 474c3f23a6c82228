//! `corelane-demo`: real messages through a real broker, which is killed on the way.
//!
//! Run by `cargo xtask demo`. It makes a text file, sends each line as a message and consumes it
//! again, kills the broker with SIGKILL in the middle, starts it again on the same directory and
//! goes on. Then it measures latency under a steady load beside the floors of the same machine.
//! It fails if a confirmed message was not delivered, or a body was not what had been sent.
#![expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]

mod account;
mod crash;
mod floors;
mod steady;
mod table;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use corelane_bench::broker::Broker;
use corelane_bench::pace;

/// Shows a broker at work, and what happens when it dies.
#[derive(Debug, Parser)]
struct Arguments {
    /// The `corelane` binary.
    #[arg(long)]
    broker: PathBuf,
    /// Folder in which the temporary directory is made; it should lie on a real disk.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Lines of the text file.
    #[arg(long, default_value_t = 100_000)]
    lines: usize,
    /// Messages per second of the latency measurement.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Length of the latency measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run_in_new_folder(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps the folder after a failure, for whoever looks into it.
fn run_in_new_folder(arguments: &Arguments) -> Result<bool> {
    let name = format!("corelane-demo-{}", std::process::id());
    let folder = arguments.dir.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let result = run(arguments, &folder);
    if matches!(result, Ok(true)) {
        fs::remove_dir_all(&folder)?;
    } else {
        eprintln!(
            "demo: the data and the broker's log are in {}",
            folder.display()
        );
    }
    result
}

/// The whole demo; false if a message was lost or damaged.
fn run(arguments: &Arguments, folder: &Path) -> Result<bool> {
    if let Err(error) = pace::sharpen_sleep() {
        eprintln!("note: the schedule of the floors is coarse: {error}");
    }
    let file = folder.join("lines.txt");
    let bytes = text::make(&file, arguments.lines)?;
    println!(
        "made a text file of {} lines, {bytes} bytes",
        arguments.lines
    );
    let broker = Broker::start(&arguments.broker, folder)?;
    println!("started the broker on {}", broker.address);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (broker, crash) = runtime.block_on(crash::run(broker, text::read(&file)?))?;
    crash.print();

    println!("measuring latency and floors ...");
    let mut floors = floors::Floors::new(folder)?;
    floors.sample(arguments.rate)?;
    let load = steady::Load {
        per_second: arguments.rate,
        seconds: arguments.seconds,
    };
    let steady = runtime.block_on(steady::run(broker.address, load))?;
    floors.sample(arguments.rate)?;

    table::print(folder, load, &steady, &floors);
    crash.print_verdict();
    Ok(crash.is_intact() && steady.is_intact())
}
