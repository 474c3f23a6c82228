//! Whether this machine has what the driver needs, found out by doing it once: bytes through a
//! socket, a commit, a message from ring to ring.
//!
//! A kernel may have `io_uring` and refuse it, or have it with gaps; asking for version and features
//! would not tell.
#![expect(unsafe_code, reason = "the ring reads bytes that are sent and written")]

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::SILENT_LINKS_SINCE;
use super::buffers::Buffers;
use super::key::{Key, Kind};
use super::ring::{Completion, Ring};
use crate::driver::kernel;

/// Why the driver cannot be used here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What is missing or in the way.
    pub cause: String,
    /// What to change.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}

impl Refusal {
    pub(in crate::driver) fn new(cause: impl Into<String>, remedy: &str) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.to_owned(),
        }
    }

    /// A part of the test failed although the ring was made.
    fn of_part(part: &str, error: &io::Error) -> Self {
        Self::new(
            format!("io_uring is there, but its {part} does not work: {error}"),
            "use a kernel with a complete io_uring (6.6 or later), or driver = epoll",
        )
    }

    /// The system made no ring, or registered no buffers.
    #[must_use]
    pub fn of_setup(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::forbidden(),
            Some(libc::ENOSYS) => Self::new(
                "the kernel has no io_uring, or a seccomp filter hides it",
                FILTER_REMEDY,
            ),
            Some(libc::ENOMEM) => Self::new(
                "the limit of locked memory leaves no room for io_uring",
                "raise LimitMEMLOCK= of the systemd unit, or --ulimit memlock= of the container: \
                 128 KiB per shard; or use driver = epoll",
            ),
            _ => Self::new(
                format!("the system makes no io_uring: {error}"),
                "use driver = epoll",
            ),
        }
    }

    fn forbidden() -> Self {
        let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        let setting = setting.as_deref().map(str::trim);
        match setting {
            Ok(value @ ("1" | "2")) => Self::new(
                format!("io_uring is switched off: kernel.io_uring_disabled = {value}"),
                "run `sysctl kernel.io_uring_disabled=0`, or use driver = epoll",
            ),
            Ok(_) | Err(_) => Self::new(
                "a seccomp filter forbids io_uring, as container runtimes do by default",
                FILTER_REMEDY,
            ),
        }
    }
}

/// Finds out whether the driver works here; `folder` is where its files will be.
///
/// # Errors
/// With the reason and what to change, if it does not.
pub fn check(folder: &Path) -> Result<(), Refusal> {
    if let Some(release) = kernel::release()
        && release < RELEASE_MIN
    {
        let (major, minor) = release;
        return Err(Refusal::new(
            format!("kernel {major}.{minor} is too old for io_uring: 6.6 is the first"),
            "use a newer kernel, or driver = epoll",
        ));
    }
    let mut ring = make_ring().map_err(|error| Refusal::of_setup(&error))?;
    bounce(&mut ring).map_err(|error| Refusal::of_part("receive into a buffer ring", &error))?;
    commit(&mut ring, folder).map_err(|error| Refusal::of_part("linked write and sync", &error))?;
    message(&mut ring).map_err(|error| Refusal::of_part("message from ring to ring", &error))
}

/// Memory that was charged to a dead process of this user may come back late.
fn make_ring() -> io::Result<Ring> {
    let until = Instant::now() + CHARGES_WITHIN;
    loop {
        match Ring::new(ENTRIES, 4 * ENTRIES) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && Instant::now() < until => {
                thread::sleep(CHARGES_AGAIN);
            }
            made => return made,
        }
    }
}

/// Sends bytes through a socket and receives them into a buffer that the kernel picks.
fn bounce(ring: &mut Ring) -> io::Result<()> {
    let Ok((mut near, far)) = UnixStream::pair() else {
        // Where no socket can be made, none will be received from: an embedded broker needs none.
        return Ok(());
    };
    let mut buffers = Buffers::new(ENTRIES, 64);
    ring.register(&buffers)?;
    let key = Key::plain(Kind::Recv);
    ring.recv(key, far.as_fd());
    near.write_all(BOUNCED)?;
    let received = await_one(ring, key);
    ring.cancel(key);
    // Nothing is received any more once the entry has ended.
    let has_ended = loop {
        match await_one(ring, key) {
            Ok(completion) if completion.more => (),
            ended => break ended,
        }
    };
    if let Err(error) = has_ended.and_then(|_| ring.unregister_buffers()) {
        mem::forget(buffers);
        return Err(error);
    }
    let received = received?;
    let (Ok(count), Some(index)) = (received.count(), received.buffer) else {
        return Err(failed(received));
    };
    buffers.lend(index);
    let len = u32::try_from(count).unwrap_or(0);
    if buffers.bytes(u32::from(index), len) == BOUNCED {
        Ok(())
    } else {
        Err(io::Error::other("other bytes arrived"))
    }
}

/// Commits a block to a file without a name.
fn commit(ring: &mut Ring, folder: &Path) -> io::Result<()> {
    let file = nameless_file(folder)?;
    if kernel::release().is_some_and(|release| release >= SILENT_LINKS_SINCE) {
        ring.use_silent_links();
    }
    let keys = (Key::plain(Kind::Write), Key::plain(Kind::Sync));
    // SAFETY: the bytes are a static.
    unsafe { ring.commit(keys, file.as_fd(), (&BLOCK, 0)) };
    let synced = await_one(ring, keys.1)?;
    match synced.count() {
        Ok(_) if file.metadata()?.len() == BLOCK.len() as u64 => Ok(()),
        Ok(_) => Err(io::Error::other("it was synced before it was written")),
        Err(_) => Err(failed(synced)),
    }
}

/// Where the file system has no nameless files, one in memory shows as much.
pub(in crate::driver) fn nameless_file(folder: &Path) -> io::Result<File> {
    let in_folder = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o600)
        .open(folder);
    in_folder.or_else(|_| {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        Ok(File::from(rustix::fs::memfd_create("corelane", flags)?))
    })
}

/// Wakes one ring from another.
fn message(ring: &mut Ring) -> io::Result<()> {
    let mut other = make_ring()?;
    // Enables it.
    other.enter(0, None)?;
    let target = other.share()?;
    let key = Key::plain(Kind::Wake);
    ring.message(Key::plain(Kind::Message), target.as_fd(), key);
    ring.enter(0, None)?;
    await_one(&mut other, key).map(drop)
}

/// The next completion of a key.
fn await_one(ring: &mut Ring, key: Key) -> io::Result<Completion> {
    let until = Instant::now() + PART_WITHIN;
    let mut completions = Vec::new();
    while Instant::now() < until {
        ring.enter(1, Some(PART_WITHIN))?;
        ring.reap(&mut completions);
        for completion in completions.drain(..) {
            if completion.key == Some(key) {
                return Ok(completion);
            }
            if completion.result < 0 {
                return Err(failed(completion));
            }
        }
    }
    Err(io::Error::from(io::ErrorKind::TimedOut))
}

fn failed(completion: Completion) -> io::Error {
    io::Error::from_raw_os_error(-completion.result)
}

/// The first kernel whose `io_uring` has all that the driver uses without known defects.
const RELEASE_MIN: (u32, u32) = (6, 6);
const FILTER_REMEDY: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in the \
                             seccomp profile of the container or unit, or use driver = epoll";
const ENTRIES: u32 = 8;
const BOUNCED: &[u8] = b"bounce";
static BLOCK: [u8; 4_096] = [0; 4_096];
/// How long one part of the test may take.
const PART_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait for memory that a dead process had locked.
const CHARGES_WITHIN: Duration = Duration::from_secs(1);
const CHARGES_AGAIN: Duration = Duration::from_millis(10);
