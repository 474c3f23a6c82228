//! The log of one partition: append, group commit, block cache, index. Sans-I/O.
//!
//! Owns: the positions, the open block, the current segment and the one commit in flight.
//! Called by: the shard's loop that hosts the partition; it executes what `next_io` and `wants_segment` ask.
//!
//! ```text
//!   lsn  0 ........ committed ....... durable ......... submitted ....... end
//!                   |                 |                 |                 | next lsn to be appended
//!                   |                 |                 | below: handed out as a write
//!                   |                 | below: survives a power cut
//!                   | below: confirmed; stamped into each block as `attested`
//! ```
//! Invariants:
//! (L1) `committed <= durable <= submitted <= end`; all exclusive, none moves back.
//! (L2) one write is in flight at most; a SEAL or footer is one, so no block is submitted beside it.
//! (L3) `durable` passes a block only when its write and the `fdatasync` after it returned whole.
//! (L4) after the first failed or short write the log refuses everything: the write is never retried.
//! (L5) a footer is submitted only when every block before it is durable and the next segment is at hand.

use std::collections::VecDeque;

use corelane_wire::{Lsn, Timestamp};

use crate::block::BlockSite;
use crate::cache::Cache;
use crate::config::LogConfig;
use crate::error::{Poison, PoisonCause};
use crate::index::Index;
use crate::layout::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, SegmentNumber};
use crate::open_block::OpenBlock;
use crate::record::NewRecord;
use crate::segment::{Link, footer_bytes};

mod commit;
mod read;
mod segments;

pub use commit::LogIo;
pub use read::{Lookup, Reader};
pub use segments::SealedSegment;

use commit::InFlight;

/// The log of one partition; see the module's text for its invariants.
#[derive(Debug)]
pub struct Log {
    config: LogConfig,
    positions: Positions,
    open: Option<OpenBlock>,
    /// Blocks that are full, oldest first, all before `open`.
    closed: VecDeque<OpenBlock>,
    pub(crate) current: Option<Current>,
    /// End of the chain of the last closed segment, for the header of the next.
    previous: Link,
    /// Segments that hold nothing yet, with their lengths.
    ready: VecDeque<(SegmentNumber, u64)>,
    next_number: SegmentNumber,
    /// Base of the segment begun last, until it is taken.
    rolled: Option<Lsn>,
    in_flight: Option<InFlight>,
    next_id: u64,
    seal_at: Option<Timestamp>,
    poison: Option<Poison>,
    index: Index,
    cache: Cache,
    /// The block that is read alone, because a read of it and what follows it failed.
    alone: Option<(SegmentNumber, u64)>,
    /// Size of the last written block: what the next one is expected to need.
    block_bytes_hint: usize,
}

/// The positions of the log, see the ruler in the module's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Positions {
    committed: Lsn,
    durable: Lsn,
    submitted: Lsn,
    end: Lsn,
}

/// The segment that blocks are written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Current {
    pub(crate) number: SegmentNumber,
    pub(crate) uuid: u64,
    pub(crate) bytes: u64,
    /// Where the next block goes.
    pub(crate) position: u64,
    /// Header checksum of the last block, or of the segment's header.
    pub(crate) chain: u32,
    /// Blocks so far: they bound the footer's size.
    pub(crate) blocks: usize,
}

impl Current {
    /// Whether a block of `bytes` fits and leaves room for the footer.
    fn fits(&self, bytes: usize) -> bool {
        let needed = (bytes + footer_bytes(self.blocks + 1)) as u64;
        self.position + needed <= self.bytes
    }
}

/// What recovery found, and the log goes on from.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) end: Lsn,
    pub(crate) current: Option<Current>,
    pub(crate) previous: Link,
    pub(crate) ready: VecDeque<(SegmentNumber, u64)>,
    pub(crate) next_number: SegmentNumber,
    pub(crate) index: Index,
}

impl Log {
    /// The log of a partition that was never used.
    pub fn new(config: LogConfig) -> Self {
        Self::from_recovered(config, Recovered::default())
    }

    pub(crate) fn from_recovered(config: LogConfig, recovered: Recovered) -> Self {
        config.assert_valid();
        Self {
            config,
            positions: Positions {
                committed: recovered.end,
                durable: recovered.end,
                submitted: recovered.end,
                end: recovered.end,
            },
            open: None,
            closed: VecDeque::new(),
            current: recovered.current,
            previous: recovered.previous,
            ready: recovered.ready,
            next_number: recovered.next_number,
            rolled: None,
            in_flight: None,
            next_id: 0,
            seal_at: None,
            poison: None,
            index: recovered.index,
            cache: Cache::new(config.cache_bytes),
            alone: None,
            block_bytes_hint: BLOCK_ALIGN,
        }
    }

    /// The front of a log whose later records are damaged: nothing is ever written to it.
    pub(crate) fn read_only(config: LogConfig, recovered: Recovered, damage: BlockSite) -> Self {
        Self {
            poison: Some(Poison {
                site: damage,
                cause: PoisonCause::ReadOnly,
            }),
            ..Self::from_recovered(config, recovered)
        }
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// The next lsn to be appended.
    pub fn end(&self) -> Lsn {
        self.positions.end
    }

    /// Every record below survives a power cut.
    pub fn durable(&self) -> Lsn {
        self.positions.durable
    }

    /// Why the log refuses everything, if it does.
    pub fn poison(&self) -> Option<&Poison> {
        self.poison.as_ref()
    }

    /// Bytes appended and not yet handed out as a write, block headers included.
    pub fn pending_bytes(&self) -> usize {
        let closed: usize = self.closed.iter().map(|block| block.filled).sum();
        closed + self.open.as_ref().map_or(0, |block| block.filled)
    }

    /// Bytes that the block cache is charged for.
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Appends a record to the open block; nothing is durable by that.
    ///
    /// # Errors
    /// The poison, if the log is poisoned.
    ///
    /// # Panics
    /// If the lsn is not `end()`, or the record is larger than `LogConfig::record_bytes_max`.
    pub fn append(&mut self, record: NewRecord<'_>) -> Result<(), Poison> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        let bytes = record.bytes();
        assert_eq!(record.lsn, self.positions.end, "lsn are dense");
        assert!(
            bytes <= self.config.record_bytes_max(),
            "a record of {bytes} bytes does not fit into a block of {}",
            self.config.block_bytes_max
        );
        let block_bytes_max = self.config.block_bytes_max;
        if let Some(full) = self
            .open
            .take_if(|open| open.filled + bytes > block_bytes_max || open.epoch != record.epoch)
        {
            self.closed.push_back(full);
        }
        let hint = self.block_bytes_hint.max(BLOCK_HEADER_BYTES + bytes);
        let cache = &mut self.cache;
        let open = self.open.get_or_insert_with(|| {
            OpenBlock::new(record.lsn, record.epoch, cache.take_buffer(hint))
        });
        if let Some(capacity) = open.lacks(bytes) {
            let outgrown = open.grow_into(cache.take_buffer(capacity));
            cache.give_back(outgrown);
        }
        open.push(&record);
        self.positions.end = open.end_lsn();
        Ok(())
    }

    /// Tells the log what the chain has confirmed; it attests that in later blocks.
    ///
    /// Needless with `LogConfig::alone`, where durable is committed.
    ///
    /// # Panics
    /// If `committed` is above what is durable here.
    pub fn set_committed(&mut self, committed: Lsn) {
        assert!(
            committed <= self.positions.durable,
            "L1: committed {committed} above durable {}",
            self.positions.durable
        );
        self.positions.committed = self.positions.committed.max(committed);
    }

    /// The segment that the log needs next and the least bytes it must have, until `segment_ready` is called.
    ///
    /// Asked for ahead: the first one at the first append, each next one when the current is half full.
    pub fn wants_segment(&self) -> Option<(SegmentNumber, u64)> {
        if self.poison.is_some() || !self.ready.is_empty() {
            return None;
        }
        let next_block = self.closed.front().or(self.open.as_ref());
        let wanted = match &self.current {
            None => next_block.is_some(),
            Some(current) => {
                let is_half_full = 2 * current.position >= current.bytes;
                is_half_full || next_block.is_some_and(|block| !current.fits(block.block_bytes()))
            }
        };
        let bytes = if self.next_number == SegmentNumber(0) {
            self.config.first_segment_bytes
        } else {
            self.config.segment_bytes
        };
        wanted.then_some((self.next_number, bytes))
    }

    /// The segment asked for was installed, durably, and holds `bytes` zeros.
    ///
    /// # Panics
    /// If it is another segment, or too short.
    pub fn segment_ready(&mut self, number: SegmentNumber, bytes: u64) {
        assert_eq!(number, self.next_number, "segments come in a row");
        assert!(
            bytes >= self.config.segment_bytes_min(),
            "a segment of {bytes} bytes is too short"
        );
        self.ready.push_back((number, bytes));
        self.next_number = number.next();
    }

    fn assert_invariants(&self) {
        let at = &self.positions;
        assert!(at.committed <= at.durable, "L1: {at:?}");
        assert!(at.durable <= at.submitted, "L1: {at:?}");
        assert!(at.submitted <= at.end, "L1: {at:?}");
    }
}

#[cfg(test)]
mod tests;
