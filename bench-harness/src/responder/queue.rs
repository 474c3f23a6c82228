//! A queue that keeps nothing, and the mistakes that can be made with it.

use std::borrow::Cow;

use corelane_wire::checksum::checksum;
use corelane_wire::{
    Batch, ConsumerId, Correlation, DeliveryHead, DeliveryKind, DeliveryRun, Epoch, LeaseId, Lsn,
    Offset, OffsetRange, Timestamp,
};

use super::Mistake;

/// A consumer: its connection, and its number there.
pub(super) type Place = (usize, ConsumerId);

#[derive(Debug, Default)]
pub(super) struct Queue {
    end: u64,
    leases: u64,
    pub(super) consumers: Vec<Place>,
    turn: usize,
    /// A delivery that goes out behind the next one.
    held: Option<Vec<u8>>,
}

impl Queue {
    /// Takes a batch; its offsets.
    pub(super) fn take(&mut self, count: u32) -> OffsetRange {
        let first = Offset(self.end);
        self.end += u64::from(count);
        OffsetRange { first, count }
    }

    /// Whose turn it is.
    pub(super) fn consumer(&mut self) -> Option<Place> {
        let index = self.turn.checked_rem(self.consumers.len())?;
        self.turn = index + 1;
        self.consumers.get(index).copied()
    }

    /// Appends the delivery of a batch, with the mistake if there is one and it concerns deliveries.
    pub(super) fn deliver(
        &mut self,
        (consumer, range): (ConsumerId, OffsetRange),
        batch: &Batch<'_>,
        mistake: Option<(Mistake, u32)>,
        out: &mut Vec<u8>,
    ) {
        let held = self.held.take();
        let mut entries = Cow::Borrowed(batch.entries);
        match mistake {
            Some((Mistake::Lose, index)) => {
                self.deliver_without((consumer, range), batch, index, out);
            }
            Some((Mistake::Reorder, _)) => {
                let mut late = Vec::new();
                self.put(consumer, range, &entries, &mut late);
                self.held = Some(late);
            }
            Some((Mistake::Duplicate, index)) => {
                self.put(consumer, range, &entries, out);
                self.put(consumer, one(range, index), entry(batch, index), out);
            }
            Some((Mistake::Corrupt | Mistake::Forge, index)) => {
                let is_forged = matches!(mistake, Some((Mistake::Forge, _)));
                spoil(entries.to_mut(), batch, index, is_forged);
                self.put(consumer, range, &entries, out);
            }
            Some((Mistake::Refuse | Mistake::Pause(_), _)) | None => {
                self.put(consumer, range, &entries, out);
            }
        }
        out.extend_from_slice(&held.unwrap_or_default());
    }

    /// Delivers all but one message.
    fn deliver_without(
        &mut self,
        (consumer, range): (ConsumerId, OffsetRange),
        batch: &Batch<'_>,
        index: u32,
        out: &mut Vec<u8>,
    ) {
        for other in (0..range.count).filter(|&other| other != index) {
            self.put(consumer, one(range, other), entry(batch, other), out);
        }
    }

    fn put(&mut self, consumer: ConsumerId, range: OffsetRange, entries: &[u8], out: &mut Vec<u8>) {
        self.leases += 1;
        let run = DeliveryRun {
            first: range.first,
            count: range.count,
            attempt: 1,
            enqueued: Timestamp(0),
        };
        let head = DeliveryHead {
            kind: DeliveryKind::Pushed(consumer),
            lease: LeaseId {
                epoch: EPOCH,
                lsn: Lsn(self.leases),
            },
            lease_ms: 60_000,
            runs: &[run],
        };
        head.encode(Correlation(0), EPOCH, &[entries], out);
    }
}

/// One message of a range.
const fn one(range: OffsetRange, index: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(range.first.0 + index as u64),
        count: 1,
    }
}

fn entry<'a>(batch: &Batch<'a>, index: u32) -> &'a [u8] {
    batch.messages(index, 1).unwrap_or_default()
}

/// Changes the last byte of one entry, and its checksum if nobody is to see it.
fn spoil(entries: &mut [u8], batch: &Batch<'_>, index: u32, is_forged: bool) {
    let before = batch.messages(0, index).unwrap_or_default().len();
    let length = entry(batch, index).len();
    let entry = &mut entries[before..before + length];
    if let Some(last) = entry.last_mut() {
        *last ^= 1;
    }
    if is_forged {
        let crc = checksum(&[&entry[8..]]);
        entry[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

pub(super) const EPOCH: Epoch = Epoch(1);
