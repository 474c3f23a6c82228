//! Accepting connections.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self as sys, EventData, EventFlags};
use rustix::io::Errno as Os;
use rustix::net::SocketFlags;

use super::socket::Connected;
use super::{BAD_NUMBER, Data, Done, Epoll, Errno, LISTENER, Listener, Place, Socket, Token};
use crate::driver::tcp;

impl Epoll {
    pub(super) fn start_accept(&mut self, token: Token, listener: Listener) {
        let Some(listening) = self.listeners.get_mut(listener.0 as usize) else {
            return self.end(token, Err(BAD_NUMBER), Data::None);
        };
        if listening.accept.is_some() {
            return self.end(token, Err(Errno(libc::EALREADY)), Data::None);
        }
        listening.accept = Some(token);
        self.cancellable.insert(token, Place::Accept(listener));
        self.watch_listener(listener);
    }

    /// Watches a listener exactly while an accept is armed and not paused.
    pub(super) fn watch_listener(&mut self, listener: Listener) {
        let is_paused = self.accept_paused.is_some();
        let Some(listening) = self.listeners.get_mut(listener.0 as usize) else {
            return;
        };
        let wanted = listening.accept.is_some() && !is_paused;
        if wanted == listening.is_watched {
            return;
        }
        let changed = if wanted {
            let data = EventData::new_u64(LISTENER | u64::from(listener.0));
            sys::add(&self.poller, &listening.listener, data, EventFlags::IN)
        } else {
            sys::delete(&self.poller, &listening.listener)
        };
        listening.is_watched = wanted;
        if let Err(error) = changed {
            tracing::error!(%error, "cannot watch a listener");
            listening.is_watched = false;
            if let Some(token) = listening.accept.take() {
                self.cancellable.remove(&token);
                self.end(token, Err(Errno(error.raw_os_error())), Data::None);
            }
        }
    }

    /// Accepts what waits, up to a bound per turn so that a storm does not starve the connected.
    pub(super) fn accept(&mut self, listener: Listener, done: &mut Vec<Done>) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listening) = self.listeners.get(listener.0 as usize) else {
                return;
            };
            let Some(token) = listening.accept else {
                return;
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(&listening.listener, flags) {
                Ok(fd) => done.extend(self.on_connected(token, fd)),
                Err(Os::AGAIN) => return,
                Err(Os::MFILE | Os::NFILE | Os::NOBUFS | Os::NOMEM) => {
                    return self.pause_accept();
                }
                // The connection died in the queue (accept(2) lists a dozen such errors).
                Err(_) => (),
            }
        }
    }

    fn on_connected(&mut self, token: Token, fd: rustix::fd::OwnedFd) -> Option<Done> {
        if self.sockets.len() >= self.sockets_max {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        tcp::prepare(&fd);
        match self.sockets.insert(Connected::new(fd)) {
            Ok(number) => Some(Done {
                token,
                result: Ok(0),
                more: true,
                data: Data::Socket(Socket(number)),
            }),
            Err(_) => None,
        }
    }

    /// Stops accepting for a moment: a listener that cannot be served stays readable, and the loop
    /// would spin on it.
    fn pause_accept(&mut self) {
        if self.stats.accept_paused.fetch_add(1, Ordering::Relaxed) == 0 {
            tcp::warn_of_no_descriptor();
        }
        self.accept_paused = Some(Instant::now() + ACCEPT_PAUSE);
        self.watch_listeners();
    }

    /// Accepts again when the pause is over.
    pub(super) fn resume_accept(&mut self) {
        if self
            .accept_paused
            .is_some_and(|until| until <= Instant::now())
        {
            self.accept_paused = None;
            self.watch_listeners();
        }
    }

    fn watch_listeners(&mut self) {
        for index in 0..self.listeners.len() {
            let index = u32::try_from(index).expect("a few listeners");
            self.watch_listener(Listener(index));
        }
    }
}

/// Connections accepted from one listener in one turn.
const ACCEPTS_MAX: usize = 64;
/// How long accepting pauses when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
