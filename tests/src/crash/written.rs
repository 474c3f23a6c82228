//! The records that the log handed out, read from its writes with a parser of its own, after `docs/storage-format.md`.

use corelane_core::record::Record;
use corelane_storage::{BLOCK_HEADER_BYTES, RecordView, SEGMENT_HEADER_BYTES};
use corelane_wire::record::RecordHeader;
use corelane_wire::{Epoch, Lsn, Timestamp};

use crate::sim::checker::evidence::LogRecord;

/// A record as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) epoch: Epoch,
    pub(super) time: Timestamp,
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
    head_bytes: usize,
}

impl Written {
    /// What it says.
    pub(super) fn decode(&self, lsn: u64) -> Result<LogRecord<'_>, String> {
        let (head, batch) = self.payload.split_at(self.head_bytes);
        let record = Record::decode(self.kind, head);
        Ok(LogRecord {
            lsn: Lsn(lsn),
            epoch: self.epoch,
            time: self.time,
            record: record.map_err(|error| error.to_string())?,
            batch,
        })
    }
}

/// The records of a write at this position of a segment; none of a SEAL or a footer. With the lsn of the first.
pub(super) fn records(position: u64, write: &[u8]) -> Option<(u64, Vec<Written>)> {
    let start = if position == 0 {
        SEGMENT_HEADER_BYTES
    } else {
        0
    };
    let block = write.get(start..)?;
    let half = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(block.get(at..at + 4)?.try_into().ok()?))
    };
    let word = |at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(block.get(at..at + 8)?.try_into().ok()?))
    };
    let flags = half(68)? & 0xFFFF;
    if !block.starts_with(b"CLBK") || flags != 0 {
        return None;
    }
    let body_bytes = half(8)? as usize;
    let mut rest = block.get(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + body_bytes)?;
    let mut found = Vec::new();
    for _ in 0..half(28)? {
        let (header, payload) = RecordHeader::read(rest).ok()?;
        found.push(Written {
            epoch: Epoch(word(32)?),
            time: header.time,
            kind: header.kind,
            payload: payload.to_vec(),
            head_bytes: header.payload_head as usize,
        });
        rest = &rest[header.bytes as usize..];
    }
    Some((word(40)?, found))
}

impl Written {
    /// Whether it reads as it was written.
    pub(super) fn is(&self, view: &RecordView<'_>) -> bool {
        (self.epoch, self.time, self.kind) == (view.epoch, view.time, view.kind)
            && self.payload == view.payload
            && self.head_bytes == view.head().len()
    }
}
