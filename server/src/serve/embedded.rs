//! A broker inside another program: the same shards, and clients that reach them through memory.
//!
//! It differs from the broker of a process of its own in what a library must leave alone: no
//! signal handlers, no pinned threads, no changed limits, no control port, no port at all unless
//! `listen` is set. Lives on: the program's threads; the shards and the clock have their own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use corelane_client::{Client, ClientBuilder};
use tokio::sync::{mpsc, oneshot};

use super::data::{self, Data};
use super::drivers::Drivers;
use super::error::StartError;
use super::limits;
use super::making::{self, Making, Outside, Reachable};
use super::ports::Ports;
use super::threads::{Ended, Threads};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Settings, Source};
use crate::control::{self, Observed};
use crate::driver::native::Native;
use crate::inprocess::{Door, IN_PROCESS, InProcess, InProcessConnector};

/// A broker inside this program.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use corelane_client::Message;
///
/// # let folder = tempfile::tempdir()?;
/// # let directory = folder.path().join("data");
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// runtime.block_on(async {
///     let broker = corelane::Embedded::builder(&directory).start()?;
///     let client = broker.client().await?;
///
///     let producer = client.producer("orders").build()?;
///     producer.enqueue(&Message::new("first order")).await.into_result()?;
///
///     let mut orders = client.consumer("orders").subscribe().await?;
///     let order = orders.next().await.expect("the queue stays open")?;
///     assert_eq!(order.body(), b"first order");
///     order.ack().await?;
///     orders.close().await?;
///
///     client.close().await;
///     broker.stop().await?;
///     Ok(())
/// })
/// # }
/// ```
///
/// Dropping it stops it too, and blocks the thread until its shards have ended: three seconds at
/// the most. A panic of a shard aborts the program: after a broken invariant its state is worth
/// nothing.
#[derive(Debug)]
pub struct Embedded {
    connector: Arc<InProcessConnector>,
    address: Option<SocketAddr>,
    observed: Arc<Observed>,
    threads: Threads,
    ended: mpsc::Receiver<Ended>,
    clock: Option<ClockKeeper>,
}

/// Settings of an embedded broker.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct EmbeddedBuilder {
    directory: PathBuf,
    settings: Result<Settings, ConfigError>,
}

impl EmbeddedBuilder {
    /// Sets a key of the configuration (see the page on operating) to a value, as the
    /// configuration file would have it. A mistake is reported by [`EmbeddedBuilder::start`].
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings = self
            .settings
            .and_then(|settings| settings.program(key, value));
        self
    }

    /// How many shards, each with a thread of its own; 1 unless changed.
    pub fn cores(self, cores: u16) -> Self {
        self.set("cores", &cores.to_string())
    }

    /// Also lets clients of other programs in, at this address; with port 0 the system picks the
    /// ports, see [`Embedded::address`].
    pub fn listen(self, address: SocketAddr) -> Self {
        self.set("listen", &address.to_string())
    }

    /// Starts the broker: recovers what the directory holds, and returns while the shards open
    /// their epoch; clients wait until that is done. Blocks while it recovers.
    ///
    /// # Errors
    /// With cause, setting and command, if something that it needs is not there.
    pub fn start(self) -> Result<Embedded, StartError> {
        let mut config = Config::resolve(&self.settings?, CORES_DEFAULT)?;
        // A path need not be text.
        config.data_dir = self.directory;
        if let Some(key) = UNSERVED.iter().find(|key| is_told(&config, key)) {
            let cause = format!("an embedded broker has no {key}");
            return Err(config.error(key, &cause, "leave it out").into());
        }
        Embedded::start(&config)
    }
}

impl Embedded {
    /// A broker with its data in `directory`, which is made if it is not there. Nothing else may
    /// use the directory at the same time.
    pub fn builder(directory: impl AsRef<Path>) -> EmbeddedBuilder {
        let directory = directory.as_ref().to_path_buf();
        let shown = directory.to_string_lossy();
        EmbeddedBuilder {
            settings: Settings::default().program("data_dir", &shown),
            directory,
        }
    }

    fn start(config: &Config) -> Result<Self, StartError> {
        let clock = Clock::start();
        let data = Data::open(config)?;
        let connections_max =
            limits::connections_per_shard(config, limits::file_limit(), data.partitions)?;
        let ports = is_told(config, "listen").then(|| Ports::bind(config));
        let ports = ports.transpose()?;
        let address = ports.as_ref().map(|ports| ports.shared_address);
        let names = names(config, ports.as_ref());
        let drivers = Drivers {
            config,
            volumes: &data.volumes,
            clock: &clock,
            connections_max,
        };
        let drivers = drivers.make()?;
        let outside = Outside::of(&drivers);
        let doors: Vec<_> = drivers.iter().map(|it| Door::new(it.waker())).collect();
        let drivers = match ports {
            Some(ports) => making::reachable(ports, drivers)?,
            None => drivers.into_iter().map(|it| (it, Vec::new())).collect(),
        };
        let making = Making {
            config,
            connections_max,
            clock,
            topology: making::topology(
                data.partitions,
                address.map_or(0, |address| address.port()),
                &names,
            ),
            draw_session: data::draw_session,
        };
        let made = making.shards(data, with_doors(drivers, &doors), outside);
        let observed = Arc::clone(&made.observed);
        let refuse =
            |error: io::Error| StartError::plain(&format!("cannot start a thread: {error}"));
        let keeper = ClockKeeper::spawn(Arc::clone(&observed)).map_err(refuse)?;
        let (threads, ended) = Threads::spawn(made, &[]).map_err(refuse)?;
        let doors = names.into_iter().zip(doors).collect();
        Ok(Self {
            connector: Arc::new(InProcessConnector::new(doors)),
            address,
            observed,
            threads,
            ended,
            clock: Some(keeper),
        })
    }

    /// A client of this broker, which opens no socket.
    ///
    /// # Errors
    /// If the broker does not answer in time.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time enabled.
    pub async fn client(&self) -> Result<Client, corelane_client::Error> {
        self.client_with(Client::builder()).await
    }

    /// A client of this broker with other settings than the usual ones.
    ///
    /// # Errors
    /// As [`Embedded::client`].
    ///
    /// # Panics
    /// As [`Embedded::client`].
    pub async fn client_with(
        &self,
        builder: ClientBuilder,
    ) -> Result<Client, corelane_client::Error> {
        let connector = Arc::clone(&self.connector);
        builder.connect_through(connector).await
    }

    /// Where clients of other programs come in; nothing unless [`EmbeddedBuilder::listen`] was set.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops the broker: its shards finish what was accepted, flush, tell their clients and end.
    /// Close clients first, to know how they ended.
    ///
    /// # Errors
    /// If a shard had failed.
    pub async fn stop(mut self) -> io::Result<()> {
        self.ask_to_stop();
        let mut result = Ok(());
        while self.threads.are_running() {
            let Some(ended) = self.ended.recv().await else {
                break;
            };
            self.threads.note_end();
            result = result.and(ended.result);
        }
        // What is left to do when it is dropped does not wait for anything.
        result
    }

    fn ask_to_stop(&self) {
        self.observed.stopping.store(true, Ordering::Relaxed);
        self.threads.stop();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.ask_to_stop();
        self.threads.join();
        drop(self.clock.take());
    }
}

/// Keeps node time close to the wall clock, on a thread of its own.
#[derive(Debug)]
struct ClockKeeper {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ClockKeeper {
    fn spawn(observed: Arc<Observed>) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        // Without I/O, so that it opens no descriptor but those of its own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let keep = async move {
            tokio::select! {
                () = control::watch(observed, Duration::ZERO) => {}
                _ = stopped => {}
            }
        };
        let thread = std::thread::Builder::new()
            .name("corelane-clock".to_owned())
            .spawn(move || runtime.block_on(keep))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for ClockKeeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if matches!(ended, Some(Err(_))) {
            tracing::error!("the thread that kept the clock panicked");
        }
    }
}

fn is_told(config: &Config, key: &str) -> bool {
    *config.source(key) != Source::Default
}

/// The ports by which metadata names the shards; without ports they are mere names.
fn names(config: &Config, ports: Option<&Ports>) -> Vec<u16> {
    ports.map_or_else(
        || (1..=config.cores).collect(),
        |ports| ports.own_addresses.iter().map(SocketAddr::port).collect(),
    )
}

/// Puts each driver behind its door.
fn with_doors(
    drivers: Vec<Reachable<Native>>,
    doors: &[Arc<Door>],
) -> Vec<Reachable<InProcess<Native>>> {
    let behind = drivers.into_iter().zip(doors);
    let behind = behind.map(|((driver, mut listeners), door)| {
        listeners.push(IN_PROCESS);
        (InProcess::new(driver, Arc::clone(door)), listeners)
    });
    behind.collect()
}

/// Shards, unless told otherwise: the program has other things to do.
const CORES_DEFAULT: u16 = 1;
/// Keys that mean nothing to an embedded broker.
const UNSERVED: [&str; 5] = ["control", "log", "port_file", "stop_timeout", "watchdog"];
