//! The executor and the thread that it lives on.
//!
//! Invariant: (O1) an executor and everything its tasks hold is touched by one thread, the one that
//! made it, which is the one that waits first. Until then there are no tasks, and the state has one
//! owner.
#![expect(
    unsafe_code,
    reason = "a driver is made by one thread and used by another"
)]

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker as TaskWaker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use glommio::timer::Timer;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use rustix::process::{Resource, getrlimit};

use super::heartbeat::Heartbeat;
use super::state::{Shared, State, Task, next_wait};
use super::{Waker, descriptor, files};

/// An executor and what it shares with the driver.
pub(super) struct Home {
    shared: Shared,
    heartbeat: Heartbeat,
    executor: Option<(ThreadId, LocalExecutor)>,
}

// SAFETY: all that is not `Send` are the executor and the owners of `shared`. Without an executor
// `shared` has one owner, which moves as a whole; with one, `shared` and `run` refuse any other
// thread, and a drop on another thread frees nothing (O1).
unsafe impl Send for Home {}

/// What an executor is made with.
pub(super) struct Furnishing<'a> {
    /// Executors of this process.
    pub(super) executors: u16,
    /// Where files are.
    pub(super) folder: &'a Path,
    /// What wakes the driver.
    pub(super) waker: &'a Waker,
}

impl Home {
    pub(super) fn new(state: State, heartbeat: Heartbeat) -> Self {
        Self {
            shared: Rc::new(RefCell::new(state)),
            heartbeat,
            executor: None,
        }
    }

    /// The state, on the executor's thread.
    pub(super) fn shared(&self) -> &Shared {
        assert!(self.is_here(), "a driver belongs to the thread that waits");
        &self.shared
    }

    fn is_here(&self) -> bool {
        let owner = self.executor.as_ref().map(|(thread, _)| *thread);
        owner.is_none_or(|owner| owner == thread::current().id())
    }

    /// Makes the executor on the calling thread, if there is none yet.
    pub(super) fn furnish(&mut self, with: &Furnishing<'_>) -> io::Result<()> {
        if self.executor.is_some() {
            return Ok(());
        }
        let event = with.waker.as_fd().try_clone_to_owned()?;
        // One queue of tasks, without a wish for latency: that leaves fewer moments for a lost
        // wake-up, and every task hands over soon enough to need no shorter time slice.
        let made = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(io_memory(with.executors))
            .ring_depth(RING_DEPTH)
            .make();
        let executor = made.map_err(|error| io::Error::other(error.to_string()))?;
        self.executor = Some((thread::current().id(), executor));
        let shared = &self.shared;
        let own = Rc::clone(shared);
        let pulse = self.heartbeat.pulse(move || own.borrow().is_ending);
        shared.borrow_mut().tasks.push(Box::pin(pulse));
        self.run(async {
            begin(shared);
            files::prime(with.folder).await;
            let watch = watch(Rc::clone(shared), event);
            shared.borrow_mut().tasks.push(Box::pin(watch));
            begin(shared);
        });
        Ok(())
    }

    /// Lets the executor work until something has ended or the timeout has passed.
    pub(super) fn wait(&self, timeout: Option<Duration>) {
        self.run(turn(self.shared(), timeout));
    }

    fn run(&self, future: impl Future<Output = ()>) {
        if let Some((_, executor)) = &self.executor {
            self.heartbeat.during(|| executor.run(future));
        }
    }

    /// Ends all tasks and closes everything; false if something is left.
    fn vacate(&self) -> bool {
        if self.executor.is_none() {
            return true;
        }
        if !self.is_here() {
            return false;
        }
        let until = Instant::now() + VACATE_WITHIN;
        let shared = &self.shared;
        self.run(async { shared.borrow_mut().end_all() });
        while shared.borrow().running > 0 && Instant::now() < until {
            self.wait(Some(LOOK_EVERY));
        }
        // What the last tasks let go of is still to be closed by the kernel.
        self.wait(Some(Duration::ZERO));
        shared.borrow().running == 0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.vacate() {
            tracing::warn!("an executor has not ended in time; what it holds is not freed");
            std::mem::forget(self.executor.take());
            std::mem::forget(Rc::clone(&self.shared));
        }
    }
}

/// What an executor can use of the limit of locked memory, which its three rings count each.
fn io_memory(executors: u16) -> usize {
    let Some(limit) = getrlimit(Resource::Memlock).current else {
        return IO_MEMORY_MAX;
    };
    let share = limit / (u64::from(executors) * 39 / 10).max(1);
    usize::try_from(share).map_or(IO_MEMORY_MAX, |share| share.min(IO_MEMORY_MAX))
}

/// One wait of the driver.
async fn turn(shared: &Shared, timeout: Option<Duration>) {
    begin(shared);
    let is_over = timeout == Some(Duration::ZERO);
    let mut timer = timeout
        .filter(|_| !is_over)
        .map(|timeout| Timer::new(timeout.min(TIMEOUT_MAX)));
    poll_fn(|context| {
        let mut state = shared.borrow_mut();
        if is_over || state.is_nudged {
            return Poll::Ready(());
        }
        state.main = Some(context.waker().clone());
        drop(state);
        match &mut timer {
            Some(timer) => Pin::new(timer).poll(context).map(drop),
            None => Poll::Pending,
        }
    })
    .await;
    let mut state = shared.borrow_mut();
    state.main = None;
    state.is_nudged = false;
}

/// Spawns and wakes what has collected since the last wait (G2).
fn begin(shared: &Shared) {
    let mut state = shared.borrow_mut();
    state.feed_starved();
    let later: Vec<TaskWaker> = std::mem::take(&mut state.later);
    let tasks: Vec<Task> = std::mem::take(&mut state.tasks);
    state.running += tasks.len();
    drop(state);
    for waker in later {
        waker.wake();
    }
    for task in tasks {
        let shared = Rc::clone(shared);
        let counted = async move {
            task.await;
            let mut state = shared.borrow_mut();
            state.running -= 1;
            if state.is_ending {
                state.nudge();
            }
        };
        glommio::spawn_local(counted).detach();
    }
}

/// The task that ends waits when the eventfd of the driver is written to.
async fn watch(shared: Shared, event: OwnedFd) {
    let file = descriptor::file(event);
    while !shared.borrow().is_ending {
        let read = file.read_at(0, COUNT_BYTES).await;
        shared.borrow_mut().nudge();
        if let Err(error) = read {
            tracing::error!(%error, "cannot wait for wakes");
            next_wait(&shared).await;
        }
    }
    if let Err(error) = file.close().await {
        tracing::debug!(%error, "cannot close an eventfd");
    }
}

/// Entries of each ring.
const RING_DEPTH: usize = 256;
/// What transfers of 4 KiB to 1 MiB need.
const IO_MEMORY_MAX: usize = 1 << 20;
/// Longest single wait; the callers' loops wait again.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// Bytes that an eventfd is read by.
const COUNT_BYTES: usize = 8;
/// How long tasks may take to end.
const VACATE_WITHIN: Duration = Duration::from_millis(500);
/// Longest single wait for that.
const LOOK_EVERY: Duration = Duration::from_millis(50);
