//! Commits through `io_uring`: the only part of the probes that the compiler does not watch.
#![expect(
    unsafe_code,
    reason = "the kernel reads buffers that the compiler does not know to be lent"
)]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

/// How a commit is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Submission {
    /// A write, and an fdatasync linked behind it.
    Linked,
    /// One write with `RWF_DSYNC`.
    Synced,
}

/// A ring whose commits all write the same bytes.
pub(super) struct CommitRing {
    ring: IoUring,
    file: File,
    submission: Submission,
    /// Lent to the kernel while anything is in flight; (P2).
    storage: Vec<u8>,
    skip: usize,
    bytes: u32,
    in_flight: u32,
}

impl CommitRing {
    /// A ring for up to `depth` commits at a time, of the whole `bytes` from `skip` on in `storage`.
    pub(super) fn new(
        file: File,
        submission: Submission,
        (storage, skip, bytes): (Vec<u8>, usize, u32),
        depth: u32,
    ) -> io::Result<Self> {
        assert!(
            skip + bytes as usize <= storage.len(),
            "{skip} + {bytes} bytes of {}",
            storage.len()
        );
        // Each commit has up to two entries.
        let entries = (2 * depth).next_power_of_two();
        let ring = IoUring::builder().setup_clamp().build(entries)?;
        Ok(Self {
            ring,
            file,
            submission,
            storage,
            skip,
            bytes,
            in_flight: 0,
        })
    }

    /// Queues the commit `number`, to `position`; it goes to the kernel with the next [`CommitRing::wait`].
    pub(super) fn push(&mut self, number: u32, position: u64) -> io::Result<()> {
        let file = types::Fd(self.file.as_raw_fd());
        let from = self.storage[self.skip..].as_ptr();
        let write = opcode::Write::new(file, from, self.bytes).offset(position);
        let number = u64::from(number) << 1;
        match self.submission {
            Submission::Linked => {
                let write = write.build().flags(squeue::Flags::IO_LINK);
                let sync = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC);
                self.push_entries(&[
                    write.user_data(number),
                    sync.build().user_data(number | LAST),
                ])
            }
            Submission::Synced => {
                let write = write.rw_flags(libc::RWF_DSYNC).build();
                self.push_entries(&[write.user_data(number | LAST)])
            }
        }
    }

    /// Waits until a commit is done, and says which.
    pub(super) fn wait(&mut self) -> io::Result<u32> {
        loop {
            if let Some(number) = self.next_completed()? {
                return Ok(number);
            }
            self.submit()?;
        }
    }

    fn push_entries(&mut self, entries: &[squeue::Entry]) -> io::Result<()> {
        // SAFETY: the entries name `file` and bytes of `storage`, which live until nothing is in flight any more:
        // `drop` waits for that, or gives the storage up for ever. Nobody writes to the storage.
        unsafe { self.ring.submission().push_multiple(entries) }.map_err(io::Error::other)?;
        self.in_flight += u32::try_from(entries.len()).unwrap_or(0);
        Ok(())
    }

    fn submit(&self) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The next commit of which everything has come back; the first error if any part failed; (P1).
    fn next_completed(&mut self) -> io::Result<Option<u32>> {
        while let Some(entry) = self.take() {
            let is_sync = self.submission == Submission::Linked && entry.user_data() & LAST != 0;
            let expected = if is_sync { 0 } else { self.bytes };
            let result = entry.result();
            if result < 0 {
                return Err(io::Error::from_raw_os_error(-result));
            }
            if u32::try_from(result) != Ok(expected) {
                let message = format!("a write of {expected} bytes wrote {result}");
                return Err(io::Error::other(message));
            }
            if entry.user_data() & LAST != 0 {
                return Ok(u32::try_from(entry.user_data() >> 1).ok());
            }
        }
        Ok(None)
    }

    fn take(&mut self) -> Option<cqueue::Entry> {
        let entry = self.ring.completion().next()?;
        self.in_flight -= 1;
        Some(entry)
    }
}

impl Drop for CommitRing {
    fn drop(&mut self) {
        while self.in_flight > 0 {
            if self.take().is_none() && self.submit().is_err() {
                // The kernel may still read it.
                mem::forget(mem::take(&mut self.storage));
                return;
            }
        }
    }
}

/// Marks the entry with which a commit is done.
const LAST: u64 = 1;
