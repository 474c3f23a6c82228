//! Accepting connections.
//!
//! glommio's accept is an entry in a ring; whoever drops it loses the connection that it has just
//! taken. So it is never dropped: an accept that the shard cancels leaves it armed, and a connection
//! that it takes meanwhile waits for the next one.

use std::future::poll_fn;
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker as TaskWaker};
use std::time::Duration;

use glommio::net::{TcpListener, TcpStream};
use glommio::timer::Timer;
use rustix::io::FdFlags;
use rustix::net::Shutdown;

use super::state::{Place, Shared, State, Watcher, next_wait};
use super::streams::Connected;
use super::{
    BAD_NUMBER, Data, Done, Errno, Glommio, Listener, Socket, Token, descriptor, errno_of,
};
use crate::driver::tcp;

/// A listening socket.
pub(super) struct Listening {
    /// What ends the task.
    listener: StdListener,
    /// What the task accepts on, until there is a task.
    own: Option<StdListener>,
    accept: Option<Token>,
    watcher: Watcher,
}

impl Listening {
    pub(super) fn new(listener: StdListener) -> io::Result<Self> {
        Ok(Self {
            own: Some(listener.try_clone()?),
            listener,
            accept: None,
            watcher: Watcher::default(),
        })
    }

    /// Ends the accept that is in the ring, and the task.
    pub(super) fn end(&mut self, later: &mut Vec<TaskWaker>) {
        self.watcher.poke(later);
        if let Err(error) = rustix::net::shutdown(&self.listener, Shutdown::Both) {
            tracing::debug!(%error, "cannot shut a listener down");
        }
    }
}

impl Glommio {
    pub(super) fn start_accept(&mut self, token: Token, listener: Listener) {
        let shared = self.home.shared();
        let mut guard = shared.borrow_mut();
        let state = &mut *guard;
        let Some(listening) = state.listeners.get_mut(listener.0 as usize) else {
            return state.end(token, Err(BAD_NUMBER), Data::None);
        };
        if listening.accept.is_some() {
            return state.end(token, Err(Errno(libc::EALREADY)), Data::None);
        }
        listening.watcher.poke(&mut state.later);
        if let Some(own) = listening.own.take() {
            let task = accept(Rc::clone(shared), listener, own);
            state.tasks.push(Box::pin(task));
        }
        listening.accept = Some(token);
        state.cancellable.insert(token, Place::Accept(listener));
    }
}

impl State {
    pub(super) fn cancel_accept(&mut self, listener: Listener) {
        let token = self.listeners[listener.0 as usize].accept.take();
        if let Some(token) = token {
            self.end(token, Err(Errno::CANCELED), Data::None);
        }
    }

    fn on_connected(&mut self, token: Token, stream: TcpStream) {
        if self.sockets.len() >= self.sockets_max {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            return self.nudge();
        }
        let fd = descriptor::of_stream(&stream);
        tcp::prepare(fd);
        // glommio's shortest way to a connection leaves this out.
        if let Err(error) = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC) {
            tracing::debug!(%error, "a connection outlives an exec");
        }
        let Ok(number) = self.sockets.insert(Connected::new(stream)) else {
            return;
        };
        self.deliver(Done {
            token,
            result: Ok(0),
            more: true,
            data: Data::Socket(Socket(number)),
        });
    }

    fn note_pause(&mut self) {
        if self.stats.accept_paused.fetch_add(1, Ordering::Relaxed) == 0 {
            tcp::warn_of_no_descriptor();
        }
        self.nudge();
    }
}

/// The task of a listener.
async fn accept(shared: Shared, listener: Listener, own: StdListener) {
    let listening = descriptor::listener(own);
    let mut accepted = 0;
    while armed(&shared, listener).await.is_some() {
        match accept_one(&listening).await {
            Ok(stream) => {
                // The accept may have been cancelled meanwhile.
                let Some(token) = armed(&shared, listener).await else {
                    return;
                };
                shared.borrow_mut().on_connected(token, stream);
                accepted += 1;
                if accepted % ACCEPTS_MAX == 0 {
                    next_wait(&shared).await;
                }
            }
            Err(Errno(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) => {
                shared.borrow_mut().note_pause();
                Timer::new(ACCEPT_PAUSE).await;
            }
            // The connection died in the queue (accept(2) lists a dozen such errors).
            Err(_) => next_wait(&shared).await,
        }
    }
}

async fn accept_one(listening: &TcpListener) -> Result<TcpStream, Errno> {
    let accepted = listening.shared_accept().await;
    let accepted = accepted.map_err(|error| errno_of(&error))?;
    Ok(accepted.bind_to_executor())
}

/// The accept of a listener, once there is one; `None` when the driver ends.
async fn armed(shared: &Shared, listener: Listener) -> Option<Token> {
    poll_fn(|context| {
        let mut state = shared.borrow_mut();
        if state.is_ending {
            return Poll::Ready(None);
        }
        let listening = &mut state.listeners[listener.0 as usize];
        if let Some(token) = listening.accept {
            return Poll::Ready(Some(token));
        }
        listening.watcher.wait(context);
        Poll::Pending
    })
    .await
}

/// Connections accepted from one listener in one turn.
const ACCEPTS_MAX: usize = 64;
/// How long accepting pauses when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
