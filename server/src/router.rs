//! Which shard a request belongs to: queue -> partition -> shard.
//!
//! Owns the picture of the node. Every shard has its own copy; it never changes while the process
//! runs on one node. Invariant: (R1) partition `p` is hosted by shard `p % shards`, so the shard
//! of a queue follows from its name and two counts, and no table has to be kept in step.

use corelane_wire::names::DEFAULT_TENANT;
use corelane_wire::{Lane, Metadata, NodeId, PartitionId, PartitionPlace, ShardId, partition_of};

/// Where one shard can be reached directly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardPlace {
    /// The shard's own port; 0 if it has none.
    pub port: u16,
}

/// The node as every shard sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    /// This node.
    pub node: NodeId,
    /// How many partitions the data directory has. At least one.
    pub partitions: u32,
    /// The shards in order of their numbers. At least one.
    pub shards: Vec<ShardPlace>,
    /// The port that all shards accept on; 0 if there is none.
    pub shared_port: u16,
}

impl Topology {
    /// The partition of a queue's lane. Issue 2 knows one tenant.
    pub fn partition_of(&self, queue: &str, lane: Lane) -> PartitionId {
        partition_of(DEFAULT_TENANT, queue, lane, self.partitions)
    }

    /// The shard that hosts a partition (R1).
    pub fn shard_of(&self, partition: PartitionId) -> ShardId {
        let shards = u32::from(self.shard_count());
        let shard = partition.0 % shards;
        ShardId(u16::try_from(shard).expect("it is less than the count of shards, a u16"))
    }

    /// Where a partition stands among those of its shard: their order is that of their numbers.
    pub fn slot_of(&self, partition: PartitionId) -> usize {
        (partition.0 / u32::from(self.shard_count())) as usize
    }

    /// The number of a shard's volatile partition: the first beyond those of the data directory that falls to it (R1).
    pub fn volatile_of(&self, shard: ShardId) -> PartitionId {
        let shards = u32::from(self.shard_count());
        let step = (u32::from(shard.0) + shards - self.partitions % shards) % shards;
        PartitionId(self.partitions + step)
    }

    /// Whether the data directory has this partition.
    pub fn has(&self, partition: PartitionId) -> bool {
        partition.0 < self.partitions
    }

    /// How many shards run in this process.
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.shards.len()).expect("a process has at most 65,535 shards")
    }

    /// The answer to a metadata request.
    pub fn metadata(&self) -> Metadata {
        let partitions = (0..self.partitions)
            .map(PartitionId)
            .map(|partition| PartitionPlace {
                partition,
                node: self.node,
                port: self.shards[usize::from(self.shard_of(partition).0)].port,
            })
            .collect();
        Metadata {
            node: self.node,
            shared_port: self.shared_port,
            partitions,
        }
    }
}
