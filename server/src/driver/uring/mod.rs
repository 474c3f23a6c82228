//! The `io_uring` driver: one system call per turn, which submits what the turn collected and waits
//! for what comes next, and one more per commit, which wakes the thread that makes it (ADR 0010).
//!
//! It owns a shard's ring, sockets, receive buffers and open files, plus threads for
//! commits, unless the mode is one of the ring's, and for the file work that the ring cannot do
//! (making, installing and opening segments). All but those threads
//! lives on the shard's own thread. Accepts and receives are multishot entries; the kernel picks
//! receive buffers by itself. Sockets are blocking, because the ring does not wait for those that
//! are not. Invariants:
//! (U1) every operation completes exactly once, at its end: at once from `submit`, or through
//! `ended`;
//! (U2) what the kernel reads or writes belongs to the driver, in `sockets`, `transfers` or
//! `buffers`, until the last completion of its entry; a driver that is dropped before takes it
//! back, and leaks what it cannot;
//! (U3) while all receive buffers are lent nothing is read, and reading goes on as soon as one
//! comes back.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_storage::Volumes;
use corelane_wire::Timestamp;

use self::buffers::Buffers;
use self::files::{Asked, Transfer, TransferKind};
use self::ring::{Completion, Ring};
use self::socket::Connected;
use super::jobs::{FileThreads, Finished, Job, Jobs};
use super::slots::Slots;
use super::{
    CommitMode, Data, Done, Driver, DriverStats, Errno, File, Listener, Op, RecvBuffer, Socket,
    Token, Waker,
};
use crate::clock::Clock;

mod accept;
mod buffers;
mod ending;
mod files;
mod key;
mod ring;
mod self_test;
mod socket;
mod streams;
mod waiting;

#[cfg(feature = "glommio")]
pub(super) use self::self_test::nameless_file;
pub use self::self_test::{Refusal, check};

/// How large one driver may grow, and how it commits.
#[derive(Clone, Debug)]
pub struct UringOptions {
    /// Begins the names of its threads.
    pub name: String,
    /// Receive buffers; rounded up to a power of two.
    pub recv_buffers: u32,
    /// Bytes of each.
    pub recv_buffer_bytes: usize,
    /// Entries that one call can submit; more are submitted by further calls.
    pub entries: u32,
    /// Completions that lie ready at most; the kernel holds the rest back.
    pub completions: u32,
    /// How a durable write becomes durable.
    pub commit_mode: CommitMode,
    /// Threads that commit, unless the ring does: as many commits run at the same time.
    pub commit_threads: usize,
    /// Connections at most; beyond it a new one is accepted and closed at once.
    pub sockets_max: usize,
}

impl Default for UringOptions {
    fn default() -> Self {
        Self {
            name: String::from("shard"),
            recv_buffers: 256,
            recv_buffer_bytes: 32 * 1024,
            entries: 256,
            completions: 4_096,
            commit_mode: CommitMode::Fdatasync,
            commit_threads: 4,
            sockets_max: 16_384,
        }
    }
}

/// What wakes a driver from another shard: a message to its ring, and where that fails, its eventfd.
#[derive(Clone, Debug)]
pub struct UringPeer {
    ring: Arc<OwnedFd>,
    waker: Waker,
}

/// The driver of one shard.
pub struct Uring {
    ring: Ring,
    buffers: Buffers,
    waker: Waker,
    /// Whether the ring watches the eventfd of `waker`.
    is_waker_watched: bool,
    peers: Vec<UringPeer>,
    clock: Clock,
    /// Latest time given out: node time never goes back for one shard.
    latest: Cell<Timestamp>,
    listeners: Vec<Listening>,
    /// Set while accepting is paused because no file descriptor was left.
    accept_paused: Option<Instant>,
    sockets: Slots<Connected>,
    sockets_max: usize,
    /// Sockets that had something to read when no buffer was left.
    starved: VecDeque<Socket>,
    files: Slots<Arc<std::fs::File>>,
    transfers: Slots<Transfer>,
    commit_mode: CommitMode,
    jobs: Jobs,
    finished: Vec<Finished>,
    /// Where to find what can be cancelled.
    cancellable: BTreeMap<Token, Place>,
    /// To be delivered by the present or the next `wait`.
    ended: Vec<Done>,
    completions: Vec<Completion>,
    /// Entries and transfers whose last completion has not come (U2).
    in_flight: usize,
    /// Sends whose completions do not end the next wait.
    hidden: usize,
    /// Nothing is put into the ring any more.
    is_ending: bool,
    scratch: Vec<u8>,
    stats: Arc<DriverStats>,
}

struct Listening {
    listener: TcpListener,
    accept: Option<Token>,
    /// The round of its entry, while it is in the ring.
    armed: Option<u32>,
    is_cancelled: bool,
    round: u32,
}

#[derive(Clone, Copy)]
enum Place {
    Accept(Listener),
    Recv(Socket),
    Send(Socket),
}

impl Uring {
    /// A driver without listeners and peers. The thread that first waits is the one that it
    /// belongs to; the one that calls this must not be pinned, since file threads inherit that.
    ///
    /// # Errors
    /// If the system refuses a ring, an eventfd or a thread.
    pub fn new(options: &UringOptions, volumes: &Volumes, clock: Clock) -> io::Result<Self> {
        let mut ring = Ring::new(options.entries, options.completions)?;
        if super::kernel::release().is_some_and(|release| release >= SILENT_LINKS_SINCE) {
            ring.use_silent_links();
        }
        let buffers = Buffers::new(options.recv_buffers, options.recv_buffer_bytes);
        ring.register(&buffers)?;
        let waker = Waker::new()?;
        let stats = Arc::new(DriverStats::default());
        let threads = FileThreads {
            name: &options.name,
            commits: match options.commit_mode {
                CommitMode::Fdatasync => options.commit_threads,
                CommitMode::Linked | CommitMode::RwfDsync => 0,
            },
            reads: 0,
            commit_mode: options.commit_mode,
        };
        let jobs = Jobs::start(&threads, volumes, waker.clone(), Arc::clone(&stats))?;
        Ok(Self {
            ring,
            buffers,
            waker,
            is_waker_watched: false,
            peers: Vec::new(),
            latest: Cell::new(clock.now()),
            clock,
            listeners: Vec::new(),
            accept_paused: None,
            sockets: Slots::new(),
            sockets_max: options.sockets_max,
            starved: VecDeque::new(),
            files: Slots::new(),
            transfers: Slots::new(),
            commit_mode: options.commit_mode,
            jobs,
            finished: Vec::new(),
            cancellable: BTreeMap::new(),
            ended: Vec::new(),
            completions: Vec::new(),
            in_flight: 0,
            hidden: 0,
            is_ending: false,
            scratch: vec![0; 64 * 1024],
            stats,
        })
    }

    /// Takes over a bound, listening socket; the shard accepts on the number.
    ///
    /// # Errors
    /// If the socket cannot be made blocking.
    pub fn add_listener(&mut self, listener: TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(false)?;
        self.listeners.push(Listening {
            listener,
            accept: None,
            armed: None,
            is_cancelled: false,
            round: 0,
        });
        let index = self.listeners.len() - 1;
        Ok(Listener(u32::try_from(index).expect("a few listeners")))
    }

    /// Names the shards that `Op::Wake` can wake, in order of their numbers.
    pub fn set_peers(&mut self, peers: Vec<UringPeer>) {
        self.peers = peers;
    }

    /// What wakes this driver from other shards.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn peer(&self) -> io::Result<UringPeer> {
        Ok(UringPeer {
            ring: Arc::new(self.ring.share()?),
            waker: self.waker.clone(),
        })
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
        self.ended.push(at_once(token, result, data));
    }

    fn start_job(&mut self, token: Token, job: Job) {
        let accepted = self.jobs.submit(token, job);
        assert!(
            accepted.is_ok(),
            "only reads are refused, which go to the ring"
        );
    }
}

impl Driver for Uring {
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        match op {
            Op::Accept { listener } => self.start_accept(token, listener),
            Op::Recv { socket } => self.start_recv(token, socket),
            Op::Send { socket, buffer } => return self.start_send(token, socket, buffer),
            Op::Close { socket } => return self.start_close(token, socket),
            Op::OpenSegment { partition, segment } => {
                self.start_job(token, Job::Open { partition, segment });
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
                let asked = Asked {
                    file,
                    position,
                    buffer,
                    bytes,
                    kind: TransferKind::Read,
                };
                return self.start_transfer(token, asked);
            }
            Op::Write {
                file,
                position,
                buffer,
                bytes,
                durable,
            } => {
                let asked = Asked {
                    file,
                    position,
                    buffer,
                    bytes,
                    kind: if durable {
                        TransferKind::Commit
                    } else {
                        TransferKind::Write
                    },
                };
                return self.start_transfer(token, asked);
            }
            Op::Housekeeping(task) => self.start_job(token, Job::Housekeeping(task)),
            Op::Wake { shard } => return Some(at_once(token, self.wake(shard), Data::None)),
        }
        None
    }

    fn cancel(&mut self, token: Token) {
        // File work is not in the table: it runs to its end and reports what happened, because a
        // write that was started cannot be taken back; but a spare can be made faster.
        match self.cancellable.get(&token).copied() {
            Some(Place::Accept(listener)) => self.cancel_accept(listener),
            Some(Place::Recv(socket)) => self.cancel_recv(socket),
            Some(Place::Send(socket)) => self.cancel_send(token, socket),
            None => self.jobs.hasten(token),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        self.feed_starved();
        self.resume_accept();
        self.collect();
        let may_block = self.ended.is_empty() && done.is_empty();
        self.enter(may_block, timeout)?;
        self.take_completions();
        self.collect();
        done.append(&mut self.ended);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        let now = self.clock.now().max(self.latest.get());
        self.latest.set(now);
        now
    }

    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match buffer {
            RecvBuffer::Pool { index, len } => self.buffers.bytes(*index, *len),
            RecvBuffer::Owned(bytes) => bytes,
        }
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        match buffer {
            RecvBuffer::Pool { index, .. } => self.buffers.take_back(index),
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
/// Before, a silent entry in a chain could keep the chain from ending (liburing issue 1235).
const SILENT_LINKS_SINCE: (u32, u32) = (6, 12);

#[cfg(test)]
mod tests;
