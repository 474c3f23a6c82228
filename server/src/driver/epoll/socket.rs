//! One connected socket: what the shard asked of it and what epoll is told.
//!
//! Invariant: (S1) epoll watches a socket exactly while something can be done when it reports: while a
//! receive is armed and not starved, or a send is unfinished. Otherwise the socket is not
//! registered at all, because hang-ups are reported even to those who ask for nothing, and a
//! level-triggered one would spin the loop.

use std::collections::VecDeque;
use std::io;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno as Os;
use rustix::net::RecvFlags;

use crate::driver::sends::Sends;
use crate::driver::{Data, Done, Errno, Token, tcp};

/// A connected, non-blocking socket.
pub(super) struct Connected {
    fd: OwnedFd,
    /// The armed receive.
    pub(super) recv: Option<Token>,
    /// A receive found no buffer. True exactly while the socket stands in the driver's list of
    /// starved ones, whatever became of that receive, so that it stands there once at most.
    pub(super) is_starved: bool,
    sends: Sends,
    /// What epoll watches; empty means not registered (S1).
    watched: EventFlags,
}

impl Connected {
    pub(super) const fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            recv: None,
            is_starved: false,
            sends: Sends::new(),
            watched: EventFlags::empty(),
        }
    }

    /// Whether a receive could take bytes now.
    pub(super) const fn is_receiving(&self) -> bool {
        self.recv.is_some() && !self.is_starved
    }

    /// Whether sends are unfinished.
    pub(super) fn is_sending(&self) -> bool {
        !self.sends.is_empty()
    }

    /// Reads once. `None` when there is nothing to read now.
    pub(super) fn recv(&self, buffer: &mut [u8]) -> Option<Result<usize, Errno>> {
        loop {
            match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((count, _)) => return Some(Ok(count)),
                Err(Os::INTR) => (),
                Err(Os::AGAIN) => return None,
                Err(error) => return Some(Err(Errno(error.raw_os_error()))),
            }
        }
    }

    /// Sends as much as the kernel takes at once; what is left waits for room.
    pub(super) fn send(&mut self, token: Token, buffer: Vec<u8>) -> Option<Done> {
        self.sends.send(&self.fd, token, buffer)
    }

    /// Goes on with the first send. `Some` when it has ended.
    pub(super) fn progress(&mut self) -> Option<Done> {
        self.sends.progress(&self.fd)
    }

    /// Ends one send before its time, if it is in flight.
    pub(super) fn cancel_send(&mut self, token: Token) -> Option<Done> {
        self.sends.cancel(token)
    }

    /// Ends whatever is in flight; for `Close`.
    pub(super) fn cancel_all(&mut self, ended: &mut VecDeque<Done>) {
        if let Some(token) = self.recv.take() {
            ended.push_back(Done {
                token,
                result: Err(Errno::CANCELED),
                more: false,
                data: Data::None,
            });
        }
        ended.extend(self.sends.cancel_all());
    }

    /// Brings what epoll watches into line with (S1).
    pub(super) fn watch(&mut self, epoll: &OwnedFd, number: u64) -> io::Result<()> {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, self.is_receiving());
        wanted.set(EventFlags::OUT, self.is_sending());
        if wanted == self.watched {
            return Ok(());
        }
        let data = EventData::new_u64(number);
        if self.watched.is_empty() {
            epoll::add(epoll, &self.fd, data, wanted)?;
        } else if wanted.is_empty() {
            epoll::delete(epoll, &self.fd)?;
        } else {
            epoll::modify(epoll, &self.fd, data, wanted)?;
        }
        self.watched = wanted;
        Ok(())
    }

    /// Closes the socket.
    pub(super) fn close(self, scratch: &mut [u8]) {
        tcp::close(self.fd, scratch);
    }
}
