//! Runs seeds of the reference model beside the engine.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use corelane_tests::model::run::{Options, run};

/// The engine beside a reference model: random operations, crashes and starts, equal at every step.
#[derive(Debug, Parser)]
#[command(name = "model")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, alias = "start", default_value_t = 1)]
    seed: u64,
    /// Operations of each seed.
    #[arg(long, default_value_t = 500)]
    steps: u64,
    /// Threads; 0 stands for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Accepts a run in which a pair of features never met.
    #[arg(long, alias = "no-coverage")]
    no_pairs: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        seeds: arguments.seeds,
        seed: arguments.seed,
        steps: arguments.steps,
        jobs: arguments.jobs,
        needs_pairs: !arguments.no_pairs,
    };
    // Not locked: a panic in a thread of the run has to name its seed.
    let mut out = std::io::stdout();
    let is_well = matches!(run(&options, &mut out), Ok(true)) && out.flush().is_ok();
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
