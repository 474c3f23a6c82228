//! The simulated network: byte streams between clients and the node, cut into chunks at random, delayed, reset,
//! or silently dead on one side (half open).
//!
//! Each direction of a link is a [`Pipe`] with a window, so that a reader who does not read stops its writer.

use std::collections::VecDeque;

use crate::sim::clock::{MICROSECOND, MILLISECOND, Moment, SECOND};
use crate::sim::random::{Concern, Random};
use crate::sim::swarm::NetworkFaults;

/// Which end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's end.
    Client,
    /// The node's end.
    Node,
}

/// Number of a link; never reused within a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

#[derive(Debug)]
struct Chunk {
    arrives: Moment,
    bytes: Vec<u8>,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Pipe {
    /// Handed over by the writer, beyond the window.
    unsent: VecDeque<u8>,
    in_flight: VecDeque<Chunk>,
    in_flight_bytes: usize,
    /// Arrived, not yet read.
    pub received: VecDeque<u8>,
    window: usize,
    last_arrival: Moment,
    /// The writer has closed its end.
    pub ended: bool,
    /// The end of the stream has arrived.
    pub end_arrived: bool,
    end_in_flight: bool,
}

/// A connection between a client and a shard of the node.
#[derive(Debug)]
pub struct Link {
    /// The client.
    pub client: u32,
    /// Bytes towards the node.
    pub to_node: Pipe,
    /// Bytes towards the client.
    pub to_client: Pipe,
    /// Nothing passes any more, and nobody is told.
    pub silent: bool,
    /// The connection was reset: reads and writes fail.
    pub reset: bool,
}

/// All links of a seed.
#[derive(Debug)]
pub struct Network {
    links: Vec<Link>,
    random: Random,
    /// The fault probabilities now in force.
    pub faults: NetworkFaults,
}

impl Network {
    /// A network without links.
    pub fn new(seed: u64, faults: NetworkFaults) -> Self {
        Self {
            links: Vec::new(),
            random: Random::stream(seed, Concern::Network),
            faults,
        }
    }

    /// A new link of `client`.
    pub fn open(&mut self, client: u32) -> LinkId {
        let id = LinkId(self.links.len() as u32);
        let window = self.random.skewed(2 << 10, 256 << 10) as usize;
        self.links.push(Link {
            client,
            to_node: Pipe::new(window),
            to_client: Pipe::new(window),
            silent: false,
            reset: false,
        });
        id
    }

    /// The link.
    pub fn link(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[id.0 as usize]
    }

    /// How long a connection takes to be made.
    pub fn handshake(&mut self) -> Moment {
        self.random.between(30 * MICROSECOND, 500 * MICROSECOND)
    }

    /// Cuts what waits at the writer's end of the pipe towards `to` into chunks as far as the window lets it.
    /// Returns the moments at which chunks arrive.
    pub fn pump(&mut self, now: Moment, id: LinkId, to: Side) -> Vec<Moment> {
        let mut arrivals = Vec::new();
        let Self {
            links,
            random,
            faults,
        } = self;
        let link = &mut links[id.0 as usize];
        let silent = link.silent;
        let pipe = link.pipe(to);
        loop {
            let room = pipe.room();
            if pipe.unsent.is_empty() || room == 0 {
                break;
            }
            let whole = pipe.unsent.len().min(room);
            let bytes = if random.chance(faults.split) {
                1 + random.skewed(1, whole as u64).min(whole as u64 - 1) as usize
            } else {
                whole
            };
            let delay = delay(random, faults);
            let chunk = take(&mut pipe.unsent, bytes);
            pipe.in_flight_bytes += bytes;
            if silent {
                continue;
            }
            let arrives = pipe.last_arrival.max(now + delay);
            pipe.last_arrival = arrives;
            pipe.in_flight.push_back(Chunk {
                arrives,
                bytes: chunk,
            });
            arrivals.push(arrives);
        }
        if pipe.ended && !pipe.end_in_flight && pipe.unsent.is_empty() && !silent {
            pipe.end_in_flight = true;
            let arrives = pipe.last_arrival.max(now + delay(random, faults));
            pipe.last_arrival = arrives;
            arrivals.push(arrives);
        }
        arrivals
    }

    /// How long the node takes to notice a peer that has silently gone.
    pub fn notice(&mut self) -> Moment {
        self.random.between(500 * MILLISECOND, 20 * SECOND)
    }
}

impl Link {
    /// The pipe towards `to`.
    pub fn pipe(&mut self, to: Side) -> &mut Pipe {
        match to {
            Side::Client => &mut self.to_client,
            Side::Node => &mut self.to_node,
        }
    }
}

impl Pipe {
    fn new(window: usize) -> Self {
        Self {
            unsent: VecDeque::new(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            received: VecDeque::new(),
            window,
            last_arrival: 0,
            ended: false,
            end_arrived: false,
            end_in_flight: false,
        }
    }

    /// Hands bytes to the writer's end.
    pub fn put(&mut self, bytes: &[u8]) {
        self.unsent.extend(bytes);
    }

    /// Bytes at the writer's end that the window has not let through.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.len()
    }

    fn room(&self) -> usize {
        self.window
            .saturating_sub(self.in_flight_bytes + self.received.len())
    }

    /// Moves to the reader what has arrived by `now`; true if that was anything.
    pub fn arrive(&mut self, now: Moment) -> bool {
        let mut any = false;
        while self
            .in_flight
            .front()
            .is_some_and(|chunk| chunk.arrives <= now)
        {
            if let Some(chunk) = self.in_flight.pop_front() {
                self.in_flight_bytes -= chunk.bytes.len();
                self.received.extend(chunk.bytes);
                any = true;
            }
        }
        if self.end_in_flight && self.in_flight.is_empty() && self.last_arrival <= now {
            any |= !self.end_arrived;
            self.end_arrived = true;
        }
        any
    }
}

/// Takes the first bytes out; by slices, because the simulation spent a quarter of its time on single ones.
pub fn take(queue: &mut VecDeque<u8>, bytes: usize) -> Vec<u8> {
    let (front, back) = queue.as_slices();
    let in_front = bytes.min(front.len());
    let taken = [&front[..in_front], &back[..bytes - in_front]].concat();
    queue.drain(..bytes);
    taken
}

fn delay(random: &mut Random, faults: &NetworkFaults) -> Moment {
    if random.chance(faults.slow) {
        random.skewed(MILLISECOND, 300 * MILLISECOND)
    } else {
        random.between(10 * MICROSECOND, 120 * MICROSECOND)
    }
}

#[cfg(test)]
mod tests;
