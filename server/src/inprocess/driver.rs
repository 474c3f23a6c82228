//! A driver in front of another: connections inside the program are its own, the rest goes on.
//!
//! Lives on: the shard's thread. Numbers of sockets with the top bit set are its own; the drivers
//! of real machines stay far below.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use corelane_wire::Timestamp;

use super::door::Door;
use super::pipe::{Found, ShardEnd};
use crate::driver::{Data, Done, Driver, Errno, Listener, Op, RecvBuffer, Socket, Token};

/// Where a shard accepts clients from inside the program.
pub const IN_PROCESS: Listener = Listener(OWN);

/// The top bit.
const OWN: u32 = 1 << 31;

/// A driver that also serves connections inside the program.
pub struct InProcess<D> {
    inner: D,
    door: Arc<Door>,
    /// The armed accept.
    accept: Option<Token>,
    joined: BTreeMap<u32, Joined>,
    /// The number of the connection that was taken in last.
    last: u32,
    /// What ended between two waits.
    ended: VecDeque<Done>,
    /// Whether there may be something to find although the door was not stirred.
    looks_again: bool,
}

/// A connection.
struct Joined {
    end: ShardEnd,
    recv: Option<Token>,
    send: Option<Sending>,
}

/// A send that waits for room.
struct Sending {
    token: Token,
    buffer: Vec<u8>,
    sent: usize,
}

impl<D: Driver> InProcess<D> {
    /// Puts a door in front of a driver. The door's waker has to be that driver's.
    pub fn new(inner: D, door: Arc<Door>) -> Self {
        Self {
            inner,
            door,
            accept: None,
            joined: BTreeMap::new(),
            last: 0,
            ended: VecDeque::new(),
            looks_again: false,
        }
    }

    fn start_recv(&mut self, token: Token, socket: Socket) {
        match self.joined.get_mut(&socket.0) {
            Some(joined) if joined.recv.is_none() => {
                joined.recv = Some(token);
                self.looks_again = true;
            }
            Some(_) => self.end(token, Err(Errno(libc::EALREADY)), Data::None),
            None => self.end(token, Err(BAD_NUMBER), Data::None),
        }
    }

    fn start_send(&mut self, token: Token, socket: Socket, buffer: Vec<u8>) -> Option<Done> {
        let joined = self.joined.get_mut(&socket.0);
        let Some(joined) = joined.filter(|joined| joined.send.is_none()) else {
            return Some(done(token, Err(BAD_NUMBER), Data::Sent(buffer)));
        };
        let sending = Sending {
            token,
            buffer,
            sent: 0,
        };
        joined.send = Some(sending);
        joined.progress()
    }

    fn close(&mut self, token: Token, socket: Socket) -> Option<Done> {
        let Some(mut joined) = self.joined.remove(&socket.0) else {
            return Some(done(token, Err(BAD_NUMBER), Data::None));
        };
        let before = self.ended.len();
        self.ended.extend(joined.cut());
        if self.ended.len() == before {
            return Some(done(token, Ok(0), Data::None));
        }
        // The shard hears of the operations that this ended before it hears of the close.
        self.end(token, Ok(0), Data::None);
        None
    }

    fn end(&mut self, token: Token, result: Result<usize, Errno>, data: Data) {
        self.ended.push_back(done(token, result, data));
    }

    /// Gathers what has happened, up to a bound per connection.
    fn collect(&mut self, found: &mut Vec<Done>) {
        found.extend(self.ended.drain(..));
        if !self.door.take_stirred() && !self.looks_again {
            return;
        }
        self.looks_again = false;
        if let Some(token) = self.accept {
            for end in self.door.take_arrivals() {
                let socket = self.take_in(end);
                found.push(Done {
                    more: true,
                    ..done(token, Ok(0), Data::Socket(socket))
                });
            }
        }
        for joined in self.joined.values_mut() {
            found.extend(joined.progress());
            self.looks_again |= joined.receive(found);
        }
    }

    fn take_in(&mut self, end: ShardEnd) -> Socket {
        loop {
            self.last = self.last.wrapping_add(1) & !OWN;
            let number = OWN | self.last;
            if let std::collections::btree_map::Entry::Vacant(place) = self.joined.entry(number) {
                place.insert(Joined {
                    end,
                    recv: None,
                    send: None,
                });
                return Socket(number);
            }
        }
    }

    /// Whether the token was one of ours.
    fn cancel_own(&mut self, token: Token) -> bool {
        if self.accept == Some(token) {
            self.accept = None;
            self.end(token, Err(Errno::CANCELED), Data::None);
            return true;
        }
        for joined in self.joined.values_mut() {
            if joined.recv == Some(token) {
                joined.recv = None;
                self.end(token, Err(Errno::CANCELED), Data::None);
                return true;
            }
            if let Some(sending) = joined.send.take_if(|sending| sending.token == token) {
                self.ended.push_back(sending.cancelled());
                return true;
            }
        }
        false
    }
}

impl Joined {
    /// Goes on with a send; what comes back is its end.
    fn progress(&mut self) -> Option<Done> {
        let mut sending = self.send.take()?;
        if self.end.is_client_gone() {
            let data = Data::Sent(sending.buffer);
            return Some(done(sending.token, Err(Errno::BROKEN_PIPE), data));
        }
        sending.sent += self.end.send(&sending.buffer[sending.sent..]);
        if sending.sent < sending.buffer.len() {
            self.send = Some(sending);
            return None;
        }
        let (token, sent) = (sending.token, sending.sent);
        Some(done(token, Ok(sent), Data::Sent(sending.buffer)))
    }

    /// Takes in what has arrived; whether there may be more.
    fn receive(&mut self, found: &mut Vec<Done>) -> bool {
        for _ in 0..CHUNKS_PER_WAIT {
            let Some(token) = self.recv else {
                return false;
            };
            match self.end.receive() {
                Found::Chunk(bytes) => {
                    let count = bytes.len();
                    let data = Data::Received(RecvBuffer::Owned(bytes));
                    found.push(Done {
                        more: true,
                        ..done(token, Ok(count), data)
                    });
                }
                Found::Nothing => return false,
                Found::End => {
                    self.recv = None;
                    found.push(done(token, Ok(0), Data::None));
                    return false;
                }
            }
        }
        true
    }

    /// Ends what is in flight.
    fn cut(&mut self) -> impl Iterator<Item = Done> {
        let recv = self.recv.take();
        let recv = recv.map(|token| done(token, Err(Errno::CANCELED), Data::None));
        recv.into_iter()
            .chain(self.send.take().map(Sending::cancelled))
    }
}

impl Sending {
    fn cancelled(self) -> Done {
        let data = Data::Sent(self.buffer);
        done(self.token, Err(Errno::CANCELED), data)
    }
}

fn done(token: Token, result: Result<usize, Errno>, data: Data) -> Done {
    Done {
        token,
        result,
        more: false,
        data,
    }
}

impl<D: Driver> Driver for InProcess<D> {
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        match op {
            Op::Accept {
                listener: IN_PROCESS,
            } => {
                self.accept = Some(token);
                self.looks_again = true;
                None
            }
            Op::Recv { socket } if socket.0 & OWN != 0 => {
                self.start_recv(token, socket);
                None
            }
            Op::Send { socket, buffer } if socket.0 & OWN != 0 => {
                self.start_send(token, socket, buffer)
            }
            Op::Close { socket } if socket.0 & OWN != 0 => self.close(token, socket),
            op @ (Op::Accept { .. }
            | Op::Recv { .. }
            | Op::Send { .. }
            | Op::Close { .. }
            | Op::OpenSegment { .. }
            | Op::CloseFile { .. }
            | Op::Read { .. }
            | Op::Write { .. }
            | Op::Housekeeping(_)
            | Op::Wake { .. }) => self.inner.submit(token, op),
        }
    }

    fn cancel(&mut self, token: Token) {
        if !self.cancel_own(token) {
            self.inner.cancel(token);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, found: &mut Vec<Done>) -> io::Result<()> {
        let before = found.len();
        self.collect(found);
        if found.len() > before || self.looks_again || timeout == Some(Duration::ZERO) {
            return self.inner.wait(Some(Duration::ZERO), found);
        }
        self.door.parked.park();
        let timeout = if self.door.is_stirred() {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        let waited = self.inner.wait(timeout, found);
        self.door.parked.unpark();
        self.collect(found);
        waited
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match buffer {
            RecvBuffer::Owned(bytes) => bytes,
            RecvBuffer::Pool { .. } => self.inner.bytes(buffer),
        }
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        match buffer {
            RecvBuffer::Owned(_) => {}
            RecvBuffer::Pool { .. } => self.inner.recycle(buffer),
        }
    }
}

impl<D> Drop for InProcess<D> {
    fn drop(&mut self) {
        self.door.close();
    }
}

/// Of an operation on a connection that is not there.
const BAD_NUMBER: Errno = Errno(libc::EBADF);
/// Chunks taken from one connection in one turn, so that it does not take the turn from the others.
const CHUNKS_PER_WAIT: usize = 4;
