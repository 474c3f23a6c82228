//! A node of one unchanged shard over a disk: its start as a real one makes it, and its turns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corelane::driver::{Listener, Socket};
use corelane::mail::mailboxes;
use corelane::recovery::{
    PartitionStart, PartitionState, ReadyPartition, epoch_of_start, open_partition,
};
use corelane::router::{ShardPlace, Topology};
use corelane::shard::{ScrubPace, Shard, ShardConfig, ShardStart, Shutdown};
use corelane::stats::ShardStats;
use corelane_core::Engine;
use corelane_storage::{SpareId, Volume, open_superblock};
use corelane_wire::{Epoch, NodeId, PartitionId, SessionId, Timestamp};

use super::client::{Client, Fact};
use super::driver::TapeDriver;
use super::harm::{Verdict, unrecovered};
use super::setup::Setup;
use crate::sim::driver::{SharedDisk, lock};
use crate::sim::volume::SimVolume;

/// What recovery made of the partition, before its shard takes it over.
pub(super) struct Opened {
    pub(super) ready: Box<ReadyPartition>,
    pub(super) epoch: Epoch,
    spares: Vec<(SpareId, u64)>,
}

/// Starts a node up to where it would serve.
pub(super) fn open(disk: &SharedDisk, setup: &Setup) -> Verdict<Opened> {
    let mut volume = SimVolume::new(Arc::clone(disk));
    let superblock = match open_superblock(&mut volume, 1, setup.fresh_ids()) {
        Ok(superblock) => superblock,
        Err(error) => return unrecovered(format!("superblock: {error}")),
    };
    let opened = match open_partition(&mut volume, setup.config, setup.limits) {
        Ok(opened) => opened,
        Err(error) => return unrecovered(error.to_string()),
    };
    let spares = match volume.spares() {
        Ok(spares) => spares,
        Err(error) => return unrecovered(error.to_string()),
    };
    let epoch = epoch_of_start(superblock.starts, [&opened]);
    match opened.start.state {
        PartitionState::Ready(ready) => Ok(Opened {
            ready,
            epoch,
            spares,
        }),
        PartitionState::Damaged { reason, .. } => {
            unrecovered(format!("no byte has rotted: {reason}"))
        }
    }
}

/// A running node.
pub(super) struct Machine {
    shard: Shard<TapeDriver>,
    disk: SharedDisk,
    timeout: Duration,
    pub(super) now: Timestamp,
    /// Hashes of the live state, by the end of the log.
    pub(super) hashes: BTreeMap<u64, u64>,
    /// What clients were told, each with the number of changes of the disk before.
    pub(super) facts: Vec<(usize, Fact)>,
}

impl Machine {
    /// A node that begins with its first turn.
    pub(super) fn new(disk: &SharedDisk, setup: &Setup, opened: Opened, now: Timestamp) -> Self {
        let topology = Arc::new(Topology {
            node: NodeId(1),
            partitions: 1,
            shards: vec![ShardPlace { port: 0 }],
            shared_port: 0,
        });
        let config = ShardConfig {
            topology,
            epoch: opened.epoch,
            connections_max: 16,
            first_segment_bytes: setup.config.first_segment_bytes,
            checkpoints: setup.checkpoints,
            scrub: ScrubPace::daily(0),
            write_timeout: Duration::from_secs(10),
            server_name: "crash".into(),
        };
        let mailboxes = mailboxes(1).into_iter().next();
        let start = ShardStart {
            mailboxes: mailboxes.expect("one shard has mailboxes"),
            partitions: vec![PartitionStart {
                partition: PartitionId(0),
                state: PartitionState::Ready(opened.ready),
            }],
            listeners: vec![Listener(0)],
            spares: opened.spares,
            stats: Arc::new(ShardStats::default()),
            shutdown: Arc::new(Shutdown::new(1)),
            draw_session: draw_session(opened.epoch),
        };
        let driver = TapeDriver::new(Arc::clone(disk), now, setup.seed);
        Self {
            shard: Shard::new(config, driver, start),
            disk: Arc::clone(disk),
            timeout: Duration::ZERO,
            now,
            hashes: BTreeMap::new(),
            facts: Vec::new(),
        }
    }

    pub(super) fn driver(&mut self) -> &mut TapeDriver {
        self.shard.driver_mut()
    }

    /// Connects a client that greets.
    pub(super) fn connect(&mut self) -> Verdict<Client> {
        for _ in 0..TURNS_MAX {
            if let Some(socket) = self.driver().connect() {
                return Ok(Client::new(socket));
            }
            self.turn();
        }
        unrecovered("the node does not accept")
    }

    /// Sends what the client has put together; false if the node has hung up.
    pub(super) fn send(&mut self, client: &mut Client) -> bool {
        let is_there = self.driver().put(client.socket, &client.outgoing);
        client.outgoing.clear();
        is_there
    }

    /// A turn, after which the client reads.
    pub(super) fn turn_for(&mut self, client: &mut Client) -> Verdict {
        self.turn();
        let bytes = self.take(client.socket);
        client.read(&bytes)?;
        let changes = lock(&self.disk).recorded();
        let learnt = client.facts.drain(..);
        self.facts.extend(learnt.map(|fact| (changes, fact)));
        Ok(())
    }

    /// Turns until every answer is here.
    pub(super) fn await_answers(&mut self, client: &mut Client) -> Verdict {
        self.send(client);
        for _ in 0..TURNS_MAX {
            self.turn_for(client)?;
            if !client.is_waiting() {
                return Ok(());
            }
        }
        unrecovered("the node does not answer")
    }

    /// Turns until nothing is left to do now.
    pub(super) fn rest(&mut self, client: &mut Client) -> Verdict {
        for _ in 0..TURNS_MAX {
            self.turn_for(client)?;
            if !self.timeout.is_zero() && !self.driver().is_busy() {
                return Ok(());
            }
        }
        let status = self.shard.engines().next().map(Engine::stats);
        let (timeout, driver) = (self.timeout, self.shard.driver());
        unrecovered(format!(
            "the node does not come to rest: timeout {timeout:?}, {driver:?}, {status:?}"
        ))
    }

    fn take(&mut self, socket: Socket) -> Vec<u8> {
        self.driver().take(socket)
    }

    fn turn(&mut self) {
        self.now = self.now.add(TURN);
        let now = self.now;
        self.driver().now = now;
        let turn = self.shard.resume(self.timeout);
        turn.expect("the driver does not fail");
        self.timeout = self.shard.park();
    }

    /// Notes the hash of the live state.
    pub(super) fn note_hash(&mut self) {
        if let Some(engine) = self.shard.engines().next() {
            let end = engine.positions().end.0;
            self.hashes
                .entry(end)
                .or_insert_with(|| engine.state_hash());
        }
    }
}

fn draw_session(epoch: Epoch) -> Box<dyn FnMut() -> SessionId + Send> {
    let mut last = u128::from(epoch.0) << 64;
    Box::new(move || {
        last += 1;
        SessionId(last)
    })
}

/// What a turn takes.
const TURN: Duration = Duration::from_micros(50);
/// Turns in which a node must have done what it was asked for.
const TURNS_MAX: usize = 1_000;
