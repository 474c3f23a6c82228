//! `floor-ratio`: how far above the floors a broker is.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use corelane_bench::floor_ratio::{FloorRatio, RATIO_MAX};
use corelane_bench::machine;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The broker; without it the one that lies beside this program.
    #[arg(long)]
    corelane: Option<PathBuf>,
    /// Folder on the disk to measure; 512 MiB must be free.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Pairs of floors and broker; the result is their median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pairs: u32,
    /// Seconds at 1,000 messages a second, 11 at least; a third of it at 10,000.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(11..=3_600))]
    seconds: u64,
    /// Arguments of `corelane serve`, as `-- --driver epoll`.
    #[arg(last = true)]
    serve: Vec<String>,
}

pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode> {
    let corelane = match arguments.corelane {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("corelane"),
    };
    let corelane = corelane.canonicalize().with_context(|| {
        format!(
            "no broker at {}: build it, or name it with --corelane",
            corelane.display()
        )
    })?;
    // One shard: its core is the one that the floors are measured on.
    let mut serve = vec!["--cores".to_owned(), "1".to_owned()];
    serve.extend(arguments.serve);
    println!("{}", machine::describe(&arguments.dir));
    println!("corelane serve {}", serve.join(" "));
    println!("medians in us; of the broker p50/p99");
    let floor_ratio = FloorRatio {
        corelane,
        serve,
        folder: arguments.dir,
        pairs: arguments.pairs,
        duration: Duration::from_secs(arguments.seconds),
    };
    let ratios = floor_ratio.measure(|pair| println!("{pair}"))?;
    println!("{ratios}");
    if ratios.is_near() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("the broker is more than {RATIO_MAX} times above the floor");
    Ok(ExitCode::from(TOO_FAR))
}

const TOO_FAR: u8 = 20;
