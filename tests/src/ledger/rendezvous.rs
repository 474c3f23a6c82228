//! Where the threads of a run learn the broker's address and what to do.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::bail;

/// How long a thread waits before it tries the same broker again.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// What the threads of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody serves: wait.
    Down,
    /// Produce and consume against this address.
    Load(SocketAddr),
    /// Produce nothing new, settle what is out, consume to the end.
    Drain(SocketAddr),
    /// Stop.
    End,
}

/// The phase, with a way to wait for its change.
pub struct Rendezvous {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// Threads that wait for a broker in this phase.
    waiting: usize,
    /// Batches that those sent and that nobody answered.
    unanswered: usize,
}

impl Default for Rendezvous {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Down,
                waiting: 0,
                unanswered: 0,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Rendezvous {
    /// Sets the phase and wakes who waits.
    pub fn set(&self, phase: Phase) {
        *self.lock() = State {
            phase,
            waiting: 0,
            unanswered: 0,
        };
        self.changed.notify_all();
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Waits until a broker serves, or the end; `unanswered` batches of the caller have no answer.
    pub fn wait_up(&self, unanswered: usize) -> Phase {
        let mut state = self.lock();
        if state.phase == Phase::Down {
            state.waiting += 1;
            state.unanswered += unanswered;
            self.changed.notify_all();
            state = self
                .changed
                .wait_while(state, |state| state.phase == Phase::Down)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.phase
    }

    /// Waits, in `Down`, until `threads` threads wait for a broker, and returns the batches that
    /// those sent without an answer.
    ///
    /// # Errors
    /// If they do not come within `patience`: one of them has ended, or hangs.
    pub fn wait_all_down(&self, threads: usize, patience: Duration) -> anyhow::Result<usize> {
        let (state, timeout) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |state| state.waiting < threads)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            bail!("{} of {threads} threads saw the death", state.waiting);
        }
        Ok(state.unanswered)
    }

    /// Waits until the broker at `dead` is no longer named; a new one may be, or none.
    ///
    /// A broker that refused a request for now is still there: the wait then ends by itself after
    /// a moment, and the caller connects again.
    pub fn wait_other(&self, dead: SocketAddr) {
        let names_dead = |state: &mut State| matches!(state.phase, Phase::Load(address) | Phase::Drain(address) if address == dead);
        drop(
            self.changed
                .wait_timeout_while(self.lock(), RETRY_AFTER, names_dead)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
