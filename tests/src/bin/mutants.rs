//! Runs the simulation, and unit tests, against builds with one planted bug each, which must be found.

#![expect(clippy::print_stdout, reason = "the verdict is this program's output")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use corelane_tests::mutants::{self, Draw, Selection};

/// The simulation against planted bugs, each of which must be found.
#[derive(Debug, Parser)]
#[command(name = "mutants")]
struct Arguments {
    /// Only those without which nothing else means anything; CI runs them.
    #[arg(long, conflicts_with = "only")]
    canary: bool,
    /// Only the mutant of this name; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Lists the mutants and what is expected to find them.
    #[arg(long)]
    list: bool,
    /// A mutant that lives through so many seeds has survived.
    #[arg(long, default_value_t = 3_000)]
    seeds: u64,
    /// Instead of the mutants on file, so many of those that cargo-mutants proposes.
    #[arg(long, requires = "seed", conflicts_with_all = ["only", "canary", "list"])]
    drawn: Option<usize>,
    /// What draws them.
    #[arg(long)]
    seed: Option<u64>,
    /// Goes on behind so many draws, as a run that was cut off numbered them.
    #[arg(long, requires = "drawn", default_value_t = 0)]
    skip: usize,
    /// The program cargo-mutants.
    #[arg(long, default_value = "cargo-mutants")]
    lister: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let selection = if arguments.canary {
        Selection::Canaries
    } else if arguments.only.is_empty() {
        Selection::All
    } else {
        Selection::Named(arguments.only)
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let result = if let (Some(count), Some(seed)) = (arguments.drawn, arguments.seed) {
        let skip = arguments.skip;
        mutants::run_drawn(&root, &arguments.lister, &Draw { count, seed, skip })
    } else if arguments.list {
        mutants::list(&root, &selection).map(|()| true)
    } else {
        mutants::run(&root, &selection, arguments.seeds)
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}
