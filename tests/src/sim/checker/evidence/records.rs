//! What records say, for the evidence.

use corelane_core::record::Record;
use corelane_core::{QueueId, SubscriptionId};
use corelane_wire::{Batch, OffsetRange, SettleEntry};

use super::super::history::{Body, Token};
use super::super::{Verdict, violation};
use super::LogRecord;
use crate::sim::body;

/// What a record settles: of which queue and subscription, and under which leases.
pub(super) fn settlement(record: &Record) -> Option<(QueueId, SubscriptionId, &[SettleEntry])> {
    match record {
        Record::Ack {
            queue,
            subscription,
            entries,
        }
        | Record::Nack {
            queue,
            subscription,
            entries,
            ..
        }
        | Record::Reject {
            queue,
            subscription,
            entries,
            ..
        }
        | Record::Extend {
            queue,
            subscription,
            entries,
            ..
        } => Some((*queue, *subscription, entries)),
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
        | Record::Change { .. } => None,
    }
}

pub(super) fn offsets(range: &OffsetRange) -> std::ops::Range<u64> {
    range.first.0..range.first.0 + u64::from(range.count)
}

/// The tokens of the messages that follow a record's head.
pub(super) fn tokens_of(entry: &LogRecord<'_>) -> Verdict<Vec<Token>> {
    let batch = match Batch::read(entry.batch) {
        Ok(batch) => batch,
        Err(error) => return violation("C2", format!("lsn {}: {error}", entry.lsn)),
    };
    let mut tokens = Vec::new();
    for message in &batch {
        let judged = message.map_or(Body::Foreign, |message| body::judge(&message));
        let Body::Intact(token) = judged else {
            let at = tokens.len();
            return violation("C2", format!("lsn {}: foreign body at {at}", entry.lsn));
        };
        tokens.push(token);
    }
    Ok(tokens)
}
