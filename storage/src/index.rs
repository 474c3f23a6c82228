//! Where each lsn lies: the segments, and one entry per block of those that are written or read.
//!
//! Owned by the log. Invariants: (X1) the segments ascend in number and in lsn and do not overlap; a gap is a segment
//! that was forgotten. (X2) of closed segments at most [`CLOSED_BLOCKS_MAX`] entries are kept, or those of one
//! segment; the others stand in the footers.

use std::collections::VecDeque;
use std::ops::Range;

use corelane_wire::{Lsn, PartitionId};

use crate::block::BlockSite;
use crate::error::{Damage, DamageCause};
use crate::layout::{SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::segment::{BlockEntry, footer_bytes};
use crate::segment_table::{FooterEntry, Resume, SegmentEntry, SegmentTable};

/// The durable blocks of one segment.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) number: SegmentNumber,
    pub(crate) uuid: u64,
    pub(crate) base: Lsn,
    /// The lsn after the last durable one in the segment.
    pub(crate) end: Lsn,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Where the last durable block ends.
    pub(crate) end_position: u64,
    /// What closed it; `None` while it is written.
    pub(crate) footer: Option<FooterEntry>,
    pub(crate) blocks: Blocks,
}

/// The index of one segment.
#[derive(Debug)]
pub(crate) enum Blocks {
    Here(Vec<BlockEntry>),
    /// To be read from the footer.
    InFooter,
    /// The file is gone, or not what it was.
    Lost(DamageCause),
}

impl SegmentIndex {
    pub(crate) fn new(number: SegmentNumber, uuid: u64, base: Lsn, bytes: u64) -> Self {
        Self {
            number,
            uuid,
            base,
            end: base,
            bytes,
            end_position: 0,
            footer: None,
            blocks: Blocks::Here(Vec::new()),
        }
    }

    /// A closed segment that a checkpoint's table names.
    pub(crate) fn closed(entry: &SegmentEntry, footer: FooterEntry, blocks: Blocks) -> Self {
        Self {
            number: entry.number,
            uuid: entry.uuid,
            base: entry.base,
            end: entry.end,
            bytes: entry.bytes,
            end_position: footer.position,
            footer: Some(footer),
            blocks,
        }
    }

    /// The segment in which a scan goes on, as far as the checkpoint's table knows it.
    pub(crate) fn resumed(entry: &SegmentEntry, resume: &Resume) -> Self {
        Self {
            end: resume.first,
            end_position: resume.position,
            blocks: Blocks::Here(resume.blocks.clone()),
            ..Self::new(entry.number, entry.uuid, entry.base, entry.bytes)
        }
    }

    /// Takes note of a block that follows the last one.
    pub(crate) fn push(&mut self, first: Lsn, end: Lsn, position: u64, bytes: usize) {
        assert_eq!(first, self.end, "X1: the index has no gaps");
        assert!(self.footer.is_none(), "nothing follows a footer");
        if let Blocks::Here(blocks) = &mut self.blocks {
            blocks.push(BlockEntry::new(first.0 - self.base.0, position));
        }
        self.end = end;
        self.end_position = position + bytes as u64;
    }

    /// The entries of its blocks, if they are at hand.
    pub(crate) fn blocks(&self) -> &[BlockEntry] {
        match &self.blocks {
            Blocks::Here(blocks) => blocks,
            Blocks::InFooter | Blocks::Lost(_) => &[],
        }
    }

    fn first_lsn(&self, block: BlockEntry) -> Lsn {
        Lsn(self.base.0 + u64::from(block.lsn_delta))
    }

    /// The block that holds `lsn`, and whole blocks after it up to `bytes_max` together.
    fn stretch(&self, lsn: Lsn, bytes_max: usize) -> Option<Stretch> {
        let delta = lsn.0.checked_sub(self.base.0)?;
        let blocks = self.blocks();
        let after = blocks.partition_point(|block| u64::from(block.lsn_delta) <= delta);
        let position = blocks.get(after.checked_sub(1)?)?.position();
        let limit = position + bytes_max as u64;
        let ends = blocks[after..].iter().map(|block| block.position());
        let mut ends = ends.chain([self.end_position]);
        let first = ends.next()?;
        let end = ends.take_while(|end| *end <= limit).last().unwrap_or(first);
        Some(Stretch {
            segment: self.number,
            position,
            bytes: usize::try_from(end - position).ok()?,
        })
    }

    /// What is wrong with a segment whose file is lost.
    pub(crate) fn damage(&self, partition: PartitionId, cause: DamageCause) -> Damage {
        Damage {
            site: BlockSite {
                partition,
                segment: self.number,
                position: 0,
            },
            first: self.base,
            end: self.end,
            cause,
        }
    }

    /// The entry in the table of a checkpoint at `end`, if the segment is not the last one of the table.
    fn entry(&self, end: Lsn) -> SegmentEntry {
        SegmentEntry {
            number: self.number,
            uuid: self.uuid,
            base: self.base,
            end: self.end.min(end),
            bytes: self.bytes,
            footer: self.footer,
        }
    }

    /// Where a scan for what follows `end` begins: with the block of the record before it.
    fn resume(&self, end: Lsn) -> Resume {
        let delta = end.0 - self.base.0;
        let blocks = self.blocks();
        let after = blocks.partition_point(|block| u64::from(block.lsn_delta) < delta);
        let (before, block) = match after.checked_sub(1) {
            Some(last) => (&blocks[..last], Some(blocks[last])),
            None => (&[][..], None),
        };
        Resume {
            segment: self.number,
            position: block.map_or(SEGMENT_HEADER_BYTES as u64, BlockEntry::position),
            first: block.map_or(self.base, |block| self.first_lsn(block)),
            blocks: before.to_vec(),
        }
    }
}

/// A stretch of blocks to be read, or a footer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    pub(crate) segment: SegmentNumber,
    pub(crate) position: u64,
    pub(crate) bytes: usize,
}

/// Where a record is.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// In the blocks of this stretch, or in the segment whose footer it is.
    Stretch(Stretch),
    /// In a segment that is lost.
    Lost(&'a SegmentIndex, DamageCause),
}

/// The index over all segments of a log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: VecDeque<SegmentIndex>,
    /// Closed segments whose entries are at hand, the ones read or written last behind (X2).
    closed: VecDeque<SegmentNumber>,
    closed_blocks: usize,
}

impl Index {
    pub(crate) fn push_segment(&mut self, segment: SegmentIndex) {
        if let Some(last) = self.segments.back() {
            assert!(last.number < segment.number, "X1: segments ascend");
            assert!(last.end <= segment.base, "X1: segments do not overlap");
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

    fn place(&self, number: SegmentNumber) -> Option<usize> {
        self.segments
            .binary_search_by_key(&number, |segment| segment.number)
            .ok()
    }

    pub(crate) fn segment(&self, number: SegmentNumber) -> Option<&SegmentIndex> {
        self.segments.get(self.place(number)?)
    }

    /// The segments whose files are whole.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = SegmentNumber> + '_ {
        self.segments
            .iter()
            .filter(|segment| !matches!(segment.blocks, Blocks::Lost(_)))
            .map(|segment| segment.number)
    }

    /// The segments that have a footer.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &SegmentIndex> {
        self.segments
            .iter()
            .filter(|segment| segment.footer.is_some())
    }

    /// Drops a closed segment and returns the range of its records; `None` if there is no such segment.
    pub(crate) fn forget(&mut self, number: SegmentNumber) -> Option<Range<Lsn>> {
        let forgotten = self.segments.remove(self.place(number)?)?;
        assert!(
            forgotten.footer.is_some(),
            "only a closed segment is forgotten"
        );
        if self.closed.contains(&number) {
            self.closed.retain(|closed| *closed != number);
            self.closed_blocks -= forgotten.blocks().len();
        }
        Some(forgotten.base..forgotten.end)
    }

    /// The newest segment got its footer.
    pub(crate) fn close(&mut self, footer: FooterEntry) {
        if let Some(last) = self.segments.back_mut() {
            last.footer = Some(footer);
            let (number, blocks) = (last.number, last.blocks().len());
            self.keep(number, blocks);
        }
    }

    /// The footer of a closed segment was read.
    pub(crate) fn load(&mut self, number: SegmentNumber, blocks: Vec<BlockEntry>) {
        let place = self.place(number);
        let Some(segment) = place.and_then(|at| self.segments.get_mut(at)) else {
            return;
        };
        if matches!(segment.blocks, Blocks::InFooter) {
            let count = blocks.len();
            segment.blocks = Blocks::Here(blocks);
            self.keep(number, count);
        }
    }

    /// Takes note of entries of a closed segment, and drops the oldest ones over the bound (X2), but never these:
    /// who asked for them must find them once.
    fn keep(&mut self, number: SegmentNumber, blocks: usize) {
        self.closed.push_back(number);
        self.closed_blocks += blocks;
        while self.closed_blocks > CLOSED_BLOCKS_MAX && self.closed.len() > 1 {
            let oldest = self.closed.pop_front();
            let place = oldest.and_then(|oldest| self.place(oldest));
            if let Some(segment) = place.and_then(|at| self.segments.get_mut(at)) {
                self.closed_blocks -= segment.blocks().len();
                segment.blocks = Blocks::InFooter;
            }
        }
    }

    /// Where `lsn` is; of blocks, the one that holds it and whole blocks after it up to `bytes_max` together.
    pub(crate) fn find(&self, lsn: Lsn, bytes_max: usize) -> Option<Found<'_>> {
        let at = self.segments.partition_point(|segment| segment.end <= lsn);
        let segment = self.segments.get(at).filter(|it| it.base <= lsn)?;
        match &segment.blocks {
            Blocks::Here(_) => segment.stretch(lsn, bytes_max).map(Found::Stretch),
            Blocks::InFooter => segment.footer.map(|footer| {
                Found::Stretch(Stretch {
                    segment: segment.number,
                    position: footer.position,
                    bytes: footer_bytes(footer.blocks as usize),
                })
            }),
            Blocks::Lost(cause) => Some(Found::Lost(segment, *cause)),
        }
    }

    /// The bytes of the block at a position; `None` if none begins there, or that is not known.
    pub(crate) fn block(&self, number: SegmentNumber, position: u64) -> Option<usize> {
        let segment = self.segment(number)?;
        let blocks = segment.blocks();
        let at = blocks.binary_search_by_key(&position, |block| block.position());
        let next = blocks.get(at.ok()? + 1).map(|next| next.position());
        usize::try_from(next.unwrap_or(segment.end_position) - position).ok()
    }

    /// The lsn range of what stands at a position, for an error's text: that of a block, or of the segment.
    pub(crate) fn range(&self, number: SegmentNumber, position: u64) -> Option<(Lsn, Lsn)> {
        let segment = self.segment(number)?;
        let blocks = segment.blocks();
        let Ok(at) = blocks.binary_search_by_key(&position, |block| block.position()) else {
            return Some((segment.base, segment.end));
        };
        let next = blocks.get(at + 1);
        let end = next.map_or(segment.end, |next| segment.first_lsn(*next));
        Some((segment.first_lsn(blocks[at]), end))
    }

    /// The table of a checkpoint at `end`.
    pub(crate) fn table(&self, end: Lsn) -> SegmentTable {
        let count = self.segments.partition_point(|segment| segment.base < end);
        let mut segments: Vec<_> = self
            .segments
            .range(..count)
            .map(|segment| segment.entry(end))
            .collect();
        let resume = count
            .checked_sub(1)
            .and_then(|last| self.segments.get(last))
            .map(|last| last.resume(end));
        let known = segments.last().map_or(Lsn(0), |last| last.end);
        assert_eq!(known, end, "the record before the end is in a segment");
        if let Some(last) = segments.last_mut() {
            last.footer = None;
        }
        SegmentTable { segments, resume }
    }
}

/// Half a MiB of them: the blocks of four segments that hold one block per page, or of hundreds as they are written
/// under load.
const CLOSED_BLOCKS_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests;
