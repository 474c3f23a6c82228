//! Accepting connections: one multishot entry per listener.
#![expect(
    unsafe_code,
    reason = "descriptors of accepted connections arrive as bare numbers"
)]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::key::{Key, Kind, next_round};
use super::ring::{self, Completion};
use super::socket::Connected;
use super::{BAD_NUMBER, Data, Done, Errno, Listener, Place, Socket, Token, Uring};
use crate::driver::tcp;

impl Uring {
    pub(super) fn start_accept(&mut self, token: Token, listener: Listener) {
        let Some(listening) = self.listeners.get_mut(listener.0 as usize) else {
            return self.end(token, Err(BAD_NUMBER), Data::None);
        };
        if listening.accept.is_some() {
            return self.end(token, Err(Errno(libc::EALREADY)), Data::None);
        }
        listening.accept = Some(token);
        self.cancellable.insert(token, Place::Accept(listener));
        self.arm_accept(listener);
    }

    /// Puts an accept into the ring, unless there is one or accepting is paused.
    fn arm_accept(&mut self, listener: Listener) {
        let Some(listening) = self.listeners.get_mut(listener.0 as usize) else {
            return;
        };
        let is_resting = self.accept_paused.is_some() || self.is_ending;
        if listening.armed.is_some() || listening.accept.is_none() || is_resting {
            return;
        }
        listening.round = next_round(listening.round);
        listening.armed = Some(listening.round);
        let key = Key::new(Kind::Accept, listening.round, listener.0);
        self.ring.accept(key, listening.listener.as_fd());
        self.in_flight += 1;
    }

    pub(super) fn cancel_accept(&mut self, listener: Listener) {
        let Some(listening) = self.listeners.get_mut(listener.0 as usize) else {
            return;
        };
        listening.is_cancelled = true;
        match listening.armed {
            Some(round) => self.ring.cancel(Key::new(Kind::Accept, round, listener.0)),
            None => self.end_accept(listener, Errno::CANCELED),
        }
    }

    pub(super) fn on_accept(&mut self, key: Key, completion: Completion) {
        let listener = Listener(key.number);
        let accepted = completion.count().map(|result| {
            // SAFETY: an accept's completion carries its result once.
            unsafe { ring::accepted(result) }
        });
        let Some(listening) = self.listeners.get_mut(key.number as usize) else {
            return;
        };
        // (Y1) What was accepted for an earlier round is closed here.
        if listening.armed != Some(key.round) {
            return;
        }
        let is_cancelled = listening.is_cancelled;
        let token = listening.accept;
        if !completion.more {
            listening.armed = None;
        }
        let error = match (accepted, token) {
            (Ok(fd), Some(token)) => {
                let done = self.on_connected(token, fd);
                self.ended.extend(done);
                None
            }
            (Ok(_), None) => None,
            (Err(error), _) => Some(error),
        };
        if completion.more {
            return;
        }
        match error {
            _ if is_cancelled => self.end_accept(listener, Errno::CANCELED),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => self.pause_accept(),
            Some(error @ (libc::EINVAL | libc::EBADF | libc::EOPNOTSUPP | libc::ECANCELED)) => {
                self.end_accept(listener, Errno(error));
            }
            // The connection died in the queue (accept(2) lists a dozen such errors), or the
            // kernel gave the entry up.
            Some(_) | None => self.arm_accept(listener),
        }
    }

    fn end_accept(&mut self, listener: Listener, errno: Errno) {
        let Some(listening) = self.listeners.get_mut(listener.0 as usize) else {
            return;
        };
        listening.is_cancelled = false;
        if let Some(token) = listening.accept.take() {
            self.cancellable.remove(&token);
            self.end(token, Err(errno), Data::None);
        }
    }

    fn on_connected(&mut self, token: Token, fd: OwnedFd) -> Option<Done> {
        if self.sockets.len() >= self.sockets_max {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        tcp::prepare(&fd);
        let number = self.sockets.insert(Connected::new(fd)).ok()?;
        Some(Done {
            token,
            result: Ok(0),
            more: true,
            data: Data::Socket(Socket(number)),
        })
    }

    /// Stops accepting for a moment: an accept that cannot be served would fail again at once.
    fn pause_accept(&mut self) {
        if self.stats.accept_paused.fetch_add(1, Ordering::Relaxed) == 0 {
            tcp::warn_of_no_descriptor();
        }
        self.accept_paused = Some(Instant::now() + ACCEPT_PAUSE);
    }

    /// Accepts again when the pause is over.
    pub(super) fn resume_accept(&mut self) {
        if self
            .accept_paused
            .is_some_and(|until| until <= Instant::now())
        {
            self.accept_paused = None;
            for index in 0..self.listeners.len() {
                let index = u32::try_from(index).expect("a few listeners");
                self.arm_accept(Listener(index));
            }
        }
    }
}

/// How long accepting pauses when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
