//! The end of a shard: what was accepted is finished, nothing new begins.
//!
//! Order: stop accepting and refuse new requests; wait until the answers that are owed have been
//! given and the logs are flushed; tell every client that it ends; close; wait until the other
//! shards have come as far, since they may still need this one's answers. Bounded by
//! [`STOP_WITHIN`], whatever clients and disks do. Invariant: (H1) a shard counts itself as
//! drained at most once, and answers mail until all have.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use corelane_wire::{ErrorCode, Timestamp};

use super::partition::Hosted;
use super::state::{Action, State};

/// After this long a shard stops whatever is left.
pub const STOP_WITHIN: Duration = Duration::from_secs(3);
/// After this long owed answers are given up: their clients see that the outcome is unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often a stopping shard looks whether the others are done.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The wish to stop, shared by all shards of a process and whoever stops them.
#[derive(Debug)]
pub struct Shutdown {
    stop: AtomicBool,
    shards: u16,
    drained: AtomicU16,
}

impl Shutdown {
    /// For a process with so many shards.
    pub fn new(shards: u16) -> Self {
        Self {
            stop: AtomicBool::new(false),
            shards,
            drained: AtomicU16::new(0),
        }
    }

    /// Asks all shards to stop. They notice within half a second, at once if their drivers are
    /// woken.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the shards were asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether every shard has nothing left to do.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire) >= self.shards
    }

    fn add_drained(&self) {
        self.drained.fetch_add(1, Ordering::AcqRel);
    }
}

/// How far a stopping shard has come.
#[derive(Debug)]
pub(super) struct Stopping {
    since: Timestamp,
    looked: Timestamp,
    /// Whether the clients were told that it ends.
    has_ended_connections: bool,
    is_drained: bool,
}

impl Stopping {
    pub(super) fn next_deadline(&self) -> Timestamp {
        self.looked.add(LOOK_EVERY)
    }
}

impl State {
    /// Moves a stop on, if one was asked for; true when the shard is done.
    pub(super) fn advance_stop(&mut self) -> bool {
        if self.stopping.is_none() {
            if !self.shutdown.is_stopping() {
                return false;
            }
            self.begin_stop();
        }
        let now = self.now;
        let Some(stopping) = self.stopping.as_mut() else {
            return false;
        };
        stopping.looked = now;
        let waited = now.since(stopping.since);
        let has_ended = stopping.has_ended_connections;
        if !has_ended && (waited >= ANSWER_WITHIN || (!self.owes_answers() && self.is_flushed())) {
            self.end_connections();
        }
        let is_drained = self.outlets.connections.count() == 0 && self.is_flushed();
        if let Some(stopping) = self.stopping.as_mut()
            && is_drained
            && stopping.has_ended_connections
            && !stopping.is_drained
        {
            stopping.is_drained = true;
            self.shutdown.add_drained();
        }
        waited >= STOP_WITHIN || self.shutdown.is_drained()
    }

    fn begin_stop(&mut self) {
        self.stopping = Some(Stopping {
            since: self.now,
            looked: self.now,
            has_ended_connections: false,
            is_drained: false,
        });
        self.idle_listeners.clear();
        for (_, token) in self.accepts.drain(..) {
            self.actions.push_back(Action::Cancel(token));
        }
    }

    fn owes_answers(&self) -> bool {
        let mut connections = self.outlets.connections.iter();
        connections.any(|(_, connection)| connection.is_open() && connection.owes_answers())
    }

    fn is_flushed(&self) -> bool {
        let mut serving = self.partitions.iter().filter_map(Hosted::serving);
        serving.all(|partition| partition.is_flushed() && partition.waiting_write.is_none())
    }

    fn end_connections(&mut self) {
        if let Some(stopping) = self.stopping.as_mut() {
            stopping.has_ended_connections = true;
        }
        let open: Vec<_> = self.outlets.connections.iter().map(|(id, _)| id).collect();
        for connection in open {
            self.fault(connection, ErrorCode::ShuttingDown, "the broker shuts down");
        }
    }
}
