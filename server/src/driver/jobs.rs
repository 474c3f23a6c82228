//! File work on threads: the operations that may block.
//!
//! Five kinds of threads, so that none waits behind slower work: those for commits, those for
//! reads, one for files (installing segments, opening them, reading chunks of checkpoints), one that
//! makes spares, and one that writes checkpoints, sends segments away and scrubs, which all take their time. A driver has threads for what its kernel interface does not do, or not as well.
//! A finished job goes into one list and wakes the shard. Invariants:
//! (J1) a job that was taken from its queue finishes and reports exactly once;
//! (J2) a durable write calls `fdatasync` after its own `pwrite` returned, in the same thread, or
//! is one write with `RWF_DSYNC`.

use std::collections::VecDeque;
use std::fs::File as StdFile;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use corelane_storage::{Buffer, SegmentNumber, Task, Volumes};
use corelane_wire::PartitionId;
use rustix::io::ReadWriteFlags;

use super::{Chore, CommitMode, Data, Done, DriverStats, Errno, Token, Waker};

/// What a thread does.
pub(super) enum Job {
    Write {
        file: Arc<StdFile>,
        position: u64,
        buffer: Buffer,
        bytes: usize,
        durable: bool,
    },
    Read {
        file: Arc<StdFile>,
        position: u64,
        buffer: Buffer,
        bytes: usize,
    },
    Open {
        partition: PartitionId,
        segment: SegmentNumber,
    },
    Housekeeping(Chore),
}

/// What a thread reports.
pub(super) enum Finished {
    Done(Done),
    /// A segment was opened; the driver still has to number the file.
    Opened(Token, StdFile),
}

/// Which threads a driver wants. Jobs of a kind without threads must not be submitted.
pub(super) struct FileThreads<'a> {
    /// Begins the threads' names.
    pub(super) name: &'a str,
    pub(super) commits: usize,
    pub(super) reads: usize,
    pub(super) commit_mode: CommitMode,
}

/// The threads of one driver and what they share.
pub(super) struct Jobs {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The spare that was asked for last; a shard has one made at a time.
    making: Option<Token>,
    /// Has that spare made soon.
    haste: Arc<AtomicBool>,
}

struct Shared {
    commits: Queue,
    reads: Queue,
    files: Queue,
    spares: Queue,
    checkpoints: Queue,
    finished: Mutex<Vec<Finished>>,
    commit_mode: CommitMode,
    waker: Waker,
    stats: Arc<DriverStats>,
}

/// Jobs waiting for a thread. Bounded by the callers: one commit and one SEAL per partition,
/// [`READS_MAX`] reads, two files per partition, and one spare.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<(Token, Job)>,
    stopped: bool,
}

impl Jobs {
    /// Starts the threads. They inherit the affinity of the calling thread, which must not be a
    /// pinned one: a commit thread on the shard's own core would wait for the shard's slice to end.
    pub(super) fn start(
        threads: &FileThreads<'_>,
        volumes: &Volumes,
        waker: Waker,
        stats: Arc<DriverStats>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            commits: Queue::default(),
            reads: Queue::default(),
            files: Queue::default(),
            spares: Queue::default(),
            checkpoints: Queue::default(),
            finished: Mutex::new(Vec::new()),
            commit_mode: threads.commit_mode,
            waker,
            stats,
        });
        let mut jobs = Self {
            shared,
            threads: Vec::new(),
            making: None,
            haste: Arc::default(),
        };
        let name = threads.name;
        let hastened = volumes.hastened_by(Arc::clone(&jobs.haste));
        for index in 0..threads.commits {
            jobs.spawn(format!("{name}-commit{index}"), volumes, |shared| {
                &shared.commits
            })?;
        }
        for index in 0..threads.reads {
            jobs.spawn(format!("{name}-read{index}"), volumes, |shared| {
                &shared.reads
            })?;
        }
        jobs.spawn(format!("{name}-files"), volumes, |shared| &shared.files)?;
        jobs.spawn(format!("{name}-spares"), &hastened, |shared| &shared.spares)?;
        jobs.spawn(format!("{name}-checkpoint"), volumes, |shared| {
            &shared.checkpoints
        })?;
        Ok(jobs)
    }

    fn spawn(
        &mut self,
        name: String,
        volumes: &Volumes,
        queue: fn(&Shared) -> &Queue,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut volumes = volumes.clone();
        let work = move || {
            while let Some((token, job)) = queue(&shared).take() {
                let finished = job.run(token, &mut volumes, &shared);
                shared.report(finished);
            }
        };
        let thread = std::thread::Builder::new().name(name).spawn(work)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Hands a job to the threads of its kind, or gives it back when there are too many reads.
    pub(super) fn submit(&mut self, token: Token, job: Job) -> Result<(), Job> {
        match &job {
            Job::Write { .. } => self.shared.commits.put(token, job, usize::MAX),
            Job::Read { .. } => self.shared.reads.put(token, job, READS_MAX),
            Job::Open { .. } => self.shared.files.put(token, job, usize::MAX),
            Job::Housekeeping(
                Chore::Checkpoint(_)
                | Chore::Scrub(_)
                | Chore::Task(Task::Retire { .. } | Task::RemoveSegment { .. }),
            ) => self.shared.checkpoints.put(token, job, usize::MAX),
            Job::Housekeeping(Chore::ReadChunk { .. } | Chore::Task(Task::Install { .. })) => {
                self.shared.files.put(token, job, usize::MAX)
            }
            Job::Housekeeping(Chore::Task(Task::MakeSpare { .. })) => {
                self.making = Some(token);
                self.haste.store(false, Ordering::Relaxed);
                self.shared.spares.put(token, job, usize::MAX)
            }
        }
    }

    /// Has a spare that is being made by this operation ready soon.
    pub(super) fn hasten(&self, token: Token) {
        if self.making == Some(token) {
            self.haste.store(true, Ordering::Relaxed);
        }
    }

    /// Moves what has finished into `finished`.
    pub(super) fn take_finished(&self, finished: &mut Vec<Finished>) {
        finished.append(&mut lock(&self.shared.finished));
    }
}

impl Drop for Jobs {
    /// Ends the threads: jobs in progress finish, jobs still queued do not happen (their shard is
    /// gone, and nobody was promised anything about them).
    fn drop(&mut self) {
        let shared = &self.shared;
        for queue in [
            &shared.commits,
            &shared.reads,
            &shared.files,
            &shared.spares,
            &shared.checkpoints,
        ] {
            let mut state = lock(&queue.state);
            state.stopped = true;
            state.jobs.clear();
            queue.changed.notify_all();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a file thread panicked");
            }
        }
    }
}

impl Queue {
    fn put(&self, token: Token, job: Job, jobs_max: usize) -> Result<(), Job> {
        let mut state = lock(&self.state);
        if state.jobs.len() >= jobs_max {
            return Err(job);
        }
        state.jobs.push_back((token, job));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The next job; `None` when the driver is gone.
    fn take(&self) -> Option<(Token, Job)> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(next) = state.jobs.pop_front() {
                return Some(next);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn report(&self, finished: Finished) {
        let mut list = lock(&self.finished);
        list.push(finished);
        // Whoever made the list non-empty wakes the shard; it takes all of it at once.
        let is_first = list.len() == 1;
        drop(list);
        if is_first {
            self.waker.wake();
        }
    }
}

impl Job {
    fn run(self, token: Token, volumes: &mut Volumes, shared: &Shared) -> Finished {
        let begun = Instant::now();
        let stats = &shared.stats;
        let (result, data) = match self {
            Self::Write {
                file,
                position,
                buffer,
                bytes,
                durable,
            } => {
                let commit = durable.then_some(shared.commit_mode);
                let result = write(&file, position, &buffer.as_slice()[..bytes], commit);
                if durable && result.is_ok() {
                    stats.commit.record(begun.elapsed());
                }
                (result.map(|()| bytes), Data::Block(buffer))
            }
            Self::Read {
                file,
                position,
                mut buffer,
                bytes,
            } => {
                let result = read(&file, position, &mut buffer.as_mut_slice()[..bytes]);
                stats.read.record(begun.elapsed());
                (result, Data::Block(buffer))
            }
            Self::Open { partition, segment } => match volumes.open_segment(partition, segment) {
                Ok(file) => return Finished::Opened(token, file),
                Err(error) => (Err(error), Data::None),
            },
            Self::Housekeeping(chore) => chore.run(volumes),
        };
        Finished::Done(Done {
            token,
            result: result.map_err(|error| Errno::from(&error)),
            more: false,
            data,
        })
    }
}

/// Writes, and makes it durable in the given way.
fn write(
    file: &StdFile,
    position: u64,
    bytes: &[u8],
    commit: Option<CommitMode>,
) -> io::Result<()> {
    match commit {
        None => file.write_all_at(bytes, position),
        Some(CommitMode::Fdatasync | CommitMode::Linked) => {
            file.write_all_at(bytes, position)?;
            file.sync_data()
        }
        Some(CommitMode::RwfDsync) => write_synced(file, position, bytes),
    }
}

/// Writes all with `RWF_DSYNC`.
fn write_synced(file: &StdFile, mut position: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let parts = [IoSlice::new(bytes)];
        match rustix::io::pwritev2(file, &parts, position, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(count) => {
                bytes = &bytes[count..];
                position += count as u64;
            }
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads until `bytes` is full or the file ends. A count that is not a whole number of sectors
/// can only be the end, and direct reads could not go on from there.
fn read(file: &StdFile, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match file.read_at(&mut bytes[count..], position + count as u64) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if !count.is_multiple_of(SECTOR_BYTES) {
            break;
        }
    }
    Ok(count)
}

/// Locks although a thread may have panicked: then the process is about to abort anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads waiting at most, beyond which a read is refused with `EAGAIN`.
const READS_MAX: usize = 4_096;
/// Smallest unit in which a direct read can go on.
const SECTOR_BYTES: usize = 512;
