//! The hub of a simulated world: the schedule, the network and, per shard, the operations in flight.
//!
//! Drivers and the world share it within one thread. It knows nothing of queues or logs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corelane::driver::{Data, Done, Errno, RecvBuffer, Socket, Token};
use corelane_wire::Timestamp;

use crate::sim::clock::{MICROSECOND, MILLISECOND, Moment, Schedule, WALL_AT_BEGIN};
use crate::sim::disk::Stop;
use crate::sim::disk_flight::Flight;
use crate::sim::network::{LinkId, Network, Side, take};
use crate::sim::random::{Concern, Random};
use crate::sim::swarm::Swarm;
use crate::sim::trace::Trace;

/// What happens in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A shard's loop makes a turn, unless `number` is out of date.
    Turn {
        /// Which shard.
        shard: u16,
        /// The shard's count of planned turns.
        number: u64,
    },
    /// A disk operation makes progress.
    Disk(u64),
    /// A chunk arrives at one end of a link.
    Arrive(LinkId, Side),
    /// A connection request arrives at a shard's listener.
    Knock {
        /// The link.
        link: LinkId,
        /// The shard whose listener it is.
        shard: u16,
        /// Which listener of that shard.
        listener: u32,
    },
    /// One end notices that the link is dead.
    Lost(LinkId, Side),
    /// A client acts, unless `number` is out of date.
    Client {
        /// Which client.
        client: u32,
        /// The client's count of planned acts.
        number: u64,
    },
    /// A client reads again after a pause.
    Reads(LinkId),
    /// The node starts.
    Start,
    /// The node stops without warning, if it is still in that life.
    Crash {
        /// Which life.
        life: u32,
        /// How it stops.
        stop: Stop,
    },
    /// The world looks at how far it is.
    Watch,
}

/// A connected socket of a shard.
#[derive(Debug)]
pub struct SocketState {
    /// The link it ends.
    pub link: LinkId,
    /// The armed receive.
    pub recv: Option<Token>,
    /// The send that the window holds back.
    pub send: Option<(Token, Vec<u8>)>,
}

/// What one shard has asked for.
#[derive(Debug, Default)]
pub struct ShardIo {
    /// Completions for the next `wait`.
    pub ready: VecDeque<Done>,
    /// Another shard has asked for a turn.
    pub is_woken: bool,
    /// The planned turn.
    planned: Option<Moment>,
    number: u64,
    /// Armed accepts by listener.
    pub accepts: BTreeMap<u32, Token>,
    backlog: Vec<(u32, LinkId)>,
    /// Connected sockets.
    pub sockets: BTreeMap<u32, SocketState>,
    next_socket: u32,
    /// Open files.
    pub files: BTreeMap<u32, (u32, u32)>,
    /// The next file's number.
    pub next_file: u32,
}

/// The shared middle of a simulated world.
#[derive(Debug)]
pub struct Hub {
    /// What will happen.
    pub schedule: Schedule<Event>,
    /// The network.
    pub network: Network,
    /// Per shard, what is in flight; empty while the node is down.
    pub shards: Vec<ShardIo>,
    /// Disk operations in flight, by number.
    pub flights: BTreeMap<u64, Flight>,
    next_flight: u64,
    /// Decides when things happen.
    pub random: Random,
    /// The trace.
    pub trace: Trace,
    /// Wall time minus virtual time.
    pub wall_offset: u64,
    socket_of_link: BTreeMap<LinkId, (u16, u32)>,
}

impl Hub {
    /// The hub of a seed.
    pub fn new(seed: u64, swarm: &Swarm, is_verbose: bool) -> Self {
        Self {
            schedule: Schedule::new(),
            network: Network::new(seed, swarm.network.clone()),
            shards: Vec::new(),
            flights: BTreeMap::new(),
            next_flight: 0,
            random: Random::stream(seed, Concern::Schedule),
            trace: Trace::new(is_verbose),
            wall_offset: WALL_AT_BEGIN,
            socket_of_link: BTreeMap::new(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        self.schedule.now()
    }

    /// Node time.
    pub fn wall(&self) -> Timestamp {
        Timestamp(self.wall_offset + self.schedule.now())
    }

    /// A node of `shards` shards begins.
    pub fn power_on(&mut self, shards: u16) {
        self.shards = (0..shards).map(|_| ShardIo::default()).collect();
    }

    /// The node is gone: its operations with it. Links are told by the world.
    pub fn power_off(&mut self) -> Vec<Flight> {
        self.shards.clear();
        self.socket_of_link.clear();
        std::mem::take(&mut self.flights).into_values().collect()
    }

    /// Lets the shard make a turn soon.
    pub fn nudge(&mut self, shard: u16) {
        let delay = if self.random.one_in(400) {
            self.random.between(MILLISECOND, 20 * MILLISECOND)
        } else {
            self.random.between(MICROSECOND, 15 * MICROSECOND)
        };
        let at = self.now() + delay;
        self.plan_turn(shard, at);
    }

    /// Lets the shard make a turn at `at` at the latest.
    pub fn plan_turn(&mut self, shard: u16, at: Moment) {
        let Some(io) = self.shards.get_mut(usize::from(shard)) else {
            return;
        };
        if io.planned.is_some_and(|planned| planned <= at) {
            return;
        }
        io.planned = Some(at);
        io.number += 1;
        let number = io.number;
        self.schedule.at(at, Event::Turn { shard, number });
    }

    /// True when the turn `number` of the shard is the planned one; it is planned no more.
    pub fn take_turn(&mut self, shard: u16, number: u64) -> bool {
        let Some(io) = self.shards.get_mut(usize::from(shard)) else {
            return false;
        };
        let is_planned = io.planned.is_some() && io.number == number;
        if is_planned {
            io.planned = None;
        }
        is_planned
    }

    /// The shard blocks, for so long at most.
    pub fn blocks(&mut self, shard: u16, timeout: Duration) {
        let Some(io) = self.shards.get_mut(usize::from(shard)) else {
            return;
        };
        if !io.ready.is_empty() || std::mem::take(&mut io.is_woken) || timeout.is_zero() {
            self.nudge(shard);
        } else {
            let at = self.now() + timeout.as_nanos() as u64;
            self.plan_turn(shard, at);
        }
    }

    /// A completion for the shard.
    pub fn complete(&mut self, shard: u16, done: Done) {
        if let Some(io) = self.shards.get_mut(usize::from(shard)) {
            io.ready.push_back(done);
            self.nudge(shard);
        }
    }

    /// Keeps a disk operation and returns its number.
    pub fn launch(&mut self, flight: Flight, delay: Moment) {
        let id = self.next_flight;
        self.next_flight += 1;
        self.flights.insert(id, flight);
        self.schedule.after(delay, Event::Disk(id));
    }

    // Links, seen from the node.

    /// Arms an accept and hands over what has knocked already.
    pub fn accept(&mut self, shard: u16, listener: u32, token: Token) {
        let Some(io) = self.shards.get_mut(usize::from(shard)) else {
            return;
        };
        io.accepts.insert(listener, token);
        let (mine, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut io.backlog)
            .into_iter()
            .partition(|(at, _)| *at == listener);
        io.backlog = rest;
        for (_, link) in mine {
            self.knock(link, shard, listener);
        }
    }

    /// A connection request arrives; false when nobody listens.
    pub fn knock(&mut self, link: LinkId, shard: u16, listener: u32) -> bool {
        let Some(io) = self.shards.get_mut(usize::from(shard)) else {
            return false;
        };
        let Some(token) = io.accepts.get(&listener).copied() else {
            io.backlog.push((listener, link));
            return true;
        };
        let socket = io.next_socket;
        io.next_socket += 1;
        io.sockets.insert(
            socket,
            SocketState {
                link,
                recv: None,
                send: None,
            },
        );
        self.socket_of_link.insert(link, (shard, socket));
        self.complete(
            shard,
            Done {
                token,
                result: Ok(0),
                more: true,
                data: Data::Socket(Socket(socket)),
            },
        );
        true
    }

    /// Gives the shard what has arrived for the socket, if its receive is armed.
    pub fn deliver(&mut self, shard: u16, socket: u32) {
        loop {
            let Some((link_id, token)) = self.armed(shard, socket) else {
                return;
            };
            let limit = self.random.skewed(64, 32 << 10) as usize;
            let link = self.network.link(link_id);
            let pipe = &mut link.to_node;
            let (result, bytes) = if link.reset {
                (Err(Errno::RESET), Vec::new())
            } else if !pipe.received.is_empty() {
                let count = pipe.received.len().min(limit);
                let bytes = take(&mut pipe.received, count);
                (Ok(bytes.len()), bytes)
            } else if pipe.end_arrived {
                (Ok(0), Vec::new())
            } else {
                return;
            };
            let more = !bytes.is_empty();
            if more {
                self.pump(link_id, Side::Node);
            }
            if !more && let Some(state) = self.socket(shard, socket) {
                state.recv = None;
            }
            let data = if more {
                Data::Received(RecvBuffer::Owned(bytes))
            } else {
                Data::None
            };
            let done = Done {
                token,
                result,
                more,
                data,
            };
            self.complete(shard, done);
        }
    }

    fn armed(&mut self, shard: u16, socket: u32) -> Option<(LinkId, Token)> {
        let state = self.socket(shard, socket)?;
        Some((state.link, state.recv?))
    }

    /// The state of a socket.
    pub fn socket(&mut self, shard: u16, socket: u32) -> Option<&mut SocketState> {
        self.shards
            .get_mut(usize::from(shard))?
            .sockets
            .get_mut(&socket)
    }

    /// Where the node's end of the link is.
    pub fn socket_of(&self, link: LinkId) -> Option<(u16, u32)> {
        self.socket_of_link.get(&link).copied()
    }

    /// Moves waiting bytes of the link towards `to` on their way.
    pub fn pump(&mut self, link: LinkId, to: Side) {
        let now = self.now();
        for at in self.network.pump(now, link, to) {
            self.schedule.at(at, Event::Arrive(link, to));
        }
        if to == Side::Client {
            self.finish_send(link);
        }
    }

    /// Completes the node's held-back send if the window has let all of it through, or the link is dead.
    fn finish_send(&mut self, link_id: LinkId) {
        let Some((shard, socket)) = self.socket_of(link_id) else {
            return;
        };
        let link = self.network.link(link_id);
        let is_reset = link.reset;
        if link.to_client.unsent_bytes() > 0 && !is_reset {
            return;
        }
        let Some((token, buffer)) = self
            .socket(shard, socket)
            .and_then(|state| state.send.take())
        else {
            return;
        };
        let result = if is_reset {
            Err(Errno::BROKEN_PIPE)
        } else {
            Ok(buffer.len())
        };
        let done = Done {
            token,
            result,
            more: false,
            data: Data::Sent(buffer),
        };
        self.complete(shard, done);
    }

    /// The shard closes a socket.
    pub fn close_socket(&mut self, shard: u16, socket: u32) {
        let Some(state) = self
            .shards
            .get_mut(usize::from(shard))
            .and_then(|io| io.sockets.remove(&socket))
        else {
            return;
        };
        self.socket_of_link.remove(&state.link);
        let link = self.network.link(state.link);
        link.to_client.ended = true;
        self.pump(state.link, Side::Client);
    }

    /// The node's end learns that the link is dead.
    pub fn lose_at_node(&mut self, link: LinkId) {
        self.network.link(link).reset = true;
        self.finish_send(link);
        if let Some((shard, socket)) = self.socket_of(link) {
            self.deliver(shard, socket);
        }
    }

    // Links, seen from a client.

    /// A client asks for a connection to a listener of a shard.
    pub fn connect(&mut self, client: u32, shard: u16, listener: u32) -> LinkId {
        let link = self.network.open(client);
        let delay = self.network.handshake();
        self.schedule.after(
            delay,
            Event::Knock {
                link,
                shard,
                listener,
            },
        );
        link
    }

    /// A client sends bytes.
    pub fn send(&mut self, link: LinkId, bytes: &[u8]) {
        self.network.link(link).to_node.put(bytes);
        self.pump(link, Side::Node);
    }

    /// A client reads what has arrived; the flag tells the end of the stream.
    pub fn read(&mut self, link: LinkId) -> (Vec<u8>, bool) {
        let pipe = &mut self.network.link(link).to_client;
        let count = pipe.received.len();
        let bytes = take(&mut pipe.received, count);
        let ended = pipe.end_arrived;
        if !bytes.is_empty() {
            self.pump(link, Side::Client);
        }
        (bytes, ended)
    }

    /// A client closes its end in good order.
    pub fn close(&mut self, link: LinkId) {
        let state = self.network.link(link);
        state.to_node.ended = true;
        self.pump(link, Side::Node);
        // Nobody reads any more: the kernel answers further bytes with a reset.
        let notice = self.network.handshake();
        self.schedule.after(notice, Event::Lost(link, Side::Node));
    }

    /// The connection is reset: each end learns of it on its own.
    pub fn reset(&mut self, link: LinkId) {
        for side in [Side::Client, Side::Node] {
            let notice = self.network.handshake();
            self.schedule.after(notice, Event::Lost(link, side));
        }
    }

    /// The client's end silently goes: the node notices late. False if it went before.
    pub fn silence(&mut self, link: LinkId) -> bool {
        let state = self.network.link(link);
        if state.silent {
            return false;
        }
        state.silent = true;
        let notice = self.network.notice();
        self.schedule.after(notice, Event::Lost(link, Side::Node));
        true
    }
}
