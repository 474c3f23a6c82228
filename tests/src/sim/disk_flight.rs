//! Disk operations in flight: how long they take, how they end, and what a crash in their middle leaves.

use std::sync::Arc;

use corelane::driver::{Chore, Data, Done, Errno, File, Token};
use corelane_storage::{Buffer, Task};

use crate::sim::clock::{MICROSECOND, MILLISECOND, Moment, SECOND};
use crate::sim::disk::{Disk, FileName, SECTOR_BYTES};
use crate::sim::driver::{SharedDisk, lock};
use crate::sim::volume::SimVolume;

/// How a write will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As it should.
    Good,
    /// The write fails after some of its sectors.
    WriteError,
    /// The write ends early and says so.
    Short,
    /// The fdatasync fails.
    SyncError,
}

/// One disk operation of a shard.
#[derive(Debug)]
pub struct Flight {
    /// Whose it is.
    pub shard: u16,
    /// Its token.
    pub token: Token,
    /// What it does.
    pub work: Work,
}

/// What a disk operation does.
#[derive(Debug)]
pub enum Work {
    /// A write that has not reached the device.
    Write(WriteWork),
    /// The fdatasync after a write.
    Sync(WriteWork, u64),
    /// A read.
    Read {
        /// Whence.
        name: FileName,
        /// Where in the file.
        position: u64,
        /// Whither.
        buffer: Buffer,
        /// How much.
        bytes: usize,
        /// Whether it fails.
        fails: bool,
    },
    /// File work that blocks.
    Housekeeping {
        /// What.
        chore: Chore,
        /// Whether it fails.
        fails: bool,
    },
    /// Opening a segment, given the number that the file will have.
    Open {
        /// The file's number.
        file: u32,
        /// Whether the segment exists.
        exists: bool,
    },
}

/// A write and what becomes of it.
#[derive(Debug)]
pub struct WriteWork {
    /// Whither.
    pub name: FileName,
    /// Where in the file.
    pub position: u64,
    /// What.
    pub buffer: Buffer,
    /// How much of the buffer.
    pub bytes: usize,
    /// Followed by an fdatasync.
    pub durable: bool,
    /// How it ends.
    pub fate: Fate,
}

/// How far an operation has come.
#[derive(Debug)]
pub enum Step {
    /// It goes on after a delay.
    Again(Flight, Moment),
    /// It has ended; for this shard.
    Done(u16, Done),
}

impl Flight {
    /// Carries the operation on, to its end or to what comes after its first half.
    pub fn advance(self, disk: &SharedDisk) -> Step {
        let Self { shard, token, work } = self;
        let done = match work {
            Work::Write(work) => {
                let mut device = lock(disk);
                let result = device.carry_out(&work);
                if result == Ok(work.bytes) && work.durable {
                    let stamp = device.stamp();
                    let delay = device.latency();
                    let work = Work::Sync(work, stamp);
                    return Step::Again(Self { shard, token, work }, delay);
                }
                work.done(token, result)
            }
            Work::Sync(work, stamp) => {
                let mut device = lock(disk);
                let result = if work.fate == Fate::SyncError {
                    device.met.syncs_failed += 1;
                    device.fail_sync(&work.name, stamp);
                    Err(Errno::IO)
                } else {
                    device.sync(&work.name, stamp);
                    Ok(work.bytes)
                };
                work.done(token, result)
            }
            Work::Read {
                name,
                position,
                mut buffer,
                bytes,
                fails,
            } => {
                let mut device = lock(disk);
                device.met.reads += 1;
                let read = device.read(&name, position, &mut buffer.as_mut_slice()[..bytes]);
                Done {
                    token,
                    result: if fails { Err(Errno::IO) } else { Ok(read) },
                    more: false,
                    data: Data::Block(buffer),
                }
            }
            Work::Housekeeping { chore, fails } => finish_chore(disk, token, chore, fails),
            Work::Open { file, exists } => Done {
                token,
                result: if exists { Ok(0) } else { Err(Errno::IO) },
                more: false,
                data: if exists {
                    Data::File(File(file))
                } else {
                    Data::None
                },
            },
        };
        Step::Done(shard, done)
    }
}

fn finish_chore(disk: &SharedDisk, token: Token, chore: Chore, fails: bool) -> Done {
    let run = |chore: Chore| {
        lock(disk).met.chunk_reads += u64::from(matches!(chore, Chore::ReadChunk { .. }));
        lock(disk).met.scrubs += u64::from(matches!(chore, Chore::Scrub(_)));
        lock(disk).met.checkpoints += u64::from(matches!(chore, Chore::Checkpoint(_)));
        let (result, data) = chore.run(&mut SimVolume::new(Arc::clone(disk)));
        (result.map_err(|error| Errno::from(&error)), data)
    };
    let (result, data) = match chore {
        Chore::Task(Task::MakeSpare { .. }) if fails => (Err(Errno::NO_SPACE), Data::None),
        Chore::Checkpoint(_) if fails => (Err(Errno::NO_SPACE), Data::None),
        Chore::ReadChunk { .. } | Chore::Scrub(_) if fails => (Err(Errno::IO), Data::None),
        Chore::Task(Task::Install { .. } | Task::Retire { .. } | Task::RemoveSegment { .. })
            if fails =>
        {
            // The directory's fsync failed; the rename may have happened.
            let happens = lock(disk).random().one_in(2);
            if happens {
                drop(run(chore));
            }
            lock(disk).met.installs_failed += 1;
            (Err(Errno::IO), Data::None)
        }
        Chore::Task(_) | Chore::ReadChunk { .. } | Chore::Checkpoint(_) | Chore::Scrub(_) => {
            run(chore)
        }
    };
    Done {
        token,
        result,
        more: false,
        data,
    }
}

impl Disk {
    /// Draws how a write ends.
    pub fn fate(&mut self) -> Fate {
        let faults = self.faults.clone();
        if self.chance(faults.write_error) {
            Fate::WriteError
        } else if self.chance(faults.short_write) {
            Fate::Short
        } else if self.chance(faults.sync_error) {
            Fate::SyncError
        } else {
            Fate::Good
        }
    }

    /// Draws how long an operation takes.
    pub fn latency(&mut self) -> Moment {
        let faults = self.faults.clone();
        if self.chance(faults.stalled) {
            self.random().between(SECOND / 2, 9 * SECOND)
        } else if self.chance(faults.slow) {
            self.random().skewed(2 * MILLISECOND, 80 * MILLISECOND)
        } else {
            self.random().between(20 * MICROSECOND, 250 * MICROSECOND)
        }
    }

    /// The write reaches the device, whole or as its fate has it; returns its result.
    ///
    /// # Errors
    /// If that is its fate; some of its sectors may have reached the device then.
    pub fn carry_out(&mut self, work: &WriteWork) -> Result<usize, Errno> {
        let bytes = &work.buffer.as_slice()[..work.bytes];
        match work.fate {
            Fate::Good | Fate::SyncError => {
                self.write(&work.name, work.position, bytes);
                Ok(work.bytes)
            }
            Fate::Short => {
                self.met.writes_short += 1;
                let sectors = work.bytes / SECTOR_BYTES;
                let kept = self.random().index(sectors.max(1)) * SECTOR_BYTES;
                self.write(&work.name, work.position, &bytes[..kept]);
                Ok(kept)
            }
            Fate::WriteError => {
                self.met.writes_failed += 1;
                for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if self.random().one_in(2) {
                        let at = work.position + (index * SECTOR_BYTES) as u64;
                        self.write(&work.name, at, sector);
                    }
                }
                Err(Errno::IO)
            }
        }
    }

    /// The machine stops while the write is on its way: any of its sectors may have reached the device.
    pub fn abandon(&mut self, work: &WriteWork) {
        let bytes = &work.buffer.as_slice()[..work.bytes];
        let whole = self.random().index(3);
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if whole == 2 || (whole == 1 && self.random().one_in(2)) {
                let at = work.position + (index * SECTOR_BYTES) as u64;
                self.write(&work.name, at, sector);
            }
        }
    }
}

impl WriteWork {
    /// The completion of the write.
    pub fn done(self, token: Token, result: Result<usize, Errno>) -> Done {
        Done {
            token,
            result,
            more: false,
            data: Data::Block(self.buffer),
        }
    }
}
