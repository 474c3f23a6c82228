//! Counts the instructions that a message costs, and compares them with the baseline.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::Parser;
use corelane_tests::instructions::{
    Baseline, Figures, Origin, Placement, Verdict, count, last_line, table, walk,
};

/// Instructions of the shard loop per enqueue, delivery and ack, compared with the baseline on file.
#[derive(Debug, Parser)]
#[command(name = "instructions")]
struct Arguments {
    /// Writes what is counted into the baseline.
    #[arg(long)]
    bless: bool,
    /// Another baseline than that of the repository.
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Keeps what Callgrind wrote in this folder, for `callgrind_annotate`.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Only goes through the steps: this is what runs under Valgrind.
    #[arg(long, conflicts_with = "bless")]
    walk: Option<Placement>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(placement) = arguments.walk {
        walk(placement);
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True unless a figure is beyond the tolerance.
fn run(arguments: &Arguments) -> Result<bool> {
    let path = arguments.baseline.clone().unwrap_or_else(Baseline::path);
    let origin = Origin::here()?;
    let counted = count_all(arguments.keep.clone())?;
    if arguments.bless {
        print!("{}", table(&counted, Baseline::read(&path).ok().as_ref()));
        let baseline = Baseline {
            origin,
            instructions_per_message: counted,
        };
        baseline.write(&path)?;
        let comment = "now the baseline";
        println!("{}", last_line(&baseline.instructions_per_message, comment));
        return Ok(true);
    }
    let baseline = Baseline::read(&path)?;
    print!("{}", table(&counted, Some(&baseline)));
    for difference in origin.differences(&baseline.origin) {
        println!("note: {difference}; figures may differ for that reason alone");
    }
    if origin.arch != baseline.origin.arch {
        let comment = "not compared: the baseline is that of another kind of processor";
        println!("{}", last_line(&counted, comment));
        return Ok(true);
    }
    let verdict = Verdict::of(&counted, &baseline);
    print!("{verdict}");
    println!("{}", last_line(&counted, verdict.comment()));
    Ok(verdict == Verdict::Within)
}

fn count_all(keep: Option<PathBuf>) -> Result<BTreeMap<String, Figures>> {
    let temporary = tempfile::tempdir()?;
    let folder = keep.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    thread::scope(|scope| {
        let counting = Placement::ALL.map(|placement| {
            let folder = &folder;
            (placement, scope.spawn(move || count(placement, folder)))
        });
        let counted = counting.map(|(placement, thread)| {
            let figures = thread.join().expect("counting does not panic")?;
            Ok((placement.name().to_owned(), figures))
        });
        counted.into_iter().collect()
    })
}
