//! One seed: a node, its disk, a network and some clients, from the first start to the last judgement.

mod clients;
mod end;
mod lives;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use corelane_wire::{Epoch, Lsn};

use crate::sim::checker::{Checker, Event as History, SubscriptionKey};
use crate::sim::client::Client;
use crate::sim::clock::{MICROSECOND, MILLISECOND, Moment, SECOND};
use crate::sim::coverage::Coverage;
use crate::sim::disk::Disk;
use crate::sim::driver::{SharedDisk, lock, progress};
use crate::sim::hub::{Event, Hub};
use crate::sim::judgement;
use crate::sim::network::{LinkId, Side};
use crate::sim::node::Node;
use crate::sim::random::{Concern, Random};
use crate::sim::swarm::Swarm;
use crate::sim::workload::Plan;

/// Why a seed failed.
pub type Failure = String;

/// What a seed was.
#[derive(Debug)]
pub struct Outcome {
    /// What was met.
    pub coverage: Coverage,
    /// Hash of the trace, and how many events are in it.
    pub digest: (u64, u64),
    /// The failure, if it failed.
    pub failure: Option<Failure>,
}

/// A simulated world.
pub struct World {
    pub(super) seed: u64,
    pub(super) swarm: Swarm,
    pub(super) plan: Plan,
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) disk: SharedDisk,
    pub(super) node: Option<Node>,
    pub(super) checker: Checker,
    pub(super) met: Coverage,
    pub(super) nemesis: Random,
    pub(super) ends: Vec<(Epoch, Lsn)>,
    /// The highest committed end of every partition.
    pub(super) committed: Vec<u64>,
    /// State hashes of the live engines, by partition and end.
    pub(super) hashes: Vec<BTreeMap<u64, u64>>,
    clients: Vec<Client>,
    client_numbers: Vec<u64>,
    paused: BTreeSet<LinkId>,
    attempted: BTreeSet<SubscriptionKey>,
    operations_left: u32,
    crashes_left: u32,
    /// Counts starts and crashes, so that a planned crash hits the life it was meant for.
    life: u32,
    drain_since: Option<Moment>,
    restart_planned: bool,
}

impl World {
    /// The world of a seed, before its first event.
    pub fn new(seed: u64, is_verbose: bool) -> Self {
        let swarm = Swarm::draw(seed);
        let plan = Plan::draw(seed, &swarm);
        let partitions = swarm.partitions as usize;
        let world = Self {
            hub: Rc::new(RefCell::new(Hub::new(seed, &swarm, is_verbose))),
            disk: Arc::new(Mutex::new(Disk::new(seed, swarm.disk.clone()))),
            node: None,
            checker: Checker::new(plan.names.partitions.clone(), swarm.quiet),
            met: Coverage::default(),
            nemesis: Random::stream(seed, Concern::Nemesis),
            ends: vec![(Epoch(0), Lsn(0)); partitions],
            committed: vec![0; partitions],
            hashes: vec![BTreeMap::new(); partitions],
            clients: (0..swarm.clients).map(|n| Client::new(seed, n)).collect(),
            client_numbers: vec![0; swarm.clients as usize],
            paused: BTreeSet::new(),
            attempted: BTreeSet::new(),
            operations_left: swarm.operations,
            crashes_left: swarm.crashes_max,
            life: 0,
            drain_since: None,
            restart_planned: false,
            seed,
            swarm,
            plan,
        };
        for queue in 0..world.swarm.queues {
            world.say(format_args!(
                "queue {} is in partition {}",
                world.plan.queue(queue),
                world.plan.names.partitions[queue as usize]
            ));
        }
        world
    }

    /// Runs the seed to its end.
    pub fn run(mut self) -> Outcome {
        self.say(format_args!("{:?}", self.swarm));
        self.hub.borrow_mut().schedule.at(0, Event::Start);
        self.hub.borrow_mut().schedule.at(SECOND, Event::Watch);
        for client in 0..self.swarm.clients {
            self.plan_client(client, MILLISECOND);
        }
        let failure = self.live().and_then(|()| judgement::pass(&mut self)).err();
        self.met.quiet_seeds += u64::from(self.swarm.quiet);
        self.met.duplicates += self.checker.duplicates;
        let disk = lock(&self.disk).met;
        self.met.sectors_lost += disk.sectors_lost;
        self.met.sectors_torn += disk.sectors_torn;
        self.met.write_failed += disk.writes_failed;
        self.met.write_short += disk.writes_short;
        self.met.sync_failed += disk.syncs_failed;
        self.met.install_failed += disk.installs_failed;
        self.met.body_read += disk.reads;
        self.met.chunk_reads += disk.chunk_reads;
        self.met.scrubs += disk.scrubs;
        self.met.checkpoints += disk.checkpoints;
        self.met.segments_freed += disk.segments_freed;
        self.met.read_failed += disk.read_errors;
        if let Some(failure) = &failure {
            self.say(format_args!("FAILED {failure}"));
        }
        let digest = self.hub.borrow().trace.digest();
        Outcome {
            coverage: self.met,
            digest,
            failure,
        }
    }

    pub(super) fn say(&self, line: std::fmt::Arguments<'_>) {
        let hub = self.hub.borrow();
        hub.trace.say(hub.now(), line);
    }

    pub(super) fn now(&self) -> Moment {
        self.hub.borrow().now()
    }

    fn live(&mut self) -> Result<(), Failure> {
        for _ in 0..EVENTS_MAX {
            let Some(event) = self.hub.borrow_mut().schedule.take_next() else {
                return Err("nothing happens any more".into());
            };
            if self.dispatch(event)? {
                return Ok(());
            }
        }
        Err(format!(
            "{EVENTS_MAX} events and no end: {}",
            self.describe()
        ))
    }

    /// True when the seed is over.
    fn dispatch(&mut self, event: Event) -> Result<bool, Failure> {
        match event {
            Event::Turn { shard, number } => self.on_turn(shard, number)?,
            Event::Disk(id) => {
                let mut hub = self.hub.borrow_mut();
                let failed = progress(&mut hub, &self.disk, id);
                drop(hub);
                self.on_disk_failure(failed);
            }
            Event::Arrive(link, side) => self.on_arrival(link, side)?,
            Event::Knock {
                link,
                shard,
                listener,
            } => {
                let mut hub = self.hub.borrow_mut();
                if !hub.knock(link, shard, listener) {
                    hub.schedule
                        .after(50 * MICROSECOND, Event::Lost(link, Side::Client));
                }
            }
            Event::Lost(link, Side::Node) => self.hub.borrow_mut().lose_at_node(link),
            Event::Lost(link, Side::Client) => self.on_lost(link)?,
            Event::Client { client, number } => self.on_client(client, number)?,
            Event::Reads(link) => {
                self.paused.remove(&link);
                self.read(link)?;
            }
            Event::Start => self.start()?,
            Event::Crash { life, stop } => self.on_crash(life, stop)?,
            Event::Watch => return self.on_watch(),
        }
        Ok(false)
    }

    fn observe(&mut self, event: &History) -> Result<(), Failure> {
        self.checker
            .observe(event)
            .map_err(|violation| violation.to_string())
    }
}

const EVENTS_MAX: u64 = 5_000_000;
