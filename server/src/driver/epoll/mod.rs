//! The epoll driver: works on every Linux, needs no privileges, and is the one that containers
//! get (their default seccomp profiles refuse `io_uring`).
//!
//! It owns a shard's epoll instance, sockets, receive pool and open files, plus a few threads for
//! the file work that blocks. All but the threads lives on the shard's own thread. Sockets are
//! non-blocking and watched level-triggered; sends are tried at once and watched only when the
//! kernel takes no more. Invariants:
//! (E1) every operation completes exactly once, at its end: at once from `submit`, or through
//! `ended` or `wait`;
//! (E2) a closed socket delivers nothing any more but the `ECANCELED` of what was in flight, and
//! those come before the completion of its `Close`;
//! (E3) while all receive buffers are lent nothing is read, and reading goes on as soon as one
//! comes back.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_storage::Volumes;
use corelane_wire::Timestamp;
use rustix::event::epoll::{self as sys, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use self::pool::Pool;
use self::socket::Connected;
use super::jobs::{FileThreads, Finished, Job, Jobs};
use super::slots::Slots;
use super::{
    CommitMode, Data, Done, Driver, DriverStats, Errno, File, Listener, Op, RecvBuffer, Socket,
    Token, Waker,
};
use crate::clock::Clock;

mod accept;
mod pool;
mod socket;
mod streams;
mod waiting;

/// How large one driver may grow.
#[derive(Clone, Debug)]
pub struct EpollOptions {
    /// Begins the names of its threads.
    pub name: String,
    /// Receive buffers.
    pub recv_buffers: u32,
    /// Bytes of each.
    pub recv_buffer_bytes: usize,
    /// Threads that write and sync; as many partitions can commit at the same time.
    pub commit_threads: usize,
    /// How a durable write becomes durable.
    pub commit_mode: CommitMode,
    /// Connections at most; beyond it a new one is accepted and closed at once.
    pub sockets_max: usize,
}

impl Default for EpollOptions {
    fn default() -> Self {
        Self {
            name: String::from("shard"),
            recv_buffers: 256,
            recv_buffer_bytes: 32 * 1024,
            commit_threads: 4,
            commit_mode: CommitMode::Fdatasync,
            sockets_max: 16_384,
        }
    }
}

/// The driver of one shard.
pub struct Epoll {
    poller: OwnedFd,
    waker: Waker,
    peers: Vec<Waker>,
    clock: Clock,
    /// Latest time given out: node time never goes back for one shard.
    latest: Cell<Timestamp>,
    listeners: Vec<Listening>,
    /// Set while accepting is paused because no file descriptor was left.
    accept_paused: Option<Instant>,
    sockets: Slots<Connected>,
    sockets_max: usize,
    pool: Pool,
    /// Sockets that had something to read when no buffer was left.
    starved: VecDeque<Socket>,
    files: Slots<Arc<std::fs::File>>,
    jobs: Jobs,
    /// Where to find what can be cancelled.
    cancellable: BTreeMap<Token, Place>,
    /// Ended outside of `wait`, to be delivered by the next one.
    ended: VecDeque<Done>,
    finished: Vec<Finished>,
    scratch: Vec<u8>,
    stats: Arc<DriverStats>,
}

struct Listening {
    listener: TcpListener,
    accept: Option<Token>,
    is_watched: bool,
}

#[derive(Clone, Copy)]
enum Place {
    Accept(Listener),
    Recv(Socket),
    Send(Socket),
}

impl Epoll {
    /// A driver without listeners and peers. Call it from a thread that is not pinned: its file
    /// threads inherit the affinity.
    ///
    /// # Errors
    /// If the system refuses an epoll instance, an eventfd or a thread.
    pub fn new(options: &EpollOptions, volumes: &Volumes, clock: Clock) -> io::Result<Self> {
        let poller = sys::create(CreateFlags::CLOEXEC)?;
        let waker = Waker::new()?;
        sys::add(
            &poller,
            waker.as_fd(),
            EventData::new_u64(WAKE),
            // Each wake is an edge of its own, so the count need not be read: a call less per wake.
            EventFlags::IN | EventFlags::ET,
        )?;
        let stats = Arc::new(DriverStats::default());
        let threads = FileThreads {
            name: &options.name,
            commits: options.commit_threads,
            reads: 1,
            commit_mode: options.commit_mode,
        };
        let jobs = Jobs::start(&threads, volumes, waker.clone(), Arc::clone(&stats))?;
        Ok(Self {
            poller,
            waker,
            peers: Vec::new(),
            latest: Cell::new(clock.now()),
            clock,
            listeners: Vec::new(),
            accept_paused: None,
            sockets: Slots::new(),
            sockets_max: options.sockets_max,
            pool: Pool::new(options.recv_buffers, options.recv_buffer_bytes),
            starved: VecDeque::new(),
            files: Slots::new(),
            jobs,
            cancellable: BTreeMap::new(),
            ended: VecDeque::new(),
            finished: Vec::new(),
            scratch: vec![0; 64 * 1024],
            stats,
        })
    }

    /// Takes over a bound, listening socket; the shard accepts on the number.
    ///
    /// # Errors
    /// If the socket cannot be made non-blocking.
    pub fn add_listener(&mut self, listener: TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        self.listeners.push(Listening {
            listener,
            accept: None,
            is_watched: false,
        });
        let index = self.listeners.len() - 1;
        Ok(Listener(u32::try_from(index).expect("a few listeners")))
    }

    /// Names the shards that `Op::Wake` can wake, in order of their numbers.
    pub fn set_peers(&mut self, peers: Vec<Waker>) {
        self.peers = peers;
    }

    /// What wakes this driver from other threads.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What this driver counts.
    #[must_use]
    pub fn stats(&self) -> Arc<DriverStats> {
        Arc::clone(&self.stats)
    }

    fn end(&mut self, token: Token, result: Result<usize, Errno>, data: Data) {
        self.ended.push_back(Done {
            token,
            result,
            more: false,
            data,
        });
    }
}

impl Driver for Epoll {
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        match op {
            Op::Accept { listener } => self.start_accept(token, listener),
            Op::Recv { socket } => self.start_recv(token, socket),
            Op::Send { socket, buffer } => return self.start_send(token, socket, buffer),
            Op::Close { socket } => return self.close(token, socket),
            Op::OpenSegment { partition, segment } => {
                return self.start_job(token, Job::Open { partition, segment });
            }
            Op::CloseFile { file } => {
                let closed = self.files.remove(file.0).map(|_| 0).ok_or(BAD_NUMBER);
                return Some(at_once(token, closed, Data::None));
            }
            Op::Read {
                file,
                position,
                buffer,
                bytes,
            } => {
                let Some(file) = self.files.get(file.0).cloned() else {
                    return Some(at_once(token, Err(BAD_NUMBER), Data::Block(buffer)));
                };
                let job = Job::Read {
                    file,
                    position,
                    buffer,
                    bytes,
                };
                return self.start_job(token, job);
            }
            Op::Write {
                file,
                position,
                buffer,
                bytes,
                durable,
            } => {
                let Some(file) = self.files.get(file.0).cloned() else {
                    return Some(at_once(token, Err(BAD_NUMBER), Data::Block(buffer)));
                };
                let job = Job::Write {
                    file,
                    position,
                    buffer,
                    bytes,
                    durable,
                };
                return self.start_job(token, job);
            }
            Op::Housekeeping(task) => return self.start_job(token, Job::Housekeeping(task)),
            Op::Wake { shard } => return Some(at_once(token, self.wake(shard), Data::None)),
        }
        None
    }

    fn cancel(&mut self, token: Token) {
        // File work is not in the table: it runs to its end and reports what happened, because a
        // write that was started cannot be taken back; but a spare can be made faster.
        match self.cancellable.remove(&token) {
            Some(Place::Accept(listener)) => {
                self.listeners[listener.0 as usize].accept = None;
                self.watch_listener(listener);
                self.end(token, Err(Errno::CANCELED), Data::None);
            }
            Some(Place::Recv(socket)) => self.end_recv(socket, Err(Errno::CANCELED)),
            Some(Place::Send(socket)) => {
                if let Some(connected) = self.sockets.get_mut(socket.0) {
                    self.ended.extend(connected.cancel_send(token));
                    self.watch(socket);
                }
            }
            None => self.jobs.hasten(token),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        self.feed_starved();
        self.resume_accept();
        self.collect(done);
        let timeout = if done.is_empty() {
            self.bounded(timeout)
        } else {
            Some(Duration::ZERO)
        };
        let mut room = [MaybeUninit::uninit(); EVENTS_MAX];
        for event in self.poll(timeout, &mut room)? {
            self.on_event(*event, done);
        }
        self.collect(done);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        let now = self.clock.now().max(self.latest.get());
        self.latest.set(now);
        now
    }

    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match buffer {
            RecvBuffer::Pool { index, len } => self.pool.bytes(*index, *len),
            RecvBuffer::Owned(bytes) => bytes,
        }
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        match buffer {
            RecvBuffer::Pool { index, .. } => self.pool.take_back(index),
            RecvBuffer::Owned(_) => (),
        }
    }
}

fn at_once(token: Token, result: Result<usize, Errno>, data: Data) -> Done {
    Done {
        token,
        result,
        more: false,
        data,
    }
}

/// The number names nothing that is open.
const BAD_NUMBER: Errno = Errno(libc::EBADF);
/// Events taken from epoll at once.
const EVENTS_MAX: usize = 256;
/// Event number of the eventfd.
const WAKE: u64 = u64::MAX;
/// Bit that marks the event number of a listener; sockets have 32 bits.
const LISTENER: u64 = 1 << 32;

#[cfg(test)]
mod tests;
