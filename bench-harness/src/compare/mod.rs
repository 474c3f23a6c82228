//! The comparison behind `corelane-bench compare`: one workload, several brokers, in turns.
//!
//! A *cell* is one broker under one load in one round: it is started on an empty folder, loaded, and killed, so that
//! no cell sees what another left behind and no other broker idles beside it. Rounds go over the loads, and every load
//! over all brokers, each round beginning with another one; what is shown is the median over the rounds.
//!
//! # Invariants
//!
//! (D1) All brokers get the same plan, the same core and the same generator on another core.
//! (D2) A broker that is not available has no figures, and its reason instead.
//! (D3) The floors of the machine are measured in every round, and stand beside the figures.

mod report;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use self::report::{Comparison, Figures, Floor, Row, SCHEMA, Subject};
use crate::load::{Loop, Pacing, Plan, Quantiles, Report};
use crate::peers::{Class, Peer, Setting};
use crate::probe::{DiskProbe, EchoProbe, Way};
use crate::{clock, machine, pace};

/// What is compared, and how.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The brokers.
    pub peers: Vec<Peer>,
    /// What their confirmations have to promise.
    pub class: Class,
    /// The `corelane` binary.
    pub corelane: PathBuf,
    /// Folder in which every start gets one of its own; it should lie on a real disk.
    pub folder: PathBuf,
    /// What each broker has to do.
    pub loads: Vec<Load>,
    /// How often; medians over them are shown.
    pub rounds: u32,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Producers and consumers, each with a connection of its own.
    pub producers: u32,
    /// See [`Terms::producers`].
    pub consumers: u32,
    /// Enqueues that may be unanswered on one connection.
    pub window: u32,
    /// Messages that one consumer may hold.
    pub credit: u32,
    /// See [`Plan::warm_up`].
    pub warm_up: Duration,
    /// See [`Plan::duration`].
    pub duration: Duration,
    /// See [`Plan::drain`].
    pub drain: Duration,
    /// How the generator waits.
    pub pacing: Pacing,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Enqueued at fixed instants and consumed at once: latencies.
    Open {
        /// Messages per second.
        per_second: u64,
    },
    /// Enqueued as fast as the window allows, consumed by nobody.
    Enqueue,
    /// The same, and consumed at once.
    Both,
    /// A backlog, consumed.
    Drain {
        /// Messages of it.
        messages: u64,
    },
}

/// Runs it all. `progress` is told what is being done.
///
/// # Errors
/// If the plan cannot be run, or a broker that has started ends a connection or answers what it must not.
pub fn run(terms: &Terms, mut progress: impl FnMut(&str)) -> Result<Comparison> {
    ensure!(terms.rounds > 0, "no rounds, no figures");
    let cores = clock::cores()?;
    // The first and the last, if there are two.
    let pair = cores
        .first()
        .copied()
        .zip(cores.get(1..).and_then(<[_]>::last).copied());
    let mut table = Comparison::new(terms, pair, machine::describe(&terms.folder));
    for &peer in &terms.peers {
        progress(&format!("looking for {}", peer.name()));
        let subject = cell(terms, pair, |setting| Ok(inspect(peer, setting)))?;
        table.add_subject(subject);
    }
    let available = table.available();
    if available.is_empty() {
        return Ok(table);
    }
    for round in 0..terms.rounds {
        progress(&format!("round {} of {}: floors", round + 1, terms.rounds));
        let (commit, echo) = floors(terms, pair)?;
        table.add_floors(commit, echo);
        for &load in &terms.loads {
            for index in 0..available.len() {
                let peer = available[(index + round as usize) % available.len()];
                progress(&format!(
                    "round {}: {}, {}",
                    round + 1,
                    load.name(),
                    peer.name()
                ));
                let report = cell(terms, pair, |setting| {
                    peer.start(setting)?.run(&plan(terms, load, pair)?)
                });
                let report = report.with_context(|| format!("{} fails", peer.name()))?;
                table.add(peer, load, &report);
            }
        }
    }
    Ok(table)
}

/// Gives `action` the setting of one start, in a folder that is gone afterwards.
fn cell<T>(
    terms: &Terms,
    pair: Option<(usize, usize)>,
    action: impl FnOnce(&Setting<'_>) -> Result<T>,
) -> Result<T> {
    let folder = Folder::new(&terms.folder)?;
    action(&Setting {
        folder: &folder.path,
        class: terms.class,
        core: pair.map(|(first, _)| first),
        corelane: &terms.corelane,
    })
}

/// Version and configuration, or why there is none: it is started once to know.
fn inspect(peer: Peer, setting: &Setting<'_>) -> Subject {
    let version = peer.version(setting);
    let server = match &version {
        Ok(_) => peer.start(setting),
        Err(_) => Err(anyhow::anyhow!("")),
    };
    let reason = match (&version, &server) {
        (Err(error), _) | (_, Err(error)) => Some(format!("{error:#}")),
        (Ok(_), Ok(_)) => None,
    };
    let configuration = server.map_or_else(|_| Vec::new(), |server| server.configuration.clone());
    let folder = setting.folder.display().to_string();
    let configuration = configuration
        .iter()
        .map(|line| line.replace(&folder, "DIR"));
    Subject {
        peer: peer.name(),
        version: version.ok(),
        shape: peer.shape(),
        configuration: configuration.collect(),
        not_available: reason.map(|reason| reason.replace(&folder, "DIR")),
    }
}

fn plan(terms: &Terms, load: Load, pair: Option<(usize, usize)>) -> Result<Plan> {
    let mut run = [0; 8];
    rustix::rand::getrandom(&mut run, rustix::rand::GetRandomFlags::empty())?;
    // The peer fills in its address.
    let nowhere = ([127, 0, 0, 1], 0).into();
    Ok(Plan {
        mode: match load {
            Load::Open { per_second } => Loop::Open { per_second },
            Load::Enqueue | Load::Both => Loop::Closed,
            Load::Drain { messages } => Loop::Backlog { messages },
        },
        pacing: terms.pacing,
        // Peers are configured for it; this broker is asked for it with every enqueue.
        class: match terms.class {
            Class::Durable => corelane_wire::CLASS_DURABLE,
            Class::Async | Class::Memory => corelane_wire::CLASS_MEMORY,
        },
        is_memory_only: terms.class == Class::Memory,
        body_bytes: terms.body_bytes,
        producers: terms.producers,
        consumers: if load == Load::Enqueue {
            0
        } else {
            terms.consumers
        },
        window: terms.window,
        credit: terms.credit,
        cores: pair.map(|(_, last)| last).into_iter().collect(),
        warm_up: terms.warm_up,
        duration: terms.duration,
        drain: terms.drain,
        ..Plan::new(nowhere, u64::from_le_bytes(run))
    })
}

/// A commit in the folder of the brokers, and an echo of as many bytes as one enqueue has; on the cores that the brokers
/// and the generator have.
fn floors(terms: &Terms, pair: Option<(usize, usize)>) -> Result<(Quantiles, Quantiles)> {
    // A refusal only makes the schedule coarser.
    drop(pace::sharpen_sleep());
    let folder = Folder::new(&terms.folder)?;
    let (first, last) = pair.unzip();
    let disk = DiskProbe::new(&folder.path)?;
    let commit = || disk.run_at(Way::Blocking, FLOOR_COUNT, FLOOR_RATE);
    let commit = clock::on_core(first, commit)??;
    let mut echo = EchoProbe::new(ENQUEUE_HEAD_BYTES + terms.body_bytes, first)?;
    let echo = clock::on_core(last, || echo.run(FLOOR_COUNT, FLOOR_RATE))??;
    Ok((Quantiles::of(&commit, 1), Quantiles::of(&echo, 1)))
}

impl Load {
    /// What it is called.
    pub fn name(self) -> String {
        match self {
            Self::Open { per_second } => format!("open {per_second}/s"),
            Self::Enqueue => "enqueue only".to_owned(),
            Self::Both => "enqueue and consume".to_owned(),
            Self::Drain { messages } => format!("drain {messages}"),
        }
    }

    /// Messages per second of this kind of work; what went through, not what was tried.
    fn per_second(self, report: &Report) -> f64 {
        match self {
            Self::Open { .. } | Self::Enqueue => report.achieved_per_second,
            Self::Both | Self::Drain { .. } => report.consumed_per_second.unwrap_or_default(),
        }
    }
}

/// An empty folder; it is removed when it is dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(parent: &Path) -> Result<Self> {
        let mut name = [0; 4];
        rustix::rand::getrandom(&mut name, rustix::rand::GetRandomFlags::empty())?;
        let path = parent.canonicalize()?;
        let path = path.join(format!("compare-{:08x}", u32::from_le_bytes(name)));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left then is for whoever looks into the parent.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Enough for a p99, in two seconds.
const FLOOR_COUNT: u32 = 10_000;
const FLOOR_RATE: u32 = 5_000;
/// Of an enqueue of one message over Corelane's protocol.
const ENQUEUE_HEAD_BYTES: usize = 132;

#[cfg(test)]
mod tests;
