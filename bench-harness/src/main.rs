//! `corelane-bench`: load on a broker, and the floors of the machine below it.
#![expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::commands::{floor_ratio, probe, responder, run};

/// Measures a broker, and what the machine does without one.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Loads a broker, measures it, and verifies every message.
    Run(Box<run::Arguments>),
    /// Answers like a broker and does nothing: the measure of the generator itself.
    Responder(responder::Arguments),
    /// Measures what the machine does without any broker.
    Probe(probe::Arguments),
    /// Measures a broker beside the floors of its machine, in pairs; exit code 20 if it is too far above.
    FloorRatio(floor_ratio::Arguments),
    /// Prints the JSON Schema of what `run --output json` prints.
    Schema,
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run(arguments) => run::execute(&arguments),
        Command::Responder(arguments) => responder::execute(&arguments),
        Command::Probe(arguments) => probe::execute(&arguments),
        Command::FloorRatio(arguments) => floor_ratio::execute(arguments),
        Command::Schema => {
            print!("{}", corelane_bench::load::SCHEMA);
            Ok(ExitCode::SUCCESS)
        }
    }
}
