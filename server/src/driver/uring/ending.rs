//! The end of a driver: what the kernel holds is taken back before it is freed (U2).

use std::mem;
use std::time::{Duration, Instant};

use super::Uring;
use super::buffers::Buffers;
use crate::driver::slots::Slots;

impl Drop for Uring {
    fn drop(&mut self) {
        if self.in_flight > 0 && !self.take_everything_back() {
            tracing::warn!(
                entries = self.in_flight,
                "the kernel has not given everything back in time; that memory is not freed"
            );
            mem::forget(mem::replace(&mut self.sockets, Slots::new()));
            mem::forget(mem::replace(&mut self.transfers, Slots::new()));
            mem::forget(mem::replace(&mut self.buffers, Buffers::new(1, 1)));
            return;
        }
        if let Err(error) = self.ring.unregister_buffers() {
            tracing::debug!(%error, "cannot unregister the receive buffers");
        }
    }
}

impl Uring {
    /// Cancels all that is in the ring and waits until it has ended, for a bounded time.
    fn take_everything_back(&mut self) -> bool {
        let until = Instant::now() + TAKE_BACK_WITHIN;
        self.is_ending = true;
        self.ring.cancel_all();
        while self.in_flight > 0 && Instant::now() < until {
            if self.ring.enter(1, Some(LOOK_EVERY)).is_err() {
                // The kernel refuses any thread but the driver's own.
                return false;
            }
            self.take_completions();
            self.ended.clear();
        }
        self.in_flight == 0
    }
}

/// How long the kernel may take to end what was cancelled.
const TAKE_BACK_WITHIN: Duration = Duration::from_millis(500);
/// Longest single wait for that.
const LOOK_EVERY: Duration = Duration::from_millis(50);
