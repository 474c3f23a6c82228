//! Where the threads of a run learn the broker's address and what to do.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    phase: Mutex<Phase>,
    changed: Condvar,
}

impl Default for Rendezvous {
    fn default() -> Self {
        Self {
            phase: Mutex::new(Phase::Down),
            changed: Condvar::new(),
        }
    }
}

impl Rendezvous {
    /// Sets the phase and wakes who waits.
    pub fn set(&self, phase: Phase) {
        *self.lock() = phase;
        self.changed.notify_all();
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.lock()
    }

    /// Waits until a broker serves, or the end.
    pub fn wait_up(&self) -> Phase {
        let mut phase = self.lock();
        while *phase == Phase::Down {
            phase = self
                .changed
                .wait(phase)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *phase
    }

    /// Waits until the broker at `dead` is no longer named; a new one may be, or none.
    ///
    /// A broker that refused a request for now is still there: the wait then ends by itself after
    /// a moment, and the caller connects again.
    pub fn wait_other(&self, dead: SocketAddr) {
        let names_dead = |phase: &mut Phase| matches!(phase, Phase::Load(address) | Phase::Drain(address) if *address == dead);
        drop(
            self.changed
                .wait_timeout_while(self.lock(), RETRY_AFTER, names_dead)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
