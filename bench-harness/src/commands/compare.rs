//! `compare`: the same load for this broker and others.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use corelane_bench::compare::{self, Load, Terms};
use corelane_bench::load::Verdict;
use corelane_bench::peers::{Class, Peer};

use super::{Output, Waiting};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The brokers, in this order.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "corelane,nats,redis,rabbitmq,beanstalkd"
    )]
    peers: Vec<Name>,
    /// What a confirmation has to promise.
    #[arg(long, value_enum, default_value = "durable")]
    class: Promise,
    /// The `corelane` binary; without it the one beside this program.
    #[arg(long)]
    corelane: Option<PathBuf>,
    /// Folder for the data of all brokers, on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rates of the open loops, in messages per second.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    rates: Vec<u64>,
    /// What is done, in this order.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "open,enqueue,both,drain"
    )]
    loads: Vec<Kind>,
    /// Messages of the backlog that is drained.
    #[arg(long, default_value_t = 200_000)]
    backlog: u64,
    /// How often everything is measured; medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Bytes of a message's body, 32 at least.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Producers, each with a connection of its own.
    #[arg(long, default_value_t = 1)]
    producers: u32,
    /// Consumers, each with a connection of its own.
    #[arg(long, default_value_t = 1)]
    consumers: u32,
    /// Enqueues that may be unanswered on one connection.
    #[arg(long, default_value_t = 256)]
    window: u32,
    /// Messages that one consumer may hold.
    #[arg(long, default_value_t = 1000)]
    credit: u32,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before them that are not.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds without any sign of life after which the rest is given up.
    #[arg(long, default_value_t = 10.0)]
    drain: f64,
    /// How the generator waits for the next instant.
    #[arg(long, value_enum, default_value = "hybrid")]
    pacing: Waiting,
    /// What to print.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    Corelane,
    Nats,
    Redis,
    Rabbitmq,
    Beanstalkd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Promise {
    /// It comes after the message is on stable storage.
    Durable,
    /// It comes before.
    Async,
    /// It comes at once, and nothing is ever written.
    Memory,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// At the rates, consumed at once: latencies.
    Open,
    /// As fast as the window allows, consumed by nobody.
    Enqueue,
    /// The same, and consumed at once.
    Both,
    /// A backlog, consumed.
    Drain,
}

pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let table = compare::run(&terms(arguments)?, |doing| eprintln!("{doing}"))?;
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string(&table)?),
        Output::Text => print!("{table}"),
    }
    Ok(if table.has_breach() {
        ExitCode::from(Verdict::Breach.exit_code())
    } else if table.rows.is_empty() {
        eprintln!("error: none of the brokers is available");
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn terms(arguments: &Arguments) -> Result<Terms> {
    let corelane = match &arguments.corelane {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .context("this program does not know where it lies")?
            .with_file_name("corelane"),
    };
    let loads = arguments.loads.iter().flat_map(|kind| match kind {
        Kind::Open => {
            let open = |&per_second: &u64| Load::Open { per_second };
            arguments.rates.iter().map(open).collect()
        }
        Kind::Enqueue => vec![Load::Enqueue],
        Kind::Both => vec![Load::Both],
        Kind::Drain => vec![Load::Drain {
            messages: arguments.backlog,
        }],
    });
    Ok(Terms {
        peers: arguments.peers.iter().map(|name| name.peer()).collect(),
        class: match arguments.class {
            Promise::Durable => Class::Durable,
            Promise::Async => Class::Async,
            Promise::Memory => Class::Memory,
        },
        corelane,
        folder: arguments.dir.clone(),
        loads: loads.collect(),
        rounds: arguments.rounds,
        body_bytes: arguments.size,
        producers: arguments.producers,
        consumers: arguments.consumers,
        window: arguments.window,
        credit: arguments.credit,
        warm_up: Duration::try_from_secs_f64(arguments.warm_up)?,
        duration: Duration::try_from_secs_f64(arguments.seconds)?,
        drain: Duration::try_from_secs_f64(arguments.drain)?,
        pacing: arguments.pacing.pacing(),
    })
}

impl Name {
    const fn peer(self) -> Peer {
        match self {
            Self::Corelane => Peer::Corelane,
            Self::Nats => Peer::Nats,
            Self::Redis => Peer::Redis,
            Self::Rabbitmq => Peer::Rabbitmq,
            Self::Beanstalkd => Peer::Beanstalkd,
        }
    }
}
