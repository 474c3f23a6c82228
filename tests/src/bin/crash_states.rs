//! Judges what crashes can leave on the disk, state by state.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use corelane_tests::crash::run::{Options, StateId, replay, run};

/// Crash states of Corelane: a script of client operations, and a crash at every moment of it.
#[derive(Debug, Parser)]
#[command(name = "crash-states")]
struct Arguments {
    /// How many states to judge.
    #[arg(long, default_value_t = 20_000)]
    states: u64,
    /// The seed of the first script.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Judges this one state of the seed and prints what it is.
    #[arg(long)]
    state: Option<StateId>,
    /// Threads; 0 stands for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Not locked: a panic in a thread of the run has to name its state.
    let mut out = std::io::stdout();
    let result = match arguments.state {
        Some(state) => replay(arguments.seed, state, &mut out),
        None => run(
            &Options {
                states: arguments.states,
                seed: arguments.seed,
                jobs: arguments.jobs,
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
