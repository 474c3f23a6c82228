//! The shard: a plain loop over a driver.
//!
//! One turn is: wait for completions, route them to the engines, end the turn in those that were
//! stepped, send their logs to the disk, encode answers and deliveries, and start one send per
//! connection that has something to say. No futures, no task per connection or message. The loop
//! is the same over every driver; the simulation runs it unchanged.
//!
//! Lives on: one pinned thread. Owns: its partitions, its connections, its ends of the mailboxes.
//! Invariants:
//! (L1) Engines are stepped with what is due, then with completions and requests, then once with
//!      `TurnEnd`; only then is the log asked for a write: group commit without a timer. A dequeue
//!      that does not wait is due when it arrives, so nothing may fall due between the two.
//! (L2) Every completion is handled in the turn that got it; what completes at once is handled in
//!      the same turn if it concerns a connection, and in the next if it concerns a partition.
//! (L3) The shard blocks only with its parked flag set and its rings empty (see `mail`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use corelane_storage::SpareId;
use corelane_wire::{Epoch, SessionId};

use crate::driver::{Data, Done, Driver, Listener};
use crate::mail::Mailboxes;
use crate::recovery::PartitionStart;
use crate::router::Topology;
use crate::stats::ShardStats;

mod checkpoints;
mod clients;
mod commit;
mod connections;
mod delivery;
mod fetches;
mod files;
mod letters;
mod memory;
mod numbers;
mod outlets;
mod partition;
mod relocation;
mod requests;
mod scrubber;
mod segments;
mod stalls;
mod state;
mod stopping;
mod tokens;

pub use checkpoints::CheckpointPace;
pub use scrubber::ScrubPace;
pub use segments::spares_of;
pub use stopping::{STOP_WITHIN, Shutdown};

use state::{Action, State};
use tokens::Work;

/// Rounds in which operations that finish at once may lead to further ones within a turn.
const ROUNDS_MAX: usize = 8;

/// What a shard is told once.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// The node; the same for all shards.
    pub topology: Arc<Topology>,
    /// The epoch of this start; the same for all shards.
    pub epoch: Epoch,
    /// Connections that the shard takes; further ones are closed at once.
    pub connections_max: usize,
    /// Length of a partition's first segment, and of the spares kept in reserve; as in `LogConfig`.
    pub first_segment_bytes: u64,
    /// When checkpoints are taken.
    pub checkpoints: CheckpointPace,
    /// How fast what is kept is read through.
    pub scrub: ScrubPace,
    /// A write of a log that is not back after so long counts as failed; zero: never.
    pub write_timeout: Duration,
    /// What the broker calls itself in its greeting.
    pub server_name: String,
}

/// What a shard is given to own, or shares with others.
pub struct ShardStart {
    /// Its ends of the mailboxes; they also say which shard it is. See [`crate::mail::mailboxes`].
    pub mailboxes: Mailboxes,
    /// Exactly the partitions that the topology gives this shard, in any order, and its volatile one unless it has none.
    pub partitions: Vec<PartitionStart>,
    /// Where to accept, once all of its partitions serve.
    pub listeners: Vec<Listener>,
    /// Its spare segments on disk; see [`spares_of`].
    pub spares: Vec<(SpareId, u64)>,
    /// Where it publishes its numbers.
    pub stats: Arc<ShardStats>,
    /// How it is stopped.
    pub shutdown: Arc<Shutdown>,
    /// Draws the id of a new session: never zero, unguessable, never the same twice.
    pub draw_session: Box<dyn FnMut() -> SessionId + Send>,
}

impl std::fmt::Debug for ShardStart {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ShardStart")
            .field("shard", &self.mailboxes.shard())
            .field("partitions", &self.partitions.len())
            .field("listeners", &self.listeners)
            .field("spares", &self.spares)
            .finish_non_exhaustive()
    }
}

/// Whether the loop goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Call [`Shard::turn`] again.
    Continue,
    /// The shard has stopped: nothing is in flight that anybody waits for.
    Stopped,
}

/// One shard over its driver.
pub struct Shard<D: Driver> {
    driver: D,
    state: State,
    /// Completions of the last `wait`; empty between turns.
    done: Vec<Done>,
    /// Completions that came at once and are handled in the next turn (L2).
    early: Vec<Done>,
}

impl<D: Driver> Shard<D> {
    /// A shard that begins with its first turn.
    ///
    /// # Panics
    /// If the partitions are not those that the topology gives the shard.
    pub fn new(config: ShardConfig, driver: D, start: ShardStart) -> Self {
        Self {
            driver,
            state: State::new(config, start),
            done: Vec::new(),
            early: Vec::new(),
        }
    }

    /// One pass of the loop: wait, route, step, submit. It waits at most half a second.
    ///
    /// # Errors
    /// If the driver is broken; the process must end then.
    pub fn turn(&mut self) -> io::Result<Turn> {
        let timeout = self.park();
        self.resume(timeout)
    }

    /// The first half of a turn: how long the shard may block. If it may, neighbours wake it from now on (L3).
    pub fn park(&mut self) -> Duration {
        let timeout = if self.early.is_empty() {
            self.state.timeout()
        } else {
            Duration::ZERO
        };
        if !timeout.is_zero() && self.state.outlets.mail.park() {
            timeout
        } else {
            Duration::ZERO
        }
    }

    /// The second half: blocks for as long as [`Shard::park`] said, unless something happens, and does what there
    /// is to do. A driver that stands still between both halves is the simulation's.
    ///
    /// # Errors
    /// If the driver is broken; the process must end then.
    pub fn resume(&mut self, timeout: Duration) -> io::Result<Turn> {
        self.driver.wait(Some(timeout), &mut self.done)?;
        if !timeout.is_zero() {
            self.state.outlets.mail.unpark();
        }
        let before = self.state.now;
        // Node time never goes back for an engine, whatever the driver says.
        self.state.now = before.max(self.driver.now());
        self.state.begin();
        self.state.on_deadlines();
        self.route();
        self.state.watch_writes(before);
        self.state.receive_mail();
        self.state.end_turn();
        self.submit();
        self.state.deliver();
        for _ in 0..ROUNDS_MAX {
            self.state.settle();
            if !self.submit() {
                break;
            }
        }
        let has_stopped = self.state.advance_stop();
        self.state.flush_mail();
        self.submit();
        self.state.publish();
        Ok(if has_stopped {
            Turn::Stopped
        } else {
            Turn::Continue
        })
    }

    /// The driver, for its own counters and, in the simulation, its insides.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// The driver, for the simulation.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// The engines of the partitions that serve, for checkers.
    pub fn engines(&self) -> impl Iterator<Item = &corelane_core::Engine> {
        let hosted = self.state.partitions.iter();
        hosted.filter_map(|hosted| hosted.serving().map(|partition| &partition.engine))
    }

    /// Handles all completions that have arrived, those that came at once before the others.
    /// Both vectors keep their memory from turn to turn.
    fn route(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        for one in early.drain(..) {
            self.handle(one);
        }
        self.early = early;
        let mut done = std::mem::take(&mut self.done);
        for one in done.drain(..) {
            self.handle(one);
        }
        self.done = done;
    }

    fn handle(&mut self, done: Done) {
        let Data::Received(buffer) = done.data else {
            self.state.on_done(done);
            return;
        };
        let work = self.state.tokens.completed(done.token, done.more);
        if let Some(Work::Recv(connection)) = work {
            self.state
                .on_received(connection, self.driver.bytes(&buffer));
            self.state.on_recv_end(connection, done.result, done.more);
        }
        self.driver.recycle(buffer);
    }

    /// Starts what was collected; whether anything finished at once and was handled.
    fn submit(&mut self) -> bool {
        let mut has_handled = false;
        while let Some(action) = self.state.actions.pop_front() {
            match action {
                Action::Cancel(token) => self.driver.cancel(token),
                Action::Submit(token, op) => {
                    let Some(done) = self.driver.submit(token, op) else {
                        continue;
                    };
                    match done.data {
                        Data::Sent(_) | Data::None => {
                            self.state.on_done(done);
                            has_handled = true;
                        }
                        Data::Socket(_)
                        | Data::Received(_)
                        | Data::Block(_)
                        | Data::Chunk(_)
                        | Data::Checkpoint(_)
                        | Data::Scrub(_)
                        | Data::File(_) => {
                            self.early.push(done);
                        }
                    }
                }
            }
        }
        has_handled
    }
}

#[cfg(test)]
mod tests;
