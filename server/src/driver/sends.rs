//! The sends of one socket.
//!
//! Invariant: (D1) they leave in the order of their submission.

use std::collections::VecDeque;

use rustix::fd::AsFd;
use rustix::io::Errno as Os;
use rustix::net::SendFlags;

use super::{Data, Done, Errno, Token};

/// Sends of which not all bytes were taken yet.
pub(super) struct Sends {
    waiting: VecDeque<Sending>,
}

struct Sending {
    token: Token,
    buffer: Vec<u8>,
    sent: usize,
}

impl Sends {
    pub(super) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends as much as the kernel takes at once; what is left waits for room.
    pub(super) fn send(&mut self, fd: impl AsFd, token: Token, buffer: Vec<u8>) -> Option<Done> {
        let is_first = self.waiting.is_empty();
        self.waiting.push_back(Sending {
            token,
            buffer,
            sent: 0,
        });
        if is_first { self.progress(fd) } else { None }
    }

    /// Goes on with the first send. `Some` when it has ended.
    pub(super) fn progress(&mut self, fd: impl AsFd) -> Option<Done> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let first = self.waiting.front_mut()?;
        let result = loop {
            if first.rest().is_empty() {
                break Ok(());
            }
            match rustix::net::send(&fd, first.rest(), flags) {
                Ok(count) => first.sent += count,
                Err(Os::INTR) => (),
                Err(Os::AGAIN) => return None,
                Err(error) => break Err(Errno(error.raw_os_error())),
            }
        };
        self.end(result)
    }

    /// Ends the first send.
    fn end(&mut self, result: Result<(), Errno>) -> Option<Done> {
        Some(self.waiting.pop_front()?.end(result))
    }

    /// Ends one send before its time, if it is in flight.
    pub(super) fn cancel(&mut self, token: Token) -> Option<Done> {
        let index = self.waiting.iter().position(|send| send.token == token)?;
        let sending = self.waiting.remove(index)?;
        Some(sending.end(Err(Errno::CANCELED)))
    }

    /// Ends all of them before their time.
    pub(super) fn cancel_all(&mut self) -> impl Iterator<Item = Done> {
        let waiting = self.waiting.drain(..);
        waiting.map(|sending| sending.end(Err(Errno::CANCELED)))
    }
}

impl Sending {
    fn rest(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    fn end(self, result: Result<(), Errno>) -> Done {
        Done {
            token: self.token,
            result: result.map(|()| self.buffer.len()),
            more: false,
            data: Data::Sent(self.buffer),
        }
    }
}

/// What a driver needs that hands the bytes to the kernel by itself.
#[cfg(feature = "glommio")]
impl Sends {
    /// The bytes that the first send still has; `None` if there is no send.
    pub(super) fn rest(&self) -> Option<&[u8]> {
        self.waiting.front().map(Sending::rest)
    }

    /// The kernel took `count` bytes of the first send, or refused them. `Some` when that send has ended.
    pub(super) fn note(&mut self, taken: Result<usize, Errno>) -> Option<Done> {
        match taken {
            Ok(count) => {
                let first = self.waiting.front_mut()?;
                first.sent += count;
                if first.rest().is_empty() {
                    self.end(Ok(()))
                } else {
                    None
                }
            }
            Err(error) => self.end(Err(error)),
        }
    }
}
