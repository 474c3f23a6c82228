//! Receiving, sending and closing.
//!
//! A socket has a task for as long as a receive is armed, and one for as long as sends wait for room.
//! Both ask the kernel first and wait only when there is nothing to be had; a wait owns no bytes, so
//! it can end at any moment without losing any.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker as TaskWaker};

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;

use super::state::{Place, State, Watcher};
use super::{
    BAD_NUMBER, Data, Done, Errno, Glommio, RecvBuffer, Socket, Token, at_once, descriptor,
};
use crate::driver::sends::Sends;
use crate::driver::tcp;

/// A connected socket; it is blocking, and nothing that could block is asked of it.
pub(super) struct Connected {
    stream: TcpStream,
    /// The armed receive.
    recv: Option<Token>,
    /// A receive found no buffer. True exactly while the socket stands in the driver's list of
    /// starved ones, whatever became of that receive, so that it stands there once at most.
    is_starved: bool,
    reader: Watcher,
    sends: Sends,
    writer: Watcher,
}

impl Connected {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            recv: None,
            is_starved: false,
            reader: Watcher::default(),
            sends: Sends::new(),
            writer: Watcher::default(),
        }
    }

    /// Closes the socket, and has its tasks notice.
    pub(super) fn end(mut self, later: &mut Vec<TaskWaker>) {
        self.reader.poke(later);
        self.writer.poke(later);
    }
}

impl Glommio {
    pub(super) fn start_recv(&mut self, token: Token, socket: Socket) {
        let shared = self.home.shared();
        let mut guard = shared.borrow_mut();
        let state = &mut *guard;
        let Some(connected) = state.sockets.get_mut(socket.0) else {
            return state.end(token, Err(BAD_NUMBER), Data::None);
        };
        if connected.recv.is_some() {
            return state.end(token, Err(Errno(libc::EALREADY)), Data::None);
        }
        connected.recv = Some(token);
        state.cancellable.insert(token, Place::Recv(socket));
        if connected.reader.is_running {
            connected.reader.poke(&mut state.later);
            return;
        }
        connected.reader.is_running = true;
        let own = Rc::clone(shared);
        let reader = poll_fn(move |context| own.borrow_mut().receive(socket, context));
        state.tasks.push(Box::pin(reader));
    }

    pub(super) fn start_send(
        &mut self,
        token: Token,
        socket: Socket,
        buffer: Vec<u8>,
    ) -> Option<Done> {
        let shared = self.home.shared();
        let mut guard = shared.borrow_mut();
        let state = &mut *guard;
        let Some(connected) = state.sockets.get_mut(socket.0) else {
            return Some(at_once(token, Err(BAD_NUMBER), Data::Sent(buffer)));
        };
        let fd = descriptor::of_stream(&connected.stream);
        let done = connected.sends.send(fd, token, buffer);
        if done.is_some() {
            return done;
        }
        state.cancellable.insert(token, Place::Send(socket));
        if !connected.writer.is_running {
            connected.writer.is_running = true;
            let own = Rc::clone(shared);
            let writer = poll_fn(move |context| own.borrow_mut().send(socket, context));
            state.tasks.push(Box::pin(writer));
        }
        None
    }
}

impl State {
    pub(super) fn close(&mut self, token: Token, socket: Socket) -> Option<Done> {
        let Some(mut connected) = self.sockets.remove(socket.0) else {
            return Some(at_once(token, Err(BAD_NUMBER), Data::None));
        };
        let recv = connected.recv.take();
        let recv = recv.map(|token| at_once(token, Err(Errno::CANCELED), Data::None));
        let ended: Vec<Done> = recv
            .into_iter()
            .chain(connected.sends.cancel_all())
            .collect();
        tcp::close(descriptor::of_stream(&connected.stream), &mut self.scratch);
        connected.end(&mut self.later);
        if ended.is_empty() {
            return Some(at_once(token, Ok(0), Data::None));
        }
        // The shard hears of the operations that this ended before it hears of the close.
        for done in ended {
            self.deliver(done);
        }
        self.end(token, Ok(0), Data::None);
        None
    }

    pub(super) fn cancel_recv(&mut self, socket: Socket) {
        let Some(connected) = self.sockets.get_mut(socket.0) else {
            return;
        };
        connected.reader.poke(&mut self.later);
        if let Some(token) = connected.recv.take() {
            self.end(token, Err(Errno::CANCELED), Data::None);
        }
    }

    pub(super) fn cancel_send(&mut self, token: Token, socket: Socket) {
        let connected = self.sockets.get_mut(socket.0);
        let ended = connected.and_then(|connected| connected.sends.cancel(token));
        if let Some(done) = ended {
            self.deliver(done);
        }
    }

    /// The task of a receive: reads what has arrived, at most a few buffers per turn so that one
    /// stream does not take them from the others.
    fn receive(&mut self, socket: Socket, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS_PER_TURN_MAX {
            let Some(connected) = self.sockets.get_mut(socket.0) else {
                return Poll::Ready(());
            };
            let Some(token) = connected.recv else {
                connected.reader.end();
                return Poll::Ready(());
            };
            connected.reader.wait(context);
            if connected.is_starved {
                return Poll::Pending;
            }
            let Some(buffer) = self.buffers.last_mut() else {
                connected.is_starved = true;
                self.stats.starved.fetch_add(1, Ordering::Relaxed);
                self.starved.push_back(socket);
                return Poll::Pending;
            };
            match Pin::new(&mut connected.stream).poll_read(context, buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => self.received(token, count),
                Poll::Ready(end) => {
                    connected.recv = None;
                    connected.reader.end();
                    self.end(token, end.map_err(|error| Errno::from(&error)), Data::None);
                    return Poll::Ready(());
                }
            }
        }
        self.later.push(context.waker().clone());
        Poll::Pending
    }

    /// The buffer that was filled last goes to the shard.
    fn received(&mut self, token: Token, count: usize) {
        let mut buffer = self.buffers.pop().expect("it was just filled");
        buffer.truncate(count);
        self.deliver(Done {
            token,
            result: Ok(count),
            more: true,
            data: Data::Received(RecvBuffer::Owned(buffer)),
        });
    }

    /// Has as many starved readers look again as there are buffers (G4).
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..self.buffers.len().min(self.starved.len()) {
            let Some(socket) = self.starved.pop_front() else {
                return;
            };
            // The number may have been closed since.
            if let Some(connected) = self.sockets.get_mut(socket.0) {
                connected.is_starved = false;
                connected.reader.poke(&mut self.later);
            }
        }
    }

    /// The task of sends that wait for room.
    fn send(&mut self, socket: Socket, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(connected) = self.sockets.get_mut(socket.0) else {
                return Poll::Ready(());
            };
            let Some(rest) = connected.sends.rest() else {
                connected.writer.end();
                return Poll::Ready(());
            };
            connected.writer.wait(context);
            let taken = match Pin::new(&mut connected.stream).poll_write(context, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(taken) => taken.map_err(|error| Errno::from(&error)),
            };
            if let Some(done) = connected.sends.note(taken) {
                self.deliver(done);
            }
        }
    }
}

/// Buffers filled from one socket in one turn.
const READS_PER_TURN_MAX: usize = 4;
