//! The entries of ack, nack and extend: which offsets under which lease.

use crate::codec::{CodecError, Reader, put_u32, put_u64};
use crate::ids::{Epoch, LeaseId, Lsn, Offset, OffsetRange};
use crate::limits::{SETTLE_ENTRIES_MAX, SETTLE_MESSAGES_MAX};

use super::RequestError;

/// Some messages under one lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettleEntry {
    /// The lease under which they were delivered.
    pub lease: LeaseId,
    /// Their offsets.
    pub range: OffsetRange,
}

impl SettleEntry {
    /// Appends the entry's 28 bytes, for [`SettleEntries::read`].
    pub fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.lease.epoch.0);
        put_u64(out, self.lease.lsn.0);
        put_u64(out, self.range.first.0);
        put_u32(out, self.range.count);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            lease: LeaseId {
                epoch: Epoch(reader.u64()?),
                lsn: Lsn(reader.u64()?),
            },
            range: OffsetRange {
                first: Offset(reader.u64()?),
                count: reader.u32()?,
            },
        })
    }
}

/// Entries that were checked: 1 to 10,000 of them, none empty, none beyond the last offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettleEntries<'a> {
    bytes: &'a [u8],
}

impl<'a> SettleEntries<'a> {
    /// Checks entries that were put one after the other by [`SettleEntry::put`].
    ///
    /// # Errors
    /// If the bytes are no whole entries, or a count is outside its range.
    pub fn read(bytes: &'a [u8]) -> Result<Self, RequestError> {
        let count = bytes.len() / SETTLE_ENTRY_BYTES;
        if !bytes.len().is_multiple_of(SETTLE_ENTRY_BYTES) {
            return Err(RequestError::Codec(CodecError::TrailingBytes {
                left: bytes.len() % SETTLE_ENTRY_BYTES,
            }));
        }
        check_range("count of entries", count as u64, SETTLE_ENTRIES_MAX as u64)?;
        let entries = Self { bytes };
        let mut messages_count = 0_u64;
        for entry in entries {
            let range = entry.range;
            let count_max = u64::MAX.saturating_sub(range.first.0);
            let messages_max = SETTLE_MESSAGES_MAX as u64;
            check_range(
                "count of messages",
                range.count.into(),
                count_max.min(messages_max),
            )?;
            messages_count += u64::from(range.count);
            check_range("count of messages", messages_count, messages_max)?;
        }
        Ok(entries)
    }

    /// How many entries.
    pub const fn count(&self) -> usize {
        self.bytes.len() / SETTLE_ENTRY_BYTES
    }

    /// How many messages the entries name together.
    pub fn messages_count(&self) -> u32 {
        self.iter().map(|entry| entry.range.count).sum()
    }

    /// The entries in order.
    pub const fn iter(&self) -> SettleEntriesIter<'a> {
        SettleEntriesIter {
            rest: Reader::new(self.bytes),
        }
    }

    /// The bytes of the entries.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> IntoIterator for SettleEntries<'a> {
    type Item = SettleEntry;
    type IntoIter = SettleEntriesIter<'a>;

    fn into_iter(self) -> SettleEntriesIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &SettleEntries<'a> {
    type Item = SettleEntry;
    type IntoIter = SettleEntriesIter<'a>;

    fn into_iter(self) -> SettleEntriesIter<'a> {
        self.iter()
    }
}

/// Iterates over [`SettleEntries`].
#[derive(Clone, Debug)]
pub struct SettleEntriesIter<'a> {
    rest: Reader<'a>,
}

impl Iterator for SettleEntriesIter<'_> {
    type Item = SettleEntry;

    fn next(&mut self) -> Option<SettleEntry> {
        // The bytes are a whole number of entries, so the read fails only at their end.
        SettleEntry::read(&mut self.rest).ok()
    }
}

/// Accepts 1 to `max`.
fn check_range(what: &'static str, value: u64, max: u64) -> Result<(), RequestError> {
    if value == 0 || value > max {
        return Err(RequestError::OutOfRange {
            what,
            value,
            min: 1,
            max,
        });
    }
    Ok(())
}

/// Length of one entry.
pub(super) const SETTLE_ENTRY_BYTES: usize = 28;
