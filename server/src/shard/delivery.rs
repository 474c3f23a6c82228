//! Deliveries between the engine's decision and the frame: who gets which slices of the log.
//!
//! Each partition has one FIFO. Message bytes are sliced out of the log's cache; what has left it
//! is read back first, and the deliveries behind it wait. Invariants:
//! (D1) What goes to one connection goes in the order in which the engine put it out.
//! (D2) Nothing is put into a full out-buffer: deliveries to it are held until it has room, and
//!      what others get does not wait for that. Room that a shard has goes to the partition that waits longest.
//! (D3) A delivery whose runs do not fit into the cache together still gets through: what was
//!      sliced before a read is kept with it.
//! (D4) While a delivery to a connection is held, its partition leases no more messages to consumers on it, and
//!      while one waits for a read or for the next turn, it leases none at all: leases do not run in a queue.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use corelane_core::{ConnectionId, DeliverTo, Delivery, Input, Requester, Run};
use corelane_storage::{Log, Lookup, SegmentNumber};
use corelane_wire::{
    Batch, Correlation, DeliveryHead, DeliveryKind, DeliveryRun, Epoch, ErrorCode, Lsn, Response,
};

use super::outlets::{Outlets, Room};
use super::partition::{Partition, Step};
use crate::connection::delivery_bytes;

/// What waits to be encoded.
#[derive(Debug)]
enum Item {
    Messages(Gathering),
    /// An answer that deliveries given out before it must not follow.
    Answer(Requester, Response<'static>),
}

/// A delivery, and how far its bytes are at hand.
#[derive(Debug)]
struct Gathering {
    delivery: Delivery,
    /// Runs before this one are in `gathered`.
    next_run: usize,
    gathered: Vec<u8>,
}

/// What waits for room in the out-buffer of one connection.
#[derive(Debug)]
struct Held {
    /// Since when, against those of other partitions.
    place: u64,
    items: VecDeque<Item>,
}

/// Everything that waits to be encoded.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<Item>,
    /// The engine gives nothing out until the queue is empty (D4).
    withholds: bool,
    /// What connections without room will get (D2).
    held: BTreeMap<ConnectionId, Held>,
    /// The record that is being read from disk for the delivery at the front.
    reading: Option<Lsn>,
    /// Memory for the runs of one frame.
    runs: Vec<DeliveryRun>,
    /// Memory for the slices of one frame; empty between frames.
    slices: Vec<&'static [u8]>,
}

/// What has to happen before a partition can deliver more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Nothing: all that could be delivered was.
    Idle,
    /// The turn's budget is spent; go on in the next.
    Later,
    /// This must be read from disk.
    Read {
        segment: SegmentNumber,
        position: u64,
        bytes: usize,
    },
}

/// How the bytes of a delivery were found.
enum Found {
    All,
    OnDisk(Lsn, Next),
    Lost(String),
}

impl Item {
    fn connection(&self) -> ConnectionId {
        match self {
            Self::Messages(gathering) => gathering.connection(),
            Self::Answer(to, _) => to.connection,
        }
    }
}

impl Gathering {
    fn connection(&self) -> ConnectionId {
        match self.delivery.to {
            DeliverTo::Consumer { connection, .. } => connection,
            DeliverTo::Dequeue(to) | DeliverTo::Peek(to) => to.connection,
        }
    }

    fn waits_for(&self, lsn: Lsn) -> bool {
        let next = self.delivery.runs.get(self.next_run);
        next.is_some_and(|run| run.lsn == lsn)
    }
}

impl Pending {
    /// The engine gave messages out.
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.queue.push_back(Item::Messages(Gathering {
            delivery,
            next_run: 0,
            gathered: Vec::new(),
        }));
    }

    /// An answer goes behind what was given out to its connection before.
    pub(super) fn push_answer(&mut self, to: Requester, answer: Response<'static>) {
        self.queue.push_back(Item::Answer(to, answer));
    }

    /// Whether anything waits for this connection.
    pub(super) fn has_for(&self, connection: ConnectionId) -> bool {
        self.held.contains_key(&connection)
            || self
                .queue
                .iter()
                .any(|item| item.connection() == connection)
    }

    /// Whether a delivery waits whose messages lie in these records.
    pub(super) fn reads_from(&self, records: Range<Lsn>) -> bool {
        let held = self.held.values().flat_map(|held| &held.items);
        let mut waiting = self.queue.iter().chain(held);
        waiting.any(|item| match item {
            Item::Messages(gathering) => {
                let runs = gathering.delivery.runs.get(gathering.next_run..);
                let mut runs = runs.unwrap_or_default().iter();
                runs.any(|run| records.contains(&run.lsn))
            }
            Item::Answer(..) => false,
        })
    }

    /// Whether something may be encoded now.
    pub(super) fn is_runnable(&self) -> bool {
        self.reading.is_none() && !self.queue.is_empty()
    }

    /// What was held for a connection goes before what came later (D1). Says how many deliveries these are, and
    /// for which place in line.
    fn release(&mut self, connection: ConnectionId) -> Option<(usize, u64)> {
        let Held { place, items } = self.held.remove(&connection)?;
        let count = items.len();
        for item in items.into_iter().rev() {
            self.queue.push_front(item);
        }
        Some((count, place))
    }

    /// Those that are held again after a release in which the connection got nothing keep their place.
    fn keep_place(&mut self, connection: ConnectionId, (count, place): (usize, u64)) {
        if let Some(held) = self.held.get_mut(&connection)
            && held.items.len() == count
        {
            held.place = place;
        }
    }

    /// The connections that are waited for, each with the place in line; none while a read has to end first.
    pub(super) fn waits(&self) -> impl Iterator<Item = (u64, ConnectionId)> {
        let held = self.reading.is_none().then_some(&self.held);
        let held = held.into_iter().flatten();
        held.map(|(id, held)| (held.place, *id))
    }

    /// Whether connections wait for room.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// The connection has gone.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.held.remove(&connection);
        self.queue.retain(|item| item.connection() != connection);
    }

    /// What was at the front waits for room; whether nothing did before for its connection.
    fn hold(&mut self, item: Item, outlets: &mut Outlets) -> bool {
        let held = self.held.entry(item.connection()).or_insert_with(|| Held {
            place: outlets.place_in_line(),
            items: VecDeque::new(),
        });
        held.items.push_back(item);
        held.items.len() == 1
    }

    /// The read for the front ended well, and the front is looked at again.
    pub(super) fn read_done(&mut self) {
        self.reading = None;
    }

    /// The read for the front failed: what waits for it cannot be delivered.
    fn read_failed(&mut self) -> Option<Gathering> {
        let lsn = self.reading.take()?;
        let waits = |item: &Item| match item {
            Item::Messages(gathering) => gathering.waits_for(lsn),
            Item::Answer(..) => false,
        };
        let at = self.queue.iter().position(waits)?;
        match self.queue.remove(at)? {
            Item::Messages(gathering) => Some(gathering),
            Item::Answer(..) => None,
        }
    }
}

impl Partition {
    /// The connection has room again: what was held for it is encoded, and the engine gives out more for it.
    pub(super) fn deliver_held(
        &mut self,
        connection: ConnectionId,
        budget: &mut usize,
        at: &mut Step<'_>,
    ) -> Next {
        let released = self.pending.release(connection);
        let writable = true;
        let input = Input::Writable {
            connection,
            writable,
        };
        self.step(input, at);
        let next = self.deliver(budget, at);
        if let Some(released) = released {
            self.pending.keep_place(connection, released);
        }
        next
    }

    /// There is no room: until there is, the engine pushes nothing more to the connection (D4).
    fn hold(&mut self, item: Item, at: &mut Step<'_>) {
        let connection = item.connection();
        if self.pending.hold(item, at.outlets) {
            let writable = false;
            let input = Input::Writable {
                connection,
                writable,
            };
            self.step(input, at);
        }
    }

    /// Encodes deliveries until none can be, a read is needed or `budget` bytes were encoded.
    pub(super) fn deliver(&mut self, budget: &mut usize, at: &mut Step<'_>) -> Next {
        let next = self.deliver_queue(budget, at);
        let allowed = self.pending.queue.is_empty();
        if self.pending.withholds == allowed {
            self.pending.withholds = !allowed;
            self.step(Input::GiveOut { allowed }, at);
        }
        next
    }

    fn deliver_queue(&mut self, budget: &mut usize, at: &mut Step<'_>) -> Next {
        while self.pending.is_runnable() {
            if *budget == 0 {
                return Next::Later;
            }
            let Some(connection) = self.pending.queue.front().map(Item::connection) else {
                break;
            };
            match at.outlets.room(connection) {
                Room::Gone => {
                    self.pending.queue.pop_front();
                    continue;
                }
                Room::Free if !self.pending.held.contains_key(&connection) => {}
                Room::Free | Room::Full => {
                    if let Some(item) = self.pending.queue.pop_front() {
                        self.hold(item, at);
                    }
                    continue;
                }
            }
            match self.deliver_front(budget, at) {
                Next::Idle => {}
                read @ (Next::Read { .. } | Next::Later) => return read,
            }
        }
        Next::Idle
    }

    /// The read that the front waited for failed.
    pub(super) fn delivery_failed(&mut self, text: &str, at: &mut Step<'_>) {
        if let Some(gathering) = self.pending.read_failed() {
            self.fail(&gathering.delivery, text, at);
        }
    }

    /// Encodes the front, unless it needs a read first.
    fn deliver_front(&mut self, budget: &mut usize, at: &mut Step<'_>) -> Next {
        let mut gathering = match self.pending.queue.pop_front() {
            Some(Item::Messages(gathering)) => gathering,
            Some(Item::Answer(to, answer)) => {
                let epoch = self.engine.epoch();
                at.outlets.answer(to, answer.code(), |out| {
                    answer.encode(to.correlation, epoch, out);
                });
                return Next::Idle;
            }
            None => return Next::Idle,
        };
        let mut slices = recycled(std::mem::take(&mut self.pending.slices));
        let first_run = gathering.next_run;
        let found = gather(&self.log, &mut gathering, &mut slices);
        let next = match found {
            Found::All => {
                let bytes = slices.iter().map(|slice| slice.len()).sum::<usize>();
                let bytes = bytes + gathering.gathered.len();
                let frame_bytes = delivery_bytes(gathering.delivery.runs.len(), bytes);
                if !at.outlets.take(gathering.connection(), frame_bytes) {
                    self.pending.slices = recycled(slices);
                    gathering.next_run = first_run;
                    self.hold(Item::Messages(gathering), at);
                    return Next::Idle;
                }
                let runs = &mut self.pending.runs;
                fill_runs(runs, &gathering.delivery.runs);
                if !gathering.gathered.is_empty() {
                    slices.insert(0, &gathering.gathered);
                }
                *budget = budget.saturating_sub(bytes);
                at.counters.messages_delivered_total +=
                    runs.iter().map(|run| u64::from(run.count)).sum::<u64>();
                send(
                    &gathering.delivery,
                    self.engine.epoch(),
                    (runs, &slices),
                    at,
                );
                Next::Idle
            }
            Found::OnDisk(lsn, read) => {
                // D3: the cache may lose what was found so far before the read returns.
                for slice in &slices {
                    gathering.gathered.extend_from_slice(slice);
                }
                self.pending.reading = Some(lsn);
                read
            }
            Found::Lost(text) => {
                slices.clear();
                self.pending.slices = recycled(slices);
                self.fail(&gathering.delivery, &text, at);
                return Next::Idle;
            }
        };
        self.pending.slices = recycled(slices);
        if self.pending.reading.is_some() {
            self.pending.queue.push_front(Item::Messages(gathering));
        }
        next
    }

    /// Messages that cannot be read cannot be delivered. Their lease runs out, and the next
    /// delivery tries again: the disk may have had a bad moment.
    fn fail(&mut self, delivery: &Delivery, text: &str, at: &mut Step<'_>) {
        tracing::error!(partition = self.id.0, %text, "messages cannot be delivered");
        let epoch = self.engine.epoch();
        match delivery.to {
            DeliverTo::Consumer { .. } => {}
            DeliverTo::Dequeue(to) | DeliverTo::Peek(to) => {
                at.outlets.refuse(to, epoch, ErrorCode::Damaged, text);
            }
        }
    }
}

/// Slices the runs of a delivery out of the log's cache, from its `next_run` on.
fn gather<'a>(log: &'a Log, gathering: &mut Gathering, slices: &mut Vec<&'a [u8]>) -> Found {
    let mut reader = log.reader();
    while let Some(run) = gathering.delivery.runs.get(gathering.next_run) {
        match reader.read(run.lsn) {
            Lookup::Cached(record) => {
                let messages = Batch::trusted(record.batch())
                    .ok()
                    .and_then(|batch| batch.messages(run.index, run.count));
                let Some(messages) = messages else {
                    return unknown(run.lsn);
                };
                slices.push(messages);
                gathering.next_run += 1;
            }
            Lookup::OnDisk {
                segment,
                position,
                bytes,
            } => {
                let read = Next::Read {
                    segment,
                    position,
                    bytes,
                };
                return Found::OnDisk(run.lsn, read);
            }
            Lookup::Damaged(damage) => return Found::Lost(damage.to_string()),
            Lookup::Unknown => return unknown(run.lsn),
        }
    }
    Found::All
}

fn unknown(lsn: Lsn) -> Found {
    Found::Lost(format!("record {lsn} is not in the log"))
}

fn fill_runs(into: &mut Vec<DeliveryRun>, runs: &[Run]) {
    into.clear();
    into.extend(runs.iter().map(|run| DeliveryRun {
        first: run.first,
        count: run.count,
        attempt: run.attempt,
        enqueued: run.enqueued,
    }));
}

/// Encodes a delivery whose runs and slices are at hand.
fn send(
    delivery: &Delivery,
    epoch: Epoch,
    (runs, slices): (&[DeliveryRun], &[&[u8]]),
    at: &mut Step<'_>,
) {
    let head = |kind| DeliveryHead {
        kind,
        lease: delivery.lease,
        lease_ms: delivery.lease_ms,
        runs,
    };
    match delivery.to {
        DeliverTo::Consumer {
            connection,
            consumer,
        } => at.outlets.push(connection, |out| {
            let head = head(DeliveryKind::Pushed(consumer));
            head.encode(Correlation(0), epoch, slices, out);
        }),
        DeliverTo::Dequeue(to) => at.outlets.answer(to, ErrorCode::Ok, |out| {
            head(DeliveryKind::Dequeued).encode(to.correlation, epoch, slices, out);
        }),
        DeliverTo::Peek(to) => at.outlets.answer(to, ErrorCode::Ok, |out| {
            head(DeliveryKind::Peeked).encode(to.correlation, epoch, slices, out);
        }),
    }
}

/// The same vector, empty, for slices of another life; its memory is used again.
fn recycled<'b>(mut slices: Vec<&[u8]>) -> Vec<&'b [u8]> {
    slices.clear();
    slices.into_iter().map(|_| [].as_slice()).collect()
}
