//! A whole broker: from a configuration to running shards, and back to an orderly end.
//!
//! The start goes in this order, and whatever fails on the way leaves nothing behind: limit of
//! open files, data directory with its lock, `starts` raised in the superblock, every partition
//! recovered (in parallel), ports bound, drivers made, shards pinned and started. A shard listens
//! only when its partitions have committed the epoch of this start. The calling thread then
//! becomes the control plane.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use corelane_wire::SessionId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::data::Data;
use self::drivers::Drivers;
use self::making::{Making, Outside};
use self::ports::Ports;
use self::threads::{Ended, Threads};
use crate::clock::Clock;
use crate::config::{Config, keys};
use crate::control::{self, Observed};
use crate::driver::native::NativeKind;

mod data;
mod drivers;
mod embedded;
mod error;
mod limits;
mod making;
mod port_file;
mod ports;
mod threads;

pub(crate) use self::data::draw as draw_id;
pub use self::embedded::{Embedded, EmbeddedBuilder};
pub use self::error::StartError;
pub use self::limits::{FilesNeeded, files_needed, usable_cores};
pub use self::port_file::PortFile;

/// A broker whose shards run.
#[derive(Debug)]
pub struct Broker {
    addresses: Addresses,
    facts: Facts,
    observed: Arc<Observed>,
    threads: Threads,
    ended: mpsc::Receiver<Ended>,
    control: std::net::TcpListener,
    watchdog: Duration,
    stop_timeout: Duration,
    port_file: PortFile,
}

/// Where a broker can be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The shared port.
    pub data: SocketAddr,
    /// The own port of each shard.
    pub shards: Vec<SocketAddr>,
    /// The control port.
    pub control: SocketAddr,
}

/// What a start found, for the lines that it prints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The core of each shard; empty where shards are not pinned.
    pub cores: Vec<usize>,
    /// Partitions of the data directory.
    pub partitions: u32,
    /// Those that recovery found damaged.
    pub damaged: Vec<u32>,
    /// Records that recovery replayed.
    pub records: u64,
    /// How long recovery took.
    pub recovery: Duration,
    /// The epoch of this start.
    pub epoch: u64,
    /// The driver that the shards run on.
    pub driver: NativeKind,
    /// Whether the file system takes direct writes.
    pub is_direct: bool,
}

impl Addresses {
    fn shard_ports(&self) -> Vec<u16> {
        self.shards.iter().map(SocketAddr::port).collect()
    }
}

impl Broker {
    /// Starts a broker.
    ///
    /// # Errors
    /// With cause, setting and command, if something that it needs is not there.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, data::draw_session)
    }

    fn start_with(config: &Config, draw_session: fn() -> SessionId) -> Result<Self, StartError> {
        // First, because recovery opens segments of many partitions at once.
        let file_limit = limits::raise_file_limit();
        let port_file = PortFile::claim(config)?;
        let clock = Clock::start();
        let data = Data::open(config)?;
        let connections_max = limits::connections_per_shard(config, file_limit, data.partitions)?;
        let ports = Ports::bind(config)?;
        let control = bind_control(config)?;
        let addresses = Addresses {
            data: ports.shared_address,
            shards: ports.own_addresses.clone(),
            control: control
                .local_addr()
                .map_err(|error| refuse_control(config, &error))?,
        };
        let drivers = Drivers {
            config,
            volumes: &data.volumes,
            clock: &clock,
            connections_max,
        };
        let drivers = drivers.make()?;
        let facts = data.facts(drivers[0].kind(), pinned_cores(config));
        let making = Making {
            config,
            connections_max,
            clock,
            topology: making::topology(
                data.partitions,
                addresses.data.port(),
                &addresses.shard_ports(),
            ),
            draw_session,
        };
        let outside = Outside::of(&drivers);
        let drivers = making::reachable(ports, drivers)?;
        let made = making.shards(data, drivers, outside);
        let observed = Arc::clone(&made.observed);
        let (threads, ended) = Threads::spawn(made, &facts.cores)
            .map_err(|error| StartError::plain(&format!("cannot start a shard: {error}")))?;
        Ok(Self {
            addresses,
            facts,
            observed,
            threads,
            ended,
            control,
            watchdog: config.watchdog,
            stop_timeout: config.stop_timeout,
            port_file,
        })
    }

    /// Where it can be reached.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What its start found.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Makes the calling thread the control plane until SIGTERM or SIGINT has been served.
    /// `on_ready` runs once, when clients are served.
    ///
    /// # Errors
    /// If a shard failed, or the control plane could not be started.
    pub fn run(self, on_ready: impl FnOnce(&Addresses, &Facts)) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.control(on_ready))
    }

    async fn control(mut self, on_ready: impl FnOnce(&Addresses, &Facts)) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let listener = tokio::net::TcpListener::from_std(self.control.try_clone()?)?;
        let server = tokio::spawn(control::serve(listener, Arc::clone(&self.observed)));
        let watcher = tokio::spawn(control::watch(Arc::clone(&self.observed), self.watchdog));
        let result = tokio::select! {
            result = self.serve(on_ready) => result,
            () = signals.next() => Ok(()),
        };
        // A shard that has stopped stands still; `stop_timeout` bounds one that does not.
        watcher.abort();
        let stopped = self.stop(&mut signals).await;
        server.abort();
        self.port_file.remove();
        result.and(stopped)
    }

    /// Announces readiness, then waits for a shard to fail: none ends by itself.
    async fn serve(&mut self, on_ready: impl FnOnce(&Addresses, &Facts)) -> io::Result<()> {
        let early = tokio::select! {
            ended = self.ended.recv() => Some(ended),
            () = ready(&self.observed) => None,
        };
        if let Some(ended) = early {
            return self.failed(ended);
        }
        self.port_file.write(&self.addresses)?;
        on_ready(&self.addresses, &self.facts);
        let ended = self.ended.recv().await;
        self.failed(ended)
    }

    fn failed(&mut self, ended: Option<Ended>) -> io::Result<()> {
        let Some(ended) = ended else {
            return Err(io::Error::other("all shards are gone"));
        };
        self.threads.note_end();
        tracing::error!(shard = ended.shard.0, result = ?ended.result, "a shard ended by itself");
        let text = format!("shard {} ended by itself", ended.shard);
        ended.result?;
        Err(io::Error::other(text))
    }

    /// Stops the shards: they finish what was accepted, flush, and tell their clients. A later
    /// signal, or the timeout, ends the process without them; what was confirmed is on disk.
    async fn stop(&mut self, signals: &mut Signals) -> io::Result<()> {
        tracing::info!("stopping");
        self.observed.stopping.store(true, Ordering::Relaxed);
        self.threads.stop();
        let drained = async {
            let mut result = Ok(());
            while self.threads.are_running() {
                let Some(ended) = self.ended.recv().await else {
                    break;
                };
                self.threads.note_end();
                result = result.and(ended.result);
            }
            result
        };
        tokio::select! {
            result = drained => {
                self.threads.join();
                result
            }
            () = tokio::time::sleep(self.stop_timeout) => {
                tracing::warn!("shards did not stop in time; ending without them");
                Ok(())
            }
            () = signals.next_meant() => {
                tracing::warn!("second signal; ending at once");
                Ok(())
            }
        }
    }
}

/// Waits until every partition either serves or is known not to.
async fn ready(observed: &Observed) {
    let mut ticks = tokio::time::interval(READY_LOOK);
    while !observed.shards.iter().all(|shard| {
        let counters = shard.read();
        let settled = counters.partitions_serving
            + counters.partitions_poisoned
            + counters.partitions_damaged;
        counters.turns_total > 0 && settled >= counters.partitions
    }) {
        ticks.tick().await;
    }
}

/// The signals that end a broker.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// A signal that is no copy of the one before: `timeout`, terminals and supervisors signal a
    /// process and then its whole group.
    async fn next_meant(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < COPIES_WITHIN {
            self.next().await;
        }
    }
}

fn bind_control(config: &Config) -> Result<std::net::TcpListener, StartError> {
    control::bind(config.control).map_err(|error| refuse_control(config, &error))
}

fn refuse_control(config: &Config, error: &io::Error) -> StartError {
    StartError::listening(config, "control", config.control, error)
}

/// One core per shard if there are enough, else none: two pinned shards on one core would be worse
/// than two that the kernel may move.
fn pinned_cores(config: &Config) -> Vec<usize> {
    let usable = usable_cores();
    let shards = usize::from(config.cores);
    if usable.len() < shards {
        let key = keys::find("cores").expect("it is in the table");
        tracing::warn!(
            usable = usable.len(),
            cores = shards,
            from = %config.source("cores").place(key),
            "cores is more than this process may use, so shards share cores and are not pinned; \
             lower it to what `nproc` says"
        );
        return Vec::new();
    }
    usable.into_iter().take(shards).collect()
}

/// How long after a signal another one counts as its copy.
const COPIES_WITHIN: Duration = Duration::from_millis(500);
/// How often readiness is looked for.
const READY_LOOK: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests;
