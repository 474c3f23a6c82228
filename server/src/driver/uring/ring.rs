//! The ring: entries go in, completions come out.
//!
//! Owns: the mapped queues, and entries that found no room. Invariants:
//! (R1) this is the only file that publishes entries. Those that point to memory are published by
//! `unsafe` functions whose callers keep that memory until the entry's last completion.
//! (R2) a linked pair goes into the queue whole, and both parts are submitted by one call, because
//! a chain ends where a submission ends.
//! (R3) the thread that first enters the ring is the only one that may; the ring is made disabled
//! so that another thread can make it.
#![expect(
    unsafe_code,
    reason = "the kernel reads and writes the memory that entries point to"
)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

use super::buffers::Buffers;
use super::key::{Key, Kind};

/// A ring and what waits for room in it.
pub(super) struct Ring {
    queues: IoUring,
    /// What found no room, in order. Empty unless the kernel could not take entries.
    backlog: VecDeque<Group>,
    is_enabled: bool,
    /// Whether an entry whose success is silent may stand in a chain (see [`Ring::commit`]).
    has_silent_links: bool,
}

/// Entries that go into the queue together.
enum Group {
    One(Entry),
    Linked([Entry; 2]),
}

/// What the kernel says about an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) key: Option<Key>,
    /// A count, a descriptor, or a negative error number.
    pub(super) result: i32,
    /// The receive buffer that was filled.
    pub(super) buffer: Option<u16>,
    /// Whether the entry stays armed.
    pub(super) more: bool,
}

impl Completion {
    /// The error number, if it is one.
    pub(super) fn count(self) -> Result<usize, i32> {
        usize::try_from(self.result).map_err(|_| -self.result)
    }
}

impl Ring {
    /// A ring that is not enabled yet: any thread may make it and register with it.
    pub(super) fn new(entries: u32, completions: u32) -> io::Result<Self> {
        let queues = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions)
            .build(entries)?;
        Ok(Self {
            queues,
            backlog: VecDeque::new(),
            is_enabled: false,
            has_silent_links: false,
        })
    }

    /// Has linked writes report only their end; see [`Ring::commit`].
    pub(super) fn use_silent_links(&mut self) {
        self.has_silent_links = true;
    }

    /// Has linked writes report both of their parts, as on older kernels.
    #[cfg(test)]
    pub(super) fn use_loud_links(&mut self) {
        self.has_silent_links = false;
    }

    /// A descriptor of the ring for others to send messages to.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        // SAFETY: the descriptor is open for as long as `self.queues` lives, which outlasts the use.
        let fd = unsafe { BorrowedFd::borrow_raw(self.queues.as_raw_fd()) };
        fd.try_clone_to_owned()
    }

    /// Makes the buffers available to receives.
    pub(super) fn register(&self, buffers: &Buffers) -> io::Result<()> {
        let (address, count) = buffers.ring();
        // SAFETY: the caller keeps `buffers` for as long as the ring may use them: the driver
        // unregisters them before it lets either go.
        unsafe {
            self.queues
                .submitter()
                .register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0)
        }
    }

    /// Takes the buffers back; nothing receives any more.
    pub(super) fn unregister_buffers(&self) -> io::Result<()> {
        self.queues.submitter().unregister_buf_ring(BUFFER_GROUP)
    }

    /// Accepts until cancelled.
    pub(super) fn accept(&mut self, key: Key, listener: BorrowedFd<'_>) {
        let fd = Fd(listener.as_raw_fd());
        self.push_plain(
            opcode::AcceptMulti::new(fd)
                .flags(libc::SOCK_CLOEXEC)
                .build(),
            key,
        );
    }

    /// Receives into registered buffers until cancelled.
    pub(super) fn recv(&mut self, key: Key, socket: BorrowedFd<'_>) {
        let fd = Fd(socket.as_raw_fd());
        self.push_plain(opcode::RecvMulti::new(fd, BUFFER_GROUP).build(), key);
    }

    /// Reports whenever the descriptor becomes readable once more.
    pub(super) fn watch(&mut self, key: Key, fd: BorrowedFd<'_>) {
        let fd = Fd(fd.as_raw_fd());
        let readable = u32::from(libc::POLLIN.unsigned_abs());
        self.push_plain(opcode::PollAdd::new(fd, readable).multi(true).build(), key);
    }

    /// Has another ring complete something under `to`. Silent unless it fails.
    pub(super) fn message(&mut self, key: Key, ring: BorrowedFd<'_>, to: Key) {
        let fd = Fd(ring.as_raw_fd());
        let entry = opcode::MsgRingData::new(fd, 0, to.encode(), None).build();
        self.push_plain(entry.flags(Flags::SKIP_SUCCESS), key);
    }

    /// Cancels what was submitted under `of`.
    pub(super) fn cancel(&mut self, of: Key) {
        let entry = opcode::AsyncCancel::new(of.encode()).build();
        self.push_plain(entry.flags(Flags::SKIP_SUCCESS), Key::plain(Kind::Cancel));
    }

    /// Cancels everything.
    pub(super) fn cancel_all(&mut self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push_plain(entry.flags(Flags::SKIP_SUCCESS), Key::plain(Kind::Cancel));
    }

    /// Sends what it can of `bytes`: all of it, waiting for room, or with `at_once` what fits now.
    ///
    /// # Safety
    /// The bytes must stay where they are, unchanged, until the completion was reaped.
    pub(super) unsafe fn send(
        &mut self,
        key: Key,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
        at_once: bool,
    ) {
        let fd = Fd(socket.as_raw_fd());
        let how = if at_once {
            libc::MSG_DONTWAIT
        } else {
            libc::MSG_WAITALL
        };
        let entry = opcode::Send::new(fd, bytes.as_ptr(), length(bytes.len()));
        let entry = entry.flags(libc::MSG_NOSIGNAL | how).build();
        let group = Group::One(entry.user_data(key.encode()));
        // SAFETY: the caller keeps the bytes.
        unsafe { self.push(group) };
    }

    /// Reads into `bytes`.
    ///
    /// # Safety
    /// The bytes must stay where they are, and nothing else may touch them, until the completion
    /// was reaped.
    pub(super) unsafe fn read(
        &mut self,
        key: Key,
        file: BorrowedFd<'_>,
        bytes: &mut [u8],
        position: u64,
    ) {
        let fd = Fd(file.as_raw_fd());
        let entry = opcode::Read::new(fd, bytes.as_mut_ptr(), length(bytes.len()));
        let entry = entry.offset(position).build();
        let group = Group::One(entry.user_data(key.encode()));
        // SAFETY: the caller keeps the bytes.
        unsafe { self.push(group) };
    }

    /// Writes `bytes`, with `synced` so that completion means stable storage (`RWF_DSYNC`).
    ///
    /// # Safety
    /// The bytes must stay where they are, unchanged, until the completion was reaped.
    pub(super) unsafe fn write(
        &mut self,
        key: Key,
        file: BorrowedFd<'_>,
        (bytes, position): (&[u8], u64),
        synced: bool,
    ) {
        let entry = write_entry(file, bytes, position, synced);
        let group = Group::One(entry.user_data(key.encode()));
        // SAFETY: the caller keeps the bytes.
        unsafe { self.push(group) };
    }

    /// Writes `bytes`, then syncs the file under `sync`. Where links may be silent only one of
    /// both completes: the sync after a whole write, or the write that was not whole, whose sync
    /// does not happen. Elsewhere both do, the write first.
    ///
    /// # Safety
    /// The bytes must stay where they are, unchanged, until the last completion was reaped.
    pub(super) unsafe fn commit(
        &mut self,
        (write, sync): (Key, Key),
        file: BorrowedFd<'_>,
        (bytes, position): (&[u8], u64),
    ) {
        let mut link = Flags::IO_LINK;
        link.set(Flags::SKIP_SUCCESS, self.has_silent_links);
        let first = write_entry(file, bytes, position, false).flags(link);
        let fd = Fd(file.as_raw_fd());
        let second = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build();
        let group = Group::Linked([
            first.user_data(write.encode()),
            second.user_data(sync.encode()),
        ]);
        // SAFETY: the caller keeps the bytes.
        unsafe { self.push(group) };
    }

    /// Whether the end of a commit's write is the end of the commit; see [`Ring::commit`].
    pub(super) const fn has_silent_links(&self) -> bool {
        self.has_silent_links
    }

    /// Hands everything to the kernel and waits until `want` completions lie ready or the timeout
    /// passes. Does not wait while the kernel holds completions back for want of room.
    pub(super) fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        self.enable()?;
        self.refill();
        let queue = self.queues.submission();
        let is_behind = queue.cq_overflow();
        let has_work = is_behind || queue.taskrun() || !queue.is_empty();
        drop(queue);
        let may_wait = !is_behind && self.backlog.is_empty();
        let want = if may_wait { want } else { 0 };
        if want == 0 && !has_work {
            return Ok(());
        }
        let submitter = self.queues.submitter();
        let entered = match timeout.filter(|_| want > 0) {
            Some(timeout) => {
                let timeout = Timespec::from(timeout.min(TIMEOUT_MAX));
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&timeout))
            }
            None => submitter.submit_and_wait(want),
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes what lies ready.
    pub(super) fn reap(&mut self, into: &mut Vec<Completion>) {
        let completions = self.queues.completion();
        into.extend(completions.map(|completion| Completion {
            key: Key::decode(completion.user_data()),
            result: completion.result(),
            buffer: cqueue::buffer_select(completion.flags()),
            more: cqueue::more(completion.flags()),
        }));
    }

    fn enable(&mut self) -> io::Result<()> {
        if !self.is_enabled {
            self.queues.submitter().register_enable_rings()?;
            self.is_enabled = true;
        }
        Ok(())
    }

    /// Publishes an entry that points to no memory of ours.
    fn push_plain(&mut self, entry: Entry, key: Key) {
        let group = Group::One(entry.user_data(key.encode()));
        // SAFETY: neither the entry nor what it asks for refers to memory of this process but the
        // registered buffers, which live as long as the ring.
        unsafe { self.push(group) };
    }

    /// Publishes entries, after those that wait for room.
    ///
    /// # Safety
    /// What the entries point to must stay until their last completion was reaped.
    unsafe fn push(&mut self, group: Group) {
        if !self.backlog.is_empty() || !self.put(&group) {
            // The queue is full within one turn: the kernel takes it now, without waiting.
            let submitted = self.enable().and_then(|()| self.queues.submit().map(drop));
            if let Err(error) = submitted
                && !is_passing(&error)
            {
                tracing::error!(%error, "the ring takes no entries");
            }
            self.refill();
            if !self.backlog.is_empty() || !self.put(&group) {
                self.backlog.push_back(group);
            }
        }
    }

    /// Moves what waits into the queue, as far as there is room.
    fn refill(&mut self) {
        while let Some(group) = self.backlog.pop_front() {
            if !self.put(&group) {
                self.backlog.push_front(group);
                return;
            }
        }
    }

    /// Puts a group into the queue; false if there is no room for all of it.
    fn put(&mut self, group: &Group) -> bool {
        let entries = match group {
            Group::One(entry) => std::slice::from_ref(entry),
            Group::Linked(entries) => entries,
        };
        let mut queue = self.queues.submission();
        // SAFETY: groups come from `push`, whose callers keep what the entries point to.
        unsafe { queue.push_multiple(entries) }.is_ok()
    }
}

/// The socket of an accept's completion.
///
/// # Safety
/// The result must be that of an accept, and must not be taken twice.
pub(super) unsafe fn accepted(result: usize) -> OwnedFd {
    let fd = i32::try_from(result).expect("a descriptor is an i32");
    // SAFETY: the kernel made the descriptor for this completion, and the caller takes it once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn write_entry(file: BorrowedFd<'_>, bytes: &[u8], position: u64, synced: bool) -> Entry {
    let fd = Fd(file.as_raw_fd());
    let flags = if synced { libc::RWF_DSYNC } else { 0 };
    opcode::Write::new(fd, bytes.as_ptr(), length(bytes.len()))
        .offset(position)
        .rw_flags(flags)
        .build()
}

/// Nothing that the kernel moves at once is longer; what is left goes with the next entry.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes.min(TRANSFER_BYTES_MAX)).expect("bounded by 2^30")
}

/// Whether it is no failure of the ring: a timeout, a signal, or completions to be taken first.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
}

/// The number of the one group of receive buffers.
const BUFFER_GROUP: u16 = 0;
/// Longest single wait; the callers' loops wait again.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// Bytes in one entry.
const TRANSFER_BYTES_MAX: usize = 1 << 30;
