//! A subscription as the log has it: where each message is, and which records may move it.

use std::collections::BTreeMap;

use corelane_core::record::{Change, Record};
use corelane_wire::{Aside, Epoch, Fate, LeaseId};

use super::super::Violation;

/// Where a message is in one subscription, by the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Waiting.
    Ready,
    /// Given out.
    Leased {
        /// Under which lease.
        lease: LeaseId,
        /// Until when, in lease time.
        deadline: u64,
        /// To which session.
        session: u128,
    },
    /// Given back, not to be given out before this log time.
    Delayed {
        /// When it is due.
        due: u64,
    },
    /// Rejected for good.
    Dead,
    /// Set aside by a consumer.
    Parked,
    /// Acked.
    Done,
}

/// A message in one subscription, by the log.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// Where it is.
    pub place: Place,
    /// How often it was given out, uncounted returns subtracted.
    pub attempts: u32,
    /// The epoch of the last time.
    pub epoch: Epoch,
}

/// A subscription, by the log.
#[derive(Clone, Debug)]
pub struct SubscriptionLog {
    /// Its name.
    pub name: String,
    /// The first offset it gets.
    pub from: u64,
    /// The next offset that was never given out.
    pub cursor: u64,
    /// Messages below the cursor.
    pub facts: BTreeMap<u64, Fact>,
    /// Whether it gives nothing out.
    pub is_paused: bool,
}

impl SubscriptionLog {
    pub(super) fn give_out(
        &mut self,
        offset: u64,
        place: Place,
        now: u64,
    ) -> Result<u32, Violation> {
        let broken = |rule, text| Err(Violation { rule, text });
        if self.is_paused {
            return broken("pause", format!("{offset} is given out all the same"));
        }
        if offset > self.cursor {
            let cursor = self.cursor;
            return broken("order", format!("{offset} is given out before {cursor}"));
        }
        if offset == self.cursor {
            self.cursor += 1;
            let fact = Fact {
                place: Place::Ready,
                attempts: 0,
                epoch: Epoch(u64::MAX),
            };
            self.facts.insert(offset, fact);
        }
        let Some(fact) = self.facts.get_mut(&offset) else {
            let from = self.from;
            return broken("C4", format!("{offset} is given out, {from} is the first"));
        };
        match fact.place {
            Place::Ready => {}
            Place::Delayed { due } if due <= now => {}
            Place::Delayed { due } => {
                return broken(
                    "C8",
                    format!("{offset} is given out at {now}, due at {due}"),
                );
            }
            Place::Leased { .. } | Place::Dead | Place::Parked => {
                return broken("C4", format!("{offset} is given out while {fact:?}"));
            }
            Place::Done => return broken("C3", format!("{offset} is given out after its ack")),
        }
        if let Place::Leased { lease, .. } = place {
            fact.epoch = lease.epoch;
        }
        fact.place = place;
        fact.attempts += 1;
        Ok(fact.attempts)
    }
}

impl SubscriptionLog {
    /// Applies a change of the whole subscription.
    pub(super) fn change(&mut self, change: &Change) -> Result<(), Violation> {
        match change {
            Change::Pause { reason } => self.is_paused = reason.is_some(),
            Change::Return { aside, ranges } => {
                let offsets = ranges.iter().flat_map(|range| range.first.0..range.end().0);
                for offset in offsets {
                    self.bring_back(*aside, offset)?;
                }
            }
            Change::Configure(_)
            | Change::Purge(_)
            | Change::Seek { .. }
            | Change::Unsubscribe
            | Change::DeadLetters { .. }
            | Change::Forward { .. }
            | Change::Forwarded { .. } => {
                let text = format!("nobody asked for {change:?}");
                return Err(Violation { rule: "log", text });
            }
        }
        Ok(())
    }

    fn bring_back(&mut self, aside: Aside, offset: u64) -> Result<(), Violation> {
        let fact = self.facts.get_mut(&offset);
        match (aside, fact) {
            (Aside::Dead, Some(fact)) if matches!(fact.place, Place::Dead) => {
                fact.place = Place::Ready;
                fact.attempts = 0;
            }
            (Aside::Parked, Some(fact)) if matches!(fact.place, Place::Parked) => {
                fact.place = Place::Ready;
            }
            (aside, fact) => {
                let text = format!("{offset} comes back from {aside:?}, it is {fact:?}");
                return Err(Violation { rule: "C4", text });
            }
        }
        Ok(())
    }
}

impl Fact {
    /// Applies a settle that holds.
    pub(super) fn settle(&mut self, record: &Record, time: u64, lease_time: u64) {
        match record {
            Record::Ack { .. } => self.place = Place::Done,
            Record::Nack {
                delay_ms,
                count_attempt,
                ..
            } => {
                self.place = match delay_ms {
                    0 => Place::Ready,
                    _ => Place::Delayed {
                        due: time + delay_ms * 1_000_000,
                    },
                };
                if !count_attempt {
                    self.attempts -= 1;
                }
            }
            Record::Reject { fate, .. } => {
                self.place = match fate {
                    Fate::Retry => Place::Ready,
                    Fate::Dead => Place::Dead,
                    Fate::Park => Place::Parked,
                };
            }
            Record::Extend { lease_ms, .. } => {
                if let Place::Leased { deadline, .. } = &mut self.place {
                    *deadline = lease_time + u64::from(*lease_ms) * 1_000_000;
                }
            }
            Record::Epoch { .. }
            | Record::Create { .. }
            | Record::Enqueue { .. }
            | Record::Relocate { .. }
            | Record::Lease { .. }
            | Record::Tick
            | Record::Release { .. }
            | Record::Delete { .. }
            | Record::ConfigureQueue { .. }
            | Record::Trim { .. }
            | Record::Reschedule { .. }
            | Record::Subscribe { .. }
            | Record::Take { .. }
            | Record::Change { .. } => {}
        }
    }
}
