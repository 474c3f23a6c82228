//! One connection to one port of the broker, kept alive by a task of its own.
//!
//! Owns: the connection's state, the calls that are out on it, and what is attached to it.
//! Called by: the client (calls, attaching) and its task (`task`); the owner of the task is the client.
//!
//! Invariants:
//! (L1) Every caller is answered exactly once: with an answer, or with why there is none.
//! (L2) Nothing is sent for a caller or an attachment before the greeting is over and the places of the
//!      partitions are known.

mod dial;
mod state;
mod task;

use std::sync::{Arc, Mutex};

use corelane_wire::{ErrorCode, Request, Timestamp};
use tokio::sync::{Notify, oneshot};

use crate::answer::{Answer, Caller};
use crate::attachment::{Attachment, lock};
use crate::clock::Clock;
use crate::error::Error;

pub(crate) use dial::Target;
pub(crate) use task::run;

use state::{LinkState, Phase};

/// A connection to one port.
#[derive(Debug)]
pub(crate) struct Link {
    /// The shard's port; `None` for the address that the client was given.
    pub(crate) port: Option<u16>,
    /// Wakes the task.
    pub(crate) wake: Arc<Notify>,
    /// Tells callers that the link went up or down, or has room again.
    pub(crate) changed: Notify,
    state: Mutex<LinkState>,
}

/// The end of a call.
pub(crate) type CallEnd = Result<Answer, CallFailure>;

/// Why a call has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CallFailure {
    /// The broker refused.
    Refused { code: ErrorCode, text: String },
    /// Time is up.
    Deadline { last: Option<Error> },
    /// The connection broke while the call was out.
    Lost(Error),
    /// The link is closed; another may take its place.
    Closed,
}

impl Link {
    pub(crate) fn new(port: Option<u16>) -> Self {
        Self {
            port,
            wake: Arc::new(Notify::new()),
            changed: Notify::new(),
            state: Mutex::new(LinkState::new()),
        }
    }

    /// Hangs `attachment` on this link; false if the link is closed.
    pub(crate) fn attach(&self, attachment: &Arc<dyn Attachment>) -> bool {
        let mut state = lock(&self.state);
        if state.phase == Phase::Closed || state.is_closing {
            return false;
        }
        state.attach(attachment);
        attachment.wake().attach(&self.wake);
        self.wake.notify_one();
        true
    }

    /// Sends one request, made at that moment, once the link is up and has room, and waits for the answer.
    ///
    /// Cancel-safe: a call that is dropped is answered to nobody.
    pub(crate) async fn call<'r>(
        &self,
        request: &impl Fn() -> Request<'r>,
        deadline: Timestamp,
        clock: Clock,
        mut caller: impl FnMut(oneshot::Sender<CallEnd>) -> Caller,
    ) -> Result<Answer, CallFailure> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(answer) = self.send(request, deadline, &mut caller)? {
                self.wake.notify_one();
                return answer.await.unwrap_or(Err(CallFailure::Closed));
            }
            if tokio::time::timeout_at(clock.instant(deadline), changed)
                .await
                .is_err()
            {
                let last = self.last_error();
                return Err(CallFailure::Deadline { last });
            }
        }
    }

    /// `None` while the link is down or full.
    fn send<'r>(
        &self,
        request: &impl Fn() -> Request<'r>,
        deadline: Timestamp,
        caller: &mut impl FnMut(oneshot::Sender<CallEnd>) -> Caller,
    ) -> Result<Option<oneshot::Receiver<CallEnd>>, CallFailure> {
        let mut state = lock(&self.state);
        if state.phase == Phase::Closed {
            return Err(CallFailure::Closed);
        }
        if !state.is_up() {
            return Ok(None);
        }
        let Some(Ok(correlation)) = state
            .protocol
            .as_mut()
            .map(|protocol| protocol.request(&request(), Some(deadline)))
        else {
            return Ok(None);
        };
        let (reply, answer) = oneshot::channel();
        state.calls.insert(correlation, caller(reply));
        Ok(Some(answer))
    }

    /// Asks the task to send what it can and end.
    pub(crate) fn close(&self) {
        lock(&self.state).is_closing = true;
        self.wake.notify_one();
    }

    /// Whether it shall end or has ended, so that it takes nothing new.
    pub(crate) fn is_closing(&self) -> bool {
        let state = lock(&self.state);
        state.is_closing || state.phase == Phase::Closed
    }

    pub(crate) fn is_up(&self) -> bool {
        lock(&self.state).is_up()
    }

    /// What the last attempt to connect met.
    pub(crate) fn last_error(&self) -> Option<Error> {
        lock(&self.state).last_error.clone()
    }
}
