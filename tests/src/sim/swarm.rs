//! Swarm testing: every seed draws which faults it has and how often, so that rare combinations and fault-free
//! stretches are both met (Groce et al., "Swarm Testing", 2012).

use crate::sim::random::{Concern, Ppm, Random};

/// The probabilities and the shape of one seed.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// No faults at all, and consumers that settle in time: duplicates must be 0.
    pub quiet: bool,
    /// Shards of the node.
    pub shards: u16,
    /// Partitions of the node.
    pub partitions: u32,
    /// Queues that clients use.
    pub queues: u32,
    /// Clients.
    pub clients: u32,
    /// Client operations before the heal.
    pub operations: u32,
    /// Crashes before the heal, at most.
    pub crashes_max: u32,
    /// Crash, per client operation.
    pub crash: Ppm,
    /// Of crashes: the machine loses power (else only the process dies).
    pub power_loss: Ppm,
    /// Of crashes: one more while recovering.
    pub crash_in_recovery: Ppm,
    /// Of restarts: wall time has jumped.
    pub clock_jump: Ppm,
    /// Of restarts: a byte of an attested block has rotted.
    pub rot: Ppm,
    /// Faults of the disk.
    pub disk: DiskFaults,
    /// Faults of the network.
    pub network: NetworkFaults,
    /// How clients behave.
    pub habits: Habits,
}

/// Probabilities of the disk.
#[derive(Clone, Debug, Default)]
pub struct DiskFaults {
    /// A write fails.
    pub write_error: Ppm,
    /// An fdatasync fails.
    pub sync_error: Ppm,
    /// A write ends early.
    pub short_write: Ppm,
    /// A write takes seconds.
    pub stalled: Ppm,
    /// A write takes tens of milliseconds.
    pub slow: Ppm,
    /// Housekeeping fails (no space).
    pub no_space: Ppm,
    /// A read at recovery or for a delivery fails.
    pub read_error: Ppm,
    /// Of unsynced sectors at a power loss: lost.
    pub sector_lost: Ppm,
    /// Of unsynced sectors at a power loss: torn at 512 bytes.
    pub sector_torn: Ppm,
}

/// Probabilities of the network.
#[derive(Clone, Debug, Default)]
pub struct NetworkFaults {
    /// A chunk takes tens to hundreds of milliseconds.
    pub slow: Ppm,
    /// A chunk is split.
    pub split: Ppm,
    /// The connection is reset, per client operation.
    pub reset: Ppm,
    /// The peer silently goes, per client operation.
    pub half_open: Ppm,
    /// The client stops reading for a while, per client operation.
    pub slow_reader: Ppm,
}

/// How clients behave.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// A delivered message is neither acked nor nacked.
    pub forget: Ppm,
    /// A delivered message is nacked.
    pub nack: Ppm,
    /// A lease is extended before it is settled.
    pub extend: Ppm,
    /// A settled lease is settled again, much later.
    pub settle_late: Ppm,
    /// An enqueue in flight is sent twice.
    pub send_twice: Ppm,
    /// A settle names what is not ours: unknown lease or offsets.
    pub settle_foreign: Ppm,
    /// A confirmed batch is sent again much later.
    pub replay_old: Ppm,
    /// A delivered message is rejected.
    pub reject: Ppm,
}

impl Swarm {
    /// Draws the swarm of `seed`.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::stream(seed, Concern::Swarm);
        let r = &mut random;
        let quiet = r.one_in(16);
        let mut swarm = Self {
            quiet,
            shards: r.between(1, 2) as u16,
            partitions: r.between(2, 8) as u32,
            queues: r.between(1, 4) as u32,
            clients: r.between(2, 6) as u32,
            operations: r.between(120, 320) as u32,
            crashes_max: r.between(1, 6) as u32,
            crash: level(r, [3_000, 12_000, 40_000]),
            power_loss: level(r, [200_000, 600_000, 1_000_000]),
            crash_in_recovery: level(r, [100_000, 300_000, 600_000]),
            clock_jump: level(r, [100_000, 400_000, 900_000]),
            rot: level(r, [50_000, 200_000, 500_000]),
            disk: DiskFaults::draw(r),
            network: NetworkFaults::draw(r),
            habits: Habits::draw(r),
        };
        if quiet {
            swarm.silence();
        }
        swarm
    }

    /// Ends every fault: the heal phase, and quiet seeds.
    pub fn silence(&mut self) {
        self.crash = Ppm(0);
        self.crash_in_recovery = Ppm(0);
        self.clock_jump = Ppm(0);
        self.rot = Ppm(0);
        self.disk = DiskFaults {
            sector_lost: self.disk.sector_lost,
            sector_torn: self.disk.sector_torn,
            ..DiskFaults::default()
        };
        self.network = NetworkFaults {
            split: self.network.split,
            ..NetworkFaults::default()
        };
        self.habits = Habits::default();
    }
}

impl DiskFaults {
    fn draw(r: &mut Random) -> Self {
        Self {
            write_error: level(r, [300, 2_000, 10_000]),
            sync_error: level(r, [300, 2_000, 10_000]),
            short_write: level(r, [300, 2_000, 10_000]),
            stalled: level(r, [300, 2_000, 10_000]),
            slow: level(r, [10_000, 100_000, 500_000]),
            no_space: level(r, [20_000, 100_000, 400_000]),
            read_error: level(r, [200, 2_000, 20_000]),
            sector_lost: level(r, [100_000, 500_000, 950_000]),
            sector_torn: level(r, [50_000, 200_000, 500_000]),
        }
    }
}

impl NetworkFaults {
    fn draw(r: &mut Random) -> Self {
        Self {
            slow: level(r, [5_000, 50_000, 300_000]),
            split: level(r, [20_000, 200_000, 800_000]),
            reset: level(r, [3_000, 15_000, 50_000]),
            half_open: level(r, [2_000, 8_000, 30_000]),
            slow_reader: level(r, [3_000, 15_000, 50_000]),
        }
    }
}

impl Habits {
    fn draw(r: &mut Random) -> Self {
        Self {
            forget: level(r, [5_000, 30_000, 200_000]),
            nack: level(r, [20_000, 100_000, 300_000]),
            extend: level(r, [20_000, 100_000, 300_000]),
            settle_late: level(r, [20_000, 100_000, 300_000]),
            send_twice: level(r, [20_000, 100_000, 300_000]),
            settle_foreign: level(r, [5_000, 20_000, 60_000]),
            replay_old: level(r, [10_000, 50_000, 150_000]),
            reject: level(r, [10_000, 50_000, 150_000]),
        }
    }
}

/// 0, low, middle or high, each as likely.
fn level(r: &mut Random, levels: [u32; 3]) -> Ppm {
    match r.index(4) {
        0 => Ppm(0),
        index => Ppm(levels[index - 1]),
    }
}
