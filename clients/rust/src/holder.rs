//! Holds leased messages for a consumer or for those who dequeue, and settles them.
//!
//! Owns: the consumer core or settle core of one subscription, and who waits for the end of a settle.
//! Lives as long as its link has something to do for it, or any of its messages is in the user's hands.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use corelane_wire::{ConsumerId, Deliveries, Lane, Response, SettleOutcome, Timestamp};
use tokio::sync::oneshot;

use crate::attachment::{AnsweredCall, Attachment, Wake, lock};
use crate::error::Error;
use crate::protocol::{
    ConsumerCore, ConsumerEnd, Protocol, ProtocolError, Received, SettleAction, SettleCore,
    SettleError, SettleTarget, Unreadable,
};

/// The end of a settle, as its waiter gets it.
pub(crate) type SettleEnd = Result<SettleOutcome, SettleError>;

/// Leased messages of one subscription.
#[derive(Debug)]
pub(crate) struct Holder {
    target: SettleTarget,
    consumer: Option<ConsumerId>,
    wake: Wake,
    state: Mutex<HolderState>,
}

#[derive(Debug)]
struct HolderState {
    core: Core,
    waiters: BTreeMap<u64, oneshot::Sender<SettleEnd>>,
    /// Who polls the stream of a consumer.
    reader: Option<Waker>,
    is_detached: bool,
    /// The end was told to the reader.
    is_end_told: bool,
}

#[derive(Debug)]
enum Core {
    Consumer(Box<ConsumerCore>),
    Dequeued(Box<SettleCore>),
}

impl Holder {
    /// For a subscribed consumer.
    pub(crate) fn of_consumer(core: ConsumerCore) -> Self {
        let target = core.config().target.clone();
        let consumer = Some(core.config().consumer);
        Self::new(target, consumer, Core::Consumer(Box::new(core)))
    }

    /// For messages that were dequeued.
    pub(crate) fn of_dequeued(core: SettleCore) -> Self {
        Self::new(core.target().clone(), None, Core::Dequeued(Box::new(core)))
    }

    fn new(target: SettleTarget, consumer: Option<ConsumerId>, core: Core) -> Self {
        Self {
            target,
            consumer,
            wake: Wake::new(),
            state: Mutex::new(HolderState {
                core,
                waiters: BTreeMap::new(),
                reader: None,
                is_detached: false,
                is_end_told: false,
            }),
        }
    }

    /// Queue, lane and subscription.
    pub(crate) const fn target(&self) -> &SettleTarget {
        &self.target
    }

    /// Whether the link has forgotten it, so that it must not be used any more.
    pub(crate) fn is_detached(&self) -> bool {
        lock(&self.state).is_detached
    }

    /// Settles a message and says where its end will be told.
    pub(crate) fn settle(
        &self,
        action: SettleAction,
        message: &Received,
        deadline: Timestamp,
    ) -> oneshot::Receiver<SettleEnd> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if !state.is_detached {
            let ticket = state.core.settle(action, message, deadline);
            state.waiters.insert(ticket, sender);
        }
        drop(state);
        self.wake.wake();
        receiver
    }

    /// Gives a message back; nobody waits for the end.
    pub(crate) fn give_back(&self, message: &Received, deadline: Timestamp) {
        let action = SettleAction::GIVE_BACK;
        lock(&self.state).core.settle(action, message, deadline);
        self.wake.wake();
    }

    /// Gives back a message that cannot be read.
    pub(crate) fn set_aside(&self, unreadable: &Unreadable, deadline: Timestamp) {
        let (lease, offset) = (unreadable.lease, unreadable.offset);
        tracing::warn!(queue = %self.target.queue, offset = offset.0, "message cannot be read");
        let action = SettleAction::SET_ASIDE;
        let mut state = lock(&self.state);
        state.core.settles().settle(action, lease, offset, deadline);
        drop(state);
        self.wake.wake();
    }

    /// The next message of a consumer, or the end of the stream.
    pub(crate) fn poll_next(
        &self,
        now: Timestamp,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Received, Error>>> {
        let mut state = lock(&self.state);
        let Core::Consumer(core) = &mut state.core else {
            return Poll::Ready(None);
        };
        if let Some(unreadable) = core.next_unreadable() {
            return Poll::Ready(Some(Err(Error::Unreadable {
                offset: unreadable.offset,
                error: unreadable.error,
            })));
        }
        let message = core.next_message(now);
        let end = core.end().cloned();
        let has_work = core.wants_drive();
        if let Some(message) = message {
            drop(state);
            if has_work {
                self.wake.wake();
            }
            return Poll::Ready(Some(Ok(message)));
        }
        if let Some(end) = end {
            let is_first = !std::mem::replace(&mut state.is_end_told, true);
            return Poll::Ready(match end {
                ConsumerEnd::Refused { code, text } if is_first => {
                    Some(Err(Error::Refused { code, text }))
                }
                ConsumerEnd::Refused { .. } | ConsumerEnd::Closed => None,
            });
        }
        if state.is_detached {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        drop(state);
        if has_work {
            self.wake.wake();
        }
        Poll::Pending
    }

    /// Runs `change` on the consumer core, and lets the link act on it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut ConsumerCore) -> T) -> Option<T> {
        let mut state = lock(&self.state);
        let Core::Consumer(core) = &mut state.core else {
            return None;
        };
        let changed = change(core);
        drop(state);
        self.wake.wake();
        Some(changed)
    }

    /// Resolves once the broker has the consumer subscribed.
    pub(crate) fn poll_subscribed(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = lock(&self.state);
        if state.is_detached {
            return Poll::Ready(Err(Error::Closed));
        }
        let Core::Consumer(core) = &state.core else {
            return Poll::Ready(Err(Error::Closed));
        };
        if core.is_subscribed() {
            return Poll::Ready(Ok(()));
        }
        if let Some(ConsumerEnd::Refused { code, text }) = core.end() {
            return Poll::Ready(Err(Error::Refused {
                code: *code,
                text: text.clone(),
            }));
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Resolves once a closed consumer has told the broker everything.
    pub(crate) fn poll_finished(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        let is_finished = match &state.core {
            Core::Consumer(core) => core.is_finished(),
            Core::Dequeued(core) => core.is_idle(),
        };
        if is_finished || state.is_detached {
            return Poll::Ready(());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Attachment for Holder {
    fn wake(&self) -> &Wake {
        &self.wake
    }

    fn queue(&self) -> (&str, Lane) {
        (&self.target.queue, self.target.lane)
    }

    fn consumer(&self) -> Option<ConsumerId> {
        self.consumer
    }

    fn on_connected(&self) {
        match &mut lock(&self.state).core {
            Core::Consumer(core) => core.on_connected(),
            Core::Dequeued(core) => core.on_connected(),
        }
    }

    fn on_disconnected(&self) {
        match &mut lock(&self.state).core {
            Core::Consumer(core) => core.on_disconnected(),
            Core::Dequeued(core) => core.on_disconnected(),
        }
    }

    fn drive(&self, now: Timestamp, protocol: Option<&mut Protocol>) -> Option<Timestamp> {
        let mut state = lock(&self.state);
        match (&mut state.core, protocol) {
            (Core::Consumer(core), Some(protocol)) => core.drive(now, protocol),
            (Core::Consumer(core), None) => core.on_deadline(now),
            (Core::Dequeued(core), Some(protocol)) => core.drive(now, protocol),
            (Core::Dequeued(core), None) => core.on_deadline(now),
        }
        let deadline = match &state.core {
            Core::Consumer(core) => core.next_deadline(),
            Core::Dequeued(core) => core.next_deadline(),
        };
        state.tell();
        deadline
    }

    fn on_answer(
        &self,
        now: Timestamp,
        call: AnsweredCall,
        response: &Response<'_>,
    ) -> Result<(), ProtocolError> {
        let mut state = lock(&self.state);
        match &mut state.core {
            Core::Consumer(core) => core.on_answer(now, call.correlation, response)?,
            Core::Dequeued(core) => core.on_answer(now, call.correlation, response)?,
        };
        state.tell();
        Ok(())
    }

    fn on_delivery(
        &self,
        now: Timestamp,
        deliveries: &Deliveries<'_>,
    ) -> Result<(), ProtocolError> {
        let mut state = lock(&self.state);
        if let Core::Consumer(core) = &mut state.core {
            core.on_delivery(now, deliveries)?;
        }
        state.tell();
        Ok(())
    }

    fn take_reroute(&self) -> bool {
        match &mut lock(&self.state).core {
            Core::Consumer(core) => core.settles().take_reroute(),
            Core::Dequeued(core) => core.take_reroute(),
        }
    }

    fn try_finish(&self, handles: &dyn Fn() -> usize) -> bool {
        let mut state = lock(&self.state);
        let has_ended = match &state.core {
            Core::Consumer(core) => core.is_finished(),
            Core::Dequeued(core) => core.is_idle(),
        };
        state.is_detached |= has_ended && handles() == 0;
        state.is_detached
    }

    fn on_closing(&self, now: Timestamp) {
        if let Core::Consumer(core) = &mut lock(&self.state).core {
            core.close(now);
        }
        self.wake.set_dirty();
    }

    fn is_settled(&self) -> bool {
        match &lock(&self.state).core {
            Core::Consumer(core) => core.is_finished(),
            Core::Dequeued(core) => core.is_idle(),
        }
    }

    fn on_closed(&self) {
        let mut state = lock(&self.state);
        state.is_detached = true;
        // Their waiters find the channel closed.
        state.waiters.clear();
        state.tell();
    }
}

impl HolderState {
    /// Tells everybody who waits what has happened.
    fn tell(&mut self) {
        while let Some(resolved) = self.core.settles().poll_resolved() {
            if let Some(waiter) = self.waiters.remove(&resolved.ticket) {
                // Nobody may wait any more; the settle has happened all the same.
                drop(waiter.send(resolved.result));
            }
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Core {
    fn settle(&mut self, action: SettleAction, message: &Received, deadline: Timestamp) -> u64 {
        match self {
            Self::Consumer(core) => core.settle(action, message, deadline),
            Self::Dequeued(core) => core.settle(action, message.lease, message.offset, deadline),
        }
    }

    fn settles(&mut self) -> &mut SettleCore {
        match self {
            Self::Consumer(core) => core.settles(),
            Self::Dequeued(core) => core,
        }
    }
}
