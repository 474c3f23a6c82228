//! One seed: a node, its disk, a network and some clients, from the first start to the last judgement.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use corelane_wire::{Epoch, Lsn};

use crate::sim::checker::{Checker, Event as History, SubscriptionKey};
use crate::sim::client::{Client, Scope};
use crate::sim::clock::{MICROSECOND, MILLISECOND, Moment, SECOND};
use crate::sim::coverage::Coverage;
use crate::sim::disk::{Disk, Stop};
use crate::sim::driver::{SharedDisk, abandon, lock, progress};
use crate::sim::hub::{Event, Hub};
use crate::sim::judgement;
use crate::sim::network::{LinkId, Side};
use crate::sim::node::{Node, StartError};
use crate::sim::random::{Concern, Random};
use crate::sim::swarm::{DiskFaults, Swarm};
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
            let Some(event) = self.hub.borrow_mut().schedule.next() else {
                return Err("nothing happens any more".into());
            };
            if self.dispatch(event)? {
                return Ok(());
            }
        }
        Err(format!("{EVENTS_MAX} events and no end: {}", self.describe()))
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

    // The node.

    fn start(&mut self) -> Result<(), Failure> {
        if self.node.is_some() {
            return Ok(());
        }
        match Node::start(self) {
            Ok(node) => {
                self.life += 1;
                self.restart_planned = false;
                let epoch = node.epoch();
                self.node = Some(node);
                self.say(format_args!("started, {epoch:?}"));
                for partition in 0..self.swarm.partitions {
                    self.observe(&History::Started { partition, epoch })?;
                }
                for shard in 0..self.swarm.shards {
                    self.hub.borrow_mut().nudge(shard);
                }
                self.crash_while_starting();
                Ok(())
            }
            Err(StartError::Again(reason)) => {
                self.say(format_args!("start failed: {reason}"));
                self.met.start_failed += 1;
                let is_dead = lock(&self.disk).is_dead();
                self.settle_disk(if is_dead { Stop::PowerLoss } else { Stop::Kill });
                // A power loss takes what the process before had written and not synced: the log may be shorter now.
                judgement::check_replay(self)?;
                let pause = self.nemesis.skewed(MILLISECOND, SECOND);
                self.hub.borrow_mut().schedule.after(pause, Event::Start);
                Ok(())
            }
            Err(StartError::Wrong(reason)) => Err(reason),
        }
    }

    /// The next crash may come before the first client is served.
    fn crash_while_starting(&mut self) {
        if self.crashes_left > 0 && self.nemesis.chance(self.swarm.crash_in_recovery) {
            self.crashes_left -= 1;
            let delay = self.nemesis.skewed(MICROSECOND, MILLISECOND);
            self.plan_crash(delay, Stop::PowerLoss);
        }
    }

    fn on_turn(&mut self, shard: u16, number: u64) -> Result<(), Failure> {
        if !self.hub.borrow_mut().take_turn(shard, number) {
            return Ok(());
        }
        let Some(node) = &mut self.node else {
            return Ok(());
        };
        let has_stopped = node.turn(shard)?;
        let mut hub = self.hub.borrow_mut();
        hub.after_turn(shard);
        for engine in node.engines(shard) {
            let partition = engine.partition().0 as usize;
            let positions = engine.positions();
            let committed = &mut self.committed[partition];
            *committed = positions.committed.0.max(*committed);
            let found = (engine.epoch(), positions.end);
            if self.ends[partition] != found {
                self.ends[partition] = found;
                let hash = engine.state_hash();
                self.hashes[partition].insert(positions.end.0, hash);
                hub.trace.note(&[9, partition as u64, positions.end.0, hash]);
            }
        }
        drop(hub);
        if has_stopped {
            self.say(format_args!("stopped in good order"));
            self.met.stopped += 1;
            return self.on_crash(self.life, Stop::Kill);
        }
        Ok(())
    }

    fn on_disk_failure(&mut self, failed: bool) {
        if !failed || self.restart_planned {
            return;
        }
        // Poison is for ever: an operator restarts the node.
        self.restart_planned = true;
        self.met.restart_poisoned += 1;
        let pause = self.nemesis.skewed(50 * MILLISECOND, 3 * SECOND);
        self.plan_crash(pause, Stop::Kill);
    }

    pub(super) fn plan_crash(&mut self, delay: Moment, stop: Stop) {
        let life = self.life;
        let event = Event::Crash { life, stop };
        self.hub.borrow_mut().schedule.after(delay, event);
    }

    fn on_crash(&mut self, life: u32, stop: Stop) -> Result<(), Failure> {
        if self.life != life || self.node.is_none() {
            return Ok(());
        }
        self.life += 1;
        self.node = None;
        let flights = self.hub.borrow_mut().power_off();
        if abandon(flights, &self.disk) {
            self.met.crash_in_commit += 1;
        }
        match stop {
            Stop::Kill => self.met.killed += 1,
            Stop::PowerLoss => self.met.power_lost += 1,
        }
        self.say(format_args!("crash: {stop:?}"));
        self.settle_disk(stop);
        self.observe(&History::Crashed)?;
        self.hang_up(stop);
        judgement::check_replay(self)?;
        judgement::check_rot(self)?;
        let pause = self.nemesis.skewed(MILLISECOND, 2 * SECOND);
        let mut hub = self.hub.borrow_mut();
        hub.schedule.after(pause, Event::Start);
        drop(hub);
        if self.nemesis.chance(self.swarm.clock_jump) {
            self.jump();
        }
        if self.nemesis.chance(self.swarm.crash_in_recovery) {
            let operations = self.nemesis.skewed(1, 120) as u32;
            lock(&self.disk).set_fuse(Some(operations));
        }
        Ok(())
    }

    /// What the disk holds after the stop. Once the faults are over, nothing unsynced may matter either.
    fn settle_disk(&mut self, stop: Stop) {
        let mut disk = lock(&self.disk);
        if disk.is_dead() {
            self.met.crash_in_recovery += 1;
        }
        disk.stop(stop);
    }

    fn jump(&mut self) {
        self.met.clock_jumped += 1;
        let r = &mut self.nemesis;
        let mut hub = self.hub.borrow_mut();
        if r.one_in(4) {
            hub.wall_offset -= r.skewed(MILLISECOND, 20 * SECOND);
        } else {
            // Beyond a day the jump is refused, and nothing may hang on it.
            hub.wall_offset += r.pick(&[SECOND, 90 * SECOND, 3_600 * SECOND, 100_000 * SECOND]);
        }
    }

    /// Every link ends with the node; its clients notice at once, or when they next wait in vain.
    fn hang_up(&mut self, stop: Stop) {
        for index in 0..self.clients.len() {
            let Some(link) = self.clients[index].link() else {
                continue;
            };
            let mut hub = self.hub.borrow_mut();
            let state = hub.network.link(link);
            state.node_closed = true;
            if stop == Stop::PowerLoss && self.nemesis.one_in(2) {
                state.silent = true;
            } else {
                let notice = hub.network.handshake();
                hub.schedule.after(notice, Event::Lost(link, Side::Client));
            }
        }
    }

    // Clients.

    fn on_arrival(&mut self, link: LinkId, side: Side) -> Result<(), Failure> {
        let mut hub = self.hub.borrow_mut();
        let now = hub.now();
        let state = hub.network.link(link);
        if state.silent {
            return Ok(());
        }
        if !state.pipe(side).arrive(now) {
            return Ok(());
        }
        match side {
            Side::Node => {
                if let Some((shard, socket)) = hub.socket_of(link) {
                    hub.deliver(shard, socket);
                }
                Ok(())
            }
            Side::Client => {
                drop(hub);
                self.read(link)
            }
        }
    }

    /// The client of the link reads what has arrived, unless it pauses.
    fn read(&mut self, link: LinkId) -> Result<(), Failure> {
        let client = self.hub.borrow_mut().network.link(link).client;
        let is_current = self.clients[client as usize].link() == Some(link);
        if !is_current || self.paused.contains(&link) {
            return Ok(());
        }
        let (bytes, ended) = self.hub.borrow_mut().read(link);
        let mut is_well = true;
        if !bytes.is_empty() {
            is_well = self.with_client(client, |client, scope| client.on_bytes(scope, &bytes))?;
        }
        if ended || !is_well {
            self.hub.borrow_mut().close(link);
            self.with_client(client, Client::on_lost)?;
            self.replan(client);
        }
        Ok(())
    }

    fn on_lost(&mut self, link: LinkId) -> Result<(), Failure> {
        let client = self.hub.borrow_mut().network.link(link).client;
        if self.clients[client as usize].link() == Some(link) {
            self.with_client(client, Client::on_lost)?;
            self.replan(client);
        }
        Ok(())
    }

    fn replan(&mut self, client: u32) {
        let at = self.clients[client as usize].reconnect_at;
        let delay = at.saturating_sub(self.now());
        self.plan_client(client, delay);
    }

    fn plan_client(&mut self, client: u32, delay: Moment) {
        let number = &mut self.client_numbers[client as usize];
        *number += 1;
        let number = *number;
        let event = Event::Client { client, number };
        self.hub.borrow_mut().schedule.after(delay, event);
    }

    fn on_client(&mut self, client: u32, number: u64) -> Result<(), Failure> {
        if self.client_numbers[client as usize] != number {
            return Ok(());
        }
        let now = self.now();
        let state = &mut self.clients[client as usize];
        if state.link().is_none() {
            let shard = state.random().below(u64::from(self.swarm.shards)) as u16;
            let listener = state.random().below(2) as u32;
            let link = self.hub.borrow_mut().connect(client, shard, listener);
            self.with_client(client, |client, scope| client.on_connecting(scope, link))?;
        } else if state.is_stuck(now) {
            if let Some(link) = state.link() {
                self.hub.borrow_mut().close(link);
            }
            self.with_client(client, Client::on_lost)?;
            self.replan(client);
            return Ok(());
        } else {
            let is_operation = self.with_client(client, Client::act)?;
            if is_operation && self.drain_since.is_none() {
                self.operations_left = self.operations_left.saturating_sub(1);
                self.trouble(client);
            }
        }
        let pause = self.with_client(client, |client, scope| client.pause(scope))?;
        self.plan_client(client, pause);
        Ok(())
    }

    /// Faults that come with the operations.
    fn trouble(&mut self, client: u32) {
        if self.crashes_left > 0 && self.nemesis.chance(self.swarm.crash) {
            self.crashes_left -= 1;
            if self.nemesis.one_in(6)
                && let Some(node) = &self.node
            {
                node.stop();
                return;
            }
            let stop = if self.nemesis.chance(self.swarm.power_loss) {
                Stop::PowerLoss
            } else {
                Stop::Kill
            };
            let delay = self.nemesis.skewed(MICROSECOND, 5 * MILLISECOND);
            self.plan_crash(delay, stop);
        }
        let Some(link) = self.clients[client as usize].link() else {
            return;
        };
        let faults = self.swarm.network.clone();
        if self.nemesis.chance(faults.reset) {
            self.met.link_reset += 1;
            self.hub.borrow_mut().reset(link);
        } else if self.nemesis.chance(faults.half_open) {
            if self.hub.borrow_mut().silence(link) {
                self.met.link_silent += 1;
            }
        } else if self.nemesis.chance(faults.slow_reader) && self.paused.insert(link) {
            self.met.reader_paused += 1;
            self.clients[client as usize].on_pause();
            let pause = self.nemesis.skewed(10 * MILLISECOND, 6 * SECOND);
            self.hub
                .borrow_mut()
                .schedule
                .after(pause, Event::Reads(link));
        }
    }

    /// Lets the client work, sends what it wrote, and has the checker judge what it saw.
    fn with_client<T>(
        &mut self,
        client: u32,
        act: impl FnOnce(&mut Client, &mut Scope<'_>) -> T,
    ) -> Result<T, Failure> {
        let mut events = Vec::new();
        let state = &mut self.clients[client as usize];
        let mut scope = Scope {
            now: self.hub.borrow().now(),
            plan: &self.plan,
            events: &mut events,
            met: &mut self.met,
            ends: &self.ends,
            attempted: &mut self.attempted,
            is_draining: self.drain_since.is_some(),
        };
        let result = act(state, &mut scope);
        let bytes = std::mem::take(&mut state.outgoing);
        if let Some(link) = state.link()
            && !bytes.is_empty()
        {
            self.hub.borrow_mut().send(link, &bytes);
        }
        for event in &events {
            self.say(format_args!("client {client}: {event:?}"));
            self.observe(event)?;
        }
        Ok(result)
    }

    fn observe(&mut self, event: &History) -> Result<(), Failure> {
        self.checker
            .observe(event)
            .map_err(|violation| violation.to_string())
    }

    // The end.

    fn on_watch(&mut self) -> Result<bool, Failure> {
        let now = self.now();
        self.hub
            .borrow_mut()
            .schedule
            .after(200 * MILLISECOND, Event::Watch);
        match self.drain_since {
            None => {
                if self.operations_left == 0 || now > FAULTS_MAX {
                    self.heal();
                }
                Ok(false)
            }
            Some(since) if now > since + DRAIN_MAX => {
                Err(format!("stuck after the heal: {}", self.describe()))
            }
            Some(_) => Ok(self.node.is_some() && self.is_drained()),
        }
    }

    fn heal(&mut self) {
        self.say(format_args!("healed"));
        self.drain_since = Some(self.now());
        self.swarm.silence();
        self.plan.habits = self.swarm.habits.clone();
        self.hub.borrow_mut().network.faults = self.swarm.network.clone();
        let mut disk = lock(&self.disk);
        disk.faults = DiskFaults {
            sector_lost: disk.faults.sector_lost,
            sector_torn: disk.faults.sector_torn,
            ..DiskFaults::default()
        };
        disk.set_fuse(None);
        drop(disk);
        for queue in 0..self.plan.queues() {
            self.attempted.insert(SubscriptionKey {
                queue,
                subscription: 0,
            });
        }
    }

    /// Everybody is idle, and every queue was shown to be empty after that.
    fn is_drained(&mut self) -> bool {
        if !self.clients.iter().all(Client::is_idle) {
            self.clients.iter_mut().for_each(Client::ask_anew);
            return false;
        }
        let mut events = Vec::new();
        let scope = Scope {
            now: self.hub.borrow().now(),
            plan: &self.plan,
            events: &mut events,
            met: &mut self.met,
            ends: &self.ends,
            attempted: &mut self.attempted,
            is_draining: true,
        };
        self.clients.iter().all(|client| client.has_emptied(&scope))
    }

    fn describe(&mut self) -> String {
        let mut events = Vec::new();
        let scope = Scope {
            now: self.hub.borrow().now(),
            plan: &self.plan,
            events: &mut events,
            met: &mut self.met,
            ends: &self.ends,
            attempted: &mut self.attempted,
            is_draining: true,
        };
        let clients: Vec<String> = self
            .clients
            .iter()
            .map(|client| client.describe(&scope))
            .collect();
        let node = self.node.as_ref().map_or_else(
            || "down".to_owned(),
            Node::describe,
        );
        format!("node {node}; {}", clients.join("; "))
    }
}

const EVENTS_MAX: u64 = 5_000_000;
const FAULTS_MAX: Moment = 300 * SECOND;
const DRAIN_MAX: Moment = 240 * SECOND;
