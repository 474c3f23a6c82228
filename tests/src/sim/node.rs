//! The simulated node: the start of a real one, step by step, then the unchanged shards over simulated drivers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelane::driver::Listener;
use corelane::mail::mailboxes;
use corelane::recovery::{Opened, PartitionStart, PartitionState, epoch_of_start, open_partition};
use corelane::router::{ShardPlace, Topology};
use corelane::shard::{
    CheckpointPace, ScrubPace, Shard, ShardConfig, ShardStart, Shutdown, Turn, spares_of,
};
use corelane::stats::ShardStats;
use corelane_core::{Engine, Limits};
use corelane_storage::{FreshIds, LogConfig, RecoverError, SpareId, Volume, open_superblock};
use corelane_wire::{Epoch, NodeId, PartitionId, SessionId, ShardId};

use crate::sim::driver::{SimDriver, lock};
use crate::sim::random::{Random, splitmix};
use crate::sim::volume::SimVolume;
use crate::sim::workload::Plan;
use crate::sim::world::World;

/// Why a node does not start.
#[derive(Debug)]
pub enum StartError {
    /// A file operation failed, or the power went: try again.
    Again(String),
    /// It must not happen.
    Wrong(String),
}

/// A running node.
pub struct Node {
    shards: Vec<Shard<SimDriver>>,
    stats: Vec<Arc<ShardStats>>,
    /// Whether a read that fails is a mistake.
    can_be_read: bool,
    /// How long each shard may block.
    timeouts: Vec<Duration>,
    has_stopped: Vec<bool>,
    shutdown: Arc<Shutdown>,
    epoch: Epoch,
}

/// The log's settings in a simulated world.
pub fn log_config(plan: &Plan, seed: u64, partition: u32) -> LogConfig {
    let mut config = LogConfig::new(PartitionId(partition), fresh_ids(seed).log_id);
    config.first_segment_bytes = plan.sizes.first_segment_bytes;
    config.segment_bytes = plan.sizes.segment_bytes;
    config.block_bytes_max = plan.sizes.block_bytes_max;
    config.cache_bytes = plan.sizes.cache_bytes;
    config.read_ahead_bytes = config.read_ahead_bytes.min(plan.sizes.block_bytes_max);
    config
}

fn fresh_ids(seed: u64) -> FreshIds {
    let mut state = seed;
    let mut draw = || (u128::from(splitmix(&mut state)) << 64) | u128::from(splitmix(&mut state));
    FreshIds {
        log_id: draw(),
        data_uuid: draw(),
    }
}

impl Node {
    /// Starts the node: superblock, recovery of every partition, epoch, shards.
    ///
    /// # Errors
    /// If a file operation fails, or recovery finds what must not be.
    pub fn start(world: &mut World) -> Result<Self, StartError> {
        let mut volume = SimVolume::new(Arc::clone(&world.disk));
        let superblock =
            open_superblock(&mut volume, world.swarm.partitions, fresh_ids(world.seed))
                .map_err(|error| world.start_error(error.to_string()))?;
        let mut opened = Vec::new();
        for partition in 0..superblock.partitions {
            opened.push(open(world, &mut volume, partition)?);
        }
        let spares = volume
            .spares()
            .map_err(|error| StartError::Again(error.to_string()))?;
        if lock(&world.disk).is_dead() {
            return Err(StartError::Again("the power went".into()));
        }
        lock(&world.disk).set_fuse(None);
        let epoch = epoch_of_start(superblock.starts, &opened);
        let partitions = opened.into_iter().map(|opened| opened.start).collect();
        Ok(Self::assemble(world, epoch, partitions, &spares))
    }

    fn assemble(
        world: &mut World,
        epoch: Epoch,
        mut partitions: Vec<PartitionStart>,
        spares: &[(SpareId, u64)],
    ) -> Self {
        let count = world.swarm.shards;
        let topology = Arc::new(Topology {
            node: NodeId(1),
            partitions: world.swarm.partitions,
            shards: (0..count).map(|n| ShardPlace { port: 7_500 + n }).collect(),
            shared_port: 7_400,
        });
        let shutdown = Arc::new(Shutdown::new(count));
        world.hub.borrow_mut().power_on(count);
        let (mut shards, mut stats) = (Vec::new(), Vec::new());
        for mailboxes in mailboxes(count) {
            stats.push(Arc::new(ShardStats::default()));
            let shard = mailboxes.shard();
            let (own, rest) = partitions
                .into_iter()
                .partition(|start: &PartitionStart| topology.shard_of(start.partition) == shard);
            partitions = rest;
            let config = ShardConfig {
                topology: Arc::clone(&topology),
                epoch,
                connections_max: 1_000,
                first_segment_bytes: world.plan.sizes.first_segment_bytes,
                checkpoints: CheckpointPace {
                    bytes: world.plan.sizes.checkpoint_bytes,
                    ..CheckpointPace::default()
                },
                scrub: ScrubPace {
                    bytes_per_second: SCRUB_BYTES_PER_SECOND,
                    interval: SCRUB_INTERVAL,
                },
                write_timeout: Duration::from_secs(10),
                server_name: "simulated".into(),
            };
            let start = ShardStart {
                mailboxes,
                partitions: own,
                listeners: vec![Listener(0), Listener(1)],
                spares: spares_of(shard, count, spares),
                stats: Arc::clone(&stats[usize::from(shard.0)]),
                shutdown: Arc::clone(&shutdown),
                draw_session: draw_session(world.nemesis.clone(), shard),
            };
            world.nemesis.draw();
            let hub = Rc::clone(&world.hub);
            let driver = SimDriver::new(hub, Arc::clone(&world.disk), shard.0);
            shards.push(Shard::new(config, driver, start));
        }
        Self {
            has_stopped: vec![false; shards.len()],
            timeouts: vec![Duration::ZERO; shards.len()],
            shards,
            stats,
            can_be_read: lock(&world.disk).faults.read_error.0 == 0,
            shutdown,
            epoch,
        }
    }

    /// The epoch of this start.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Asks for an orderly stop.
    pub fn stop(&self) {
        self.shutdown.stop();
    }

    /// A shard's wait is over: it works until the next one, and parks. True when all have stopped.
    ///
    /// # Errors
    /// If the loop fails, or stops without having been asked to.
    pub fn turn(&mut self, shard: u16) -> Result<bool, String> {
        let index = usize::from(shard);
        if !self.has_stopped[index] {
            let turn = self.shards[index].resume(self.timeouts[index]);
            self.has_stopped[index] = match turn {
                Ok(Turn::Continue) => false,
                Ok(Turn::Stopped) if self.shutdown.is_stopping() => true,
                Ok(Turn::Stopped) => return Err("a shard stopped by itself".into()),
                Err(error) => return Err(format!("a shard's loop failed: {error}")),
            };
        }
        if self.can_be_read && self.stats[index].read().scrub_damaged_total > 0 {
            return Err("no byte has rotted, but the scrubber raises an alarm".into());
        }
        self.timeouts[index] = self.shards[index].park();
        Ok(self.has_stopped.iter().all(|stopped| *stopped))
    }

    /// How long a shard may block now.
    pub fn timeout(&self, shard: u16) -> Duration {
        self.timeouts[usize::from(shard)]
    }

    /// Engines of a shard's partitions.
    pub fn engines(&self, shard: u16) -> impl Iterator<Item = &Engine> {
        self.shards[usize::from(shard)].engines()
    }

    /// What the engines say about themselves, for the text of a failure.
    pub fn describe(&self) -> String {
        let stats: Vec<String> = self
            .shards
            .iter()
            .flat_map(Shard::engines)
            .filter(|engine| engine.positions().end.0 > 0)
            .map(|engine| {
                let (partition, stats) = (engine.partition(), engine.stats());
                format!("{partition}: {:?} {stats:?}", engine.positions())
            })
            .collect();
        stats.join("; ")
    }
}

fn open(world: &mut World, volume: &mut SimVolume, partition: u32) -> Result<Opened, StartError> {
    let config = log_config(&world.plan, world.seed, partition);
    let opened = match open_partition(volume, config, limits(&world.plan)) {
        Ok(opened) => opened,
        Err(error @ RecoverError::Io { .. }) => return Err(world.start_error(error.to_string())),
        Err(error) => return Err(StartError::Wrong(error.to_string())),
    };
    if let PartitionState::Damaged { reason, .. } = &opened.start.state {
        return Err(StartError::Wrong(format!(
            "no byte has rotted, but: {reason}"
        )));
    }
    if let PartitionState::Ready(ready) = &opened.start.state {
        world.met.restored += u64::from(ready.checkpoint.is_some());
    }
    if let Some(truncated) = opened.recovery.as_ref().and_then(|found| found.truncated) {
        world.met.torn_truncated += 1;
        world.say(format_args!("partition {partition}: {truncated:?}"));
    }
    Ok(opened)
}

impl World {
    /// A failed file operation is excused by the faults that are on.
    fn start_error(&self, reason: String) -> StartError {
        let disk = lock(&self.disk);
        if disk.is_dead() || disk.faults.read_error.0 > 0 {
            StartError::Again(reason)
        } else {
            StartError::Wrong(reason)
        }
    }
}

fn limits(plan: &Plan) -> Limits {
    let (stretch_runs_max, runs_loaded_max) = plan.sizes.runs;
    let mut limits = Limits {
        stretch_runs_max,
        runs_loaded_max,
        ..Limits::default()
    };
    if plan.has_low_limits {
        limits.gated_replies_max = 6;
        limits.waiters_max = 2;
        limits.turn_deliveries_max = 1;
    }
    limits
}

fn draw_session(mut random: Random, shard: ShardId) -> Box<dyn FnMut() -> SessionId + Send> {
    Box::new(move || {
        let high = u128::from(random.draw()) << 64;
        SessionId(high | (u128::from(random.draw() >> 16) << 16) | u128::from(shard.0) | 1 << 15)
    })
}

/// A segment of a simulation is read within seconds, and all of it over and over.
const SCRUB_BYTES_PER_SECOND: u64 = 256 << 10;
const SCRUB_INTERVAL: Duration = Duration::from_secs(1);
