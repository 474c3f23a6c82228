//! Where clients inside the program come in to a shard.
//!
//! Lives on: the shard's thread and the threads of its clients.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corelane_core::mailbox::Parked;

use super::pipe::{ClientEnd, ShardEnd, pipe};
use crate::driver::Waker;

/// The door of one shard.
#[derive(Debug)]
pub struct Door {
    arrivals: Mutex<Arrivals>,
    /// Something happened on a connection since the shard last looked.
    is_stirred: AtomicBool,
    /// Whether the shard sleeps.
    pub(super) parked: Parked,
    /// Wakes the shard.
    waker: Waker,
}

#[derive(Debug, Default)]
struct Arrivals {
    waiting: Vec<ShardEnd>,
    is_closed: bool,
}

impl Door {
    /// A door of the shard whose driver `waker` wakes.
    #[must_use]
    pub fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            arrivals: Mutex::default(),
            is_stirred: AtomicBool::new(false),
            parked: Parked::new(),
            waker,
        })
    }

    /// Comes in; the shard accepts when it serves.
    pub(super) fn enter(self: &Arc<Self>) -> io::Result<ClientEnd> {
        let mut arrivals = self.arrivals();
        if arrivals.is_closed {
            let text = "the broker of this program has stopped";
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        }
        if arrivals.waiting.len() >= WAITING_MAX {
            let text = "too many connections wait to be accepted";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        let (client, shard) = pipe(Arc::clone(self));
        arrivals.waiting.push(shard);
        drop(arrivals);
        self.stir();
        Ok(client)
    }

    /// Has the shard look at its connections (I3).
    pub(super) fn stir(&self) {
        self.is_stirred.store(true, Ordering::Release);
        if self.parked.wake() {
            self.waker.wake();
        }
    }

    pub(super) fn is_stirred(&self) -> bool {
        self.is_stirred.load(Ordering::Acquire)
    }

    /// Whether something happened since this was last asked.
    pub(super) fn take_stirred(&self) -> bool {
        self.is_stirred() && self.is_stirred.swap(false, Ordering::AcqRel)
    }

    pub(super) fn take_arrivals(&self) -> Vec<ShardEnd> {
        std::mem::take(&mut self.arrivals().waiting)
    }

    /// Lets nobody in any more, and turns away who waits.
    pub(super) fn close(&self) {
        let mut arrivals = self.arrivals();
        arrivals.is_closed = true;
        let waiting = std::mem::take(&mut arrivals.waiting);
        drop(arrivals);
        drop(waiting);
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections that may wait to be accepted.
const WAITING_MAX: usize = 4_096;
