//! Where a scan begins: what a checkpoint's table says, held against the files at hand.
//!
//! Segments that the table calls closed are not read: what they hold is in the checkpoint, and their blocks were
//! verified when they were written and are again when they are read. The scan goes on in the last segment of the table.

use corelane_wire::Lsn;

use super::failed;
use super::look_ahead::Tail;
use super::scan::{Scan, SegmentEnd};
use crate::block::BlockHeader;
use crate::error::{Damage, DamageCause, RecoverError};
use crate::index::{Blocks, SegmentIndex};
use crate::layout::SegmentNumber;
use crate::log::Current;
use crate::segment::Link;
use crate::segment_table::{Resume, SegmentEntry, SegmentTable};

/// The segment files, by what they are good for.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whole, and closed before the checkpoint.
    pub(super) closed: Vec<SegmentNumber>,
    /// To be scanned.
    pub(super) scanned: Vec<SegmentNumber>,
    pub(super) missing: Vec<Damage>,
    pub(super) leftovers: Vec<SegmentNumber>,
}

/// Where the scanned segments end.
#[derive(Debug)]
pub(super) enum LastScanned<'s> {
    /// There is none: the log was never used.
    Unused,
    /// In one without a footer; the segments behind it.
    Open(Tail, &'s [SegmentNumber]),
    /// At a footer, and the file of the segment that follows it is not there.
    Closed { next: SegmentNumber },
}

impl Scan<'_, '_> {
    /// Takes the closed segments of the table into the index and sorts the files.
    pub(super) fn closed_segments(
        &mut self,
        table: &SegmentTable,
        files: Vec<SegmentNumber>,
    ) -> Result<Known, RecoverError> {
        let first = first_scanned(table);
        let (old, scanned) = files.into_iter().partition(|number| *number < first);
        let mut known = Known {
            leftovers: old,
            scanned,
            ..Known::default()
        };
        for entry in &table.segments {
            let Some(footer) = entry.footer else {
                continue;
            };
            let place = known.leftovers.binary_search(&entry.number);
            let blocks = match place {
                Ok(place) => {
                    known.leftovers.remove(place);
                    self.whole_or_lost(entry)?
                }
                Err(_) => Blocks::Lost(DamageCause::MissingSegment(entry.number)),
            };
            let lost = match &blocks {
                Blocks::Lost(cause) => Some(*cause),
                Blocks::Here(_) | Blocks::InFooter => None,
            };
            let segment = SegmentIndex::closed(entry, footer, blocks);
            match lost {
                Some(cause) => known
                    .missing
                    .push(segment.damage(self.config.partition, cause)),
                None => known.closed.push(entry.number),
            }
            self.link = Link {
                uuid: entry.uuid,
                crc: footer.crc,
            };
            self.index.push_segment(segment);
        }
        Ok(known)
    }

    fn whole_or_lost(&self, entry: &SegmentEntry) -> Result<Blocks, RecoverError> {
        let bytes = self
            .volume
            .segment_bytes(self.config.partition, entry.number)
            .map_err(|source| failed(self.config, "measure a segment", source))?;
        Ok(if bytes == entry.bytes {
            Blocks::InFooter
        } else {
            Blocks::Lost(DamageCause::FileLength(bytes))
        })
    }

    /// Scans segments until one has no footer.
    pub(super) fn segments<'s>(
        &mut self,
        table: &SegmentTable,
        scanned: &'s [SegmentNumber],
    ) -> Result<LastScanned<'s>, RecoverError> {
        let mut expected = first_scanned(table);
        let resume = table.resume.as_ref().zip(table.segments.last());
        if let Some((resume, _)) = resume {
            self.end = resume.first;
        }
        let mut later = scanned;
        while let Some((number, rest)) = later.split_first() {
            self.expect_number(expected, *number)?;
            let resume = resume.filter(|(resume, _)| resume.segment == *number);
            let end = match resume {
                Some((resume, entry)) => self.resume(resume, entry)?,
                None => self.segment(*number)?,
            };
            if let SegmentEnd::Open(tail) = end {
                return Ok(LastScanned::Open(tail, rest));
            }
            later = rest;
            expected = expected.next();
        }
        if expected == SegmentNumber(0) && self.start == Lsn(0) {
            return Ok(LastScanned::Unused);
        }
        Ok(LastScanned::Closed { next: expected })
    }

    /// Scans the segment that holds the end of the checkpoint.
    fn resume(
        &mut self,
        resume: &Resume,
        entry: &SegmentEntry,
    ) -> Result<SegmentEnd, RecoverError> {
        let number = entry.number;
        let file_bytes = self.file_bytes(number)?;
        let Some(header) = self.header(number)? else {
            return Ok(SegmentEnd::Open(Tail::blank(number, file_bytes)));
        };
        if header.bytes != file_bytes {
            return Err(self.damage(number, 0, self.end, DamageCause::FileLength(file_bytes)));
        }
        let follows = self
            .index
            .last()
            .is_none_or(|last| last.number.next() != number)
            || header.previous == self.link;
        let is_the_one =
            (header.base, header.uuid, header.bytes) == (entry.base, entry.uuid, entry.bytes);
        if !follows || !is_the_one {
            return Err(self.damage(number, 0, header.base, DamageCause::BrokenLink));
        }
        let mut chain = header.chain_start();
        if !resume.blocks.is_empty() {
            self.index
                .push_segment(SegmentIndex::resumed(entry, resume));
            // The block before is not read: the link to it is taken from the block itself, which has to hold the
            // right records under its own checksums.
            let bytes = self
                .window
                .bytes(self.volume, self.config, number, resume.position)?;
            chain = BlockHeader::decode(bytes).map_or(chain, |(block, _)| block.prev_crc);
        }
        self.blocks(Current {
            number,
            uuid: entry.uuid,
            bytes: file_bytes,
            position: resume.position,
            chain,
            blocks: resume.blocks.len(),
        })
    }
}

/// The first segment that is scanned.
fn first_scanned(table: &SegmentTable) -> SegmentNumber {
    table
        .resume
        .as_ref()
        .map_or(SegmentNumber(0), |resume| resume.segment)
}
