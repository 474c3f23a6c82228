//! What ends a driver's wait from outside: an eventfd.
//!
//! Whoever has something for a shard puts it where the shard will look (a mailbox, the list of
//! finished file work) and then calls [`Waker::wake`]. The eventfd is watched edge-triggered, and
//! the kernel keeps an edge until the shard waits, so no wake is lost however the two interleave;
//! several at once count as one. Its count is never read: it only has to grow.

use std::io;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Ends the wait of one driver; cheap to clone and to send to other threads.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            event: Arc::new(event),
        })
    }

    /// Makes the present `wait` of the driver, or the next one if it is not waiting, return.
    pub fn wake(&self) {
        // The only error is EAGAIN from a full counter, after 2^64 wakes.
        match rustix::io::write(&self.event, &1_u64.to_ne_bytes()) {
            Ok(_) | Err(_) => (),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
