//! Making the shards of a broker with all that they own and share.

use std::net::SocketAddr;
use std::sync::Arc;

use corelane_wire::{NodeId, SessionId};

use super::data::Data;
use super::ports::Ports;
use super::{Addresses, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Observed;
use crate::driver::Waker;
use crate::driver::native::Native;
use crate::mail::mailboxes;
use crate::router::{ShardPlace, Topology};
use crate::shard::{Shard, ShardConfig, ShardStart, Shutdown};

/// Shards that are ready to run, and what reaches them from outside.
pub(super) struct Made {
    pub(super) shards: Vec<Shard<Native>>,
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

impl Making<'_> {
    /// Makes the shards, one over each driver, which do not run yet.
    pub(super) fn shards(
        self,
        mut data: Data,
        ports: Ports,
        drivers: Vec<Native>,
    ) -> Result<Made, StartError> {
        let refuse = |error| StartError::plain(&format!("cannot use a listener: {error}"));
        let count = self.config.cores;
        let wakers: Vec<_> = drivers.iter().map(Native::waker).collect();
        let driver_stats = drivers.iter().map(Native::stats).collect();
        let stats: Vec<_> = drivers.iter().map(|_| Arc::default()).collect();
        let shutdown = Arc::new(Shutdown::new(count));
        let listeners = ports.shared.into_iter().zip(ports.own);
        let mut shards = Vec::new();
        for (((mut driver, mailboxes), listeners), stats) in drivers
            .into_iter()
            .zip(mailboxes(count))
            .zip(listeners)
            .zip(&stats)
        {
            let shared = driver.add_listener(listeners.0).map_err(refuse)?;
            let own = driver.add_listener(listeners.1).map_err(refuse)?;
            let id = mailboxes.shard();
            let start = ShardStart {
                partitions: data.take_partitions(&self.topology, id),
                spares: data.take_spares(id, count),
                listeners: vec![shared, own],
                stats: Arc::clone(stats),
                shutdown: Arc::clone(&shutdown),
                draw_session: Box::new(self.draw_session),
                mailboxes,
            };
            shards.push(Shard::new(self.shard_config(&data), driver, start));
        }
        let observed = Observed::new(self.clock, stats, driver_stats);
        Ok(Made {
            shards,
            observed: Arc::new(observed),
            shutdown,
            wakers,
        })
    }

    fn shard_config(&self, data: &Data) -> ShardConfig {
        ShardConfig {
            topology: Arc::clone(&self.topology),
            epoch: data.epoch,
            connections_max: self.connections_max,
            first_segment_bytes: corelane_storage::FIRST_SEGMENT_BYTES,
            server_name: format!("corelane {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The node as its shards see it.
pub(super) fn topology(data: &Data, addresses: &Addresses) -> Arc<Topology> {
    let place = |address: &SocketAddr| ShardPlace {
        port: address.port(),
    };
    Arc::new(Topology {
        node: NODE,
        partitions: data.partitions,
        shards: addresses.shards.iter().map(place).collect(),
        shared_port: addresses.data.port(),
    })
}

/// The node's number: there is one node.
const NODE: NodeId = NodeId(0);
