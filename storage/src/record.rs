//! A record of the log as it goes in and as it comes out.

use corelane_wire::record::RECORD_HEADER_BYTES;
use corelane_wire::{Epoch, Lsn, RecordHeader, Timestamp};

use crate::block::{Block, BlockFault};
use crate::layout::BLOCK_HEADER_BYTES;

/// A record to be appended; its bytes are copied once, into the open block.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Must be the log's `end`: lsn are dense.
    pub lsn: Lsn,
    /// Log time.
    pub time: Timestamp,
    /// One of `corelane_wire::record::record_kind`.
    pub kind: u8,
    /// The epoch it is appended in; a block holds records of one epoch.
    pub epoch: Epoch,
    /// Payload that the record's own checksum covers.
    pub head: &'a [u8],
    /// The rest of the payload: a message batch with checksums of its own, or nothing.
    pub batch: &'a [u8],
}

impl NewRecord<'_> {
    /// Bytes that the record takes in a block.
    pub fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.head.len() + self.batch.len()
    }
}

/// A record of the log, borrowed from a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView<'a> {
    /// Its number in the partition's log.
    pub lsn: Lsn,
    /// The epoch it was appended in.
    pub epoch: Epoch,
    /// Log time of its append.
    pub time: Timestamp,
    /// One of `corelane_wire::record::record_kind`.
    pub kind: u8,
    /// Everything after the record's header: head, then batch.
    pub payload: &'a [u8],
    /// Bytes of the head at the start of `payload`.
    pub head_bytes: usize,
}

impl<'a> RecordView<'a> {
    /// The payload that the record's own checksum covers.
    pub fn head(&self) -> &'a [u8] {
        self.payload.split_at(self.head_bytes).0
    }

    /// The message batch, or nothing.
    pub fn batch(&self) -> &'a [u8] {
        self.payload.split_at(self.head_bytes).1
    }

    /// Decodes the record at `at` in a block; also returns where the next one begins.
    pub(crate) fn read(
        block: &'a [u8],
        at: usize,
        first_lsn: Lsn,
        epoch: Epoch,
    ) -> Result<(Self, usize), BlockFault> {
        let bytes = block.get(at..).ok_or(BlockFault::Record)?;
        let (header, payload) = RecordHeader::read(bytes).map_err(|_| BlockFault::Record)?;
        let view = Self::of(header, payload, first_lsn, epoch);
        Ok((view, at + RECORD_HEADER_BYTES + payload.len()))
    }

    /// Takes apart the record at the start of `bytes`, which was verified or written here (H1 in `cache`).
    pub(crate) fn trusted(bytes: &'a [u8], first_lsn: Lsn, epoch: Epoch) -> Option<Self> {
        let (header, payload) = RecordHeader::trusted(bytes).ok()?;
        Some(Self::of(header, payload, first_lsn, epoch))
    }

    fn of(header: RecordHeader, payload: &'a [u8], first_lsn: Lsn, epoch: Epoch) -> Self {
        Self {
            lsn: Lsn(first_lsn.0.saturating_add(u64::from(header.lsn_delta))),
            epoch,
            time: header.time,
            kind: header.kind,
            payload,
            head_bytes: header.payload_head as usize,
        }
    }
}

/// The places of a verified data block's records, after every one of them was decoded once.
///
/// The count in the header is not trusted: the walk ends with the bytes.
pub(crate) fn record_places(block: &Block<'_>) -> Result<Vec<u32>, BlockFault> {
    let header = &block.header;
    let end = BLOCK_HEADER_BYTES + header.body_bytes;
    let body = block.bytes.get(..end).ok_or(BlockFault::Short)?;
    let mut places = Vec::new();
    let mut at = BLOCK_HEADER_BYTES;
    while at < end {
        let (view, next) = RecordView::read(body, at, header.first_lsn, header.epoch)?;
        if view.lsn.0 - header.first_lsn.0 != places.len() as u64 {
            return Err(BlockFault::Record);
        }
        places.push(u32::try_from(at).map_err(|_| BlockFault::Record)?);
        at = next;
    }
    if places.is_empty() || places.len() != header.count as usize {
        return Err(BlockFault::Record);
    }
    Ok(places)
}
