//! Receiving, sending and closing.
#![expect(
    unsafe_code,
    reason = "the kernel reads a buffer that is sent while the driver owns it"
)]

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::key::{Key, Kind};
use super::ring::Completion;
use super::socket::{Connected, Receiving, Sending};
use super::{BAD_NUMBER, Data, Done, Errno, Place, RecvBuffer, Socket, Token, Uring, at_once};
use crate::driver::tcp;

impl Uring {
    pub(super) fn start_recv(&mut self, token: Token, socket: Socket) {
        let Some(connected) = self.open_socket(socket) else {
            return self.end(token, Err(BAD_NUMBER), Data::None);
        };
        if connected.recv.is_some() {
            return self.end(token, Err(Errno(libc::EALREADY)), Data::None);
        }
        connected.recv = Some(Receiving {
            token,
            armed: None,
            is_cancelled: false,
        });
        let is_starved = connected.is_starved;
        self.cancellable.insert(token, Place::Recv(socket));
        if !is_starved {
            self.arm_recv(socket);
        }
    }

    /// Puts the receive of a socket into the ring.
    fn arm_recv(&mut self, socket: Socket) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        if self.is_ending {
            return;
        }
        let round = connected.next_round();
        if let Some(receiving) = connected.recv.as_mut() {
            receiving.armed = Some(round);
            let key = Key::new(Kind::Recv, round, socket.0);
            self.ring.recv(key, connected.fd.as_fd());
            self.in_flight += 1;
        }
    }

    pub(super) fn cancel_recv(&mut self, socket: Socket) {
        let receiving = self
            .sockets
            .get_mut(socket.0)
            .and_then(|connected| connected.recv.as_mut());
        let Some(receiving) = receiving else {
            return;
        };
        receiving.is_cancelled = true;
        match receiving.armed {
            Some(round) => self.ring.cancel(Key::new(Kind::Recv, round, socket.0)),
            None => self.end_recv(socket, Err(Errno::CANCELED)),
        }
    }

    pub(super) fn on_recv(&mut self, key: Key, completion: Completion) {
        if let Some(index) = completion.buffer {
            self.buffers.lend(index);
        }
        let connected = self.sockets.get_mut(key.number);
        let receiving = connected
            .and_then(|connected| connected.recv.as_mut())
            .filter(|receiving| receiving.armed == Some(key.round));
        let Some(receiving) = receiving else {
            // (Y1)
            self.take_back(completion.buffer);
            return;
        };
        if !completion.more {
            receiving.armed = None;
        }
        let (token, is_cancelled) = (receiving.token, receiving.is_cancelled);
        match (completion.count(), completion.buffer) {
            (Ok(count), Some(index)) if count > 0 => {
                self.ended.push(received(token, index, count));
            }
            _ => self.take_back(completion.buffer),
        }
        if !completion.more {
            self.recv_left_the_ring(Socket(key.number), completion, is_cancelled);
        }
    }

    /// The entry of a receive is spent: the operation ends, or goes on with another entry.
    fn recv_left_the_ring(&mut self, socket: Socket, completion: Completion, is_cancelled: bool) {
        match completion.count() {
            Ok(0) => self.end_recv(socket, Ok(0)),
            _ if is_cancelled => self.end_recv(socket, Err(Errno::CANCELED)),
            Err(libc::ENOBUFS) => self.starve(socket),
            // The kernel ends multishot entries when it sees fit, for instance when its
            // completion queue is full.
            Ok(_) | Err(libc::EAGAIN | libc::EINTR) => self.arm_recv(socket),
            Err(error) => self.end_recv(socket, Err(Errno(error))),
        }
    }

    /// Leaves a socket unread until buffers come back.
    fn starve(&mut self, socket: Socket) {
        self.stats.starved.fetch_add(1, Ordering::Relaxed);
        if let Some(connected) = self.sockets.get_mut(socket.0)
            && !connected.is_starved
        {
            connected.is_starved = true;
            self.starved.push_back(socket);
        }
    }

    /// Reads starved sockets again: no more of them than there are buffers, or the others would
    /// only find once more that there is none.
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..self.buffers.available() {
            let Some(socket) = self.starved.pop_front() else {
                return;
            };
            // The number may have been closed since.
            if let Some(connected) = self.sockets.get_mut(socket.0) {
                connected.is_starved = false;
                self.arm_recv(socket);
            }
        }
    }

    fn take_back(&mut self, buffer: Option<u16>) {
        if let Some(index) = buffer {
            self.buffers.take_back(u32::from(index));
        }
    }

    fn end_recv(&mut self, socket: Socket, result: Result<usize, Errno>) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        if let Some(receiving) = connected.recv.take() {
            self.cancellable.remove(&receiving.token);
            self.end(receiving.token, result, Data::None);
        }
        self.close_if_idle(socket);
    }

    pub(super) fn start_send(
        &mut self,
        token: Token,
        socket: Socket,
        buffer: Vec<u8>,
    ) -> Option<Done> {
        let Some(connected) = self.open_socket(socket) else {
            return Some(at_once(token, Err(BAD_NUMBER), Data::Sent(buffer)));
        };
        if buffer.is_empty() && connected.sends.is_empty() {
            return Some(at_once(token, Ok(0), Data::Sent(buffer)));
        }
        connected.sends.push_back(Sending {
            token,
            buffer,
            sent: 0,
            armed: None,
            is_cancelled: false,
        });
        let is_first = connected.sends.len() == 1;
        self.cancellable.insert(token, Place::Send(socket));
        if is_first {
            self.arm_send(socket, true);
        }
        None
    }

    /// Puts the first send of a socket into the ring. It is tried `at_once` first, which always
    /// completes within the same call; what did not fit then waits for room.
    fn arm_send(&mut self, socket: Socket, at_once: bool) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        let round = connected.next_round();
        let Some(first) = connected.sends.front_mut().filter(|_| !self.is_ending) else {
            return;
        };
        first.armed = Some(round);
        let key = Key::new(Kind::Send, round, socket.0);
        let rest = &first.buffer[first.sent..];
        let is_receiving = connected.recv.as_ref().is_some_and(Receiving::is_live);
        if at_once && is_receiving && rest.len() <= HIDDEN_BYTES_MAX {
            self.hidden += 1;
        }
        let fd = connected.fd.as_fd();
        // SAFETY: the buffer stays in `sends`, untouched, until this round's completion (S1), or
        // is leaked with its socket.
        unsafe { self.ring.send(key, fd, rest, at_once) };
        self.in_flight += 1;
    }

    pub(super) fn cancel_send(&mut self, token: Token, socket: Socket) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        let Some(index) = connected.sends.iter().position(|it| it.token == token) else {
            return;
        };
        let sending = &mut connected.sends[index];
        sending.is_cancelled = true;
        if let Some(round) = sending.armed {
            self.ring.cancel(Key::new(Kind::Send, round, socket.0));
        } else if let Some(sending) = connected.sends.remove(index) {
            self.end_send(sending, Err(Errno::CANCELED));
            self.close_if_idle(socket);
        }
    }

    pub(super) fn on_send(&mut self, key: Key, completion: Completion) {
        let socket = Socket(key.number);
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        let first = connected.sends.front_mut();
        let Some(first) = first.filter(|first| first.armed == Some(key.round)) else {
            return;
        };
        first.armed = None;
        let sent = completion.count();
        first.sent += sent.unwrap_or(0);
        let result = match sent {
            _ if first.sent == first.buffer.len() => Ok(first.sent),
            // A cancelled send may report what it had sent instead.
            _ if first.is_cancelled => Err(Errno::CANCELED),
            Ok(0) => Err(Errno::BROKEN_PIPE),
            // What is left waits for room; so sends go on in order.
            Ok(_) | Err(libc::EAGAIN | libc::EINTR) => return self.arm_send(socket, false),
            Err(error) => Err(Errno(error)),
        };
        if let Some(sending) = connected.sends.pop_front() {
            self.end_send(sending, result);
        }
        self.arm_send(socket, true);
        self.close_if_idle(socket);
    }

    fn end_send(&mut self, sending: Sending, result: Result<usize, Errno>) {
        self.cancellable.remove(&sending.token);
        self.end(sending.token, result, Data::Sent(sending.buffer));
    }

    /// Closes a socket, at once if nothing of it is in flight, else when that has ended.
    pub(super) fn start_close(&mut self, token: Token, socket: Socket) -> Option<Done> {
        let Some(connected) = self.open_socket(socket) else {
            return Some(at_once(token, Err(BAD_NUMBER), Data::None));
        };
        if connected.is_idle() {
            self.close(socket);
            return Some(at_once(token, Ok(0), Data::None));
        }
        connected.closing = Some(token);
        // From the last, so that none of them begins.
        let sends: Vec<_> = connected.sends.iter().rev().map(|it| it.token).collect();
        self.cancel_recv(socket);
        for send in sends {
            self.cancel_send(send, socket);
        }
        None
    }

    /// Ends a `Close` that waited for the last completion of its socket.
    fn close_if_idle(&mut self, socket: Socket) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        if !connected.is_idle() {
            return;
        }
        if let Some(token) = connected.closing.take() {
            self.close(socket);
            self.end(token, Ok(0), Data::None);
        }
    }

    fn close(&mut self, socket: Socket) {
        if let Some(connected) = self.sockets.remove(socket.0) {
            tcp::close(connected.fd, &mut self.scratch);
        }
    }

    /// The socket of a number, unless it is being closed.
    fn open_socket(&mut self, socket: Socket) -> Option<&mut Connected> {
        let connected = self.sockets.get_mut(socket.0)?;
        connected.closing.is_none().then_some(connected)
    }
}

fn received(token: Token, index: u16, count: usize) -> Done {
    let buffer = RecvBuffer::Pool {
        index: u32::from(index),
        len: u32::try_from(count).expect("a buffer is smaller than 4 GiB"),
    };
    Done {
        token,
        result: Ok(count),
        more: true,
        data: Data::Received(buffer),
    }
}

/// A larger send is never hidden (see `waiting`): deliveries may wait for its end.
const HIDDEN_BYTES_MAX: usize = 64 * 1024;
