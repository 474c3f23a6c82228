//! The glommio driver, experimental: a shard's loop on an executor of the crate `glommio` 0.9.
//!
//! The loop is the same: each `wait` lets the executor run until something has ended. It owns a
//! shard's executor, sockets, receive buffers and open files. Accepts, receives, sends that wait for
//! room, reads and commits are tasks; sends that fit are done at once. What glommio cannot do, or not
//! without harm, is done as with epoll: making, installing and opening segments, and all work on
//! files without direct access, by file threads; wakes by an eventfd, which a task reads.
//!
//! glommio 0.9 has defects that the driver goes round: a lost wake-up (`heartbeat`), a wrong guess
//! about the disk (`files::prime`), connections lost by a dropped accept (`accept`), and memory that
//! is never given back. Invariants:
//! (G1) every operation completes exactly once, at its end: at once from `submit`, or through
//! `ended`;
//! (G2) the wakers of tasks are woken and dropped only while the executor runs: at any other time
//! glommio takes its own thread for a foreign one, and leaks them. So tasks are spawned and woken
//! when a wait begins;
//! (G3) no task is cancelled, since each would leak: a task ends by itself when it finds that nobody
//! wants it any more;
//! (G4) while all receive buffers are lent nothing is read, and reading goes on as soon as one
//! comes back.

use std::cell::Cell;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corelane_storage::Volumes;
use corelane_wire::{ShardId, Timestamp};
use glommio::GlommioError;
use rustix::fs::OFlags;

use self::accept::Listening;
use self::files::Transfer;
use self::heartbeat::Heartbeat;
use self::home::{Furnishing, Home};
use self::state::{Place, State};
use super::jobs::{FileThreads, Finished, Job, Jobs};
use super::slots::Slots;
use super::{
    CommitMode, Data, Done, Driver, DriverStats, Errno, File, Listener, Op, RecvBuffer, Socket,
    Token, Waker,
};
use crate::clock::Clock;

mod accept;
mod descriptor;
mod files;
mod heartbeat;
mod home;
mod permits;
mod state;
mod streams;

pub use self::permits::check;

/// How large one driver may grow, and how it commits.
#[derive(Clone, Debug)]
pub struct GlommioOptions {
    /// Begins the names of its threads.
    pub name: String,
    /// Drivers of this process, which share its limit of locked memory.
    pub drivers: u16,
    /// Receive buffers.
    pub recv_buffers: u32,
    /// Bytes of each.
    pub recv_buffer_bytes: usize,
    /// Threads that write and sync where the file system takes no direct writes.
    pub commit_threads: usize,
    /// How a durable write becomes durable.
    pub commit_mode: CommitMode,
    /// Connections at most; beyond it a new one is accepted and closed at once.
    pub sockets_max: usize,
}

impl Default for GlommioOptions {
    fn default() -> Self {
        Self {
            name: String::from("shard"),
            drivers: 1,
            recv_buffers: 256,
            recv_buffer_bytes: 32 * 1024,
            commit_threads: 4,
            commit_mode: CommitMode::Fdatasync,
            sockets_max: 16_384,
        }
    }
}

/// The driver of one shard.
pub struct Glommio {
    home: Home,
    /// The receive buffers that the shard has.
    lent: Slots<Vec<u8>>,
    drivers: u16,
    folder: PathBuf,
    waker: Waker,
    peers: Vec<Waker>,
    clock: Clock,
    /// Latest time given out: node time never goes back for one shard.
    latest: Cell<Timestamp>,
    jobs: Jobs,
    finished: Vec<Finished>,
    stats: Arc<DriverStats>,
}

impl Glommio {
    /// A driver without listeners and peers. The thread that first waits is the one that it belongs
    /// to; the one that calls this must not be pinned, since file threads inherit that.
    ///
    /// # Errors
    /// If the system refuses an eventfd or a thread.
    pub fn new(options: &GlommioOptions, volumes: &Volumes, clock: Clock) -> io::Result<Self> {
        let waker = Waker::new()?;
        // The executor reads it through a ring, which waits only for what is blocking.
        rustix::fs::fcntl_setfl(waker.as_fd(), OFlags::empty())?;
        let stats = Arc::new(DriverStats::default());
        let threads = FileThreads {
            name: &options.name,
            commits: options.commit_threads,
            reads: 1,
            commit_mode: options.commit_mode,
        };
        let jobs = Jobs::start(&threads, volumes, waker.clone(), Arc::clone(&stats))?;
        let heartbeat = Heartbeat::start(&options.name)?;
        let home = Home::new(State::new(options, Arc::clone(&stats)), heartbeat);
        Ok(Self {
            home,
            lent: Slots::new(),
            drivers: options.drivers,
            folder: volumes.root().to_owned(),
            waker,
            peers: Vec::new(),
            latest: Cell::new(clock.now()),
            clock,
            jobs,
            finished: Vec::new(),
            stats,
        })
    }

    /// Takes over a bound, listening socket; the shard accepts on the number.
    ///
    /// # Errors
    /// If the socket cannot be made blocking.
    pub fn add_listener(&mut self, listener: TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(false)?;
        let listening = Listening::new(listener)?;
        let listeners = &mut self.home.shared().borrow_mut().listeners;
        listeners.push(listening);
        let index = listeners.len() - 1;
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

    fn wake(&self, shard: ShardId) -> Result<usize, Errno> {
        let peer = self.peers.get(usize::from(shard.0)).ok_or(BAD_NUMBER)?;
        peer.wake();
        Ok(0)
    }
}

impl Driver for Glommio {
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        match op {
            Op::Accept { listener } => self.start_accept(token, listener),
            Op::Recv { socket } => self.start_recv(token, socket),
            Op::Send { socket, buffer } => return self.start_send(token, socket, buffer),
            Op::Close { socket } => return self.home.shared().borrow_mut().close(token, socket),
            Op::OpenSegment { partition, segment } => {
                return self.start_job(token, Job::Open { partition, segment });
            }
            Op::CloseFile { file } => return self.start_close_file(token, file),
            Op::Read {
                file,
                position,
                buffer,
                bytes,
            } => {
                let read = Transfer {
                    token,
                    position,
                    buffer,
                    bytes,
                };
                return self.start_read(file, read);
            }
            Op::Write {
                file,
                position,
                buffer,
                bytes,
                durable,
            } => {
                let write = Transfer {
                    token,
                    position,
                    buffer,
                    bytes,
                };
                return self.start_write(file, write, durable);
            }
            Op::Housekeeping(task) => return self.start_job(token, Job::Housekeeping(task)),
            Op::Wake { shard } => return Some(at_once(token, self.wake(shard), Data::None)),
        }
        None
    }

    fn cancel(&mut self, token: Token) {
        // File work is not in the table: it runs to its end and reports what happened, because a
        // write that was started cannot be taken back; but a spare can be made faster.
        let mut state = self.home.shared().borrow_mut();
        match state.cancellable.get(&token).copied() {
            Some(Place::Accept(listener)) => state.cancel_accept(listener),
            Some(Place::Recv(socket)) => state.cancel_recv(socket),
            Some(Place::Send(socket)) => state.cancel_send(token, socket),
            None => self.jobs.hasten(token),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        self.home.furnish(&Furnishing {
            executors: self.drivers,
            folder: &self.folder,
            waker: &self.waker,
        })?;
        self.collect();
        let timeout = if done.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.home.wait(timeout);
        self.collect();
        let mut state = self.home.shared().borrow_mut();
        state.is_nudged = false;
        let ended = state.ended.drain(..);
        done.extend(ended.map(|done| lend(&mut self.lent, done)));
        Ok(())
    }

    fn now(&self) -> Timestamp {
        let now = self.clock.now().max(self.latest.get());
        self.latest.set(now);
        now
    }

    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match buffer {
            RecvBuffer::Pool { index, .. } => self.lent.get(*index).expect("it is lent"),
            RecvBuffer::Owned(bytes) => bytes,
        }
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        match buffer {
            RecvBuffer::Pool { index, .. } => {
                let bytes = self.lent.remove(index).expect("it is lent");
                self.home.shared().borrow_mut().take_back(bytes);
            }
            RecvBuffer::Owned(_) => (),
        }
    }
}

impl Drop for Glommio {
    /// The task that watches the eventfd ends when that is written to.
    fn drop(&mut self) {
        self.waker.wake();
    }
}

/// Keeps the bytes of a completion that has received some, and lends them by number.
fn lend(lent: &mut Slots<Vec<u8>>, mut done: Done) -> Done {
    if let Data::Received(buffer) = &mut done.data
        && let RecvBuffer::Owned(bytes) = buffer
    {
        let bytes = std::mem::take(bytes);
        let len = u32::try_from(bytes.len()).expect("a buffer is smaller than 4 GiB");
        let index = lent.insert(bytes).expect("there are fewer receive buffers");
        *buffer = RecvBuffer::Pool { index, len };
    }
    done
}

fn at_once(token: Token, result: Result<usize, Errno>, data: Data) -> Done {
    Done {
        token,
        result,
        more: false,
        data,
    }
}

fn errno_of(error: &GlommioError<()>) -> Errno {
    if let GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } = error {
        Errno::from(source)
    } else {
        Errno::IO
    }
}

/// The number names nothing that is open.
const BAD_NUMBER: Errno = Errno(libc::EBADF);

#[cfg(test)]
mod tests;
