//! What a script works with: names, sizes, identities. All of it follows from the seed.

use corelane::shard::CheckpointPace;
use corelane_core::Limits;
use corelane_storage::{FreshIds, LogConfig};
use corelane_wire::PartitionId;

use crate::sim::random::{Concern, Random};

/// The queues of a script; the last one is deleted and made anew.
pub(super) const QUEUES: [&str; 3] = ["orders", "events.eu", "fleeting"];
/// Its subscriptions; the first is the default one.
pub(super) const SUBSCRIPTIONS: [&str; 2] = ["default", "audit"];
/// The queue that is deleted.
pub(super) const FLEETING: usize = QUEUES.len() - 1;

/// The settings of a script.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) config: LogConfig,
    pub(super) checkpoints: CheckpointPace,
    pub(super) limits: Limits,
    /// Whether more is enqueued than consumers take.
    pub(super) piles_up: bool,
    /// Client operations.
    pub(super) operations: u32,
    /// Greatest body.
    pub(super) body_bytes_max: u64,
}

impl Setup {
    /// Segments of a few dozen KiB, so that a script fills many.
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = Random::stream(seed, Concern::Swarm);
        let log_id = u128::from(random.draw()) << 64 | u128::from(random.draw());
        let mut config = LogConfig::new(PartitionId(0), log_id);
        config.block_bytes_max = 16 << 10;
        config.first_segment_bytes = random.pick(&[32 << 10, 48 << 10]);
        config.segment_bytes = random.pick(&[32 << 10, 48 << 10, 64 << 10]);
        config.cache_bytes = random.pick(&[0, 16 << 10, 1 << 20]);
        config.read_ahead_bytes = 16 << 10;
        Self {
            seed,
            config,
            checkpoints: CheckpointPace {
                bytes: random.pick(&[8 << 10, 40 << 10, 1 << 30]),
                ..CheckpointPace::default()
            },
            limits: Limits {
                stretch_runs_max: random.pick(&[3, 8, 4_096]),
                runs_loaded_max: random.pick(&[4, 8, 65_536]),
                ..Limits::default()
            },
            piles_up: random.one_in(2),
            operations: 200,
            body_bytes_max: random.pick(&[100, 600, 2_000]),
        }
    }

    /// The identities of its data directory.
    pub(super) fn fresh_ids(&self) -> FreshIds {
        FreshIds {
            log_id: self.config.log_id,
            data_uuid: u128::from(self.seed) | 1 << 100,
        }
    }
}
