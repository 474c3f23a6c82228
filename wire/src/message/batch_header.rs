//! The header of a message batch as bytes, and batches that are parts of others.

use super::batch::{BATCH_HEADER_BYTES, Batch, seal_header};
use crate::codec::{length_u32, put_u8, put_u16, put_u32, put_u64, put_u128};
use crate::ids::{ProducerId, Sequence};

/// Messages of a batch in a row, on their way to be a batch of their own: of the same producer, number and class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchPart<'a> {
    /// The entries, one after the other.
    pub entries: &'a [u8],
    /// Length of the longest of them.
    pub largest_bytes: u32,
    pub(super) count: u32,
    pub(super) of: Batch<'a>,
}

impl BatchPart<'_> {
    /// Appends the batch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header = BatchHeader {
            producer: self.of.producer,
            sequence: self.of.sequence,
            count: self.count,
            class: self.of.class,
            entries_bytes: self.entries.len(),
            largest_bytes: self.largest_bytes,
        };
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(self.entries);
    }
}

/// What stands before the entries.
pub(super) struct BatchHeader {
    pub(super) producer: ProducerId,
    pub(super) sequence: Sequence,
    pub(super) count: u32,
    pub(super) class: u8,
    pub(super) entries_bytes: usize,
    pub(super) largest_bytes: u32,
}

impl BatchHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(BATCH_HEADER_BYTES);
        put_u32(
            &mut header,
            length_u32(BATCH_HEADER_BYTES + self.entries_bytes),
        );
        put_u32(&mut header, 0);
        put_u128(&mut header, self.producer.0);
        put_u64(&mut header, self.sequence.0);
        put_u32(&mut header, self.count);
        put_u8(&mut header, self.class);
        put_u8(&mut header, 0);
        put_u16(&mut header, 0);
        put_u32(&mut header, length_u32(self.entries_bytes));
        put_u32(&mut header, self.largest_bytes);
        seal_header(&mut header);
        header
    }
}
