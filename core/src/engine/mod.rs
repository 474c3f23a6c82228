//! The engine of one partition: inputs in, outputs out, time passed in.
//!
//! Owns the replicated state and everything live around it: who waits, who listens, which answers wait for a commit,
//! what the turn collected. Called by the shard loop only; lives on the partition's owner shard.
//! The invariants are numbered in the crate's documentation.
//!
//! ```text
//!        start <= committed <= durable <= end          start inclusive, the others exclusive
//!          |---------|------------|--------|
//!           visible     a reply waits here
//! ```

mod broadcast;
mod clock;
mod deliver;
mod demand;
mod enqueue;
mod ephemeral;
mod gate;
mod input;
mod keep;
mod keys;
mod loads;
mod memory;
mod outbox;
mod output;
mod pack;
mod queues;
mod range_set;
mod readers;
mod relocate;
mod request;
mod reschedule;
mod retention;
mod room;
mod sessions;
mod stats;
mod subscriptions;
mod takers;
mod throttle;
mod turn;

use std::collections::VecDeque;

use corelane_wire::{Epoch, Lsn, PartitionId, QueueInfo, Timestamp};

use crate::checkpoint::{Cut, ReadChunk, RestoreError};
use crate::ids::QueueId;
use crate::limits::Limits;
use crate::record::Record;
use crate::state::{Effects, ReplayError, State};
use broadcast::Missed;
use demand::Demand;
use ephemeral::{Ephemerals, is_unlogged};
use gate::{Answer, Gate};
use keys::Keys;
use loads::Loads;
use outbox::Outbox;
use output::poisoned;
use readers::Readers;
use relocate::Moves;
use retention::Retention;
use sessions::LostSessions;
use throttle::Throttle;
use turn::Turn;

pub use input::{Input, Requester, SparseStretch, only_looks};
pub use outbox::Outgoing;
pub use output::{DeliverTo, Delivery, FetchFor, Output, Reply, Run};
pub use stats::{Positions, Stats};

/// The delivery state machine of one partition.
///
/// - Inputs: [`Engine::replay`] for every record of the log, then [`Engine::step`] with `Input::Start`, then any others.
/// - Outputs: the shell does all of them, in order, before the next step.
/// - Getters: positions, deadline, hash and counters.
///
/// A turn of the shell's loop steps completions (`Durable`), `Deadline`, requests, and at its end `TurnEnd`.
#[derive(Debug)]
pub struct Engine {
    partition: PartitionId,
    limits: Limits,
    status: Status,
    epoch: Epoch,
    /// The partition was empty at its start: its Epoch record goes before the first other one.
    epoch_pending: bool,
    state: State,
    effects: Effects,
    committed: Lsn,
    durable: Lsn,
    /// What the log is behind the wall because a jump was refused, in nanoseconds.
    held_back: u64,
    gate: Gate,
    turn: Turn,
    demand: Demand,
    flush: FlushState,
    /// Enqueue records above `committed`: number, queue, bytes.
    uncommitted: VecDeque<(Lsn, QueueId, u32)>,
    uncommitted_bytes: u64,
    /// Lease records above `committed`: number, messages.
    uncommitted_leases: VecDeque<(Lsn, u32)>,
    uncommitted_leases_count: u64,
    loads: Loads,
    moves: Moves,
    keys: Keys,
    throttle: Throttle,
    retention: Retention,
    readers: Readers,
    missed: Missed,
    ephemerals: Ephemerals,
    /// Sessions without a connection.
    lost: LostSessions,
    outbox: Outbox,
    /// How memory-only queues stand, for the list that is asked for next.
    beside: Vec<QueueInfo>,
    /// The turn ended with more to give out than one turn may.
    more: bool,
    /// Nothing is given out now.
    withholds: bool,
}

/// What the partition does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Replays its log.
    Replaying,
    /// Waits for its Epoch record to be durable.
    Starting {
        /// The end of the log behind the Epoch record.
        end: Lsn,
    },
    /// Serves.
    Serving,
    /// A write failed; only what is committed can be looked at.
    Poisoned,
    /// Confirmed records behind the last one that was replayed are damaged; what is before them can be looked at.
    ReadOnly,
}

/// What was asked of the disk.
#[derive(Debug, Default)]
struct FlushState {
    /// Something waits for a commit since the last Flush.
    wanted: bool,
    /// The end of the last Flush.
    asked: Lsn,
    /// When the oldest record that no Flush covers was appended, in node time.
    unflushed_since: Option<Timestamp>,
}

impl Engine {
    /// An engine without a record.
    pub fn new(partition: PartitionId, limits: Limits) -> Self {
        Self {
            partition,
            limits,
            status: Status::Replaying,
            epoch: Epoch(0),
            epoch_pending: false,
            state: State {
                layout: limits.layout(),
                ..State::default()
            },
            effects: Effects::default(),
            committed: Lsn(0),
            durable: Lsn(0),
            held_back: 0,
            gate: Gate::default(),
            turn: Turn::default(),
            demand: Demand::default(),
            flush: FlushState::default(),
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            uncommitted_leases: VecDeque::new(),
            uncommitted_leases_count: 0,
            loads: Loads::default(),
            moves: Moves::default(),
            keys: Keys::default(),
            throttle: Throttle::default(),
            retention: Retention::default(),
            readers: Readers::default(),
            missed: Missed::default(),
            ephemerals: Ephemerals::default(),
            lost: LostSessions::default(),
            outbox: Outbox::default(),
            beside: Vec::new(),
            more: false,
            withholds: false,
        }
    }

    /// An engine with the state of a checkpoint, to be replayed from [`Engine::positions`]`.end` on.
    ///
    /// # Errors
    /// If a chunk cannot be read or does not fit; nothing is to be concluded about the log then.
    pub fn restore(
        partition: PartitionId,
        limits: Limits,
        root: &[u8],
        read: &mut ReadChunk<'_>,
    ) -> Result<Self, RestoreError> {
        Ok(Self {
            state: State {
                layout: limits.layout(),
                ..State::restore(root, read)?
            },
            ..Self::new(partition, limits)
        })
    }

    /// The state as of now, for a checkpoint. It must not be published before everything below its end is committed.
    pub fn cut(&mut self) -> Cut {
        Cut::of(&mut self.state)
    }

    /// A segment of the log begins with the record `base`: told before that record is replayed, or before it is
    /// durable.
    pub fn segment_begins(&mut self, base: Lsn) {
        let behind = self.uncommitted.iter().rev();
        let behind = behind.take_while(|(lsn, _, _)| *lsn >= base);
        let mut queues: Vec<QueueId> = behind.map(|(_, queue, _)| *queue).collect();
        queues.sort_unstable();
        queues.dedup();
        self.state.segment_begins(base, queues.into_iter());
    }

    /// Applies a record of the log before the start; `payload` is the whole payload, an Enqueue's batch included.
    ///
    /// # Errors
    /// If the record does not follow from those before. The partition must not be started then.
    ///
    /// # Panics
    /// After the start.
    pub fn replay(
        &mut self,
        lsn: Lsn,
        time: Timestamp,
        kind: u8,
        payload: &[u8],
    ) -> Result<(), ReplayError> {
        assert_eq!(self.status, Status::Replaying, "a record is replayed late");
        let record = Record::decode(kind, payload).map_err(|error| ReplayError::Decode {
            lsn,
            kind,
            error,
        })?;
        self.effects.clear();
        self.state.apply(lsn, time, &record, &mut self.effects)
    }

    /// Takes one input; appends what has to be done to `outputs`. `now` is node time and does not go back.
    pub fn step(&mut self, now: Timestamp, input: Input<'_>, outputs: &mut VecDeque<Output>) {
        match input {
            Input::Start { epoch } => self.on_start(now, epoch, outputs),
            Input::Request { from, request } => self.on_request(now, from, request, outputs),
            Input::Define { queue, config } => self.on_define(now, queue, config, outputs),
            Input::Beside { queues } => self.beside = queues.to_vec(),
            Input::LetterAnswered { from, lsn, code } => {
                self.on_letter_answered(now, (from, lsn), code, outputs);
            }
            Input::Disconnected { connection } => {
                self.demand.disconnect(connection);
                self.gate.disconnect(connection);
                self.loads.disconnect(connection);
                self.ephemerals.disconnect(now, connection);
            }
            Input::SessionLost { session } => self.on_session_lost(now, session),
            Input::SessionResumed { session } => self.lost.remove(session),
            Input::Writable {
                connection,
                writable,
            } => self.demand.set_writable(connection, writable),
            Input::GiveOut { allowed } => self.withholds = !allowed,
            Input::Loaded {
                queue,
                first,
                chunk,
            } => self.on_loaded(queue, first, chunk, outputs),
            Input::Relocate { stretches } => self.on_relocate(stretches),
            Input::Move { bytes } => self.on_move(bytes, outputs),
            Input::Fetched { whose, batch } => match whose {
                FetchFor::Relocation => self.on_fetched(now, batch, outputs),
                FetchFor::Keys => self.on_keys_fetched(batch, outputs),
                FetchFor::DeadLetters => self.on_letter_read(now, batch, outputs),
            },
            Input::Durable { end } => self.on_durable(end, outputs),
            Input::Poisoned => self.on_poisoned(outputs),
            Input::ReadOnly => self.on_read_only(),
            Input::Deadline => self.on_deadline(now, outputs),
            Input::TurnEnd => self.on_turn_end(now, outputs),
        }
        self.ask_for_flush(outputs);
        self.assert_invariants();
    }

    /// The least node time at which `Input::Deadline` (and a `TurnEnd` after it) has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadline()
    }

    /// A hash over the replicated state only: live, replayed and replicated engines at the same `end` have the same.
    pub fn state_hash(&self) -> u64 {
        self.state.hash()
    }

    /// Where the log stands.
    pub fn positions(&self) -> Positions {
        Positions {
            start: Lsn(0),
            committed: self.committed,
            durable: self.durable,
            end: self.state.end,
        }
    }

    /// The names of its queues.
    pub fn queue_names(&self) -> impl Iterator<Item = &str> {
        self.state.queues.names()
    }

    /// The epoch in which the partition serves; before the start, the highest of its log.
    pub fn epoch(&self) -> Epoch {
        self.epoch.max(self.state.epoch)
    }

    /// The partition's number.
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Counters; cheap.
    pub fn stats(&self) -> Stats {
        let beside = &self.ephemerals.state;
        let counts = self.state.counts.and(&beside.counts);
        Stats {
            status: self.status,
            time_jump_refused: self.held_back > 0,
            queues: self.state.queues.len(),
            subscriptions: counts.subscriptions,
            messages: self.state.counts.messages,
            ready: counts.ready,
            leased: counts.leased,
            delayed: counts.delayed,
            dead: counts.dead,
            parked: counts.parked,
            acked: counts.acked,
            expired: counts.expired,
            purged: counts.purged,
            missed: self.missed.all,
            enqueued: counts.enqueued,
            unaccounted: counts.enqueued.abs_diff(counts.accounted()),
            leases: self.state.leases.len() + beside.leases.len(),
            producers: self.state.producers.len(),
            gated_replies: self.gate.len(),
            waiters: self.demand.waiters(),
            consumers: self.demand.consumers(),
            uncommitted_bytes: self.uncommitted_bytes,
            uncommitted_leases: self.uncommitted_leases_count,
        }
    }

    /// Storage made everything below `end` durable; on one node that commits it.
    fn on_durable(&mut self, end: Lsn, outputs: &mut VecDeque<Output>) {
        if self.status == Status::Poisoned {
            return;
        }
        assert!(
            self.durable <= end && end <= self.state.end,
            "E1: durable end {end} outside {}..={}",
            self.durable,
            self.state.end
        );
        self.durable = end;
        self.committed = end;
        if end == self.state.end {
            self.flush.unflushed_since = None;
        }
        if let Status::Starting { end: start_end } = self.status
            && start_end <= end
        {
            self.status = Status::Serving;
        }
        let mut activated = None;
        while let Some(&(lsn, queue, bytes)) = self.uncommitted.front()
            && lsn < end
        {
            self.uncommitted.pop_front();
            self.uncommitted_bytes -= u64::from(bytes);
            // Neighbours mostly name the same queue.
            if activated.replace(queue) != Some(queue) {
                self.demand.activate_queue(queue);
            }
        }
        while let Some(&(lsn, count)) = self.uncommitted_leases.front()
            && lsn < end
        {
            self.uncommitted_leases.pop_front();
            self.uncommitted_leases_count -= u64::from(count);
        }
        self.moves.commit(end);
        self.gate.open(end, outputs);
    }

    /// A write failed: what is not committed will never be confirmed, and what was promised for it is dropped.
    fn on_poisoned(&mut self, outputs: &mut VecDeque<Output>) {
        if self.status == Status::Poisoned {
            return;
        }
        self.status = Status::Poisoned;
        self.gate.abandon(outputs);
        for from in self.turn.drain() {
            outputs.push_back(poisoned(from));
        }
        for from in self.demand.clear() {
            outputs.push_back(poisoned(from));
        }
        self.lost = LostSessions::default();
        self.flush = FlushState::default();
        self.more = false;
    }

    /// Appends a record and applies it; before the first record of an empty partition goes its Epoch record. One about
    /// an ephemeral subscription is only applied.
    fn append(&mut self, now: Timestamp, record: Record, outputs: &mut VecDeque<Output>) -> Lsn {
        if is_unlogged(&record) {
            return self.apply_beside(now, &record);
        }
        if self.epoch_pending {
            self.epoch_pending = false;
            let epoch = Record::Epoch {
                epoch: self.epoch,
                jump_ns: 0,
            };
            self.append_one(now, epoch, outputs);
        }
        self.append_one(now, record, outputs)
    }

    fn append_one(
        &mut self,
        now: Timestamp,
        record: Record,
        outputs: &mut VecDeque<Output>,
    ) -> Lsn {
        let lsn = self.state.end;
        let time = self.log_now(now);
        self.effects.clear();
        self.follow(time, &record);
        if let Err(error) = self.state.apply(lsn, time, &record, &mut self.effects) {
            panic!("E2: the engine decided a record that does not fit: {error}; {record:?}");
        }
        self.demand.absorb(&self.effects);
        self.retention.note(&record, &self.effects);
        self.keys.absorb(&self.state, &self.effects);
        self.flush.unflushed_since.get_or_insert(now);
        outputs.push_back(Output::Append { lsn, time, record });
        lsn
    }

    /// Answers as soon as everything that the answer was computed from is committed (E3): any answer but a receipt of
    /// class memory, and one about ephemeral leases.
    fn reply(&mut self, to: Requester, reply: Reply, outputs: &mut VecDeque<Output>) {
        if self.status == Status::Poisoned && self.committed < self.state.end {
            outputs.push_back(poisoned(to));
        } else {
            self.answer(to, Answer::Reply(reply), outputs);
        }
    }

    fn answer(&mut self, to: Requester, answer: Answer, outputs: &mut VecDeque<Output>) {
        if self.state.end <= self.committed {
            outputs.push_back(answer.into_output(to));
        } else {
            self.gate.push(self.state.end, to, answer);
            self.flush.wanted = true;
        }
    }

    /// Asks for a flush if something waits for records that none was asked for.
    fn ask_for_flush(&mut self, outputs: &mut VecDeque<Output>) {
        let end = self.state.end;
        if self.flush.wanted && self.flush.asked < end && self.status != Status::Poisoned {
            self.flush.asked = end;
            self.flush.unflushed_since = None;
            outputs.push_back(Output::Flush { end });
        }
        self.flush.wanted = false;
    }

    fn assert_invariants(&self) {
        let end = self.state.end;
        assert!(
            self.committed <= self.durable && self.durable <= end,
            "E1: committed {}, durable {}, end {end}",
            self.committed,
            self.durable
        );
        assert!(self.flush.asked <= end, "a flush beyond the end was asked");
        assert!(
            self.gate
                .first_end()
                .is_none_or(|first| first > self.committed),
            "E3: a reply waits for what is committed"
        );
        assert!(
            self.gate.is_empty() || self.flush.asked >= self.gate.last_end(),
            "E3: a reply waits for what no flush was asked for"
        );
        assert_eq!(
            self.uncommitted.is_empty(),
            self.uncommitted_bytes == 0,
            "uncommitted bytes"
        );
        assert!(
            self.uncommitted_leases_count <= self.limits.uncommitted_leases_max,
            "E7: {} uncommitted leases",
            self.uncommitted_leases_count
        );
        self.state.leases.assert_counts();
        self.demand.assert_counts();
        self.ephemerals.assert_counts();
    }
}

#[cfg(test)]
mod tests;
