//! What a link knows: the connection, the calls that are out, and what is attached.
//!
//! Owns the routing of answers and deliveries. Called with the lock of the link held; nothing in here waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corelane_wire::{ConsumerId, Correlation, Metadata, Request, Response, Timestamp, kind};

use super::CallFailure;
use crate::answer::Caller;
use crate::attachment::{AnsweredCall, Attachment};
use crate::client::ClientInner;
use crate::error::Error;
use crate::protocol::{Event, Protocol, ProtocolError};

#[derive(Debug)]
pub(super) struct LinkState {
    pub(super) phase: Phase,
    pub(super) protocol: Option<Protocol>,
    pub(super) calls: BTreeMap<Correlation, Caller>,
    pub(super) slots: BTreeMap<SlotId, Slot>,
    pub(super) slot_next: u64,
    /// Whose calls are whose, for those that are out.
    pub(super) owners: BTreeMap<Correlation, SlotId>,
    pub(super) consumers: BTreeMap<ConsumerId, SlotId>,
    pub(super) is_closing: bool,
    pub(super) last_error: Option<Error>,
    /// When all slots are looked at for handles that are gone.
    pub(super) sweep_next: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct SlotId(u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Down,
    Greeting,
    /// Greeted, and asked for the places of the partitions.
    Locating(Correlation),
    Up,
    /// Up, and asked again.
    Relocating(Correlation),
    /// The task has ended.
    Closed,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) attachment: Arc<dyn Attachment>,
    pub(super) deadline: Option<Timestamp>,
}

impl LinkState {
    pub(super) const fn new() -> Self {
        Self {
            phase: Phase::Down,
            protocol: None,
            calls: BTreeMap::new(),
            slots: BTreeMap::new(),
            slot_next: 0,
            owners: BTreeMap::new(),
            consumers: BTreeMap::new(),
            is_closing: false,
            last_error: None,
            sweep_next: Timestamp(0),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Relocating(_))
    }

    pub(super) fn attach(&mut self, attachment: &Arc<dyn Attachment>) {
        let id = SlotId(self.slot_next);
        self.slot_next += 1;
        if let Some(consumer) = attachment.consumer() {
            self.consumers.insert(consumer, id);
        }
        if self.is_up() {
            attachment.on_connected();
        }
        let attachment = Arc::clone(attachment);
        let slot = Slot {
            attachment,
            deadline: None,
        };
        self.slots.insert(id, slot);
    }

    /// Lets time pass and sends what there is; returns when to do so again.
    pub(super) fn turn(&mut self, now: Timestamp) -> Result<Option<Timestamp>, ProtocolError> {
        if let Some(protocol) = self.protocol.as_mut() {
            let mut expired = Vec::new();
            protocol.on_deadline(now, &mut expired)?;
            for correlation in expired {
                self.expire(correlation);
            }
        }
        let mut reroute = false;
        let is_up = self.is_up();
        let mut touched = Vec::new();
        for (id, slot) in &mut self.slots {
            let is_due = slot.deadline.is_some_and(|deadline| deadline <= now);
            if !slot.attachment.wake().take_dirty() && !is_due {
                continue;
            }
            touched.push(*id);
            let protocol = self.protocol.as_mut().filter(|_| is_up);
            let Some(protocol) = protocol else {
                slot.deadline = slot.attachment.drive(now, None);
                continue;
            };
            let first = protocol.correlation_next();
            slot.deadline = slot.attachment.drive(now, Some(protocol));
            for call in first.0..protocol.correlation_next().0 {
                self.owners.insert(Correlation(call), *id);
            }
            if !protocol.has_room() {
                slot.attachment.wake().set_dirty();
            }
            reroute |= slot.attachment.take_reroute();
        }
        self.forget_finished(now, &touched);
        if reroute {
            self.relocate();
        }
        let connection = self.protocol.as_ref().and_then(Protocol::next_deadline);
        let attached = self.slots.values().filter_map(|slot| slot.deadline);
        Ok(attached.chain(connection).min())
    }

    /// Ends a call without an answer. Who dequeues stays, to give back what the answer brings when it comes.
    fn expire(&mut self, correlation: Correlation) {
        let failure = CallFailure::Deadline { last: None };
        if let Some(caller) = self.calls.remove(&correlation)
            && let Some(late) = caller.expire(failure)
        {
            self.calls.insert(correlation, late);
        }
    }

    /// Handles what arrived; returns the places of the partitions if they were among it.
    pub(super) fn on_bytes(
        &mut self,
        now: Timestamp,
        client: Option<&ClientInner>,
        mut bytes: &[u8],
    ) -> Result<Option<Metadata>, Error> {
        let mut located = None;
        let mut is_greeted = false;
        let Some(protocol) = self.protocol.as_mut() else {
            return Ok(None);
        };
        while let Some(event) = protocol.next_event(now, &mut bytes)? {
            match event {
                Event::Open(answer) => {
                    if let Some(client) = client {
                        client.on_session(answer.session, answer.resumed);
                    }
                    is_greeted = true;
                }
                Event::Answer {
                    correlation,
                    epoch,
                    response,
                } => {
                    let call = AnsweredCall { correlation, epoch };
                    if self.phase.is_locating(call) {
                        located = Some(places(response)?);
                    } else if let Some(caller) = self.calls.remove(&correlation) {
                        caller.answer(now, response)?;
                    } else if let Some(id) = self.owners.remove(&correlation)
                        && let Some(slot) = self.slots.get(&id)
                    {
                        slot.attachment.on_answer(now, call, &response)?;
                        slot.attachment.wake().set_dirty();
                    }
                }
                Event::Delivery {
                    consumer,
                    deliveries,
                    ..
                } => {
                    let id = self.consumers.get(&consumer);
                    if let Some(slot) = id.and_then(|id| self.slots.get(id)) {
                        slot.attachment.on_delivery(now, &deliveries)?;
                        slot.attachment.wake().set_dirty();
                    }
                }
                Event::Settled => {}
            }
        }
        if is_greeted {
            let call = protocol.request(&Request::Metadata, None);
            self.phase = call.map_or(Phase::Greeting, Phase::Locating);
        }
        Ok(located)
    }

    /// Lets everything attached give back what nobody will take.
    pub(super) fn close_attached(&self, now: Timestamp) {
        if self.is_up() {
            for slot in self.slots.values() {
                slot.attachment.on_closing(now);
            }
        }
    }

    /// Whether all is written and answered that is worth waiting for at the end.
    pub(super) fn is_drained(&self) -> bool {
        let is_written = |protocol: &Protocol| protocol.outgoing().is_empty();
        let mut slots = self.slots.values();
        self.protocol.as_ref().is_none_or(is_written)
            && (!self.is_up() || slots.all(|slot| slot.attachment.is_settled()))
    }

    /// Asks again where the partitions are, unless that is under way.
    fn relocate(&mut self) {
        if self.phase == Phase::Up
            && let Some(protocol) = self.protocol.as_mut()
            && let Ok(call) = protocol.request(&Request::Metadata, None)
        {
            self.phase = Phase::Relocating(call);
        }
    }

    /// Lets go what has nothing to do any more: looks at those just driven, and now and then at all.
    fn forget_finished(&mut self, now: Timestamp, touched: &[SlotId]) {
        let is_sweep = self.sweep_next <= now;
        if is_sweep {
            self.sweep_next = now.add(SWEEP_PERIOD);
        } else if touched.is_empty() {
            return;
        }
        let consumers = &mut self.consumers;
        self.slots.retain(|id, slot| {
            if !is_sweep && touched.binary_search(id).is_err() {
                return true;
            }
            let handles = || Arc::strong_count(&slot.attachment) - 1;
            let is_finished = slot.attachment.try_finish(&handles);
            if is_finished && let Some(consumer) = slot.attachment.consumer() {
                consumers.remove(&consumer);
            }
            !is_finished
        });
    }

    pub(super) fn take_moving(
        &mut self,
        belongs_elsewhere: impl Fn(&dyn Attachment) -> bool,
    ) -> Vec<Slot> {
        let ids: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| belongs_elsewhere(slot.attachment.as_ref()))
            .map(|(id, _)| *id)
            .collect();
        let slots = ids.iter().filter_map(|id| self.slots.remove(id));
        let moving: Vec<_> = slots.collect();
        for slot in &moving {
            if let Some(consumer) = slot.attachment.consumer() {
                self.consumers.remove(&consumer);
            }
        }
        moving
    }

    /// The connection is gone: tells all callers and attachments.
    pub(super) fn disconnect(&mut self, error: &Error) {
        let was_up = self.is_up();
        self.protocol = None;
        self.phase = Phase::Down;
        self.owners.clear();
        for caller in std::mem::take(&mut self.calls).into_values() {
            caller.end(Err(CallFailure::Lost(error.clone())));
        }
        if was_up {
            for slot in self.slots.values() {
                slot.attachment.on_disconnected();
                slot.attachment.wake().set_dirty();
            }
        }
    }
}

impl Phase {
    fn is_locating(self, call: AnsweredCall) -> bool {
        match self {
            Self::Locating(locating) | Self::Relocating(locating) => locating == call.correlation,
            Self::Down | Self::Greeting | Self::Up | Self::Closed => false,
        }
    }
}

fn places(response: Response<'_>) -> Result<Metadata, Error> {
    let found = response.kind();
    if let Response::Metadata(metadata) = response {
        return Ok(metadata);
    }
    if let Response::Error { code, text } = response {
        return Err(Error::Refused { code, text });
    }
    Err(Error::Protocol(ProtocolError::WrongAnswer {
        request: kind::METADATA,
        answer: found,
    }))
}

/// How often handles that were dropped without a sign are looked for.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);
