//! Reading, writing and syncing segments: in the ring, except commits that a thread makes.
#![expect(
    unsafe_code,
    reason = "the kernel reads and writes a buffer while the driver owns it"
)]

use std::fs::File as StdFile;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use corelane_storage::Buffer;

use super::key::{Key, Kind};
use super::ring::Completion;
use super::{BAD_NUMBER, Data, Done, Errno, File, Token, Uring, at_once};
use crate::driver::CommitMode;
use crate::driver::jobs::Job;

/// A read or a write in the ring; it owns what the kernel works on.
pub(super) struct Transfer {
    token: Token,
    file: Arc<StdFile>,
    buffer: Buffer,
    bytes: usize,
    /// How many of them are done.
    count: usize,
    position: u64,
    kind: TransferKind,
    /// How the write of a commit ended, if it was not whole.
    short: Option<Result<usize, Errno>>,
    begun: Instant,
}

/// A transfer as the shard asks for it.
pub(super) struct Asked {
    pub(super) file: File,
    pub(super) position: u64,
    pub(super) buffer: Buffer,
    pub(super) bytes: usize,
    pub(super) kind: TransferKind,
}

#[derive(PartialEq, Eq)]
pub(super) enum TransferKind {
    Read,
    Write,
    /// A write that is durable at its completion.
    Commit,
}

impl Uring {
    pub(super) fn start_transfer(&mut self, token: Token, asked: Asked) -> Option<Done> {
        let Asked {
            file,
            position,
            buffer,
            bytes,
            kind,
        } = asked;
        let Some(file) = self.files.get(file.0).cloned() else {
            return Some(at_once(token, Err(BAD_NUMBER), Data::Block(buffer)));
        };
        if kind == TransferKind::Commit && self.commit_mode == CommitMode::Fdatasync {
            let job = Job::Write {
                file,
                position,
                buffer,
                bytes,
                durable: true,
            };
            self.start_job(token, job);
            return None;
        }
        let transfer = Transfer {
            token,
            file,
            buffer,
            bytes,
            count: 0,
            position,
            kind,
            short: None,
            begun: Instant::now(),
        };
        match self.transfers.insert(transfer) {
            Ok(number) => {
                self.in_flight += 1;
                self.arm_transfer(number);
                None
            }
            Err(transfer) => {
                let data = Data::Block(transfer.buffer);
                Some(at_once(token, Err(Errno(libc::EAGAIN)), data))
            }
        }
    }

    /// Puts what is left of a transfer into the ring.
    fn arm_transfer(&mut self, number: u32) {
        let Some(transfer) = self.transfers.get_mut(number) else {
            return;
        };
        if self.is_ending {
            return self.end_transfer(number, Err(Errno::CANCELED));
        }
        let key = |kind| Key::new(kind, 0, number);
        let range = transfer.count..transfer.bytes;
        let position = transfer.position + transfer.count as u64;
        let file = transfer.file.as_fd();
        match transfer.kind {
            TransferKind::Read => {
                let bytes = &mut transfer.buffer.as_mut_slice()[range];
                // SAFETY: the buffer stays in `transfers`, untouched, until the completion was
                // reaped, or is leaked.
                unsafe { self.ring.read(key(Kind::Read), file, bytes, position) };
            }
            TransferKind::Commit if self.commit_mode == CommitMode::Linked => {
                let keys = (key(Kind::Write), key(Kind::Sync));
                let bytes = &transfer.buffer.as_slice()[range];
                // SAFETY: as for a read.
                unsafe { self.ring.commit(keys, file, (bytes, position)) };
            }
            TransferKind::Commit | TransferKind::Write => {
                let synced = matches!(transfer.kind, TransferKind::Commit);
                let bytes = &transfer.buffer.as_slice()[range];
                // SAFETY: as for a read.
                unsafe {
                    self.ring
                        .write(key(Kind::Write), file, (bytes, position), synced);
                }
            }
        }
    }

    pub(super) fn on_read(&mut self, key: Key, completion: Completion) {
        let Some(transfer) = self.transfers.get_mut(key.number) else {
            return;
        };
        let result = match completion.count() {
            Ok(count) => {
                transfer.count += count;
                let is_over = count == 0 || transfer.count == transfer.bytes;
                // A count that is not a whole number of sectors can only be the end of the file,
                // and direct reads could not go on from there.
                if !is_over && transfer.count.is_multiple_of(SECTOR_BYTES) {
                    return self.arm_transfer(key.number);
                }
                Ok(transfer.count)
            }
            Err(libc::EINTR | libc::EAGAIN) => return self.arm_transfer(key.number),
            Err(error) => Err(Errno(error)),
        };
        self.stats.read.record(transfer.begun.elapsed());
        self.end_transfer(key.number, result);
    }

    /// A write ended. That of a commit is not its end, unless no sync follows it.
    pub(super) fn on_write(&mut self, key: Key, completion: Completion) {
        let Some(transfer) = self.transfers.get_mut(key.number) else {
            return;
        };
        let result = completion.count().map_err(Errno);
        let is_whole = result == Ok(transfer.bytes);
        let is_linked =
            matches!(transfer.kind, TransferKind::Commit) && self.commit_mode == CommitMode::Linked;
        if is_linked && (is_whole || !self.ring.has_silent_links()) {
            transfer.short = (!is_whole).then_some(result);
            return;
        }
        self.end_write(key.number, result);
    }

    /// The sync that was linked to a write ended; where the write was not whole it did not happen.
    pub(super) fn on_sync(&mut self, key: Key, completion: Completion) {
        let Some(transfer) = self.transfers.get_mut(key.number) else {
            return;
        };
        let synced = completion.count().map_err(Errno);
        let synced = synced.map(|_| transfer.bytes);
        let result = transfer.short.take().unwrap_or(synced);
        self.end_write(key.number, result);
    }

    /// A count below what was asked for is for the log to judge, which takes it for a failure.
    fn end_write(&mut self, number: u32, result: Result<usize, Errno>) {
        if let Some(transfer) = self.transfers.get(number)
            && matches!(transfer.kind, TransferKind::Commit)
            && result == Ok(transfer.bytes)
        {
            self.stats.commit.record(transfer.begun.elapsed());
        }
        self.end_transfer(number, result);
    }

    fn end_transfer(&mut self, number: u32, result: Result<usize, Errno>) {
        if let Some(transfer) = self.transfers.remove(number) {
            self.in_flight -= 1;
            self.end(transfer.token, result, Data::Block(transfer.buffer));
        }
    }
}

/// Smallest unit in which a direct read can go on.
const SECTOR_BYTES: usize = 512;
