//! A subscription as the log has it: where each message is, and which records may move it.

use std::collections::BTreeMap;

use corelane_core::record::Record;
use corelane_wire::{Epoch, LeaseId};

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
}

impl SubscriptionLog {
    pub(super) fn give_out(
        &mut self,
        offset: u64,
        place: Place,
        now: u64,
    ) -> Result<u32, Violation> {
        let broken = |rule, text| Err(Violation { rule, text });
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
            Place::Leased { .. } => {
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
            | Record::Subscribe { .. }
            | Record::Take { .. }
            | Record::Change { .. }
            | Record::Reject { .. } => {}
        }
    }
}
