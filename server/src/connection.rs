//! One client connection: what the shard that accepted it knows of it.
//!
//! Owns the decoder, the out-buffer and the list of unanswered requests; it lives on the shard
//! that accepted it and dies there. The shard executes what [`Connection::wish`] asks for.
//! Invariants:
//! (K1) At most one `Recv` and one `Send` are in flight.
//! (K2) `Close` is asked for only after the last completions of both, because an armed receive
//!      keeps a closed socket alive.
//! (K3) Nothing is read while more than [`UNANSWERED_MAX`] requests wait for their answer or more
//!      than [`OUT_BYTES_HIGH`] bytes wait to be sent, and then not again before both have halved.
//! (K4) A phase only moves forward.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::time::Duration;

use corelane_wire::limits::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_HELLO};
use corelane_wire::{
    ConsumerId, Correlation, Decoder, ErrorCode, PartitionId, SessionId, Timestamp,
};

use crate::driver::{Socket, Token};

mod room;

pub use room::{ROOM_BYTES_MAX, RoomLine, delivery_bytes, share_of};

/// Above this number of unanswered requests a connection is not read.
pub const UNANSWERED_MAX: usize = 1_024;
/// At this number of unanswered requests it is read again.
pub const UNANSWERED_LOW: usize = UNANSWERED_MAX / 2;
/// Above this number of bytes to send a connection is not read and gets no deliveries: a dequeue that
/// is read while deliveries are held would find nothing, although there is something.
pub const OUT_BYTES_HIGH: usize = 288 << 10;
/// At this number of bytes to send it is read and gets deliveries again.
pub const OUT_BYTES_LOW: usize = OUT_BYTES_HIGH / 2;
/// A peer that lets this much pile up in spite of (K3) is cut off.
pub const OUT_BYTES_MAX: usize = 64 << 20;
/// Consumers that one connection may have.
pub const CONSUMERS_MAX: usize = 1_024;
/// How long a client may take for its greeting.
pub const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// How long a frame may take from its first byte to its last while the connection is read.
pub const FRAME_WITHIN: Duration = Duration::from_mins(1);
/// How long the last frames of an ending connection may take to leave.
pub const END_WITHIN: Duration = Duration::from_secs(1);

/// Buffers that grew beyond this are not kept.
const KEPT_BYTES_MAX: usize = 256 * 1_024;

const _: () = assert!(FRAME_BYTES_MAX <= OUT_BYTES_MAX);

/// How far a connection's life has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Accepted; only a greeting is welcome.
    Greeting,
    /// Greeted; requests are served.
    Open,
    /// No longer read; what is in the out-buffer is sent, then it closes.
    Ending,
    /// Operations in flight are cancelled; what was to be sent is dropped.
    Cutting,
    /// `Close` was submitted.
    Closing,
}

/// What a request in flight means to the connection when its answer comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Nothing.
    Plain,
    /// It may wait for messages for long, so a stopping shard does not wait for it.
    Dequeue,
    /// The consumer is forgotten if it is refused and no other request has made it.
    Subscribe(ConsumerId),
    /// The consumer is forgotten when it is done.
    Unsubscribe(ConsumerId),
}

/// A request that went to a partition and has no answer yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unanswered {
    /// Which partition answers.
    pub partition: PartitionId,
    /// What the answer changes here.
    pub purpose: Purpose,
}

/// What the shard should do for the connection now.
#[derive(PartialEq, Eq, Debug)]
pub enum Wish {
    /// Nothing.
    Nothing,
    /// Arm the receive.
    Recv,
    /// Cancel this operation.
    Cancel(Token),
    /// Send this buffer.
    Send(Vec<u8>),
    /// Close the socket.
    Close,
}

/// One connection. Fields are the shard's to read; what an invariant needs goes through methods.
#[derive(Debug)]
pub struct Connection {
    /// The driver's number for it.
    pub socket: Socket,
    /// The client's session, once greeted.
    pub session: SessionId,
    /// Whether room in the out-buffer is given out: not from the upper bound down to the lower one.
    pub writable: bool,
    /// The shards that wait for room in its out-buffer.
    pub room: RoomLine,
    /// Whether it stands in the shard's list of connections to settle this turn.
    pub listed: bool,
    /// When an unfinished greeting, frame or ending is cut off.
    pub deadline: Option<Timestamp>,
    /// The earliest entry of it in the shard's list of deadlines.
    pub deadline_noted: Option<Timestamp>,
    /// Bytes of a frame that is not whole.
    partial_bytes: usize,
    decoder: Option<Decoder>,
    phase: Phase,
    unanswered: HashMap<Correlation, Unanswered, BuildHasherDefault<Mix>>,
    /// The highest correlation of a request that went to a partition.
    correlation_max: Correlation,
    dequeues: usize,
    consumers: BTreeMap<ConsumerId, Route>,
    out: Vec<u8>,
    spare: Vec<u8>,
    recv: InFlight,
    send: InFlight,
    sending_bytes: usize,
    /// Whether it is not read until much of what waits has gone (K3).
    paused: bool,
}

/// Where what concerns a consumer goes.
#[derive(Clone, Copy, Debug)]
struct Route {
    partition: PartitionId,
    /// Subscribes in flight that name it: any of them may make it.
    asked: usize,
    /// Whether the partition has said that it exists.
    exists: bool,
}

/// Whether an operation of a kind is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum InFlight {
    No,
    Yes(Token),
    /// Cancelled, and its last completion has not come.
    Cancelled,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(now: Timestamp, socket: Socket) -> Self {
        Self {
            socket,
            session: SessionId(0),
            writable: true,
            room: RoomLine::default(),
            listed: false,
            deadline: Some(now.add(HELLO_WITHIN)),
            deadline_noted: None,
            partial_bytes: 0,
            decoder: Some(Decoder::new(FRAME_BYTES_MAX_BEFORE_HELLO)),
            phase: Phase::Greeting,
            unanswered: HashMap::default(),
            correlation_max: Correlation(0),
            dequeues: 0,
            consumers: BTreeMap::new(),
            out: Vec::new(),
            spare: Vec::new(),
            recv: InFlight::No,
            send: InFlight::No,
            sending_bytes: 0,
            paused: false,
        }
    }

    /// How far its life has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether frames from it are still looked at.
    pub fn is_heard(&self) -> bool {
        self.phase <= Phase::Open
    }

    /// Whether answers and deliveries may still be put into its out-buffer.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// The greeting was right: no deadline any more.
    pub fn greet(&mut self, session: SessionId) {
        assert!(
            self.phase == Phase::Greeting,
            "K4: greeted in {:?}",
            self.phase
        );
        self.session = session;
        self.phase = Phase::Open;
        self.deadline = None;
    }

    /// Lends the decoder while a chunk is cut into frames, so that a frame that borrows from it
    /// can be served with the connection at hand.
    pub fn take_decoder(&mut self) -> Decoder {
        self.decoder
            .take()
            .expect("chunks are decoded one at a time")
    }

    /// Takes the decoder back.
    pub fn return_decoder(&mut self, decoder: Decoder) {
        self.decoder = Some(decoder);
    }

    /// `bytes` were received, and frames of `framed` bytes in all ended in them. What was begun
    /// must be whole in time, or silent clients would hold memory for ever.
    pub fn received(&mut self, now: Timestamp, bytes: usize, framed: usize) {
        self.partial_bytes = (self.partial_bytes + bytes).saturating_sub(framed);
        if self.phase != Phase::Open {
            return;
        }
        if framed > 0 || self.partial_bytes == 0 {
            self.deadline = None;
        }
        if self.partial_bytes > 0 && self.deadline.is_none() {
            self.deadline = Some(now.add(FRAME_WITHIN));
        }
    }

    /// Where frames for the client are appended.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that have not left yet.
    pub fn out_bytes(&self) -> usize {
        self.out.len() + self.sending_bytes
    }

    /// Whether a request with this correlation has no answer yet. Clients count upwards, so that mostly nothing
    /// has to be looked up.
    pub fn awaits(&self, correlation: Correlation) -> bool {
        correlation <= self.correlation_max && self.unanswered.contains_key(&correlation)
    }

    /// A request went to a partition.
    pub fn asked(&mut self, correlation: Correlation, unanswered: Unanswered) {
        if let Purpose::Subscribe(consumer) = unanswered.purpose {
            let route = self.consumers.entry(consumer).or_insert(Route {
                partition: unanswered.partition,
                asked: 0,
                exists: false,
            });
            route.asked += 1;
        }
        self.dequeues += usize::from(unanswered.purpose == Purpose::Dequeue);
        self.correlation_max = self.correlation_max.max(correlation);
        let before = self.unanswered.insert(correlation, unanswered);
        assert!(before.is_none(), "correlation {correlation} was in flight");
    }

    /// The answer to a request was put into the out-buffer.
    pub fn answered(&mut self, correlation: Correlation, code: ErrorCode) {
        let Some(unanswered) = self.unanswered.remove(&correlation) else {
            return;
        };
        match unanswered.purpose {
            Purpose::Plain => {}
            Purpose::Dequeue => self.dequeues -= 1,
            Purpose::Subscribe(consumer) => self.subscribe_answered(consumer, code),
            Purpose::Unsubscribe(consumer) => {
                if code == ErrorCode::Ok || code == ErrorCode::UnknownConsumer {
                    self.consumer_ended(consumer);
                }
            }
        }
    }

    /// A refusal may overtake the answer of an earlier request that names the same consumer, so it
    /// ends the consumer only if nothing else can have made it.
    fn subscribe_answered(&mut self, consumer: ConsumerId, code: ErrorCode) {
        let Some(route) = self.consumers.get_mut(&consumer) else {
            return;
        };
        route.asked -= 1;
        route.exists |= code == ErrorCode::Ok;
        if route.asked == 0 && !route.exists {
            self.consumers.remove(&consumer);
        }
    }

    /// The partition has ended a consumer; one that was asked for after it stays.
    fn consumer_ended(&mut self, consumer: ConsumerId) {
        let Some(route) = self.consumers.get_mut(&consumer) else {
            return;
        };
        route.exists = false;
        if route.asked == 0 {
            self.consumers.remove(&consumer);
        }
    }

    /// Whether an answer is owed that does not depend on messages arriving.
    pub fn owes_answers(&self) -> bool {
        self.unanswered.len() > self.dequeues
    }

    /// Whether an answer from this partition is owed.
    pub fn owes_answer_of(&self, partition: PartitionId) -> bool {
        self.unanswered
            .values()
            .any(|unanswered| unanswered.partition == partition)
    }

    /// The partition that serves a consumer of this connection.
    pub fn partition_of(&self, consumer: ConsumerId) -> Option<PartitionId> {
        self.consumers.get(&consumer).map(|route| route.partition)
    }

    /// Whether another consumer would be one too many.
    pub fn has_all_consumers(&self) -> bool {
        self.consumers.len() >= CONSUMERS_MAX
    }

    /// The receive was armed.
    pub fn recv_armed(&mut self, now: Timestamp, token: Token) {
        assert!(self.recv == InFlight::No, "K1: a second receive");
        self.recv = InFlight::Yes(token);
        self.received(now, 0, 0);
    }

    /// The last completion of the receive came.
    pub fn recv_ended(&mut self) {
        self.recv = InFlight::No;
    }

    /// The buffer of [`Wish::Send`] was submitted.
    pub fn send_started(&mut self, token: Token, bytes: usize) {
        assert!(self.send == InFlight::No, "K1: a second send");
        self.send = InFlight::Yes(token);
        self.sending_bytes = bytes;
    }

    /// The send completed; its buffer is kept for the next one unless it is large.
    pub fn send_ended(&mut self, mut buffer: Vec<u8>) {
        self.send = InFlight::No;
        self.sending_bytes = 0;
        if buffer.capacity() <= KEPT_BYTES_MAX {
            buffer.clear();
            self.spare = buffer;
        }
    }

    /// Stops reading; what is in the out-buffer still leaves, within [`END_WITHIN`].
    pub fn end(&mut self, now: Timestamp) {
        if self.phase < Phase::Ending {
            self.phase = Phase::Ending;
            self.deadline = Some(now.add(END_WITHIN));
        }
    }

    /// Drops what was to be sent and closes as soon as operations in flight have ended.
    pub fn cut(&mut self) {
        if self.phase < Phase::Cutting {
            self.phase = Phase::Cutting;
            self.deadline = None;
            self.out = Vec::new();
        }
    }

    /// `Close` was submitted.
    pub fn closing(&mut self) {
        assert!(self.phase < Phase::Closing, "K4: closed twice");
        self.phase = Phase::Closing;
        self.deadline = None;
    }

    /// The next thing to do for it; asked again until it is [`Wish::Nothing`].
    pub fn wish(&mut self) -> Wish {
        match self.phase {
            Phase::Greeting | Phase::Open => self.wish_open(),
            Phase::Ending => self.wish_ending(),
            Phase::Cutting => self.wish_cutting(),
            Phase::Closing => Wish::Nothing,
        }
    }

    fn wish_open(&mut self) -> Wish {
        if let Some(buffer) = self.next_send() {
            return Wish::Send(buffer);
        }
        let (unanswered, out_bytes) = (self.unanswered.len(), self.out_bytes());
        self.paused = if self.paused {
            unanswered > UNANSWERED_LOW || out_bytes > OUT_BYTES_LOW
        } else {
            unanswered > UNANSWERED_MAX || out_bytes > OUT_BYTES_HIGH
        };
        match self.recv {
            InFlight::No if !self.paused => Wish::Recv,
            InFlight::Yes(token) if self.paused => {
                self.recv = InFlight::Cancelled;
                // The client cannot end its frame now; a greeting is never paused.
                self.deadline = None;
                Wish::Cancel(token)
            }
            InFlight::No | InFlight::Yes(_) | InFlight::Cancelled => Wish::Nothing,
        }
    }

    fn wish_ending(&mut self) -> Wish {
        if let InFlight::Yes(token) = self.recv {
            self.recv = InFlight::Cancelled;
            return Wish::Cancel(token);
        }
        if let Some(buffer) = self.next_send() {
            return Wish::Send(buffer);
        }
        self.close_if_idle()
    }

    fn wish_cutting(&mut self) -> Wish {
        for operation in [&mut self.recv, &mut self.send] {
            if let InFlight::Yes(token) = *operation {
                *operation = InFlight::Cancelled;
                return Wish::Cancel(token);
            }
        }
        self.close_if_idle()
    }

    /// Everything in the out-buffer, if no send is in flight.
    fn next_send(&mut self) -> Option<Vec<u8>> {
        if self.send != InFlight::No || self.out.is_empty() {
            return None;
        }
        Some(mem::replace(&mut self.out, mem::take(&mut self.spare)))
    }

    /// (K2)
    fn close_if_idle(&self) -> Wish {
        if self.recv == InFlight::No && self.send == InFlight::No {
            Wish::Close
        } else {
            Wish::Nothing
        }
    }
}

/// Hashes the one integer of a correlation. A client that makes its own correlations collide
/// slows down at most [`UNANSWERED_MAX`] entries of its own.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests;
