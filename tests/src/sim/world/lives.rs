//! The node's lives: its starts, the turns of its shards, its crashes and orderly stops.

use crate::sim::checker::Event as History;
use crate::sim::clock::{MICROSECOND, MILLISECOND, Moment, SECOND};
use crate::sim::disk::Stop;
use crate::sim::driver::{abandon, lock};
use crate::sim::hub::Event;
use crate::sim::judgement;
use crate::sim::network::Side;
use crate::sim::node::{Node, StartError};

use super::{Failure, World};

impl World {
    pub(super) fn start(&mut self) -> Result<(), Failure> {
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

    pub(super) fn on_turn(&mut self, shard: u16, number: u64) -> Result<(), Failure> {
        if !self.hub.borrow_mut().take_turn(shard, number) {
            return Ok(());
        }
        let Some(node) = &mut self.node else {
            return Ok(());
        };
        let has_stopped = node.turn(shard)?;
        let mut hub = self.hub.borrow_mut();
        hub.blocks(shard, node.timeout(shard));
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
                hub.trace
                    .note(&[9, partition as u64, positions.end.0, hash]);
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

    pub(super) fn on_disk_failure(&mut self, failed: bool) {
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

    pub(super) fn on_crash(&mut self, life: u32, stop: Stop) -> Result<(), Failure> {
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
        judgement::check_damage(self)?;
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
            if stop == Stop::PowerLoss && self.nemesis.one_in(2) {
                state.silent = true;
            } else {
                let notice = hub.network.handshake();
                hub.schedule.after(notice, Event::Lost(link, Side::Client));
            }
        }
    }
}
