//! The consumer without a socket: subscribes again after every reconnect, keeps the credit, buffers deliveries.
//!
//! Owns: the messages that arrived and were not handed out, and (inside) the settles.
//! Called by: the link task of the tokio face, and by simulated clients; both pass the time in.
//!
//! Use: call [`ConsumerCore::drive`] whenever something has changed or [`ConsumerCore::next_deadline`] has come;
//! hand deliveries to [`ConsumerCore::on_delivery`] and answers to [`ConsumerCore::on_answer`]; take messages with
//! [`ConsumerCore::next_message`] and settle each with [`ConsumerCore::settle`] exactly once.
//!
//! Invariants:
//! (K1) Messages held (buffered or handed out) never exceed the credit, over reconnects too: messages of an earlier
//!      subscribing are subtracted from the credit of the later one until they are settled.
//! (K2) A message whose lease ran out in the buffer is given back, not handed out.
//! (K3) A consumer whose queue or subscription was deleted ends within [`ConsumerConfig::ask_after`] and an answer,
//!      and does not make it again.
//! (K4) After an end nothing is handed out, and what arrives is given back.

mod config;

use std::collections::VecDeque;
use std::time::Duration;

use corelane_wire::{Correlation, Deliveries, ErrorCode, Request, Response, Subscribe, Timestamp};

use super::backoff::Backoff;
use super::connection::Protocol;
use super::error::ProtocolError;
use super::random::Random;
use super::received::Received;
use super::settle::{SettleAction, SettleCore, SettleTarget};
use super::unpack::{Unpacked, Unreadable, lease_end, unpack};

pub use config::ConsumerConfig;

/// The state of one consumer.
#[derive(Debug)]
pub struct ConsumerCore {
    config: ConsumerConfig,
    settle: SettleCore,
    phase: Phase,
    connected: bool,
    closing: bool,
    /// Counts the times it subscribed, so that messages of an earlier connection are told apart.
    incarnation: u64,
    held_current: u32,
    held_carried: u32,
    buffer: VecDeque<Received>,
    buffer_bytes: usize,
    /// The buffer passed its bound and has not shrunk to half of it.
    overfull: bool,
    credit_sent: u32,
    credit_out: Option<Correlation>,
    /// When the broker last showed that it knows the consumer.
    known_at: Timestamp,
    pause_until: Option<Timestamp>,
    backoff: Backoff,
    /// What the broker refused to subscribe it with, if it is to be asked again.
    last_refusal: Option<String>,
    unreadable: VecDeque<Unreadable>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Subscribing(Correlation),
    Subscribed,
    Unsubscribing(Correlation),
    Ended(ConsumerEnd),
}

/// Why a consumer gets nothing any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConsumerEnd {
    /// It was closed.
    Closed,
    /// The broker refused to subscribe it, or its subscription was deleted (`SubscriptionNotFound`).
    Refused {
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        text: String,
    },
}

impl ConsumerCore {
    /// A consumer that is not connected; `seed` decides its pauses.
    pub fn new(config: ConsumerConfig, seed: u128) -> Self {
        let mut random = Random::new(seed);
        Self {
            settle: SettleCore::new(config.target.clone(), random.u128()),
            backoff: Backoff::new(REFUSED_PAUSE_MIN, REFUSED_PAUSE_MAX, random),
            config,
            phase: Phase::Idle,
            connected: false,
            closing: false,
            incarnation: 0,
            held_current: 0,
            held_carried: 0,
            buffer: VecDeque::new(),
            buffer_bytes: 0,
            overfull: false,
            credit_sent: 0,
            credit_out: None,
            known_at: Timestamp(0),
            pause_until: None,
            last_refusal: None,
            unreadable: VecDeque::new(),
        }
    }

    /// The connection is greeted; [`ConsumerCore::drive`] subscribes.
    pub const fn on_connected(&mut self) {
        self.connected = true;
        self.pause_until = None;
        self.settle.on_connected();
    }

    /// The connection is gone; messages that are held stay valid as long as their leases and the session.
    pub fn on_disconnected(&mut self) {
        self.connected = false;
        self.credit_out = None;
        self.held_carried += self.held_current;
        self.held_current = 0;
        if self.config.rereads {
            let buffered = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
            self.held_carried = self.held_carried.saturating_sub(buffered);
            self.buffer.clear();
            self.buffer_bytes = 0;
            self.overfull = false;
        }
        self.phase = match &self.phase {
            // Without the connection the broker has forgotten the consumer, which is what was asked for.
            Phase::Unsubscribing(_) => Phase::Ended(ConsumerEnd::Closed),
            Phase::Ended(end) => Phase::Ended(end.clone()),
            Phase::Idle | Phase::Subscribing(_) | Phase::Subscribed => Phase::Idle,
        };
        self.settle.on_disconnected();
    }

    /// Subscribes, settles, and adapts the credit.
    pub fn drive(&mut self, now: Timestamp, protocol: &mut Protocol) {
        self.on_deadline(now);
        self.settle.drive(now, protocol);
        if !self.connected || self.pause_until.is_some() {
            return;
        }
        match self.phase {
            Phase::Idle if self.closing => self.phase = Phase::Ended(ConsumerEnd::Closed),
            Phase::Idle => self.subscribe(protocol),
            Phase::Subscribed if self.closing => self.unsubscribe(protocol),
            Phase::Subscribed => self.adapt_credit(now, protocol),
            Phase::Subscribing(_) | Phase::Unsubscribing(_) | Phase::Ended(_) => {}
        }
    }

    /// Lets pauses and deadlines pass; also needed while there is no connection.
    pub fn on_deadline(&mut self, now: Timestamp) {
        if self.pause_until.is_some_and(|until| until <= now) {
            self.pause_until = None;
        }
        if self.closing && !self.connected && self.phase == Phase::Idle {
            self.phase = Phase::Ended(ConsumerEnd::Closed);
        }
        self.settle.on_deadline(now);
    }

    /// When [`ConsumerCore::drive`] must be called next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let deadlines = [self.pause_until, self.settle.next_deadline(), self.ask_at()];
        deadlines.into_iter().flatten().min()
    }

    /// Takes the answer to one of its calls; false if the call is not of this consumer.
    ///
    /// # Errors
    /// The answer contradicts what was asked: the connection must be closed.
    pub fn on_answer(
        &mut self,
        now: Timestamp,
        correlation: Correlation,
        response: &Response<'_>,
    ) -> Result<bool, ProtocolError> {
        if self.credit_out == Some(correlation) {
            self.credit_out = None;
            if let Response::Error { code, text } = response {
                self.on_credit_refused(now, *code, text);
            } else {
                self.known_at = now;
            }
            return Ok(true);
        }
        if self.phase == Phase::Subscribing(correlation) {
            self.on_subscribe_answer(now, response);
            return Ok(true);
        }
        if self.phase == Phase::Unsubscribing(correlation) {
            self.phase = Phase::Ended(ConsumerEnd::Closed);
            return Ok(true);
        }
        self.settle.on_answer(now, correlation, response)
    }

    /// Takes a pushed delivery for this consumer.
    ///
    /// # Errors
    /// The delivery contradicts itself: the connection must be closed.
    pub fn on_delivery(
        &mut self,
        now: Timestamp,
        deliveries: &Deliveries<'_>,
    ) -> Result<(), ProtocolError> {
        let lease_until = lease_end(now, deliveries);
        let is_over = self.closing || self.is_ended();
        let incarnation = self.incarnation;
        self.known_at = now;
        for unpacked in unpack(deliveries, lease_until, incarnation)? {
            match unpacked {
                Unpacked::Message(message) if is_over => {
                    let action = SettleAction::GIVE_BACK;
                    self.settle
                        .settle(action, message.lease, message.offset, lease_until);
                }
                Unpacked::Message(message) => {
                    self.held_current += 1;
                    self.buffer_bytes += message.bytes();
                    self.buffer.push_back(message);
                }
                Unpacked::Unreadable(unreadable) => {
                    let (lease, offset) = (unreadable.lease, unreadable.offset);
                    self.settle
                        .settle(SettleAction::SET_ASIDE, lease, offset, lease_until);
                    if self.unreadable.len() < UNREADABLE_MAX {
                        self.unreadable.push_back(unreadable);
                    }
                }
            }
        }
        self.overfull |= self.buffer_bytes > self.config.buffer_bytes_max;
        Ok(())
    }

    /// Takes the oldest message out of the buffer; it must be settled with [`ConsumerCore::settle`].
    pub fn next_message(&mut self, now: Timestamp) -> Option<Received> {
        while let Some(message) = self.buffer.pop_front() {
            self.buffer_bytes -= message.bytes();
            self.overfull &= self.buffer_bytes > self.config.buffer_bytes_max / 2;
            if message.lease_until > now {
                return Some(message);
            }
            self.give_back(now, &message);
        }
        None
    }

    /// The next message that came but cannot be read; it was given back for a second, counting the attempt.
    pub fn next_unreadable(&mut self) -> Option<Unreadable> {
        self.unreadable.pop_front()
    }

    /// Settles a message that was handed out; all but an extend end the holding.
    pub fn settle(&mut self, action: SettleAction, message: &Received, deadline: Timestamp) -> u64 {
        if action.ends_holding() {
            self.release(message.incarnation);
        }
        self.settle
            .settle(action, message.lease, message.offset, deadline)
    }

    /// The settles of this consumer, to take their results from.
    pub const fn settles(&mut self) -> &mut SettleCore {
        &mut self.settle
    }

    /// Changes how many messages it is willing to hold; 0 rests.
    pub const fn set_credit(&mut self, credit: u32) {
        self.config.credit = credit;
    }

    /// Ends it: unsubscribes, and gives back what was not handed out.
    pub fn close(&mut self, now: Timestamp) {
        self.closing = true;
        while let Some(message) = self.buffer.pop_front() {
            self.buffer_bytes -= message.bytes();
            self.give_back(now, &message);
        }
    }

    /// Why nothing more will come, once that is so.
    pub const fn end(&self) -> Option<&ConsumerEnd> {
        match &self.phase {
            Phase::Ended(end) => Some(end),
            Phase::Idle | Phase::Subscribing(_) | Phase::Subscribed | Phase::Unsubscribing(_) => {
                None
            }
        }
    }

    /// What the broker refused to subscribe it with, while it asks again.
    pub fn last_refusal(&self) -> Option<&str> {
        self.last_refusal.as_deref()
    }

    /// Whether the broker has it subscribed.
    pub const fn is_subscribed(&self) -> bool {
        matches!(self.phase, Phase::Subscribed)
    }

    /// Whether nothing is left to do after the end: every settle is answered or given up.
    pub fn is_finished(&self) -> bool {
        self.is_ended() && self.settle.is_idle()
    }

    /// What it asks for.
    pub const fn config(&self) -> &ConsumerConfig {
        &self.config
    }

    /// Whether [`ConsumerCore::drive`] has a new credit or a settle to send.
    pub fn wants_drive(&self) -> bool {
        let wants_credit = self.is_subscribed() && self.credit_wanted() != self.credit_sent;
        wants_credit || self.settle.wants_drive()
    }

    /// How many messages are buffered or handed out.
    pub const fn held(&self) -> u32 {
        self.held_current + self.held_carried
    }

    const fn is_ended(&self) -> bool {
        self.end().is_some()
    }

    fn give_back(&mut self, now: Timestamp, message: &Received) {
        // Later than this the lease has ended anyhow, and the message is back without us.
        let deadline = message.lease_until.max(now.add(GIVE_BACK_TIME));
        self.settle(SettleAction::GIVE_BACK, message, deadline);
    }

    const fn release(&mut self, incarnation: u64) {
        if incarnation == self.incarnation && self.held_current > 0 {
            self.held_current -= 1;
        } else {
            self.held_carried = self.held_carried.saturating_sub(1);
        }
    }

    /// The credit for the current subscribing (K1).
    const fn credit_wanted(&self) -> u32 {
        if self.overfull {
            0
        } else {
            self.config.credit.saturating_sub(self.held_carried)
        }
    }

    fn subscribe(&mut self, protocol: &mut Protocol) {
        let credit = self.credit_wanted();
        let request = Request::Subscribe(Subscribe {
            queue: &self.config.target.queue,
            lane: self.config.target.lane,
            subscription: &self.config.target.subscription,
            consumer: self.config.consumer,
            credit,
            lease_ms: self.config.lease_ms,
        });
        if let Ok(correlation) = protocol.request(&request, None) {
            // Deliveries may come before the answer, so the new incarnation begins here.
            self.incarnation += 1;
            self.credit_sent = credit;
            self.phase = Phase::Subscribing(correlation);
        }
    }

    fn unsubscribe(&mut self, protocol: &mut Protocol) {
        let consumer = self.config.consumer;
        if let Ok(correlation) = protocol.request(&Request::Unsubscribe { consumer }, None) {
            self.phase = Phase::Unsubscribing(correlation);
        }
    }

    /// When the broker is to be asked whether it knows the consumer.
    fn ask_at(&self) -> Option<Timestamp> {
        let can_ask = self.connected && self.is_subscribed() && self.credit_out.is_none();
        let is_pausing = self.pause_until.is_some();
        (can_ask && !is_pausing).then(|| self.known_at.add(self.config.ask_after))
    }

    /// Says how much credit it wants, if that has changed or to be answered at all.
    fn adapt_credit(&mut self, now: Timestamp, protocol: &mut Protocol) {
        let credit = self.credit_wanted();
        let asks = self.ask_at().is_some_and(|at| at <= now);
        if self.credit_out.is_some() || (credit == self.credit_sent && !asks) {
            return;
        }
        let consumer = self.config.consumer;
        if let Ok(correlation) = protocol.request(&Request::Credit { consumer, credit }, None) {
            self.credit_sent = credit;
            self.credit_out = Some(correlation);
        }
    }

    fn on_subscribe_answer(&mut self, now: Timestamp, response: &Response<'_>) {
        let Response::Error { code, text } = response else {
            self.backoff.reset();
            self.last_refusal = None;
            self.known_at = now;
            self.phase = Phase::Subscribed;
            return;
        };
        if code.is_retry() {
            self.phase = Phase::Idle;
            self.pause_until = Some(now.add(self.backoff.pause()));
            self.last_refusal = Some(format!("{}: {text}", code.name()));
            return;
        }
        self.refused(now, *code, text.clone());
    }

    /// Ends for good.
    fn refused(&mut self, now: Timestamp, code: ErrorCode, text: String) {
        self.phase = Phase::Ended(if self.closing {
            ConsumerEnd::Closed
        } else {
            ConsumerEnd::Refused { code, text }
        });
        self.close(now);
    }

    fn on_credit_refused(&mut self, now: Timestamp, code: ErrorCode, text: &str) {
        if self.phase != Phase::Subscribed {
            return;
        }
        if code.is_retry() {
            self.pause_until = Some(now.add(self.backoff.pause()));
            // Anything but the credit wanted makes the next drive ask again.
            self.credit_sent = !self.credit_wanted();
        } else if code == ErrorCode::UnknownConsumer {
            // On one connection a consumer is forgotten with its subscription or queue only. Subscribing again would
            // make that anew (K3).
            let SettleTarget {
                queue,
                subscription,
                ..
            } = &self.config.target;
            let name = match subscription.as_str() {
                "" => "default",
                name => name,
            };
            let text =
                format!("subscription {name} of {queue} was deleted, by itself or with the queue");
            self.refused(now, ErrorCode::SubscriptionNotFound, text);
        } else {
            self.refused(now, code, text.to_owned());
        }
    }
}

/// How long a message that nobody wants is offered back at least.
const GIVE_BACK_TIME: Duration = Duration::from_secs(10);
/// Reports of unreadable messages that are kept for the consumer; further ones are dropped, the messages are not.
const UNREADABLE_MAX: usize = 64;
/// The first pause after a refusal that asks for a retry.
const REFUSED_PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest one.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
