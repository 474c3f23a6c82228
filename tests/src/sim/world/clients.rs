//! The clients' side of the world: links, what arrives on them, and the faults that come with their operations.

use crate::sim::client::{Client, Scope};
use crate::sim::clock::{MICROSECOND, MILLISECOND, Moment, SECOND};
use crate::sim::disk::Stop;
use crate::sim::hub::Event;
use crate::sim::network::{LinkId, Side};

use super::{Failure, World};

impl World {
    pub(super) fn on_arrival(&mut self, link: LinkId, side: Side) -> Result<(), Failure> {
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
    pub(super) fn read(&mut self, link: LinkId) -> Result<(), Failure> {
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

    pub(super) fn on_lost(&mut self, link: LinkId) -> Result<(), Failure> {
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

    pub(super) fn plan_client(&mut self, client: u32, delay: Moment) {
        let number = &mut self.client_numbers[client as usize];
        *number += 1;
        let number = *number;
        let event = Event::Client { client, number };
        self.hub.borrow_mut().schedule.after(delay, event);
    }

    pub(super) fn on_client(&mut self, client: u32, number: u64) -> Result<(), Failure> {
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
}
