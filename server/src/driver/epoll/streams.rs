//! Receiving, sending and closing.

use std::sync::atomic::Ordering;

use super::{BAD_NUMBER, Data, Done, Epoll, Errno, Place, RecvBuffer, Socket, Token, at_once};

impl Epoll {
    pub(super) fn start_recv(&mut self, token: Token, socket: Socket) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return self.end(token, Err(BAD_NUMBER), Data::None);
        };
        if connected.recv.is_some() {
            return self.end(token, Err(Errno(libc::EALREADY)), Data::None);
        }
        connected.recv = Some(token);
        self.cancellable.insert(token, Place::Recv(socket));
        self.watch(socket);
    }

    pub(super) fn start_send(
        &mut self,
        token: Token,
        socket: Socket,
        buffer: Vec<u8>,
    ) -> Option<Done> {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return Some(at_once(token, Err(BAD_NUMBER), Data::Sent(buffer)));
        };
        let done = connected.send(token, buffer);
        if done.is_none() {
            self.cancellable.insert(token, Place::Send(socket));
            self.watch(socket);
        }
        done
    }

    pub(super) fn close(&mut self, token: Token, socket: Socket) -> Option<Done> {
        let Some(mut connected) = self.sockets.remove(socket.0) else {
            return Some(at_once(token, Err(BAD_NUMBER), Data::None));
        };
        let before = self.ended.len();
        connected.cancel_all(&mut self.ended);
        for ended in self.ended.range(before..) {
            self.cancellable.remove(&ended.token);
        }
        if let Err(error) = connected.watch(&self.poller, u64::from(socket.0)) {
            tracing::debug!(%error, "cannot stop watching a socket that closes");
        }
        connected.close(&mut self.scratch);
        if self.ended.len() == before {
            return Some(at_once(token, Ok(0), Data::None));
        }
        // (E2) The shard hears of the operations that this ended before it hears of the close.
        self.end(token, Ok(0), Data::None);
        None
    }

    /// Ends an armed receive.
    pub(super) fn end_recv(&mut self, socket: Socket, result: Result<usize, Errno>) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        if let Some(token) = connected.recv.take() {
            self.cancellable.remove(&token);
            self.end(token, result, Data::None);
        }
        self.watch(socket);
    }

    /// Reads what has arrived, at most a few buffers per turn so that one stream does not take
    /// the pool from the others.
    pub(super) fn receive(&mut self, socket: Socket, done: &mut Vec<Done>) {
        for _ in 0..READS_PER_TURN_MAX {
            let Some(connected) = self.sockets.get_mut(socket.0) else {
                return;
            };
            if !connected.is_receiving() {
                return;
            }
            let Some(token) = connected.recv else {
                return;
            };
            let Some(buffer) = self.pool.next() else {
                connected.is_starved = true;
                self.stats.starved.fetch_add(1, Ordering::Relaxed);
                self.starved.push_back(socket);
                return self.watch(socket);
            };
            let room = buffer.len();
            match connected.recv(buffer) {
                None => return,
                Some(Ok(count)) if count > 0 => {
                    done.push(self.received(token, count));
                    if count < room {
                        return;
                    }
                }
                Some(end) => return self.end_recv(socket, end),
            }
        }
    }

    fn received(&mut self, token: Token, count: usize) -> Done {
        let buffer = RecvBuffer::Pool {
            index: self.pool.lend(),
            len: u32::try_from(count).expect("a buffer is smaller than 4 GiB"),
        };
        Done {
            token,
            result: Ok(count),
            more: true,
            data: Data::Received(buffer),
        }
    }

    /// Watches the sockets again that found no buffer, once there are some (E3).
    pub(super) fn feed_starved(&mut self) {
        if self.pool.is_empty() {
            return;
        }
        while let Some(socket) = self.starved.pop_front() {
            // The number may have been closed since.
            let Some(connected) = self.sockets.get_mut(socket.0) else {
                continue;
            };
            connected.is_starved = false;
            self.watch(socket);
        }
    }

    /// Goes on with the sends of a socket that has room again.
    pub(super) fn progress_sends(&mut self, socket: Socket, done: &mut Vec<Done>) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        while let Some(ended) = connected.progress() {
            self.cancellable.remove(&ended.token);
            done.push(ended);
        }
        self.watch(socket);
    }

    /// Brings epoll into line with what is in flight on a socket. Where that fails (the system is
    /// out of memory for it) the socket can never report again, so everything on it ends.
    pub(super) fn watch(&mut self, socket: Socket) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        let Err(error) = connected.watch(&self.poller, u64::from(socket.0)) else {
            return;
        };
        tracing::error!(%error, "cannot watch a connection");
        let before = self.ended.len();
        connected.cancel_all(&mut self.ended);
        for ended in self.ended.range(before..) {
            self.cancellable.remove(&ended.token);
        }
    }
}

/// Buffers filled from one socket in one turn.
const READS_PER_TURN_MAX: usize = 4;
