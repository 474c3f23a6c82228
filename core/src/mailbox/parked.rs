//! Whether a shard sleeps: lets a sender skip the system call that wakes it while it is awake.
//!
//! Receiver: [`Parked::park`], look at all rings once more, sleep if they are empty, [`Parked::unpark`].
//! Sender: send into the ring, then [`Parked::wake`], and wake the receiver if it says so.
//! Both sides put a `SeqCst` fence between their write and their read (Dekker), so that at least one of them sees
//! the other: either the receiver finds what was sent, or the sender finds the flag.

use super::shared::{Arc, AtomicBool, Ordering, fence};

/// The flag of one shard; every clone is the same flag.
#[derive(Clone, Debug)]
pub struct Parked(Arc<AtomicBool>);

impl Parked {
    /// The flag of a shard that is awake.
    pub fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// The receiver is about to sleep; it must look at its rings once more before it does.
    pub fn park(&self) {
        // A store would do. The swap sees the swap of the last sender, which puts the two in order for loom too: that
        // does not know that nothing comes between a swap and what it read. Whoever parks has the time.
        self.0.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The receiver is awake.
    pub fn unpark(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Called by a sender after it sent: whether it must wake the receiver. Of several senders one is told.
    pub fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        // Most often the receiver is awake: a load alone leaves the cache line where it is.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}

impl Default for Parked {
    fn default() -> Self {
        Self::new()
    }
}
