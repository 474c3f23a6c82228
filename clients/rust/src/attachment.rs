//! What hangs on a link: producers, consumers and holders of dequeued messages.
//!
//! Owns the seam between the link task, which has the connection, and the handles that users hold.
//! Lock order: the link's state first, then the attachment's own.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corelane_wire::{ConsumerId, Correlation, Deliveries, Epoch, Lane, Response, Timestamp};
use tokio::sync::Notify;

use crate::protocol::{Protocol, ProtocolError};

/// Something that outlives connections and is driven by the link it is attached to.
pub(crate) trait Attachment: Send + Sync + fmt::Debug {
    /// How the link is told that there is something to do.
    fn wake(&self) -> &Wake;
    /// Decides which link it belongs to.
    fn queue(&self) -> (&str, Lane);
    /// Whose deliveries it takes.
    fn consumer(&self) -> Option<ConsumerId>;
    fn on_connected(&self);
    fn on_disconnected(&self);
    /// Writes what there is to send, if there is a connection; returns when to be driven again.
    fn drive(&self, now: Timestamp, protocol: Option<&mut Protocol>) -> Option<Timestamp>;
    fn on_answer(
        &self,
        now: Timestamp,
        call: AnsweredCall,
        response: &Response<'_>,
    ) -> Result<(), ProtocolError>;
    fn on_delivery(&self, now: Timestamp, deliveries: &Deliveries<'_>)
    -> Result<(), ProtocolError>;
    /// Whether the broker said since the last question that the partition lives elsewhere.
    fn take_reroute(&self) -> bool;
    /// Whether the link may forget it; `handles` counts the references besides the link's own. After a yes it
    /// takes nothing more. They are counted under its own lock, so that nobody who has just found it uses it after
    /// a yes without seeing that.
    fn try_finish(&self, handles: &dyn Fn() -> usize) -> bool;
    /// The client closes, and the connection stands: gives back what nobody will take.
    fn on_closing(&self, now: Timestamp);
    /// Whether the broker has answered all that is worth waiting for before the connection is closed.
    fn is_settled(&self) -> bool;
    /// The client is closed: everything that waits ends now.
    fn on_closed(&self);
}

/// Which call was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredCall {
    pub(crate) correlation: Correlation,
    pub(crate) epoch: Epoch,
}

/// Tells the current link of an attachment that there is something to do.
#[derive(Debug)]
pub(crate) struct Wake {
    dirty: AtomicBool,
    link: Mutex<Arc<Notify>>,
}

impl Wake {
    /// Not attached yet.
    pub(crate) fn new() -> Self {
        Self {
            dirty: AtomicBool::new(true),
            link: Mutex::new(Arc::new(Notify::new())),
        }
    }

    pub(crate) fn attach(&self, link: &Arc<Notify>) {
        *lock(&self.link) = Arc::clone(link);
        self.wake();
    }

    pub(crate) fn wake(&self) {
        // A link that has not looked since the last wake-up is on its way already.
        if !self.dirty.swap(true, Ordering::AcqRel) {
            lock(&self.link).notify_one();
        }
    }

    pub(crate) fn set_dirty(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    pub(crate) fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }
}

/// Locks, also after a panic elsewhere: every state behind these locks is whole between two statements that can
/// panic, and builds for production abort on panic anyhow.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
