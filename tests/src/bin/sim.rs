//! Runs seeds of the deterministic simulation.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use corelane_tests::sim::run::{Options, replay, run};

/// The deterministic simulation of Corelane: one node over a simulated disk, network and clock.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// Replays this one seed and prints what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; 0 stands for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Replays without printing what happens.
    #[arg(long)]
    quiet: bool,
    /// Accepts a run in which a required counter stayed 0.
    #[arg(long)]
    no_coverage: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Not locked: a panic in a thread of the run has to name its seed.
    let mut out = std::io::stdout();
    if arguments.seed.is_some() && !arguments.quiet {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(std::io::stderr)
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .init();
    }
    let result = match arguments.seed {
        Some(seed) => replay(seed, !arguments.quiet, &mut out),
        None => run(
            &Options {
                seeds: arguments.seeds,
                start: arguments.start,
                jobs: arguments.jobs,
                needs_coverage: !arguments.no_coverage,
            },
            &mut out,
        ),
    };
    let is_well = matches!(result, Ok(true)) && out.flush().is_ok();
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
