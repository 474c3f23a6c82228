//! The block that records are appended to: its bytes before it has a place on disk.
//!
//! Owned by the log. Position, chain link and attestation are stamped when the block is submitted, not here.

use corelane_wire::{Epoch, Lsn, RecordHeader};

use crate::buffer::Buffer;
use crate::layout::{BLOCK_HEADER_BYTES, aligned};
use crate::record::NewRecord;

#[derive(Debug)]
pub(crate) struct OpenBlock {
    /// Beyond `filled` it may hold anything.
    pub(crate) buffer: Buffer,
    /// Bytes used, header included, padding not.
    pub(crate) filled: usize,
    pub(crate) first_lsn: Lsn,
    pub(crate) epoch: Epoch,
    /// Where each record begins in the block.
    pub(crate) records: Vec<u32>,
}

impl OpenBlock {
    /// An empty block in this buffer.
    pub(crate) fn new(first_lsn: Lsn, epoch: Epoch, buffer: Buffer) -> Self {
        Self {
            buffer,
            filled: BLOCK_HEADER_BYTES,
            first_lsn,
            epoch,
            records: Vec::new(),
        }
    }

    /// Bytes that the block takes on disk.
    pub(crate) fn block_bytes(&self) -> usize {
        aligned(self.filled)
    }

    /// The lsn after its last record.
    pub(crate) fn end_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + self.records.len() as u64)
    }

    /// Appends a record for which there is room.
    pub(crate) fn push(&mut self, record: &NewRecord<'_>) {
        let bytes = record.bytes();
        let header = RecordHeader {
            bytes: u32::try_from(bytes).expect("a record fits into a block"),
            kind: record.kind,
            lsn_delta: u32::try_from(self.records.len()).expect("a block holds < 2^32 records"),
            time: record.time,
            payload_head: u32::try_from(record.head.len()).expect("a record fits into a block"),
        }
        .write(record.head);
        self.records
            .push(u32::try_from(self.filled).expect("a block is below 4 GiB"));
        for part in [&header[..], record.head, record.batch] {
            let end = self.filled + part.len();
            self.buffer.as_mut_slice()[self.filled..end].copy_from_slice(part);
            self.filled = end;
        }
    }

    /// The capacity that a record of `bytes` asks for, if it does not fit.
    ///
    /// Doubling keeps the bytes copied by growth below the bytes appended.
    pub(crate) fn lacks(&self, bytes: usize) -> Option<usize> {
        let needed = self.filled + bytes;
        let capacity = self.buffer.capacity();
        (needed > capacity).then(|| needed.max(2 * capacity))
    }

    /// Goes on in a larger buffer and gives back the one that was too small.
    pub(crate) fn grow_into(&mut self, mut grown: Buffer) -> Buffer {
        grown.as_mut_slice()[..self.filled].copy_from_slice(&self.buffer.as_slice()[..self.filled]);
        std::mem::replace(&mut self.buffer, grown)
    }
}
