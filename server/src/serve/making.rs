//! Making the shards of a broker with all that they own and share.

use std::sync::Arc;

use corelane_wire::{NodeId, SessionId};

use super::StartError;
use super::data::Data;
use super::ports::Ports;
use crate::clock::Clock;
use crate::config::{Config, DriverChoice};
use crate::control::Observed;
use crate::driver::native::Native;
use crate::driver::{Driver, DriverStats, Listener, Waker};
use crate::mail::mailboxes;
use crate::router::{ShardPlace, Topology};
use crate::shard::{CheckpointPace, ScrubPace, Shard, ShardConfig, ShardStart, Shutdown};

/// Shards that are ready to run, and what reaches them from outside.
pub(super) struct Made<D: Driver> {
    pub(super) shards: Vec<Shard<D>>,
    pub(super) observed: Arc<Observed>,
    pub(super) shutdown: Arc<Shutdown>,
    pub(super) wakers: Vec<Waker>,
}

/// What all shards are made of.
pub(super) struct Making<'a> {
    pub(super) config: &'a Config,
    pub(super) connections_max: usize,
    pub(super) clock: Clock,
    pub(super) topology: Arc<Topology>,
    /// Draws the ids of new sessions, on the shards' threads.
    pub(super) draw_session: fn() -> SessionId,
}

/// What reaches drivers from outside of their threads.
pub(super) struct Outside {
    wakers: Vec<Waker>,
    stats: Vec<Arc<DriverStats>>,
}

/// A driver, and where its shard accepts.
pub(super) type Reachable<D> = (D, Vec<Listener>);

impl Outside {
    pub(super) fn of(drivers: &[Native]) -> Self {
        Self {
            wakers: drivers.iter().map(Native::waker).collect(),
            stats: drivers.iter().map(Native::stats).collect(),
        }
    }
}

/// Gives each driver its listener on the shared port and on its own.
pub(super) fn reachable(
    ports: Ports,
    drivers: Vec<Native>,
) -> Result<Vec<Reachable<Native>>, StartError> {
    let refuse = |error| StartError::plain(&format!("cannot use a listener: {error}"));
    let listeners = ports.shared.into_iter().zip(ports.own);
    let listening = drivers.into_iter().zip(listeners);
    let listening = listening.map(|(mut driver, (shared, own))| {
        let shared = driver.add_listener(shared).map_err(refuse)?;
        let own = driver.add_listener(own).map_err(refuse)?;
        Ok((driver, vec![shared, own]))
    });
    listening.collect()
}

impl Making<'_> {
    /// Makes the shards, one over each driver, which do not run yet.
    pub(super) fn shards<D: Driver>(
        self,
        mut data: Data,
        drivers: Vec<Reachable<D>>,
        outside: Outside,
    ) -> Made<D> {
        let count = self.config.cores;
        let stats: Vec<_> = drivers.iter().map(|_| Arc::default()).collect();
        let shutdown = Arc::new(Shutdown::new(count));
        let mut shards = Vec::new();
        for (((driver, listeners), mailboxes), stats) in
            drivers.into_iter().zip(mailboxes(count)).zip(&stats)
        {
            let id = mailboxes.shard();
            let mut partitions = data.take_partitions(&self.topology, id);
            // That driver opens files by their names, and what is volatile has none.
            if self.config.driver != DriverChoice::Glommio {
                partitions.push(Data::volatile_partition(&self.topology, id));
            }
            let start = ShardStart {
                partitions,
                spares: data.take_spares(id, count),
                listeners,
                stats: Arc::clone(stats),
                shutdown: Arc::clone(&shutdown),
                draw_session: Box::new(self.draw_session),
                mailboxes,
            };
            shards.push(Shard::new(self.shard_config(&data), driver, start));
        }
        let observed = Observed::new(self.clock, stats, outside.stats);
        Made {
            shards,
            observed: Arc::new(observed),
            shutdown,
            wakers: outside.wakers,
        }
    }

    /// The share of one shard.
    fn scrub_pace(&self) -> ScrubPace {
        let bytes = self.config.scrub_bytes_per_second as u64;
        ScrubPace::daily(bytes.div_ceil(u64::from(self.config.cores)))
    }

    fn shard_config(&self, data: &Data) -> ShardConfig {
        ShardConfig {
            topology: Arc::clone(&self.topology),
            epoch: data.epoch,
            connections_max: self.connections_max,
            first_segment_bytes: corelane_storage::FIRST_SEGMENT_BYTES,
            checkpoints: CheckpointPace::default(),
            scrub: self.scrub_pace(),
            write_timeout: self.config.write_timeout,
            server_name: format!("corelane {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The node as its shards see it, each at its port.
pub(super) fn topology(partitions: u32, shared_port: u16, ports: &[u16]) -> Arc<Topology> {
    Arc::new(Topology {
        node: NODE,
        partitions,
        shards: ports.iter().map(|&port| ShardPlace { port }).collect(),
        shared_port,
    })
}

/// The node's number: there is one node.
const NODE: NodeId = NodeId(0);
