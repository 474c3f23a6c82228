//! Everything of a shard but its driver: the hub through which inputs and outputs pass.
//!
//! Nothing here touches the machine: operations to be started are collected in order and
//! submitted by [`super::Shard`] between the stages of a turn. The parts stand next door:
//! `clients` (connections), `requests` (routing and mail), `commit` (the disk), `stopping`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use corelane_core::{ConnectionId, Input};
use corelane_wire::{Epoch, SessionId, Timestamp};

use super::delivery::Next;
use super::letters::Letters;
use super::outlets::{Outlets, Room};
use super::partition::{Hosted, Partition, Scratch, Step};
use super::scrubber::Scrubber;
use super::segments::Spares;
use super::stopping::{Shutdown, Stopping};
use super::tokens::{Tokens, Work};
use super::{ShardConfig, ShardStart};
use crate::driver::{Data, Done, Listener, Op, Token};
use crate::mail::{self, Mail};
use crate::recovery::PartitionState;
use crate::router::Topology;
use crate::session::{Change, Sessions};
use crate::stats::{Counters, Illness, ShardStats};

/// Message bytes that a shard encodes per turn, so that requests do not wait for long.
const DELIVERY_BYTES_PER_TURN: usize = 4 << 20;
/// No wait is longer, so that a stop is noticed and the watchdog sees turns.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(500);
/// How soon a full ring is tried again; the neighbour does not say when it has room.
const MAIL_RETRY: Duration = Duration::from_millis(1);

/// Something for the driver.
#[derive(Debug)]
pub(super) enum Action {
    Submit(Token, Op),
    Cancel(Token),
}

/// See the module's text.
pub(super) struct State {
    pub(super) config: ShardConfig,
    pub(super) topology: Arc<Topology>,
    pub(super) now: Timestamp,
    pub(super) epoch: Epoch,
    pub(super) outlets: Outlets,
    pub(super) sessions: Sessions,
    pub(super) draw_session: Box<dyn FnMut() -> SessionId + Send>,
    /// Those of this shard in order of their numbers: `Topology::slot_of` finds them.
    pub(super) partitions: Vec<Hosted>,
    /// Of the data directory.
    pub(super) spares: Spares,
    /// Of the volatile partition.
    pub(super) volatile_spares: Spares,
    pub(super) letters: Letters,
    /// Where the volatile partition is, if the shard has one.
    pub(super) volatile: Option<usize>,
    pub(super) scrubber: Scrubber,
    pub(super) tokens: Tokens,
    pub(super) actions: VecDeque<Action>,
    pub(super) counters: Counters,
    pub(super) stats: Arc<ShardStats>,
    pub(super) shutdown: Arc<Shutdown>,
    pub(super) stopping: Option<Stopping>,
    /// Listeners that do not accept now, with the time to begin (again).
    pub(super) idle_listeners: Vec<(Listener, Timestamp)>,
    pub(super) accepts: Vec<(Listener, Token)>,
    /// When the partitions were last looked at for something to keep in a checkpoint.
    pub(super) last_checkpoints: Timestamp,
    /// Whether segments wait for another checkpoint to go.
    pub(super) frees_segments: bool,
    scratch: Scratch,
    arrived: VecDeque<mail::Batch>,
    /// The partition that delivers first in this turn; they take turns.
    deliver_first: usize,
    /// Whether deliveries were left for the next turn.
    deliver_later: bool,
    is_started: bool,
}

impl State {
    pub(super) fn new(config: ShardConfig, start: ShardStart) -> Self {
        let topology = Arc::clone(&config.topology);
        let shard = start.mailboxes.shard();
        let mut partitions = start.partitions;
        partitions.sort_by_key(|partition| partition.partition);
        for (slot, partition) in partitions.iter().enumerate() {
            let id = partition.partition;
            assert_eq!(topology.shard_of(id), shard, "R1: partition {id}");
            assert_eq!(topology.slot_of(id), slot, "R1: partition {id}");
            match &partition.state {
                PartitionState::Damaged { known: None, .. } => {
                    start.stats.add_ill(id, Illness::Damaged);
                }
                PartitionState::Damaged { known: Some(_), .. } => {
                    start.stats.add_ill(id, Illness::ReadOnly);
                    start.stats.add_ill(id, Illness::PartlyDamaged);
                }
                PartitionState::Ready(ready) if ready.is_partly_damaged => {
                    start.stats.add_ill(id, Illness::PartlyDamaged);
                }
                PartitionState::Ready(_) => {}
            }
        }
        let shards = topology.shard_count();
        let mut partitions: Vec<_> = partitions.into_iter().map(Hosted::new).collect();
        let volatile = topology.slot_of(topology.volatile_of(shard));
        let hosted = partitions.get_mut(volatile).and_then(Hosted::serving_mut);
        let volatile = hosted.map(|hosted| {
            hosted.is_volatile = true;
            volatile
        });
        Self {
            now: Timestamp(0),
            epoch: config.epoch,
            outlets: Outlets::new(start.mailboxes),
            sessions: Sessions::default(),
            draw_session: start.draw_session,
            partitions,
            spares: Spares::new(shard, shards, config.first_segment_bytes, start.spares),
            letters: Letters::default(),
            volatile_spares: Spares::volatile(shard, shards, config.first_segment_bytes),
            volatile,
            scrubber: Scrubber::new(config.scrub),
            tokens: Tokens::default(),
            actions: VecDeque::new(),
            counters: Counters::default(),
            stats: start.stats,
            shutdown: start.shutdown,
            stopping: None,
            idle_listeners: start
                .listeners
                .into_iter()
                .map(|it| (it, Timestamp(0)))
                .collect(),
            accepts: Vec::new(),
            last_checkpoints: Timestamp(0),
            frees_segments: false,
            scratch: Scratch::default(),
            arrived: VecDeque::new(),
            deliver_first: 0,
            deliver_later: false,
            is_started: false,
            topology,
            config,
        }
    }

    /// The spares that become segments of durable partitions, or of the volatile one.
    pub(super) const fn spares_for(&self, is_volatile: bool) -> &Spares {
        if is_volatile {
            &self.volatile_spares
        } else {
            &self.spares
        }
    }

    /// The same, to change them.
    pub(super) const fn spares_for_mut(&mut self, is_volatile: bool) -> &mut Spares {
        if is_volatile {
            &mut self.volatile_spares
        } else {
            &mut self.spares
        }
    }

    /// Collects an operation for the driver.
    pub(super) fn submit(&mut self, work: Work, op: Op) -> Token {
        let token = self.tokens.issue(work);
        self.actions.push_back(Action::Submit(token, op));
        token
    }

    /// How long the shard may block.
    pub(super) fn timeout(&self) -> Duration {
        if !self.is_started || self.deliver_later || self.is_touched() || self.has_letters() {
            return Duration::ZERO;
        }
        let serving = self.partitions.iter().filter_map(Hosted::serving);
        let partitions = serving.filter_map(|it| self.next_of(it));
        let others = [
            self.outlets.connections.next_deadline(),
            self.spares.next_deadline(),
            self.volatile_spares.next_deadline(),
            self.scrubber
                .next_deadline()
                .filter(|_| self.stopping.is_none()),
            Some(self.next_checkpoints()),
            self.next_listener(),
            self.stopping.as_ref().map(Stopping::next_deadline),
            self.outlets
                .mail
                .holds_mail()
                .then(|| self.now.add(MAIL_RETRY)),
        ];
        partitions
            .chain(others.into_iter().flatten())
            .min()
            .map_or(WAIT_MAX, |at| at.since(self.now).min(WAIT_MAX))
    }

    /// When a partition wants a turn.
    fn next_of(&self, partition: &Partition) -> Option<Timestamp> {
        let engine = partition.next_deadline();
        let write = partition.next_stall(self.now, self.config.write_timeout);
        if partition.poisoned {
            // Nothing more is written to its log, whatever that has been waiting for.
            return engine.into_iter().chain(write).min();
        }
        let log = partition.log.next_deadline();
        let relocation = partition.relocation.next_deadline();
        let spares = self.spares_for(partition.is_volatile);
        let may_move = || !spares.is_full() && self.stopping.is_none();
        let relocation = relocation.filter(|_| may_move() && !partition.lacks_segment());
        let keys = partition.key_reads.next_deadline();
        let letters = partition.letter_reads.next_deadline();
        let all = [engine, write, log, relocation, keys, letters];
        all.into_iter().flatten().min()
    }

    /// When a listener that failed is tried again. One that waits for the partitions is armed in
    /// the turn in which the last of them begins to serve.
    fn next_listener(&self) -> Option<Timestamp> {
        let idle = self.idle_listeners.iter().map(|(_, at)| *at);
        idle.filter(|at| *at > self.now).min()
    }

    fn is_touched(&self) -> bool {
        let mut serving = self.partitions.iter().filter_map(Hosted::serving);
        serving.any(Partition::is_touched)
    }

    /// Steps the engine in a slot and does what it puts out.
    pub(super) fn step(&mut self, slot: usize, input: Input<'_>) {
        let (partitions, mut at) = self.step_parts();
        if let Some(partition) = partitions[slot].serving_mut() {
            partition.step(input, &mut at);
        }
    }

    /// The partitions, and what their steps need.
    pub(super) fn step_parts(&mut self) -> (&mut [Hosted], Step<'_>) {
        let step = Step {
            now: self.now,
            outlets: &mut self.outlets,
            scratch: &mut self.scratch,
            counters: &mut self.counters,
        };
        (&mut self.partitions, step)
    }

    /// Steps all engines with the same news.
    pub(super) fn step_all(&mut self, input: Input<'_>) {
        for slot in 0..self.partitions.len() {
            self.step(slot, input);
        }
    }

    /// The first thing after the clock is known: the epoch begins in every partition.
    pub(super) fn begin(&mut self) {
        if !self.is_started {
            self.is_started = true;
            self.last_checkpoints = self.now;
            self.scrubber.begin(self.now);
            let epoch = self.epoch;
            for slot in 0..self.partitions.len() {
                let is_read_only = self.partitions[slot].read_only().is_some();
                let begins = if is_read_only {
                    Input::ReadOnly
                } else {
                    Input::Start { epoch }
                };
                self.step(slot, begins);
                self.open_newest(slot);
                self.remove_leftovers(slot);
            }
        }
    }

    /// A completion without received bytes.
    pub(super) fn on_done(&mut self, done: Done) {
        let Some(work) = self.tokens.completed(done.token, done.more) else {
            return;
        };
        match work {
            Work::Accept(listener) => self.on_accept(listener, &done),
            Work::Recv(connection) => self.on_recv_end(connection, done.result, done.more),
            Work::Send(connection) => self.on_sent(connection, done.result, done.data),
            Work::Close(connection) => self.outlets.connections.remove(connection),
            Work::Refuse | Work::CloseFile | Work::Wake => {}
            Work::Open { slot, segment } => {
                let opened = match (done.result, done.data) {
                    (Ok(_), Data::File(file)) => Ok(file),
                    (Ok(_), _) => Err(crate::driver::Errno::IO),
                    (Err(errno), _) => Err(errno),
                };
                self.on_opened(slot, segment, opened);
            }
            Work::Write(site) => self.on_written(site, done.result, done.data),
            Work::Read(site) => self.on_read(site, done.result, done.data),
            Work::Housekeeping(task) => self.on_housekeeping(task, done.result),
            Work::Checkpoint { slot } => self.on_checkpoint(slot, done.result, done.data),
            Work::Scrub { slot } => self.on_scrubbed(slot, done.result, done.data),
            Work::LoadChunk { slot, queue, first } => {
                self.on_chunk(slot, (queue, first), (done.result, done.data));
            }
        }
    }

    /// Takes in what other shards sent.
    pub(super) fn receive_mail(&mut self) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.outlets.mail.receive(&mut arrived);
        for batch in arrived.drain(..) {
            for (mail, bytes) in batch.iter() {
                self.on_mail(mail, bytes);
            }
            self.outlets.mail.recycle(batch);
        }
        self.arrived = arrived;
    }

    /// Everything whose time has come.
    pub(super) fn on_deadlines(&mut self) {
        let now = self.now;
        for slot in 0..self.partitions.len() {
            let due = self.partitions[slot]
                .serving()
                .and_then(Partition::next_deadline);
            if due.is_some_and(|at| at <= now) {
                self.step(slot, Input::Deadline);
            }
        }
        self.take_cuts();
        self.scrub();
        while let Some(connection) = self.outlets.connections.next_late(now) {
            self.on_late(connection);
        }
    }

    /// Ends the turn in the engines that were stepped in it, and sends their logs to the disk.
    pub(super) fn end_turn(&mut self) {
        self.carry_letters();
        for slot in 0..self.partitions.len() {
            self.relocate(slot);
            self.read_records(slot);
            let (partitions, mut at) = self.step_parts();
            if let Some(partition) = partitions[slot].serving_mut() {
                partition.end_turn(&mut at);
            }
            self.commit(slot);
            self.load_chunks(slot);
        }
        self.keep_spares();
        self.accept();
    }

    /// Encodes deliveries, within the turn's budget.
    pub(super) fn deliver(&mut self) {
        let mut budget = DELIVERY_BYTES_PER_TURN;
        self.deliver_later = false;
        for (_, slot, connection) in self.line() {
            if self.outlets.room(connection) == Room::Full {
                continue;
            }
            if budget == 0 {
                self.deliver_later = true;
                break;
            }
            self.deliver_from(slot, |partition, at| {
                partition.deliver_held(connection, &mut budget, at)
            });
        }
        let count = self.partitions.len();
        for turn in 0..count {
            let slot = (self.deliver_first + turn) % count;
            self.deliver_from(slot, |partition, at| partition.deliver(&mut budget, at));
        }
        self.deliver_first = (self.deliver_first + 1) % count.max(1);
        let Self {
            outlets,
            partitions,
            ..
        } = self;
        outlets.return_room(|connection| {
            let mut serving = partitions.iter().filter_map(Hosted::serving);
            serving.any(|partition| partition.pending.has_for(connection))
        });
    }

    /// Who waits for room where, those that wait longest first.
    fn line(&self) -> Vec<(u64, usize, ConnectionId)> {
        let mut line = Vec::new();
        for (slot, hosted) in self.partitions.iter().enumerate() {
            if let Some(partition) = hosted.serving().filter(|it| it.pending.holds()) {
                let waits = partition.pending.waits();
                line.extend(waits.map(|(place, connection)| (place, slot, connection)));
            }
        }
        line.sort_unstable();
        line
    }

    /// Encodes deliveries of one partition.
    fn deliver_from(
        &mut self,
        slot: usize,
        deliver: impl FnOnce(&mut Partition, &mut Step<'_>) -> Next,
    ) {
        let (partitions, mut at) = self.step_parts();
        let Some(partition) = partitions[slot].serving_mut() else {
            return;
        };
        match deliver(partition, &mut at) {
            Next::Idle => {}
            Next::Later => self.deliver_later = true,
            next @ Next::Read { .. } => self.read(slot, next),
        }
    }

    /// A connection of a session opened, on this shard or another.
    pub(super) fn on_session_opened(&mut self, session: SessionId) {
        if self.sessions.opened(session) == Change::Resumed {
            self.step_all(Input::SessionResumed { session });
        }
    }

    /// A connection of a session closed, on this shard or another.
    pub(super) fn on_session_closed(&mut self, session: SessionId) {
        if self.sessions.closed(self.now, session) == Change::Lost {
            self.step_all(Input::SessionLost { session });
        }
    }

    /// A connection is gone, on this shard or another.
    pub(super) fn on_disconnected(&mut self, connection: ConnectionId) {
        self.step_all(Input::Disconnected { connection });
        for partition in self.partitions.iter_mut().filter_map(Hosted::serving_mut) {
            partition.pending.forget(connection);
        }
        self.outlets.forget(connection);
    }

    /// This shard has asked for room in the out-buffer of a connection, and has it now.
    pub(super) fn on_room(&mut self, connection: ConnectionId) {
        self.outlets.room_given(connection);
        self.deliver_later = true;
    }

    /// Tells all other shards.
    pub(super) fn mail_all(&mut self, mail: Mail) {
        self.outlets.mail.to_all(mail);
    }

    /// Hands the mail of this turn over and has parked neighbours woken.
    pub(super) fn flush_mail(&mut self) {
        let mut wake = Vec::new();
        let sent = self.outlets.mail.flush(&mut wake);
        self.counters.mail_batches_total += sent;
        // What was held because a batch was full may go now.
        let mut serving = self.partitions.iter().filter_map(Hosted::serving);
        self.deliver_later |= sent > 0 && serving.any(|partition| partition.pending.holds());
        self.counters.mail_full_turns_total += u64::from(self.outlets.mail.holds_mail());
        for shard in wake {
            self.submit(Work::Wake, Op::Wake { shard });
        }
    }
}
