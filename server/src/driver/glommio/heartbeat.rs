//! The remedy for a wake-up that glommio 0.9 loses: a thread that wakes the executor every few
//! milliseconds.
//!
//! The executor can park although tasks are runnable, when its latency ring gets a completion in the
//! moment between collecting completions and running tasks. It then sleeps until anything else
//! happens. A timer of its own is no remedy, because it goes the same way; a task that waits for a
//! descriptor neither, because it may be the one that is runnable. A wake from another thread is: the
//! executor itself watches for those, and finds its runnable tasks again when one comes.
//!
//! Invariants: (H1) the beating thread only borrows the waker: clones that are dropped outside of the
//! executor are never given back. (H2) it beats only while the driver waits, so that no wakes pile
//! up while a shard is busy.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread and what it shares with the executor.
pub(super) struct Heartbeat {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_waiting: AtomicBool,
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Default)]
struct State {
    /// Wakes the task [`Pulse`].
    waker: Option<Waker>,
    is_stopped: bool,
}

/// The task that is woken; it has nothing to do but to be woken.
pub(super) struct Pulse<F> {
    shared: Arc<Shared>,
    /// Whether it may end.
    is_over: F,
}

impl Heartbeat {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let beating = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("{name}-beat"))
            .spawn(move || beating.beat())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The task that the executor must run first; it ends at the first beat after `is_over`.
    pub(super) fn pulse<F: FnMut() -> bool + Unpin>(&self, is_over: F) -> Pulse<F> {
        Pulse {
            shared: Arc::clone(&self.shared),
            is_over,
        }
    }

    /// Beats for as long as `wait` takes.
    pub(super) fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.shared.is_waiting.store(true, Ordering::Relaxed);
        let waited = wait();
        self.shared.is_waiting.store(false, Ordering::Relaxed);
        waited
    }
}

impl Shared {
    fn beat(&self) {
        let mut state = self.lock();
        while !state.is_stopped {
            let waited = self.stopped.wait_timeout(state, EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if self.is_waiting.load(Ordering::Relaxed)
                && let Some(waker) = &state.waker
            {
                waker.wake_by_ref();
            }
        }
    }

    /// Locks although a thread may have panicked: then the process is about to abort anyway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the heartbeat of an executor panicked");
        }
    }
}

impl<F: FnMut() -> bool + Unpin> Future for Pulse<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_over = (self.is_over)();
        let mut state = self.shared.lock();
        if is_over {
            state.waker = None;
            return Poll::Ready(());
        }
        if state.waker.is_none() {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// The longest that a lost wake-up lasts.
const EVERY: Duration = Duration::from_millis(5);
