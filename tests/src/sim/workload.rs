//! The plan of a seed: names, places and sizes that its clients work with.

use corelane_wire::names::DEFAULT_TENANT;
use corelane_wire::{Lane, PartitionId, partition_of};

use crate::sim::checker::verdict::Names;
use crate::sim::checker::{QueueIndex, SubscriptionIndex};
use crate::sim::random::{Concern, Random};
use crate::sim::swarm::{Habits, Swarm};

/// What the clients of a seed share.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names and places.
    pub names: Names,
    /// The queue that clients delete and make anew, if any.
    pub fleeting: Option<QueueIndex>,
    /// How clients behave.
    pub habits: Habits,
    /// Greatest body.
    pub body_bytes_max: u64,
    /// Greatest count of messages in a batch.
    pub batch_messages_max: u64,
    /// Greatest pause of a client between two acts, in microseconds.
    pub pause_us_max: u64,
    /// Lease durations in milliseconds.
    pub lease_ms: (u32, u32),
    /// Nothing in this seed makes a delivery slow, so that what a consumer holds is known from outside.
    pub is_prompt: bool,
    /// No faults, no bad habits.
    pub is_quiet: bool,
    /// Shards of the node.
    pub shards: u16,
    /// Sizes of the log.
    pub sizes: Sizes,
    /// Bounds of the engines that are lowered, so that they are met.
    pub has_low_limits: bool,
}

/// Sizes of the log of every partition.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of a partition's first segment.
    pub first_segment_bytes: u64,
    /// Of every later one.
    pub segment_bytes: u64,
    /// Of the largest block.
    pub block_bytes_max: usize,
    /// Of the block cache.
    pub cache_bytes: usize,
    /// Of log between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Enqueue records of a stretch, and those that stay in memory.
    pub runs: (usize, usize),
}

impl Sizes {
    fn draw(random: &mut Random, is_large: bool) -> Self {
        let (block, segment) = if is_large {
            (2 << 20, 4 << 20)
        } else {
            (128 << 10, random.pick(&[160 << 10, 256 << 10]))
        };
        Self {
            first_segment_bytes: segment,
            segment_bytes: segment,
            block_bytes_max: block,
            cache_bytes: random.pick(&[0, 16 << 10, 128 << 10, 8 << 20]),
            checkpoint_bytes: random.pick(&[16 << 10, 100 << 10, 64 << 20]),
            runs: random.pick(&[(3, 4), (8, 8), (4_096, 65_536)]),
        }
    }
}

impl Plan {
    /// Draws the plan of a seed.
    pub fn draw(seed: u64, swarm: &Swarm) -> Self {
        let mut random = Random::stream(seed ^ 0x9D1A_4C0F, Concern::Swarm);
        let salt = random.below(1 << 16);
        let mut queues: Vec<String> = (0..swarm.queues)
            .map(|index| format!("queue-{index}.{salt:x}"))
            .collect();
        let fleeting = (!swarm.quiet && random.one_in(4)).then(|| {
            queues.push(format!("fleeting_{salt:x}"));
            swarm.queues
        });
        let partitions = queues
            .iter()
            .map(|name| partition_of(DEFAULT_TENANT, name, Lane(0), swarm.partitions))
            .map(|PartitionId(partition)| partition)
            .collect();
        let subscriptions = ["default", "audit", "mirror.2"].map(str::to_owned).to_vec();
        let is_large = random.one_in(24);
        let faults = &swarm.network;
        let is_prompt = faults.slow.0 == 0
            && faults.slow_reader.0 == 0
            && swarm.disk.stalled.0 == 0
            && !is_large;
        let lease_ms = if swarm.quiet {
            (60_000, 120_000)
        } else {
            random.pick(&[(1_000, 1_500), (1_000, 5_000), (2_000, 15_000)])
        };
        Self {
            names: Names {
                queues,
                subscriptions,
                partitions,
            },
            fleeting,
            habits: swarm.habits.clone(),
            body_bytes_max: if is_large {
                300_000
            } else {
                random.pick(&[40, 300, 3_000])
            },
            batch_messages_max: random.pick(&[1, 4, 16]),
            pause_us_max: random.pick(&[2_000, 60_000, 400_000, 1_500_000]),
            lease_ms,
            is_prompt,
            is_quiet: swarm.quiet,
            shards: swarm.shards,
            sizes: Sizes::draw(&mut random, is_large),
            has_low_limits: random.one_in(8),
        }
    }

    /// Name of a queue.
    pub fn queue(&self, queue: QueueIndex) -> &str {
        &self.names.queues[queue as usize]
    }

    /// Name of a subscription.
    pub fn subscription(&self, subscription: SubscriptionIndex) -> &str {
        &self.names.subscriptions[subscription as usize]
    }

    /// How many queues.
    pub fn queues(&self) -> u32 {
        self.names.queues.len() as u32
    }
}
