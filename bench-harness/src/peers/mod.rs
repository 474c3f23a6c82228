//! Other brokers, from the packages of a distribution, loaded by the same generator.
//!
//! | type | what it is |
//! |---|---|
//! | [`Peer`] | a broker by name: how it is found, started, and spoken to |
//! | [`Class`] | what a confirmation promises; figures of different classes never stand beside each other |
//! | [`Setting`] | folder, class and core of one start |
//! | [`Server`] | a started broker: its processes, where it listens, how it was configured |
//!
//! Every protocol is spoken by the generator itself, over the same non-blocking sockets: each peer has a module with
//! the few words of its protocol that a work queue needs. Producers and consumers have a connection each.
//!
//! # What every peer does
//!
//! An enqueue is one message with its confirmation, pipelined up to the window. A consumer takes messages as its
//! protocol hands out several best, and settles every one of them: those that came in one read together, in the
//! shortest form that the protocol has.
//!
//! # Invariants
//!
//! (C1) A peer that is missing, does not start, or cannot give the class is *not available*, with the reason; nothing
//! else is measured in its place.
//! (C2) A start has a folder and ports of its own, and nothing of it runs when its [`Server`] is dropped.
//!
//! # Tests
//!
//! Unit: each protocol's answers and deliveries are read when they come byte by byte, and refusals keep their words.
//! With each installed peer, in `tests/peers.rs`: open and closed loop and backlog are intact.

mod amqp;
mod beanstalkd;
mod corelane;
mod lines;
mod nats;
mod rabbitmq;
mod redis;

use std::env;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::clock;
use crate::load::{self, Broker, Connection, Plan, Report};
use crate::process::Process;

/// A broker that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The broker of this project.
    Corelane,
    /// NATS with `JetStream`: a stream with work-queue retention.
    Nats,
    /// A Redis stream with a consumer group.
    Redis,
    /// A quorum queue of `RabbitMQ`.
    Rabbitmq,
    /// A tube of beanstalkd.
    Beanstalkd,
}

/// What a confirmation promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It comes after the message is on stable storage.
    Durable,
    /// It comes before; what is written reaches stable storage some time later.
    Async,
    /// It comes at once, and nothing is ever written.
    Memory,
}

/// One start of a broker.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Empty, and this start's alone.
    pub folder: &'a Path,
    /// What confirmations have to promise.
    pub class: Class,
    /// The core that all its processes keep to.
    pub core: Option<usize>,
    /// The `corelane` binary.
    pub corelane: &'a Path,
}

/// A broker that serves; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    peer: Peer,
    processes: Vec<Process>,
    address: SocketAddr,
    /// How it was started: command line and what else was set.
    pub configuration: Vec<String>,
}

impl Peer {
    /// All, the broker of this project first.
    pub const ALL: [Self; 5] = [
        Self::Corelane,
        Self::Nats,
        Self::Redis,
        Self::Rabbitmq,
        Self::Beanstalkd,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Corelane => "corelane",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Beanstalkd => "beanstalkd",
        }
    }

    /// What is used of it.
    pub const fn shape(self) -> &'static str {
        match self {
            Self::Corelane => "queue, ids of producers, pushed deliveries",
            Self::Nats => "JetStream, work-queue retention, pushed deliveries",
            Self::Redis => "stream, XADD, XREADGROUP, XACK (nothing is trimmed)",
            Self::Rabbitmq => "quorum queue, publisher confirms, pushed deliveries",
            Self::Beanstalkd => "tube, put, reserve, delete",
        }
    }

    /// The version of what is installed.
    ///
    /// # Errors
    /// If it is not.
    pub fn version(self, setting: &Setting<'_>) -> Result<String> {
        match self {
            Self::Corelane => corelane::version(setting),
            Self::Nats => nats::version(),
            Self::Redis => redis::version(),
            Self::Rabbitmq => rabbitmq::version(),
            Self::Beanstalkd => beanstalkd::version(),
        }
    }

    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// Why it is not available.
    pub fn start(self, setting: &Setting<'_>) -> Result<Server> {
        let start = || match self {
            Self::Corelane => corelane::start(setting),
            Self::Nats => nats::start(setting),
            Self::Redis => redis::start(setting),
            Self::Rabbitmq => rabbitmq::start(setting),
            Self::Beanstalkd => beanstalkd::start(setting),
        };
        clock::on_core(setting.core, start)?
    }
}

impl Server {
    /// Runs the plan against it.
    ///
    /// # Errors
    /// As [`load::run`].
    pub fn run(&self, plan: &Plan) -> Result<Report> {
        ensure!(
            plan.batch == 1 && plan.queues == 1,
            "peers get one message per enqueue, in one queue"
        );
        let plan = &Plan {
            target: self.address,
            // The fewest that give every producer and every consumer one of its own.
            connections: plan.producers.max(plan.consumers),
            is_idempotent: self.peer == Peer::Corelane,
            ..plan.clone()
        };
        let address = self.address;
        match self.peer {
            Peer::Corelane => self.measure(plan, load::Corelane::connect(address)?),
            Peer::Nats => self.measure(plan, nats::Nats { address }),
            Peer::Redis => self.measure(plan, redis::Redis { address }),
            Peer::Rabbitmq => self.measure(plan, rabbitmq::Rabbitmq { address }),
            Peer::Beanstalkd => self.measure(plan, beanstalkd::Beanstalkd { address }),
        }
    }

    fn measure<B: Broker>(&self, plan: &Plan, broker: B) -> Result<Report> {
        let processes = &self.processes;
        load::run_on(plan, &mut Measured { broker, processes })
    }
}

/// A broker whose processes are known.
struct Measured<'a, B> {
    broker: B,
    processes: &'a [Process],
}

impl<B: Broker> Broker for Measured<'_, B> {
    type Producers = B::Producers;
    type Consumers = B::Consumers;

    fn prepare(&mut self, plan: &Plan) -> Result<String> {
        self.broker.prepare(plan)
    }

    fn producers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(Connection, Self::Producers)> {
        self.broker.producers(plan, indices)
    }

    fn consumers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(Connection, Self::Consumers)> {
        self.broker.consumers(plan, indices)
    }

    fn cpu(&self) -> Result<Option<Duration>> {
        let times = self.processes.iter().map(Process::cpu);
        Ok(Some(times.sum::<Result<Duration>>()?))
    }

    fn clear(&mut self, plan: &Plan) -> Result<()> {
        self.broker.clear(plan)
    }
}

/// A program on the path of this process.
fn find(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates = env::split_paths(&path).map(|folder| folder.join(program));
    candidates
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} is not installed, or not on PATH"))
}

/// What the program prints about its version, between `before` and the next space.
fn ask_version(command: &mut Command, before: &str) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some((_, version)) = text.split_once(before) else {
        bail!("it does not tell its version: {text}");
    };
    Ok(version.split_whitespace().next().unwrap_or("").to_owned())
}

/// A port of the loopback that nobody uses at the moment.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Waits until somebody accepts connections there.
fn wait_until_open(process: &mut Process, what: &str, address: SocketAddr) -> Result<()> {
    process.wait_for(what, || TcpStream::connect(address).ok().map(drop))
}

/// The command line as a person would type it.
fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let word = |word: &OsStr| match word.to_string_lossy() {
        word if word.is_empty() => "''".to_owned(),
        word => word.into_owned(),
    };
    words.map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
