//! Does an operation to both sides.

use corelane_core::{ConnectionId, FetchFor, Input, Limits, Requester, SparseStretch};
use corelane_wire::{
    Aside, BatchBuilder, Contract, Correlation, Dequeue, Enqueue, Extend, Lane, Lsn, Nack, Offset,
    OffsetRange, OffsetRanges, OnSchedule, OnSubscription, OutgoingMessage, ProducerId, Reject,
    Request, ScheduleVerb, Sequence, SessionId, Settle, SettleEntries, SettleEntry,
    SubscriptionConfig, SubscriptionVerb,
};

use super::coverage::{Coverage, Feature};
use super::node::{Node, StartFrom};
use super::operations::{Drawn, How, Mood, Operation};
use super::reference::state::{Key, Message};
use super::reference::{Status, connection_of};
use super::side_by_side::{Held, Pair};

/// A seed that runs.
#[derive(Debug)]
pub(super) struct World {
    pub(super) mood: Mood,
    pub(super) pair: Pair,
    clients: [Client; 3],
    epoch: u64,
    correlation: u64,
}

/// A client, with one connection at a time.
#[derive(Clone, Copy, Debug)]
struct Client {
    connection: u64,
    session: u128,
    is_lost: bool,
}

impl World {
    pub(super) fn new(mut mood: Mood) -> Self {
        let limits: Limits = mood.limits();
        let client = |number| Client {
            connection: number,
            session: number.into(),
            is_lost: false,
        };
        Self {
            mood,
            pair: Pair::new(limits),
            clients: [client(1), client(2), client(3)],
            epoch: 0,
            correlation: 1 << 32,
        }
    }

    /// The first start.
    pub(super) fn begin(&mut self) -> Result<(), String> {
        self.epoch += 1;
        self.pair.step(Node::start(self.epoch))
    }

    /// One operation, and what the mood lets follow.
    pub(super) fn perform(&mut self, operation: &Operation) -> Result<(), String> {
        self.do_it(operation)?;
        let (turn_ends, commits) = self.mood.follows();
        if turn_ends {
            self.pair.step(Input::TurnEnd)?;
        }
        if commits {
            self.commit()?;
        }
        self.pair.compare()
    }

    /// Everything heals, is taken and acked: nothing may be left.
    pub(super) fn drain(&mut self) -> Result<Coverage, String> {
        if self.pair.model.status != Status::Serving {
            let (end, now) = (self.pair.model.end, self.pair.node.now);
            self.crash(end, now, StartFrom::Log, false)?;
        }
        self.commit()?;
        self.pair.step(Input::GiveOut { allowed: true })?;
        for at in 0..self.clients.len() {
            self.disconnect(at)?;
        }
        for _ in 0..20 {
            self.pass(self.pair.node.now + 10_000_000_000)?;
            self.commit()?;
        }
        self.clients
            .iter_mut()
            .for_each(|client| client.is_lost = false);
        for key in self.pair.model.state.keys() {
            self.drain_one(key)?;
        }
        for key in self.pair.model.state.keys() {
            let of = self.pair.model.state.subscription(key);
            if !of.messages.iter().all(Message::is_done) {
                return Err(format!("{key:?} is not drained: {:?}", of.detail()));
            }
        }
        let mut coverage = std::mem::take(&mut self.pair.model.coverage);
        coverage.end();
        Ok(coverage)
    }

    fn drain_one(&mut self, (queue, subscription): Key) -> Result<(), String> {
        let of = &self.pair.model.state.queues[queue];
        let (name, of) = (
            of.name.clone(),
            of.subscriptions[subscription].about.name.clone(),
        );
        let bring_back = |aside| SubscriptionVerb::Return {
            aside,
            first: Offset(0),
            end: Offset(u64::MAX),
            max: 10_000,
        };
        let (dead, parked) = (bring_back(Aside::Dead), bring_back(Aside::Parked));
        let config = SubscriptionConfig::default();
        let plain = SubscriptionVerb::Configure { config };
        for verb in [SubscriptionVerb::Resume, plain, dead, parked] {
            let on = OnSubscription {
                queue: &name,
                lane: Lane(0),
                subscription: &of,
                verb,
            };
            self.request(0, Request::Subscription(on))?;
        }
        self.commit()?;
        loop {
            self.pair.held.clear();
            let request = Request::Dequeue(Dequeue {
                queue: &name,
                lane: Lane(0),
                subscription: &of,
                count: 10_000,
                lease_ms: 30_000,
                wait_ms: 0,
            });
            self.request(0, request)?;
            self.pair.step(Input::TurnEnd)?;
            while !self.pair.node.loads.is_empty() {
                self.load()?;
                self.pair.step(Input::TurnEnd)?;
            }
            let Some(held) = self.pair.held.pop_front() else {
                return Ok(());
            };
            self.settle(0, &[held], How::Ack)?;
            self.pair.step(Input::TurnEnd)?;
            self.commit()?;
        }
    }

    fn do_it(&mut self, operation: &Operation) -> Result<(), String> {
        let client = self.mood.random.index(self.clients.len());
        match operation {
            Operation::Ask(request) => self.request(client, *request),
            Operation::Enqueue { queue, batch } => {
                let batch = self.batch(batch);
                let (lane, batch) = (Lane(0), batch.as_slice());
                self.request(client, Request::Enqueue(Enqueue { queue, lane, batch }))
            }
            Operation::Settle { entries, how } => self.settle(client, entries, *how),
            Operation::Reschedule {
                queue,
                due_ms,
                ranges,
            } => self.reschedule(client, queue, *due_ms, ranges),
            Operation::TurnEnd => self.pair.step(Input::TurnEnd),
            Operation::Commit { end } => self.pair.step(Input::Durable { end: Lsn(*end) }),
            Operation::Pass { to } => self.pass(*to),
            Operation::Disconnect => self.disconnect(client),
            Operation::Resume => self.resume(client),
            Operation::Writable { is_writable } => {
                let connection = ConnectionId(self.clients[client].connection);
                let writable = *is_writable;
                self.pair.step(Input::Writable {
                    connection,
                    writable,
                })
            }
            Operation::GiveOut { is_allowed } => {
                self.meet_all(Feature::Withheld, !is_allowed);
                self.pair.step(Input::GiveOut {
                    allowed: *is_allowed,
                })
            }
            Operation::Cut => {
                self.pair.node.cut();
                Ok(())
            }
            Operation::Publish => {
                let is_published = self.pair.node.publish();
                self.meet_all(Feature::Published, is_published);
                Ok(())
            }
            Operation::Segment { base } => {
                self.pair.node.engine.segment_begins(Lsn(*base));
                self.meet_all(Feature::Segment, true);
                Ok(())
            }
            Operation::Load => self.load(),
            Operation::Relocate { below } => self.relocate(Lsn(*below)),
            Operation::Move { bytes } => self.pair.step(Input::Move { bytes: *bytes }),
            Operation::Fetched { is_read } => self.fetched(*is_read),
            Operation::Crash {
                end,
                wall,
                from,
                is_read_only,
            } => self.crash(*end, *wall, *from, *is_read_only),
            Operation::Poison => {
                self.meet_all(Feature::Poison, true);
                self.pair.step(Input::Poisoned)
            }
        }
    }

    fn request(&mut self, client: usize, request: Request<'_>) -> Result<(), String> {
        if self.clients[client].is_lost {
            self.resume(client)?;
        }
        self.correlation += 1;
        let client = self.clients[client];
        let from = Requester {
            connection: ConnectionId(client.connection),
            session: SessionId(client.session),
            correlation: Correlation(self.correlation),
        };
        self.pair.step(Input::Request { from, request })
    }

    fn settle(&mut self, client: usize, entries: &[Held], how: How) -> Result<(), String> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for held in entries {
            for &offset in &held.offsets {
                let range = OffsetRange {
                    first: Offset(offset),
                    count: 1,
                };
                let lease = held.lease;
                SettleEntry { lease, range }.put(&mut bytes);
            }
        }
        let settle = Settle {
            queue: &first.queue,
            lane: Lane(0),
            subscription: &first.subscription,
            entries: SettleEntries::read(&bytes).map_err(|error| error.to_string())?,
        };
        let request = match how {
            How::Ack => Request::Ack(settle),
            How::Nack {
                delay_ms,
                is_counted,
            } => Request::Nack(Nack {
                settle,
                delay_ms,
                count_attempt: is_counted,
            }),
            How::Reject { fate, text } => Request::Reject(Reject { settle, fate, text }),
            How::Extend { lease_ms } => Request::Extend(Extend { settle, lease_ms }),
        };
        self.request(client, request)
    }

    fn reschedule(
        &mut self,
        client: usize,
        queue: &str,
        due_ms: Option<u64>,
        ranges: &[OffsetRange],
    ) -> Result<(), String> {
        let mut bytes = Vec::new();
        for range in ranges {
            OffsetRanges::put(*range, &mut bytes);
        }
        let ranges = OffsetRanges::read(&bytes).map_err(|error| error.to_string())?;
        let verb = match due_ms {
            Some(due_ms) => ScheduleVerb::Move { due_ms, ranges },
            None => ScheduleVerb::Cancel { ranges },
        };
        let lane = Lane(0);
        self.request(client, Request::Schedule(OnSchedule { queue, lane, verb }))
    }

    fn commit(&mut self) -> Result<(), String> {
        let end = self.pair.node.engine.positions().end;
        self.pair.step(Input::Durable { end })
    }

    fn pass(&mut self, to: u64) -> Result<(), String> {
        self.pair.node.now = to;
        self.pair.step(Input::Deadline)?;
        self.pair.step(Input::TurnEnd)
    }

    /// The connection is gone, and with it its session's last one.
    fn disconnect(&mut self, at: usize) -> Result<(), String> {
        let client = self.clients[at];
        if client.is_lost {
            return Ok(());
        }
        self.clients[at].is_lost = true;
        let connection = ConnectionId(client.connection);
        let model = &mut self.pair.model;
        let takers = model.takers.iter();
        let ended = takers.filter(|taker| connection_of(taker.to) == connection);
        for key in ended.map(|taker| taker.key).collect::<Vec<_>>() {
            model.meet(key, Feature::Disconnect);
        }
        self.pair.step(Input::Disconnected { connection })?;
        let session = SessionId(client.session);
        self.pair.step(Input::SessionLost { session })
    }

    fn resume(&mut self, at: usize) -> Result<(), String> {
        if !self.clients[at].is_lost {
            return Ok(());
        }
        let connection = self.clients.iter().map(|client| client.connection).max();
        let client = &mut self.clients[at];
        client.connection = connection.unwrap_or_default() + 1;
        client.is_lost = false;
        let session = SessionId(client.session);
        let model = &mut self.pair.model;
        if model.lost.contains_key(&session.0) {
            let holders = model.state.holders().collect::<Vec<_>>();
            for (key, holder) in holders {
                model.meet_if(holder == session.0, key, Feature::SessionResumed);
            }
        }
        self.pair.step(Input::SessionResumed { session })
    }

    fn load(&mut self) -> Result<(), String> {
        let Some((queue, first, chunk)) = self.pair.node.loaded() else {
            return Ok(());
        };
        let number = queue.0 as usize;
        self.pair.model.meet_all(number, Feature::ReadBack);
        let chunk = chunk.as_deref();
        self.pair.step(Input::Loaded {
            queue,
            first,
            chunk,
        })
    }

    fn fetched(&mut self, is_read: bool) -> Result<(), String> {
        let Some((whose, batch)) = self.pair.node.fetched() else {
            return Ok(());
        };
        // A key that cannot be read is none, which the model does not know.
        let is_read = is_read || whose == FetchFor::Keys;
        for key in self.pair.model.state.keys() {
            let is_ordered = self
                .pair
                .model
                .state
                .subscription(key)
                .is(Contract::KeyOrdered);
            let is_met = is_ordered && whose == FetchFor::Keys;
            self.pair.model.meet_if(is_met, key, Feature::KeysRead);
        }
        let batch = is_read.then_some(batch.as_slice());
        self.pair.step(Input::Fetched { whose, batch })
    }

    fn relocate(&mut self, below: Lsn) -> Result<(), String> {
        let cut = self.pair.node.engine.cut();
        let live = cut.live().filter(|stretch| stretch.last_lsn < below);
        let stretches: Vec<_> = live
            .map(|stretch| SparseStretch::of(&stretch, below))
            .collect();
        self.pair.step(Input::Relocate {
            stretches: &stretches,
        })
    }

    /// Clients lose their connections, but come back; and the node starts in the next epoch.
    fn crash(
        &mut self,
        end: u64,
        wall: u64,
        from: StartFrom,
        is_read_only: bool,
    ) -> Result<(), String> {
        let recovered = self.pair.node.crash(end, from);
        let from = recovered.map_err(|reason| format!("recovery: {reason}"))?;
        let model = &mut self.pair.model;
        let is_lost = end < model.end;
        model.crash(end);
        self.pair.peeks.clear();
        self.meet_all(Feature::Crash, true);
        self.meet_all(Feature::TailLost, is_lost);
        self.meet_all(Feature::Replay, from == StartFrom::Log);
        self.meet_all(Feature::Checkpoint, from == StartFrom::Checkpoint);
        self.meet_all(Feature::OlderCheckpoint, from == StartFrom::OlderCheckpoint);
        self.pair.node.now = wall;
        self.meet_all(Feature::ReadOnly, is_read_only);
        if is_read_only {
            self.pair.step(Input::ReadOnly)?;
        } else {
            self.begin()?;
        }
        let connections = self.clients.map(|client| client.connection);
        let next = connections.into_iter().max().unwrap_or_default() + 1;
        for (client, connection) in self.clients.iter_mut().zip(next..) {
            client.connection = connection;
            client.is_lost = true;
        }
        Ok(())
    }

    fn meet_all(&mut self, feature: Feature, is_met: bool) {
        for key in self.pair.model.state.keys().into_iter().filter(|_| is_met) {
            self.pair.model.meet(key, feature);
        }
    }

    fn batch(&self, of: &Drawn) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.class = of.class;
        let body = self.correlation.to_le_bytes();
        for (due_ms, key) in &of.messages {
            let message = OutgoingMessage {
                body: &body,
                key: *key,
                due_ms: *due_ms,
                ..OutgoingMessage::default()
            };
            builder.push(&message).expect("a small message fits");
        }
        builder.finish(ProducerId(of.producer), Sequence(of.sequence))
    }
}
