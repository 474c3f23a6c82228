//! Development tasks of Corelane: `cargo xtask TASK`.
//!
//! Every habit of the project has one command here, and CI runs the same ones.
//! The crate knows none of ours: it starts cargo and the built binaries as processes, so that
//! `cargo xtask demo` compiles nothing but this file, the broker and the demo.
#![expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]

mod ci;
mod demo;
mod fuzz;
mod harness;
mod memory;
mod shell;
mod summary;
mod testing;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask TASK [ARGUMENT]...

  demo                      build, run real messages through a real broker, kill it, restart it
  test [FILTER]...          all tests: cargo nextest where installed, else cargo test; doctests
  test --driver NAME [FILTER]...
                            the tests of the drivers, and those that start brokers, over this one
  ci                        what CI runs: fmt, tidy, clippy, rustdoc, book, deny, tests,
                            loom, simulation, model, crash states, bit flips, instructions,
                            canaries, fuzz smoke
  floor-ratio [ARGUMENT]... latency of the broker over the floors of this machine, in pairs; exit
                            code 20 above 1.3; for example --pairs 9, or -- --driver epoll
  tidy [--bless]            repository rules; --bless rewrites the source hashes in docs/
  sim [ARGUMENT]...         deterministic simulation, for example --seeds 20000 or --seed 7
  model [ARGUMENT]...       the engine beside a reference model, operation by operation, for example
                            --seeds 100000, or --seed 7 --seeds 1
  crash-states [ARGUMENT]...
                            what a crash at any moment can leave on the disk, judged state by state,
                            for example --states 1000000, or --seed 7 --state 0.29
  bit-flips [ARGUMENT]...   one bit after the other of a data directory, and what is made of it,
                            for example --flips 100000
  mutants [ARGUMENT]...     simulation against planted bugs, each of which must be found;
                            --canary runs the four of CI, --list names all
  kill-rounds [ARGUMENT]... SIGKILL under load, restart, ledger check, for example --rounds 200
  power-cuts [ARGUMENT]...  the same with power cuts: unsynced pages are lost or torn (needs FUSE)
  backup-rounds [ARGUMENT]...
                            backups of a broker under load, restored and checked by the ledger,
                            for example --rounds 20 --bytes-per-second 50000000
  backlog [ARGUMENT]...     a long backlog through SIGKILL and a start from a cold page cache,
                            for example --messages 10000000
  disk-full [ARGUMENT]...   a broker on a small ext4 and a small tmpfs that it fills, drains and fills
                            again (needs the right to mount), for example --mebibytes 256
  crowd [ARGUMENT]...       what connections by the thousand cost, for example --driver uring
  figures FIGURE            what deliveries cost: lateness, fan-out, broadcast, many or overload, each with
                            arguments, for example fan-out --subscriptions 10
  instructions [--bless]    instructions per enqueue, delivery and ack, against the baseline on
                            file; --bless rewrites it, --keep FOLDER keeps the profiles
  fuzz [TARGET] [--smoke | --seconds N]
                            libFuzzer on the pinned stable toolchain
  loom                      the interleavings of the mailbox's models
  miri [FILTER]...          unit tests of wire and core under Miri (nightly toolchain)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(task, rest) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask {task}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &str, rest: &[String]) -> Result<ExitCode> {
    match task {
        "floor-ratio" => {
            let code = demo::floor_ratio(rest)?.code();
            return Ok(code
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from));
        }
        "demo" => demo::run(rest),
        "test" => testing::run(rest),
        "ci" => ci::run(rest),
        "tidy" => tidy::run(rest),
        "sim" | "model" | "crash-states" | "bit-flips" | "mutants" | "kill-rounds"
        | "backup-rounds" | "backlog" | "disk-full" | "crowd" | "figures" | "instructions" => {
            harness::run(task, rest)
        }
        "power-cuts" => {
            let power_cuts = std::iter::once("--power-cuts".to_owned());
            let arguments: Vec<String> = power_cuts.chain(rest.iter().cloned()).collect();
            harness::run("kill-rounds", &arguments)
        }
        "fuzz" => fuzz::run(rest),
        "loom" => memory::loom(rest),
        "miri" => memory::miri(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("unknown task {task:?}\n\n{USAGE}"),
    }?;
    Ok(ExitCode::SUCCESS)
}
