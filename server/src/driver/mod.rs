//! The seam between a shard's loop and the machine: operations go down, completions come up.
//!
//! A driver belongs to one shard and is called only from that shard's thread (the simulation
//! calls all of them from one). It owns sockets, files and receive buffers and hands out small
//! numbers for them; it decides nothing. The rules that every driver keeps, and that the loop
//! relies on:
//!
//! 1. Every submitted operation completes. An operation that is not *multishot* completes exactly
//!    once; a multishot one (`Accept`, `Recv`) completes any number of times with
//!    [`Done::more`] set and exactly once, at its end, with it clear.
//! 2. [`Driver::submit`] either returns that one completion at once or delivers it from a later
//!    [`Driver::wait`], never both. Multishot operations never finish at once.
//! 3. Buffers move into the operation and come back in its last completion, whatever its result,
//!    so nothing can borrow memory that the kernel still holds.
//! 4. [`Driver::cancel`] only hastens the end: the operation still completes once, with
//!    `ECANCELED` or with the result it had reached. Cancelling a token that has ended does nothing.
//! 5. Operations on one socket do not overtake each other; of two writes to one file the loop
//!    never has the second in flight before it knows the first, except for SEAL blocks (see
//!    `corelane_storage`), so a driver may reorder writes.
//! 6. The loop closes a socket only after the last completions of its `Recv` and its `Send`
//!    (with `io_uring` an armed receive keeps a closed socket alive).

use std::io;
use std::time::Duration;

use corelane_storage::{Buffer, SegmentNumber};
use corelane_wire::{PartitionId, ShardId, Timestamp};

use crate::checkpoint::CheckpointJob;
use crate::scrub::ScrubJob;

pub mod epoll;
#[cfg(feature = "glommio")]
pub mod glommio;
pub mod native;
pub mod uring;

mod chore;
mod jobs;
mod kernel;
mod sends;
mod slots;
mod stats;
mod tcp;
mod waker;

pub use self::chore::Chore;
pub use self::stats::{DriverStats, Durations, DurationsRead};
pub use self::waker::Waker;

/// Names an operation in flight. Made by the shard (kind, slot and generation inside) and opaque
/// to the driver, which only hands it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// A connected socket, numbered by the driver. The number may be reused after `Close` completed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Socket(pub u32);

/// A listening socket, numbered by the driver before the shard starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Listener(pub u32);

/// An open segment file, numbered by the driver. Reused only after `CloseFile` completed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct File(pub u32);

/// An error number of the operating system, as in `errno(3)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// The operation was cancelled before it had a result of its own.
    pub const CANCELED: Self = Self(libc::ECANCELED);
    /// Input or output error: a disk that failed.
    pub const IO: Self = Self(libc::EIO);
    /// No space left on the device.
    pub const NO_SPACE: Self = Self(libc::ENOSPC);
    /// The receive pool is empty; the stream ended and is armed again when buffers come back.
    pub const NO_BUFFERS: Self = Self(libc::ENOBUFS);
    /// The connection was reset by the peer.
    pub const RESET: Self = Self(libc::ECONNRESET);
    /// Writing to a connection whose peer has closed it.
    pub const BROKEN_PIPE: Self = Self(libc::EPIPE);

    /// Whether the disk, or the user's share of it, has no room.
    #[must_use]
    pub fn is_full(self) -> bool {
        self == Self::NO_SPACE || self == Self(libc::EDQUOT)
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl From<&io::Error> for Errno {
    /// Errors that carry no number of the operating system become `EIO`.
    fn from(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// What a shard asks of the machine. Operations own their buffers.
#[derive(Debug)]
pub enum Op {
    /// Accepts connections until cancelled. Multishot: each completion carries [`Data::Socket`].
    Accept {
        /// Where to accept.
        listener: Listener,
    },
    /// Receives until cancelled, end of stream or error. Multishot: each completion with bytes
    /// carries [`Data::Received`]; end of stream is `Ok(0)` without data and without `more`.
    Recv {
        /// Whence to receive.
        socket: Socket,
    },
    /// Sends the whole buffer. Completes once: when all of it was handed to the kernel, or when
    /// that failed. Carries [`Data::Sent`] in both cases. While the same socket is being received
    /// from, a driver may tell of it with the next completion of anything, up to half a second
    /// later: an end that is waited for belongs to a socket that is not (see ADR 0009).
    Send {
        /// Where to send.
        socket: Socket,
        /// What to send; comes back for reuse.
        buffer: Vec<u8>,
    },
    /// Closes a socket that has no other operation in flight.
    Close {
        /// What to close.
        socket: Socket,
    },
    /// Opens an installed segment for direct reading and writing. Carries [`Data::File`].
    OpenSegment {
        /// Partition that owns the segment.
        partition: PartitionId,
        /// The segment's number within the partition.
        segment: SegmentNumber,
    },
    /// Closes a file that has no other operation in flight.
    CloseFile {
        /// What to close.
        file: File,
    },
    /// Reads `bytes` at `position` into the front of the buffer. The result is the count read,
    /// less than asked only at the end of the file. Carries [`Data::Block`].
    Read {
        /// Whence to read.
        file: File,
        /// Byte position in the file, 4 KiB-aligned.
        position: u64,
        /// Where the bytes go.
        buffer: Buffer,
        /// How many, a multiple of 4 KiB.
        bytes: usize,
    },
    /// Writes the first `bytes` of the buffer at `position`. With `durable` it completes only
    /// after an `fdatasync` of the file, issued after the write returned, has returned; a failure
    /// of either is the result. Carries [`Data::Block`].
    Write {
        /// Where to write.
        file: File,
        /// Byte position in the file, 4 KiB-aligned.
        position: u64,
        /// What to write; comes back for the cache.
        buffer: Buffer,
        /// How many, a multiple of 4 KiB.
        bytes: usize,
        /// Whether the bytes must be on stable storage at completion.
        durable: bool,
    },
    /// File work that may block for long; runs off the shard's thread. The making of
    /// a spare that is cancelled ends well, and soon: the rest of its zeros is not written out.
    Housekeeping(Chore),
    /// Makes the `wait` of another shard of this process return soon.
    Wake {
        /// Whom to wake.
        shard: ShardId,
    },
}

/// Bytes received, in a buffer that the driver lent. Not `Clone`: it goes back through
/// [`Driver::recycle`] exactly once.
#[derive(Debug)]
pub enum RecvBuffer {
    /// The first `len` bytes of a buffer of the driver's pool.
    Pool {
        /// Which buffer.
        index: u32,
        /// How many bytes were received into it.
        len: u32,
    },
    /// A buffer of its own (the simulation, or a driver without a pool).
    Owned(Vec<u8>),
}

/// How a durable write becomes durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CommitMode {
    /// A write, and an `fdatasync` once it has returned, both by a commit thread: the disk wakes the
    /// thread that waits for it, whatever else the cores do (see ADR 0010).
    #[default]
    Fdatasync,
    /// The same, but `io_uring` is given both at once, as a linked pair. A kernel worker ends the
    /// write, and waits for a core that other programs may have. Without a ring it is [`Self::Fdatasync`].
    Linked,
    /// One write with `RWF_DSYNC`, through the ring where there is one: less CPU and as fast where a
    /// core is free for the disk's interrupts, 4 ms where none is, for the same reason.
    RwfDsync,
}

/// What a completion carries besides its result.
#[derive(Debug)]
pub enum Data {
    /// Nothing.
    None,
    /// The accepted connection.
    Socket(Socket),
    /// Received bytes.
    Received(RecvBuffer),
    /// The buffer of a `Send`.
    Sent(Vec<u8>),
    /// The buffer of a `Read` or a `Write`.
    Block(Buffer),
    /// The opened file.
    File(File),
    /// A chunk of a checkpoint.
    Chunk(Vec<u8>),
    /// A checkpoint that was to be written.
    Checkpoint(Box<CheckpointJob>),
    /// A stretch that was to be read through.
    Scrub(Box<ScrubJob>),
}

impl Data {
    /// The chunk, if it is one.
    pub(crate) fn into_chunk(self) -> Option<Vec<u8>> {
        let Self::Chunk(chunk) = self else {
            return None;
        };
        Some(chunk)
    }

    /// The stretch that was to be read through, if it is one.
    pub(crate) fn into_scrub(self) -> Option<ScrubJob> {
        let Self::Scrub(job) = self else {
            return None;
        };
        Some(*job)
    }

    /// The checkpoint, if it is one.
    pub(crate) fn into_checkpoint(self) -> Option<Box<CheckpointJob>> {
        let Self::Checkpoint(job) = self else {
            return None;
        };
        Some(job)
    }
}

/// A completion.
#[derive(Debug)]
pub struct Done {
    /// The operation's token.
    pub token: Token,
    /// A count of bytes for transfers, zero for the rest, or what went wrong.
    pub result: Result<usize, Errno>,
    /// Whether further completions of this multishot operation will follow.
    pub more: bool,
    /// The buffer or handle that comes with it.
    pub data: Data,
}

/// What a shard's loop asks the machine through.
pub trait Driver {
    /// Starts an operation. `Some` means that it finished at once and will not be reported again.
    fn submit(&mut self, token: Token, op: Op) -> Option<Done>;

    /// Asks for the end of an operation; it still completes exactly once.
    fn cancel(&mut self, token: Token);

    /// Appends the completions that have arrived to `done`; if there are none, blocks until one
    /// arrives, another shard's `Wake` does, or the timeout passes. May return without any.
    ///
    /// # Errors
    /// Only when the driver itself is broken; the shard cannot go on.
    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()>;

    /// Node time: wall clock at process start, then monotonic.
    fn now(&self) -> Timestamp;

    /// The received bytes of a buffer that this driver lent and that was not recycled yet.
    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8];

    /// Gives a receive buffer back.
    fn recycle(&mut self, buffer: RecvBuffer);
}

#[cfg(test)]
mod tests;
