//! Flips bits of a data directory, one by one, and reads everything after each.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use corelane_tests::crash::flips::{Options, run};

/// Bit flips under Corelane: every byte of what describes, and random bits of what is kept.
#[derive(Debug, Parser)]
#[command(name = "bit-flips")]
struct Arguments {
    /// Random flips in the data of closed segments.
    #[arg(long, default_value_t = 10_000)]
    flips: u64,
    /// Of headers, footers, checkpoints and superblock, every so many byte is flipped.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    stride: u32,
    /// The seed of the first directory.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; 0 stands for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    let options = Options {
        flips: arguments.flips,
        stride: arguments.stride as usize,
        seed: arguments.seed,
        jobs: arguments.jobs,
    };
    let is_clean = run(&options, &mut out);
    if matches!(is_clean, Ok(true)) && out.flush().is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
