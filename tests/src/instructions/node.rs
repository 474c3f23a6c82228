//! A node of unchanged shards over steady drivers, in rounds of equal length.

use std::sync::Arc;
use std::time::Duration;

use corelane::driver::{Listener, Socket};
use corelane::mail::{Mailboxes, mailboxes};
use corelane::recovery::PartitionStart;
use corelane::router::{ShardPlace, Topology};
use corelane::shard::{CheckpointPace, ScrubPace, Shard, ShardConfig, ShardStart, Shutdown};
use corelane::stats::ShardStats;
use corelane_core::Limits;
use corelane_storage::{LogConfig, SpareId};
use corelane_wire::{Epoch, Lane, NodeId, PartitionId, SessionId, ShardId, Timestamp};

use super::driver::SteadyDriver;

/// As many as a small node has, whatever its shards.
const PARTITIONS: u32 = 8;
/// The partition of every queue; shard 0 owns it.
const PARTITION: PartitionId = PartitionId(0);
/// How long a round lasts.
const ROUND: Duration = Duration::from_micros(100);
/// Rounds in which a node comes to rest: half a second, since what need not be written soon is after 10 ms.
const REST_ROUNDS: usize = 5_000;

/// How many shards there are, and where the clients are connected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Placement {
    /// One shard.
    One,
    /// Two shards, and the clients at the one that owns the queue.
    Owner,
    /// Two shards, and the clients at the other one, so that all takes a hop.
    Hop,
}

impl Placement {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::One, Self::Owner, Self::Hop];

    /// Its name on the command line and in the baseline.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Owner => "owner",
            Self::Hop => "hop",
        }
    }

    /// The head of its column.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::One => "one shard",
            Self::Owner => "two, at the owner",
            Self::Hop => "two, by a hop",
        }
    }

    fn shards(self) -> u16 {
        match self {
            Self::One => 1,
            Self::Owner | Self::Hop => 2,
        }
    }

    /// The shard of the clients.
    pub(super) fn shard(self) -> usize {
        usize::from(self == Self::Hop)
    }
}

/// A running node.
pub(super) struct Node {
    shards: Vec<Shard<SteadyDriver>>,
    /// How long each shard may block since it parked, and until when.
    timeouts: Vec<(Duration, Timestamp)>,
    is_woken: Vec<bool>,
    topology: Arc<Topology>,
    now: Timestamp,
}

impl Node {
    /// A new node with empty logs.
    pub(super) fn new(placement: Placement) -> Self {
        let count = placement.shards();
        let now = Timestamp::from_millis(1_767_225_600_000);
        let topology = Arc::new(Topology {
            node: NodeId(1),
            partitions: PARTITIONS,
            shards: vec![ShardPlace { port: 0 }; usize::from(count)],
            shared_port: 0,
        });
        let shutdown = Arc::new(Shutdown::new(count));
        let shards = mailboxes(count)
            .into_iter()
            .map(|mailboxes| shard(&topology, mailboxes, Arc::clone(&shutdown), now))
            .collect();
        Self {
            shards,
            timeouts: vec![(Duration::ZERO, now); usize::from(count)],
            is_woken: vec![false; usize::from(count)],
            topology,
            now,
        }
    }

    /// The `number`-th queue of the one partition that is used.
    pub(super) fn queue(&self, number: usize) -> String {
        (0..)
            .map(|n| format!("queue-{n:04}"))
            .filter(|name| self.topology.partition_of(name, Lane(0)) == PARTITION)
            .nth(number)
            .expect("the names do not end")
    }

    /// Connects a client.
    pub(super) fn connect(&mut self, shard: usize) -> Socket {
        self.rest();
        let socket = self.driver(shard).connect();
        socket.expect("a shard at rest accepts")
    }

    /// The driver of a shard.
    pub(super) fn driver(&mut self, shard: usize) -> &mut SteadyDriver {
        self.shards[shard].driver_mut()
    }

    /// Lets time pass until nothing is left to do.
    pub(super) fn rest(&mut self) {
        for _ in 0..REST_ROUNDS {
            self.round();
        }
    }

    /// Lets a little time pass, and every shard that need not wait make one turn.
    pub(super) fn round(&mut self) {
        self.now = self.now.add(ROUND);
        for index in 0..self.shards.len() {
            if self.is_due(index) {
                self.turn(index);
            }
        }
    }

    fn is_due(&self, index: usize) -> bool {
        let (timeout, until) = self.timeouts[index];
        timeout.is_zero()
            || until <= self.now
            || self.is_woken[index]
            || self.shards[index].driver().is_ready()
    }

    fn turn(&mut self, index: usize) {
        let shard = &mut self.shards[index];
        shard.driver_mut().now = self.now;
        self.is_woken[index] = false;
        resume_counted(shard, self.timeouts[index].0);
        let timeout = park_counted(shard);
        self.timeouts[index] = (timeout, self.now.add(timeout));
        for woken in std::mem::take(&mut shard.driver_mut().woken) {
            self.is_woken[usize::from(woken.0)] = true;
        }
    }
}

/// Here the counting begins and ends; Callgrind knows it by its name.
#[inline(never)]
fn resume_counted(shard: &mut Shard<SteadyDriver>, timeout: Duration) {
    let turn = shard.resume(timeout);
    turn.expect("the steady driver does not fail");
}

/// Here too.
#[inline(never)]
fn park_counted(shard: &mut Shard<SteadyDriver>) -> Duration {
    shard.park()
}

fn shard(
    topology: &Arc<Topology>,
    mailboxes: Mailboxes,
    shutdown: Arc<Shutdown>,
    now: Timestamp,
) -> Shard<SteadyDriver> {
    let id = mailboxes.shard();
    let log_config = |partition| LogConfig::new(partition, 7);
    let small = log_config(PARTITION).first_segment_bytes;
    let partitions = (0..topology.partitions)
        .map(PartitionId)
        .filter(|partition| topology.shard_of(*partition) == id)
        .map(|partition| PartitionStart::unused(log_config(partition), Limits::default()))
        .collect();
    let config = ShardConfig {
        topology: Arc::clone(topology),
        epoch: Epoch(1),
        connections_max: 4,
        first_segment_bytes: small,
        checkpoints: CheckpointPace::default(),
        scrub: ScrubPace::daily(0),
        write_timeout: Duration::from_secs(10),
        server_name: "steady".into(),
    };
    let start = ShardStart {
        partitions,
        listeners: vec![Listener(0)],
        spares: vec![(SpareId(u32::from(id.0)), small)],
        stats: Arc::new(ShardStats::default()),
        shutdown,
        draw_session: draw_session(id),
        mailboxes,
    };
    Shard::new(config, SteadyDriver::new(now), start)
}

fn draw_session(shard: ShardId) -> Box<dyn FnMut() -> SessionId + Send> {
    let mut last = u128::from(shard.0) << 64;
    Box::new(move || {
        last += 1;
        SessionId(last)
    })
}
