//! Acks, nacks, rejects and extends of one subscription: collected, merged into ranges, sent again until they are answered.
//!
//! Owns: the settles that are not answered yet. Called by: the consumer core, and by whoever dequeues.
//!
//! Settles are safe to repeat: they are fenced by their `LeaseId`, and a message that is done already is a success.
//!
//! Invariants:
//! (S1) Every settle with a ticket is resolved exactly once.
//! (S2) What waits is bounded by the messages held, since a message is settled at most once and an extend is one
//!      per call of its holder.

mod action;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use corelane_wire::limits::{SETTLE_ENTRIES_MAX, SETTLE_MESSAGES_MAX};
use corelane_wire::{
    Correlation, ErrorCode, Lane, LeaseId, Offset, OffsetRange, Response, Settle, SettleEntries,
    SettleEntry, SettleOutcome, Settled, Timestamp,
};

use super::backoff::Backoff;
use super::connection::Protocol;
use super::error::ProtocolError;
use super::random::Random;

pub use action::SettleAction;

/// What is settled: a subscription of a lane.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SettleTarget {
    /// The queue.
    pub queue: String,
    /// Its lane.
    pub lane: Lane,
    /// The subscription; empty for the default one.
    pub subscription: String,
}

/// A settle that found its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettleResolved {
    /// The ticket returned by [`SettleCore::settle`].
    pub ticket: u64,
    /// What the broker said.
    pub result: Result<SettleOutcome, SettleError>,
}

/// Why a settle was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SettleError {
    /// The broker refused it.
    Refused {
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        text: String,
    },
    /// It was not done in time; it may have had its effect.
    Deadline {
        /// What the broker refused the last try with, if it did.
        last: Option<String>,
    },
}

impl fmt::Display for SettleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, text } => write!(formatter, "{}: {text}", code.name()),
            Self::Deadline { last: None } => write!(formatter, "no answer came in time"),
            Self::Deadline { last: Some(last) } => {
                write!(formatter, "not done in time; last: {last}")
            }
        }
    }
}

impl std::error::Error for SettleError {}

/// The settles of one subscription.
#[derive(Debug)]
pub struct SettleCore {
    target: SettleTarget,
    connected: bool,
    waiting: BTreeMap<SettleAction, Vec<Entry>>,
    out: BTreeMap<Correlation, OutFrame>,
    pause_until: Option<Timestamp>,
    /// No settle has to be given up before this; a lower bound, so that it need not be kept exact.
    give_up_next: Option<Timestamp>,
    backoff: Backoff,
    /// What the broker refused the last try with.
    last_refusal: Option<String>,
    reroute: bool,
    ticket_next: u64,
    resolved: VecDeque<SettleResolved>,
}

#[derive(Debug)]
struct OutFrame {
    action: SettleAction,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    lease: LeaseId,
    offset: Offset,
    ticket: u64,
    deadline: Timestamp,
    /// Its ticket is resolved; only its place in a frame that is out is kept.
    is_given_up: bool,
}

impl SettleCore {
    /// Nothing to settle yet, and not connected.
    pub const fn new(target: SettleTarget, seed: u128) -> Self {
        Self {
            target,
            connected: false,
            waiting: BTreeMap::new(),
            out: BTreeMap::new(),
            pause_until: None,
            give_up_next: None,
            backoff: Backoff::new(REFUSED_PAUSE_MIN, REFUSED_PAUSE_MAX, Random::new(seed)),
            last_refusal: None,
            reroute: false,
            ticket_next: 0,
            resolved: VecDeque::new(),
        }
    }

    /// Takes a settle of one message and returns its ticket; it goes out with the next [`SettleCore::drive`].
    ///
    /// Without a lease there is nothing to settle: the message is the client's, whatever it says.
    pub fn settle(
        &mut self,
        action: SettleAction,
        lease: LeaseId,
        offset: Offset,
        deadline: Timestamp,
    ) -> u64 {
        let ticket = self.ticket_next;
        self.ticket_next += 1;
        if lease == LeaseId::default() {
            let result = Ok(SettleOutcome::AlreadyDone);
            self.resolved.push_back(SettleResolved { ticket, result });
            return ticket;
        }
        self.give_up_next = Some(
            self.give_up_next
                .map_or(deadline, |next| next.min(deadline)),
        );
        self.waiting.entry(action).or_default().push(Entry {
            lease,
            offset,
            ticket,
            deadline,
            is_given_up: false,
        });
        ticket
    }

    /// The connection is greeted.
    pub const fn on_connected(&mut self) {
        self.connected = true;
        self.pause_until = None;
    }

    /// The connection is gone: what was out waits to be sent again.
    pub fn on_disconnected(&mut self) {
        self.connected = false;
        for (_, frame) in std::mem::take(&mut self.out) {
            self.waiting
                .entry(frame.action)
                .or_default()
                .extend(frame.entries);
        }
        self.drop_given_up();
    }

    /// Sends what waits, one frame per action, and gives up what is too old.
    pub fn drive(&mut self, now: Timestamp, protocol: &mut Protocol) {
        self.on_deadline(now);
        if !self.connected || self.pause_until.is_some() {
            return;
        }
        for (action, entries) in std::mem::take(&mut self.waiting) {
            let left = self.send(&action, entries, protocol);
            if !left.is_empty() {
                self.waiting.insert(action, left);
            }
        }
    }

    /// Gives up what is too old; also needed while there is no connection.
    pub fn on_deadline(&mut self, now: Timestamp) {
        if self.pause_until.is_some_and(|until| until <= now) {
            self.pause_until = None;
        }
        if self.give_up_next.is_none_or(|deadline| deadline > now) {
            return;
        }
        let (resolved, last) = (&mut self.resolved, &self.last_refusal);
        let frames = self.out.values_mut().map(|frame| &mut frame.entries);
        for entries in self.waiting.values_mut().chain(frames) {
            for entry in entries.iter_mut() {
                if entry.deadline <= now && !entry.is_given_up {
                    entry.is_given_up = true;
                    resolved.push_back(SettleResolved {
                        ticket: entry.ticket,
                        result: Err(SettleError::Deadline { last: last.clone() }),
                    });
                }
            }
        }
        self.drop_given_up();
        let frames = self.out.values().map(|frame| &frame.entries);
        let entries = self.waiting.values().chain(frames).flatten();
        self.give_up_next = entries
            .filter(|entry| !entry.is_given_up)
            .map(|entry| entry.deadline)
            .min();
    }

    /// When [`SettleCore::drive`] must be called next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.is_idle() {
            return None;
        }
        let give_up = self.give_up_next?;
        Some(self.pause_until.map_or(give_up, |until| until.min(give_up)))
    }

    /// Takes the answer to one of the frames; false if the call is not of this subscription.
    ///
    /// # Errors
    /// The answer does not cover what was settled: the connection must be closed.
    pub fn on_answer(
        &mut self,
        now: Timestamp,
        correlation: Correlation,
        response: &Response<'_>,
    ) -> Result<bool, ProtocolError> {
        let Some(frame) = self.out.remove(&correlation) else {
            return Ok(false);
        };
        if let Response::Settled(settled) = response {
            self.backoff.reset();
            self.last_refusal = None;
            self.on_settled(&frame, settled)?;
            return Ok(true);
        }
        let Response::Error { code, text } = response else {
            // The connection checks that the kind of the answer fits the request.
            return Err(contradiction("outcomes", frame.entries.len(), 0));
        };
        if code.is_retry() {
            self.last_refusal = Some(format!("{}: {text}", code.name()));
            let waiting = self.waiting.entry(frame.action).or_default();
            waiting.extend(frame.entries);
            self.drop_given_up();
            self.reroute |= matches!(code, ErrorCode::NotOwner | ErrorCode::StaleEpoch);
            if self.pause_until.is_none() {
                self.pause_until = Some(now.add(self.backoff.pause()));
            }
            return Ok(true);
        }
        for entry in frame.entries.iter().filter(|entry| !entry.is_given_up) {
            self.resolved.push_back(SettleResolved {
                ticket: entry.ticket,
                result: Err(SettleError::Refused {
                    code: *code,
                    text: text.clone(),
                }),
            });
        }
        Ok(true)
    }

    /// The next settle that found its end.
    pub fn poll_resolved(&mut self) -> Option<SettleResolved> {
        self.resolved.pop_front()
    }

    /// Whether the broker said since the last question that the partition lives elsewhere.
    pub const fn take_reroute(&mut self) -> bool {
        std::mem::replace(&mut self.reroute, false)
    }

    /// Whether anything waits to be sent.
    pub fn wants_drive(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether everything is answered.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.out.is_empty()
    }

    /// What is settled here.
    pub const fn target(&self) -> &SettleTarget {
        &self.target
    }

    /// What is given up need not be sent (again).
    fn drop_given_up(&mut self) {
        self.waiting.retain(|_, entries| {
            entries.retain(|entry| !entry.is_given_up);
            !entries.is_empty()
        });
    }

    /// Sends as many frames as there is room for; returns what must wait.
    fn send(
        &mut self,
        action: &SettleAction,
        mut entries: Vec<Entry>,
        protocol: &mut Protocol,
    ) -> Vec<Entry> {
        entries.sort_unstable();
        let mut left = Vec::new();
        while !entries.is_empty() {
            if self.out.len() >= FRAMES_OUT_MAX || !protocol.has_room() {
                left.append(&mut entries);
                break;
            }
            let (frame, ranges) = take_frame(&mut entries, &mut left);
            let mut bytes = Vec::new();
            for range in &ranges {
                range.put(&mut bytes);
            }
            let settle = Settle {
                queue: &self.target.queue,
                lane: self.target.lane,
                subscription: &self.target.subscription,
                entries: SettleEntries::read(&bytes).expect("take_frame keeps the limits"),
            };
            match protocol.request(&action.request(settle), None) {
                Ok(correlation) => {
                    let frame = OutFrame {
                        action: action.clone(),
                        entries: frame,
                    };
                    self.out.insert(correlation, frame);
                }
                Err(_) => left.extend(frame),
            }
        }
        left
    }

    /// Walks over outcomes and entries together: both are in the order of the frame.
    fn on_settled(&mut self, frame: &OutFrame, settled: &[Settled]) -> Result<(), ProtocolError> {
        let expected = frame.entries.len();
        let covered: u64 = settled.iter().map(|run| u64::from(run.range.count)).sum();
        if covered != expected as u64 {
            return Err(ProtocolError::Contradiction {
                what: "settled messages",
                expected: expected as u64,
                found: covered,
            });
        }
        let outcomes = settled.iter().flat_map(|run| {
            (0..u64::from(run.range.count))
                .map(move |index| (run.range.first.0.saturating_add(index), run.outcome))
        });
        for (entry, (offset, outcome)) in frame.entries.iter().zip(outcomes) {
            if entry.offset.0 != offset {
                return Err(ProtocolError::Contradiction {
                    what: "settled offset",
                    expected: entry.offset.0,
                    found: offset,
                });
            }
            if !entry.is_given_up {
                self.resolved.push_back(SettleResolved {
                    ticket: entry.ticket,
                    result: Ok(outcome),
                });
            }
        }
        Ok(())
    }
}

/// Cuts the entries of one frame off the front, merged into ranges; a second settle of the same message moves to
/// `left`, as one frame must not name a message twice.
fn take_frame(entries: &mut Vec<Entry>, left: &mut Vec<Entry>) -> (Vec<Entry>, Vec<SettleEntry>) {
    let mut frame: Vec<Entry> = Vec::new();
    let mut ranges: Vec<SettleEntry> = Vec::new();
    let mut taken = 0;
    for entry in entries.iter() {
        let previous = frame.last();
        if previous.is_some_and(|last| last.lease == entry.lease && last.offset == entry.offset) {
            taken += 1;
            left.push(*entry);
            continue;
        }
        let continues = ranges
            .last()
            .is_some_and(|run| run.lease == entry.lease && run.range.end() == entry.offset);
        let is_full = frame.len() >= SETTLE_MESSAGES_MAX
            || (!continues && ranges.len() >= SETTLE_ENTRIES_MAX);
        if is_full {
            break;
        }
        taken += 1;
        frame.push(*entry);
        match ranges.last_mut() {
            Some(run) if continues => run.range.count += 1,
            _ => ranges.push(SettleEntry {
                lease: entry.lease,
                range: OffsetRange {
                    first: entry.offset,
                    count: 1,
                },
            }),
        }
    }
    entries.drain(..taken);
    (frame, ranges)
}

const fn contradiction(what: &'static str, expected: usize, found: u64) -> ProtocolError {
    ProtocolError::Contradiction {
        what,
        expected: expected as u64,
        found,
    }
}

/// Frames out at once; above that settles wait and are merged.
const FRAMES_OUT_MAX: usize = 8;
/// The first pause after a refusal that asks for a retry.
const REFUSED_PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest one.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
