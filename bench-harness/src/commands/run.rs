//! `run`: one operating point.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use corelane_bench::load::{self, Floors, Loop, Plan, Quantiles, Report, Verdict};
use corelane_bench::probe::{DiskProbe, EchoProbe, Way};
use corelane_bench::responder::{Responder, ResponderOptions};
use corelane_bench::{clock, machine, pace};

use super::{Output, Waiting};

#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Arguments {
    /// The broker's data port.
    #[arg(long, env = "CORELANE_SERVER", default_value = "127.0.0.1:7400")]
    server: String,
    /// Drives a responder of its own that does nothing, to find the generator's limit.
    #[arg(long)]
    responder: bool,
    /// Open loop: messages per second, at fixed instants.
    #[arg(long, default_value_t = 1000, conflicts_with = "closed")]
    rate: u64,
    /// Closed loop: as fast as the window allows; throughput only.
    #[arg(long)]
    closed: bool,
    /// Enqueues so many messages as fast as the window allows, then lets the consumers take them all.
    #[arg(long, conflicts_with_all = ["closed", "rate"])]
    backlog: Option<u64>,
    /// Bytes of a message's body, 32 at least.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Messages per enqueue.
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Class of the enqueues.
    #[arg(long, value_enum, default_value = "durable")]
    class: Class,
    /// Use queues that keep their messages in memory only; the class is memory then.
    #[arg(long)]
    memory_only: bool,
    /// Producers, each with a sequence of its own.
    #[arg(long, default_value_t = 1)]
    producers: u32,
    /// Consumers; with 0 nothing is delivered, and loss cannot be seen.
    #[arg(long, default_value_t = 1)]
    consumers: u32,
    /// Queues, over which producers and consumers are dealt.
    #[arg(long, default_value_t = 1)]
    queues: u32,
    /// Connections of the producers, and as many of the consumers.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Enqueues that may be unanswered on one connection.
    #[arg(long, default_value_t = 256)]
    window: u32,
    /// Messages that one consumer may hold.
    #[arg(long, default_value_t = 1000)]
    credit: u32,
    /// Lease of the consumers, in milliseconds.
    #[arg(long, default_value_t = 60_000)]
    lease_ms: u32,
    /// Producers without an id: the broker does not look for retries.
    #[arg(long)]
    anonymous: bool,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before them that are not.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds without any sign of life after which the rest is given up.
    #[arg(long, default_value_t = 10.0)]
    drain: f64,
    /// Latency that the run is to judge, in microseconds: the generator and the machine must add little to it.
    #[arg(long, default_value_t = 1000)]
    objective_us: u64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Cores that the threads are pinned to, as `0,1`; without it from the last one down.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// How a thread waits for the next instant.
    #[arg(long, value_enum, default_value = "hybrid")]
    pacing: Waiting,
    /// Verdicts that are not to decide the exit code; a breach always does.
    #[arg(long, value_enum, value_delimiter = ',')]
    accept: Vec<Accepted>,
    /// Measures a raw commit in this folder too, which should lie on the broker's disk.
    #[arg(long)]
    floor_dir: Option<PathBuf>,
    /// Leaves out the floors.
    #[arg(long)]
    no_floors: bool,
    /// What to print.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Class {
    Durable,
    Memory,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Accepted {
    GeneratorLimited,
    Refused,
    Overloaded,
    Noisy,
    TooFewSamples,
}

pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let cores = clock::cores()?;
    let responder = if arguments.responder {
        let options = ResponderOptions {
            core: cores.first().copied(),
            mistake: None,
        };
        Some(Responder::start(options)?)
    } else {
        None
    };
    let target = match &responder {
        Some(responder) => responder.address(),
        None => resolve(&arguments.server)?,
    };
    let plan = plan(arguments, target, &cores)?;
    plan.check()?;
    let floors = if arguments.no_floors {
        None
    } else {
        Some(floors(arguments)?)
    };
    let mut report = load::run(&plan)?;
    report.floors = floors;
    report.machine = machine::describe(
        arguments
            .floor_dir
            .as_deref()
            .unwrap_or_else(|| ".".as_ref()),
    );
    let mut accepted: Vec<Verdict> = arguments.accept.iter().map(|one| one.verdict()).collect();
    if responder.is_some() {
        // Its own limit is what such a run is to find.
        accepted.push(Verdict::GeneratorLimited);
    }
    print(arguments, &report)?;
    Ok(ExitCode::from(load::exit_code(&report.verdicts, &accepted)))
}

fn print(arguments: &Arguments, report: &Report) -> Result<()> {
    if arguments.output == Output::Json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    print!("{report}");
    if arguments.responder {
        println!(
            "one generator of {} threads drives {:.0} messages/s against a responder that does nothing",
            arguments.threads, report.achieved_per_second
        );
    }
    Ok(())
}

fn plan(arguments: &Arguments, target: SocketAddr, cores: &[usize]) -> Result<Plan> {
    let mut run = [0; 8];
    rustix::rand::getrandom(&mut run, rustix::rand::GetRandomFlags::empty())?;
    let pinned = if arguments.cores.is_empty() {
        cores.iter().rev().copied().collect()
    } else {
        arguments.cores.clone()
    };
    Ok(Plan {
        target,
        run: u64::from_le_bytes(run),
        mode: match arguments.backlog {
            Some(messages) => Loop::Backlog { messages },
            None if arguments.closed => Loop::Closed,
            None => Loop::Open {
                per_second: arguments.rate,
            },
        },
        pacing: arguments.pacing.pacing(),
        body_bytes: arguments.size,
        batch: arguments.batch,
        class: match arguments.class {
            Class::Durable if !arguments.memory_only => corelane_wire::CLASS_DURABLE,
            Class::Durable | Class::Memory => corelane_wire::CLASS_MEMORY,
        },
        is_memory_only: arguments.memory_only,
        is_idempotent: !arguments.anonymous,
        queues: arguments.queues,
        producers: arguments.producers,
        consumers: arguments.consumers,
        connections: arguments.connections,
        window: arguments.window,
        credit: arguments.credit,
        lease_ms: arguments.lease_ms,
        threads: arguments.threads,
        cores: pinned,
        warm_up: Duration::try_from_secs_f64(arguments.warm_up)?,
        duration: Duration::try_from_secs_f64(arguments.seconds)?,
        drain: Duration::try_from_secs_f64(arguments.drain)?,
        objective: Duration::from_micros(arguments.objective_us),
    })
}

/// The machine without a broker: an echo of as many bytes as one enqueue has, and a commit.
fn floors(arguments: &Arguments) -> Result<Floors> {
    // A refusal only makes the schedule coarser.
    drop(pace::sharpen_sleep());
    let bytes = 120 + (12 + arguments.size) * arguments.batch as usize;
    let echo = EchoProbe::new(bytes, None)?.run(FLOOR_COUNT, FLOOR_RATE)?;
    let commit = match &arguments.floor_dir {
        Some(folder) => {
            let commit = DiskProbe::new(folder)?.run_at(Way::Blocking, FLOOR_COUNT, FLOOR_RATE)?;
            Some(Quantiles::of(&commit, 1))
        }
        None => None,
    };
    Ok(Floors {
        echo: Quantiles::of(&echo, 1),
        commit,
    })
}

fn resolve(server: &str) -> Result<SocketAddr> {
    let mut found = server
        .to_socket_addrs()
        .with_context(|| format!("{server} is no address"))?;
    match found.next() {
        Some(address) => Ok(address),
        None => bail!("{server} has no address"),
    }
}

impl Accepted {
    const fn verdict(self) -> Verdict {
        match self {
            Self::GeneratorLimited => Verdict::GeneratorLimited,
            Self::Refused => Verdict::Refused,
            Self::Overloaded => Verdict::Overloaded,
            Self::Noisy => Verdict::Noisy,
            Self::TooFewSamples => Verdict::TooFewSamples,
        }
    }
}

/// Enough for a p99, in two seconds.
const FLOOR_COUNT: u32 = 10_000;
const FLOOR_RATE: u32 = 5_000;
