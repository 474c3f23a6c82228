//! Reading, writing and syncing segments.
//!
//! A segment that is open for direct access goes through glommio, any other through the same threads
//! as with epoll. glommio neither links a sync to a write nor syncs a single write. So a commit is a write
//! and then, when that has returned, an `fdatasync`; with `RWF_DSYNC` asked for it is a write to a
//! file that was opened with `O_DSYNC`.

use std::fs::File as StdFile;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use corelane_storage::Buffer;
use glommio::io::{DmaFile, OpenOptions};
use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, flock};

use super::state::{Shared, State, Task};
use super::{Data, Done, Errno, File, Glommio, Token, at_once, descriptor, errno_of};
use crate::driver::CommitMode;
use crate::driver::jobs::{Finished, Job};
use crate::driver::uring::nameless_file;

/// A file as the driver reads and writes it.
#[derive(Clone)]
pub(super) enum OpenFile {
    /// By glommio.
    Direct(Rc<DmaFile>),
    /// By threads.
    Plain(Arc<StdFile>),
}

impl OpenFile {
    /// The task that closes it, if that takes one.
    pub(super) fn close(self) -> Option<Task> {
        let Self::Direct(file) = self else {
            return None;
        };
        Some(Box::pin(async {
            if let Err(error) = file.close_rc().await {
                tracing::debug!(%error, "cannot close a segment");
            }
        }))
    }
}

/// A read or a write as the shard asks for it.
pub(super) struct Transfer {
    pub(super) token: Token,
    pub(super) position: u64,
    pub(super) buffer: Buffer,
    pub(super) bytes: usize,
}

impl Glommio {
    pub(super) fn start_read(&mut self, file: File, read: Transfer) -> Option<Done> {
        let shared = self.home.shared();
        let open = shared.borrow().files.get(file.0).cloned();
        match open {
            None => Some(read.refused(Errno(libc::EBADF))),
            Some(OpenFile::Direct(file)) => {
                let task = run_read(Rc::clone(shared), file, read);
                shared.borrow_mut().tasks.push(Box::pin(task));
                None
            }
            Some(OpenFile::Plain(file)) => {
                let Transfer {
                    token,
                    position,
                    buffer,
                    bytes,
                } = read;
                let job = Job::Read {
                    file,
                    position,
                    buffer,
                    bytes,
                };
                self.start_job(token, job)
            }
        }
    }

    pub(super) fn start_write(
        &mut self,
        file: File,
        write: Transfer,
        durable: bool,
    ) -> Option<Done> {
        let shared = self.home.shared();
        let open = shared.borrow().files.get(file.0).cloned();
        match open {
            None => Some(write.refused(Errno(libc::EBADF))),
            Some(OpenFile::Direct(file)) => {
                let task = run_write(Rc::clone(shared), file, write, durable);
                shared.borrow_mut().tasks.push(Box::pin(task));
                None
            }
            Some(OpenFile::Plain(file)) => {
                let Transfer {
                    token,
                    position,
                    buffer,
                    bytes,
                } = write;
                let job = Job::Write {
                    file,
                    position,
                    buffer,
                    bytes,
                    durable,
                };
                self.start_job(token, job)
            }
        }
    }

    pub(super) fn start_job(&mut self, token: Token, job: Job) -> Option<Done> {
        let Err(refused) = self.jobs.submit(token, job) else {
            return None;
        };
        let data = match refused {
            Job::Read { buffer, .. } | Job::Write { buffer, .. } => Data::Block(buffer),
            Job::Open { .. } | Job::Housekeeping(_) => Data::None,
        };
        Some(at_once(token, Err(Errno(libc::EAGAIN)), data))
    }

    pub(super) fn start_close_file(&mut self, token: Token, file: File) -> Option<Done> {
        let shared = self.home.shared();
        let open = shared.borrow_mut().files.remove(file.0);
        match open {
            None => Some(at_once(token, Err(Errno(libc::EBADF)), Data::None)),
            Some(OpenFile::Plain(_)) => Some(at_once(token, Ok(0), Data::None)),
            Some(OpenFile::Direct(file)) => {
                let own = Rc::clone(shared);
                let close = async move {
                    let closed = file.close_rc().await;
                    let closed = closed.map(|_| 0).map_err(|error| errno_of(&error));
                    own.borrow_mut().end(token, closed, Data::None);
                };
                shared.borrow_mut().tasks.push(Box::pin(close));
                None
            }
        }
    }

    /// Takes in what threads have done. A file that they opened for direct access is opened once
    /// more, by glommio.
    pub(super) fn collect(&mut self) {
        let mut finished = std::mem::take(&mut self.finished);
        self.jobs.take_finished(&mut finished);
        let shared = self.home.shared();
        let mut state = shared.borrow_mut();
        for finished in finished.drain(..) {
            match finished {
                Finished::Done(done) => state.deliver(done),
                Finished::Opened(token, file) => {
                    let open = run_open(Rc::clone(shared), token, file);
                    state.tasks.push(Box::pin(open));
                }
            }
        }
        drop(state);
        self.finished = finished;
    }
}

impl State {
    pub(super) fn number(&mut self, token: Token, file: OpenFile) -> Done {
        match self.files.insert(file) {
            Ok(number) => at_once(token, Ok(0), Data::File(File(number))),
            Err(_) => at_once(token, Err(Errno(libc::ENFILE)), Data::None),
        }
    }
}

impl Transfer {
    fn refused(self, error: Errno) -> Done {
        at_once(self.token, Err(error), Data::Block(self.buffer))
    }
}

async fn run_open(shared: Shared, token: Token, file: StdFile) {
    let synced = shared.borrow().commit_mode == CommitMode::RwfDsync;
    let opened = open(file, synced).await;
    let mut state = shared.borrow_mut();
    let done = match opened {
        Ok(file) => state.number(token, file),
        Err(error) => at_once(token, Err(error), Data::None),
    };
    state.deliver(done);
}

/// glommio opens files only by name, and reads and writes what it has opened. The lock of a segment
/// belongs to the descriptor that writes (see `Directory::open_segment`), so it moves with it.
pub(super) async fn open(file: StdFile, synced: bool) -> Result<OpenFile, Errno> {
    let is_direct = fcntl_getfl(&file).is_ok_and(|flags| flags.contains(OFlags::DIRECT));
    if !is_direct {
        return Ok(OpenFile::Plain(Arc::new(file)));
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = if synced { libc::O_DSYNC } else { 0 };
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags);
    let direct = options.dma_open(path).await;
    let direct = direct.map_err(|error| errno_of(&error))?;
    drop(file);
    let locked = flock(
        descriptor::of_file(&direct),
        FlockOperation::NonBlockingLockExclusive,
    );
    locked.map_err(|error| Errno(error.raw_os_error()))?;
    Ok(OpenFile::Direct(Rc::new(direct)))
}

async fn run_write(shared: Shared, file: Rc<DmaFile>, write: Transfer, durable: bool) {
    let begun = Instant::now();
    let bytes = &write.buffer.as_slice()[..write.bytes];
    let mut result = write_at(&file, write.position, bytes).await;
    let is_synced = shared.borrow().commit_mode == CommitMode::RwfDsync;
    // A count below what was asked for is for the log to judge, which takes it for a failure.
    if durable && !is_synced && result == Ok(write.bytes) {
        let synced = file.fdatasync().await;
        result = synced
            .map(|()| write.bytes)
            .map_err(|error| errno_of(&error));
    }
    let mut state = shared.borrow_mut();
    if durable && result == Ok(write.bytes) {
        state.stats.commit.record(begun.elapsed());
    }
    state.end(write.token, result, Data::Block(write.buffer));
}

/// glommio writes only from memory of its own.
async fn write_at(file: &DmaFile, position: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let mut own = file.alloc_dma_buffer(bytes.len());
    own.as_bytes_mut().copy_from_slice(bytes);
    let written = file.write_at(own, position).await;
    written.map_err(|error| errno_of(&error))
}

async fn run_read(shared: Shared, file: Rc<DmaFile>, mut read: Transfer) {
    let begun = Instant::now();
    let bytes = &mut read.buffer.as_mut_slice()[..read.bytes];
    let result = read_at(&file, read.position, bytes).await;
    let mut state = shared.borrow_mut();
    state.stats.read.record(begun.elapsed());
    state.end(read.token, result, Data::Block(read.buffer));
}

/// Reads until `bytes` is full or the file ends. A count that is not a whole number of sectors can
/// only be the end, and direct reads could not go on from there.
async fn read_at(file: &DmaFile, position: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut count = 0;
    while count < bytes.len() && count.is_multiple_of(SECTOR_BYTES) {
        let wanted = (bytes.len() - count).min(READ_BYTES_MAX);
        let read = file.read_at_aligned(position + count as u64, wanted).await;
        let read = read.map_err(|error| errno_of(&error))?;
        if read.is_empty() {
            break;
        }
        bytes[count..count + read.len()].copy_from_slice(&read);
        count += read.len();
    }
    Ok(count)
}

/// Has glommio find out what the device of `folder` can do from a file that has something to read.
/// It asks once per thread, and an empty file would tell it that the device can be polled: then
/// every transfer spins, and takes 4 ms.
pub(super) async fn prime(folder: &Path) {
    let file = match nameless_file(folder) {
        Ok(file) => file,
        Err(error) => {
            tracing::debug!(%error, "no file to prime the executor with");
            return;
        }
    };
    let written = file.write_all_at(&[1; 4_096], 0);
    if let Err(error) = written.and_then(|()| file.sync_data()) {
        tracing::debug!(%error, "cannot prime the executor");
        return;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    if let Ok(direct) = DmaFile::open(path).await
        && let Err(error) = direct.close().await
    {
        tracing::debug!(%error, "cannot close the file that primed the executor");
    }
}

/// Smallest unit in which a direct read can go on.
const SECTOR_BYTES: usize = 512;
/// Bytes read at once; more have hung on some kernels.
const READ_BYTES_MAX: usize = 1 << 20;
