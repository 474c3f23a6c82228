//! The end of a seed: the heal, and the wait until everything is drained.

use crate::sim::checker::SubscriptionKey;
use crate::sim::client::{Client, Scope};
use crate::sim::clock::{MILLISECOND, Moment, SECOND};
use crate::sim::driver::lock;
use crate::sim::hub::Event;
use crate::sim::node::Node;
use crate::sim::swarm::DiskFaults;

use super::{Failure, World};

impl World {
    pub(super) fn on_watch(&mut self) -> Result<bool, Failure> {
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

    pub(super) fn describe(&mut self) -> String {
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
        let node = self
            .node
            .as_ref()
            .map_or_else(|| "down".to_owned(), Node::describe);
        format!("node {node}; {}", clients.join("; "))
    }
}

const FAULTS_MAX: Moment = 300 * SECOND;
const DRAIN_MAX: Moment = 240 * SECOND;
