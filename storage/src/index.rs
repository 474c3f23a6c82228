//! Where each lsn lies: one entry per block, in memory.
//!
//! Owned by the log. Invariant: (X1) the segments are contiguous in number and in lsn.

use std::collections::VecDeque;

use corelane_wire::Lsn;

use crate::layout::SegmentNumber;
use crate::segment::BlockEntry;

/// The durable blocks of one segment.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) number: SegmentNumber,
    pub(crate) uuid: u64,
    pub(crate) base: Lsn,
    /// The lsn after the last durable one in the segment.
    pub(crate) end: Lsn,
    /// Where the last durable block ends.
    pub(crate) end_position: u64,
    pub(crate) blocks: Vec<BlockEntry>,
}

impl SegmentIndex {
    pub(crate) fn new(number: SegmentNumber, uuid: u64, base: Lsn) -> Self {
        Self {
            number,
            uuid,
            base,
            end: base,
            end_position: 0,
            blocks: Vec::new(),
        }
    }

    /// Takes note of a block that follows the last one.
    pub(crate) fn push(&mut self, first: Lsn, end: Lsn, position: u64, bytes: usize) {
        assert_eq!(first, self.end, "X1: the index has no gaps");
        self.blocks
            .push(BlockEntry::new(first.0 - self.base.0, position));
        self.end = end;
        self.end_position = position + bytes as u64;
    }

    fn first_lsn(&self, block: usize) -> Lsn {
        Lsn(self.base.0 + u64::from(self.blocks[block].lsn_delta))
    }

    fn end_position(&self, block: usize) -> u64 {
        self.blocks
            .get(block + 1)
            .map_or(self.end_position, |next| next.position())
    }
}

/// A stretch of blocks to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    pub(crate) segment: SegmentNumber,
    pub(crate) position: u64,
    pub(crate) bytes: usize,
}

/// The index over all segments of a log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: VecDeque<SegmentIndex>,
}

impl Index {
    pub(crate) fn push_segment(&mut self, segment: SegmentIndex) {
        if let Some(last) = self.segments.back() {
            assert_eq!(last.number.next(), segment.number, "X1: segments in a row");
            assert_eq!(last.end, segment.base, "X1: no lsn between segments");
        }
        self.segments.push_back(segment);
    }

    /// The newest segment.
    pub(crate) fn last_mut(&mut self) -> Option<&mut SegmentIndex> {
        self.segments.back_mut()
    }

    /// The newest segment.
    pub(crate) fn last(&self) -> Option<&SegmentIndex> {
        self.segments.back()
    }

    pub(crate) fn segment(&self, number: SegmentNumber) -> Option<&SegmentIndex> {
        let first = self.segments.front()?.number;
        let at = number.0.checked_sub(first.0)? as usize;
        self.segments.get(at)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = SegmentNumber> + '_ {
        self.segments.iter().map(|segment| segment.number)
    }

    /// The block that holds `lsn`, and whole blocks after it up to `bytes_max` together.
    pub(crate) fn find(&self, lsn: Lsn, bytes_max: usize) -> Option<Stretch> {
        let at = self.segments.partition_point(|segment| segment.end <= lsn);
        let segment = self.segments.get(at)?;
        let delta = lsn.0.checked_sub(segment.base.0)?;
        let after = segment
            .blocks
            .partition_point(|block| u64::from(block.lsn_delta) <= delta);
        let block = after.checked_sub(1)?;
        let position = segment.blocks[block].position();
        let mut end = segment.end_position(block);
        let limit = position + bytes_max as u64;
        for next in after..segment.blocks.len() {
            if segment.end_position(next) > limit {
                break;
            }
            end = segment.end_position(next);
        }
        Some(Stretch {
            segment: segment.number,
            position,
            bytes: usize::try_from(end - position).ok()?,
        })
    }

    /// The lsn range of the block at a position, for an error's text.
    pub(crate) fn block_range(&self, number: SegmentNumber, position: u64) -> Option<(Lsn, Lsn)> {
        let segment = self.segment(number)?;
        let block = segment
            .blocks
            .binary_search_by_key(&position, |block| block.position())
            .ok()?;
        let end = if block + 1 < segment.blocks.len() {
            segment.first_lsn(block + 1)
        } else {
            segment.end
        };
        Some((segment.first_lsn(block), end))
    }
}
