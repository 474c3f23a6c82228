//! The segments of a log, as those see them who decide what is kept.

use corelane_wire::Lsn;

use super::Log;
use crate::index::Blocks;
use crate::layout::SegmentNumber;
use crate::scrub::SegmentScrub;
use crate::segment_table::SegmentTable;

/// A segment to which nothing will ever be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    /// The segment file.
    pub number: SegmentNumber,
    /// Its first lsn.
    pub base: Lsn,
    /// The lsn after its last.
    pub end: Lsn,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Log {
    /// Every segment file of the log, ascending; those that hold nothing yet included, those that were lost not.
    pub fn segments(&self) -> Vec<SegmentNumber> {
        let mut numbers: Vec<_> = self.index.numbers().collect();
        let begun = self.current.map(|current| current.number);
        numbers.extend(begun.filter(|number| numbers.last() != Some(number)));
        numbers.extend(self.ready.iter().map(|(number, _)| *number));
        numbers
    }

    /// The segment that blocks go into, and its bytes that are written.
    pub fn current(&self) -> Option<(SegmentNumber, u64)> {
        self.current
            .map(|current| (current.number, current.position))
    }

    /// The base of a segment, once, after the `next_io` that handed its first block out: where records begin to
    /// lie in another file. To be taken after every call of `next_io`; the newest is kept.
    pub fn take_rolled(&mut self) -> Option<Lsn> {
        self.rolled.take()
    }

    /// The table for a checkpoint of everything below `end`. Cheap: no file is read, and nothing is copied but the
    /// index of one segment.
    ///
    /// # Panics
    /// If `end` is above what is durable, or the segment with the record before it was forgotten.
    pub fn segment_table(&self, end: Lsn) -> SegmentTable {
        let durable = self.durable();
        assert!(
            end <= durable,
            "a checkpoint at {end} above durable {durable}"
        );
        self.index.table(end)
    }

    /// The segments that are closed and not forgotten, ascending; those that were lost included.
    pub fn sealed(&self) -> impl Iterator<Item = SealedSegment> + '_ {
        self.index.closed().map(|segment| SealedSegment {
            number: segment.number,
            base: segment.base,
            end: segment.end,
            bytes: segment.bytes,
        })
    }

    /// The first closed segment after `before` whose file is there, to be read through.
    pub fn scrub_after(&self, before: Option<SegmentNumber>) -> Option<SegmentScrub> {
        let mut later = self.index.closed().filter(|segment| {
            before.is_none_or(|before| before < segment.number)
                && !matches!(segment.blocks, Blocks::Lost(_))
        });
        let segment = later.next()?;
        let footer = segment.footer?;
        Some(SegmentScrub::new(self.config.partition, segment, footer))
    }

    /// Forgets a closed segment: its records are unknown from now on, and later tables do not name it.
    ///
    /// Its file may go when no checkpoint needs it that a start may still begin with: none whose state refers to
    /// records in it, and none whose scan goes on in it or before it (see [`crate::Resume`]).
    ///
    /// # Panics
    /// If it is not closed.
    pub fn forget_segment(&mut self, number: SegmentNumber) {
        if let Some(range) = self.index.forget(number) {
            self.cache.forget(range);
        }
    }
}
