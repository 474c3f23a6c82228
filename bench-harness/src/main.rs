//! `corelane-bench`: load on a broker, and the floors of the machine below it.
#![expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

#[cfg(feature = "peers")]
use self::commands::compare;
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
    /// Loads this broker and others with the same, one after the other.
    #[cfg(feature = "peers")]
    Compare(Box<compare::Arguments>),
    /// Prints the JSON Schema of what a command prints with `--output json`.
    Schema {
        /// The command.
        #[arg(value_enum, default_value = "run")]
        of: Schema,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Schema {
    Run,
    #[cfg(feature = "peers")]
    Compare,
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run(arguments) => run::execute(&arguments),
        Command::Responder(arguments) => responder::execute(&arguments),
        Command::Probe(arguments) => probe::execute(&arguments),
        Command::FloorRatio(arguments) => floor_ratio::execute(arguments),
        #[cfg(feature = "peers")]
        Command::Compare(arguments) => compare::execute(&arguments),
        Command::Schema { of } => {
            print!("{}", of.text());
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Schema {
    const fn text(self) -> &'static str {
        match self {
            Self::Run => corelane_bench::load::SCHEMA,
            #[cfg(feature = "peers")]
            Self::Compare => corelane_bench::compare::SCHEMA,
        }
    }
}
