//! Measures what deliveries cost a real broker; the figures are printed and not judged.
//!
//! A message that is early, lost, or comes twice fails the run.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use corelane_tests::crowd::raise_file_limit;
use corelane_tests::figures::{Setting, broadcast, fan_out, lateness, many, overload, run};

/// Scheduled messages, fan-out, broadcasts, many queues, and more than can be taken.
#[derive(Parser)]
struct Options {
    /// Driver of the broker.
    #[arg(long, global = true, default_value = "auto")]
    driver: String,
    /// The broker's binary; the one beside this program if not given.
    #[arg(long, global = true)]
    broker: Option<PathBuf>,
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Subcommand)]
enum Figure {
    /// How late scheduled messages are.
    Lateness {
        #[arg(long, default_value_t = 1_000_000)]
        messages: u64,
        /// Until the first is due.
        #[arg(long, default_value_t = 60)]
        lead_seconds: u64,
        /// From the first due time to the last.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// One queue, many subscriptions.
    FanOut {
        #[arg(long, default_value_t = 10)]
        subscriptions: usize,
        #[arg(long, default_value_t = 1_000_000)]
        messages: u64,
        /// Of a body.
        #[arg(long, default_value_t = 256)]
        bytes: usize,
    },
    /// One broadcast, many consumers.
    Broadcast {
        #[arg(long, default_value_t = 10_000)]
        consumers: usize,
        #[arg(long, default_value_t = 100)]
        messages: u64,
        /// Between two messages.
        #[arg(long, default_value_t = 200)]
        pause_ms: u64,
    },
    /// Queues and subscriptions that nobody uses.
    Many {
        #[arg(long, default_value_t = 10_000)]
        queues: usize,
        #[arg(long, default_value_t = 1_000)]
        subscriptions: usize,
        /// For how long the idle broker is watched.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// More is offered than the broker can take.
    Overload {
        #[arg(long, default_value_t = 10)]
        factor: u64,
        #[arg(long, default_value_t = 300)]
        seconds: u64,
    },
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    raise_file_limit(4_096)?;
    let setting = Setting {
        driver: options.driver,
        binary: options.broker,
    };
    let secs = Duration::from_secs;
    let said = run(async {
        match options.figure {
            Figure::Lateness {
                messages,
                lead_seconds,
                seconds,
            } => lateness(&setting, messages, (secs(lead_seconds), secs(seconds))).await,
            Figure::FanOut {
                subscriptions,
                messages,
                bytes,
            } => fan_out(&setting, subscriptions, (messages, bytes)).await,
            Figure::Broadcast {
                consumers,
                messages,
                pause_ms,
            } => {
                let pause = Duration::from_millis(pause_ms);
                broadcast(&setting, consumers, (messages, pause)).await
            }
            Figure::Many {
                queues,
                subscriptions,
                seconds,
            } => many(&setting, (queues, subscriptions), seconds).await,
            Figure::Overload { factor, seconds } => overload(&setting, factor, secs(seconds)).await,
        }
    })?;
    println!("{said}");
    Ok(())
}
