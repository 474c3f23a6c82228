//! A survey: reads a whole log, says what is damaged, and goes on behind it. Changes nothing.
//!
//! It scans like a recovery and asks the same look-ahead whether an end is torn or rotten. Where a recovery stops at
//! rot, a survey looks for the next block of the segment that is intact; the link to that one is taken from the block
//! itself, which holds the right lsn under its own checksums.

use std::cell::RefCell;

use corelane_wire::Lsn;

use super::finding::{Finding, LogFault};
use super::look_ahead::{Evidence, Tail};
use super::scan::Scan;
use super::{Scanned, TornBy, failed};
use crate::block::BlockSite;
use crate::config::LogConfig;
use crate::error::RecoverError;
use crate::layout::{BLOCK_ALIGN, SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::record::RecordView;
use crate::segment::{Link, SegmentHeader};
use crate::segment_table::SegmentTable;
use crate::volume::Volume;

mod segment;

use segment::{Item, Walked};

/// What a survey meets.
#[derive(Debug)]
pub enum Surveyed<'a> {
    /// A record, in an intact block that begins there.
    Record(RecordView<'a>, BlockSite),
    /// Something that is not as it was written.
    Finding(Finding),
}

/// Takes what a survey meets, in the order of the log; an error ends it.
pub type VisitSurvey<'a> = dyn FnMut(Surveyed<'_>) -> Result<(), String> + 'a;

/// Reads all that is kept of a log; `table` is that of the checkpoint at `start`, or the empty one.
///
/// Returns the lsn at which a start would go on, were nothing damaged.
///
/// # Errors
/// That of `visit`, as `Replay`; or if the segments cannot be listed.
pub fn survey(
    volume: &dyn Volume,
    config: &LogConfig,
    (start, table): (Lsn, &SegmentTable),
    visit: &mut VisitSurvey<'_>,
) -> Result<Lsn, RecoverError> {
    let files = volume
        .segments(config.partition)
        .map_err(|source| failed(config, "list the segments", source))?;
    let visit = RefCell::new(visit);
    let mut block = BlockSite {
        partition: config.partition,
        segment: SegmentNumber(0),
        position: 0,
    };
    let mut on_scanned = |scanned: Scanned<'_>| match scanned {
        Scanned::Segment { .. } => Ok(()),
        Scanned::Block(site) => {
            block = site;
            Ok(())
        }
        Scanned::Record(record) => (visit.borrow_mut())(Surveyed::Record(record, block)),
    };
    let mut scan = Scan::new(volume, config, start, &mut on_scanned);
    scan.from = Lsn(0);
    let tell = |met: Surveyed<'_>| (visit.borrow_mut())(met);
    let mut survey = Survey {
        scan,
        tell: &tell,
        link: None,
    };
    survey.closed_segments(table, &files)?;
    survey.open_segments(table, &files)?;
    Ok(survey.scan.end)
}

struct Survey<'a, 'v> {
    scan: Scan<'a, 'v>,
    tell: &'a dyn Fn(Surveyed<'_>) -> Result<(), String>,
    /// What the next segment has to name, if the end of the one before could be read.
    link: Option<Link>,
}

impl Survey<'_, '_> {
    /// Reads the segments that the table closes, and names the files before the scanned ones that it does not know.
    fn closed_segments(
        &mut self,
        table: &SegmentTable,
        files: &[SegmentNumber],
    ) -> Result<(), RecoverError> {
        let resume = table.resume.as_ref();
        let first_scanned = resume.map_or(SegmentNumber(0), |resume| resume.segment);
        let is_named = |number| table.segments.iter().any(|entry| entry.number == number);
        for &number in files.iter().take_while(|number| **number < first_scanned) {
            if !is_named(number) {
                self.whole_file(number, (Lsn(0), Lsn(0)), LogFault::Leftover)?;
            }
        }
        let mut before = None;
        for entry in &table.segments {
            let Some(footer) = entry.footer else {
                continue;
            };
            let follows = before.is_some_and(|before: SegmentNumber| before.next() == entry.number);
            self.link = self.link.filter(|_| follows);
            before = Some(entry.number);
            self.scan.end = entry.base;
            if files.contains(&entry.number) {
                self.segment(Item {
                    number: entry.number,
                    entry: Some(entry),
                    later: &[],
                })?;
            } else {
                let lsns = (entry.base, entry.end);
                self.whole_file(entry.number, lsns, LogFault::Missing(entry.number))?;
            }
            self.scan.end = entry.end;
            self.link = Some(Link {
                uuid: entry.uuid,
                crc: footer.crc,
            });
        }
        let last = table.segments.last();
        let follows = last.is_some_and(|last| before.is_some_and(|it| it.next() == last.number));
        self.link = self.link.filter(|_| follows);
        Ok(())
    }

    /// Reads the segment in which the checkpoint ends, and those after it, to the end of the log.
    fn open_segments(
        &mut self,
        table: &SegmentTable,
        files: &[SegmentNumber],
    ) -> Result<(), RecoverError> {
        let entry = table.segments.last().filter(|last| last.footer.is_none());
        let mut expected = entry.map_or(SegmentNumber(0), |entry| entry.number);
        if let Some(entry) = entry {
            self.scan.end = entry.base;
        }
        let at = files.partition_point(|number| *number < expected);
        let mut later = &files[at..];
        while let Some((&number, rest)) = later.split_first() {
            if number > expected {
                let base = self.quiet_header(number).map(|header| header.base);
                let end = base.unwrap_or(self.scan.end).max(self.scan.end);
                self.missing(expected, SegmentNumber(number.0 - 1), end)?;
                self.link = None;
            }
            let entry = entry.filter(|entry| entry.number == number);
            let walked = self.segment(Item {
                number,
                entry,
                later: rest,
            })?;
            if walked == Walked::End {
                return Ok(());
            }
            self.link = (walked == Walked::Closed).then_some(self.scan.link);
            later = rest;
            expected = number.next();
        }
        if expected > SegmentNumber(0) || self.scan.start > Lsn(0) {
            let end = self.scan.end.max(self.scan.start);
            self.missing(expected, expected, end)?;
        }
        Ok(())
    }

    fn torn(&mut self, tail: &Tail, evidence: &Evidence) -> Result<(), RecoverError> {
        let by = if evidence.blocks_behind > 0 {
            TornBy::Reordering
        } else {
            TornBy::Garbage
        };
        let end = self.scan.end;
        for leftover in &evidence.leftovers {
            let site = self.site(leftover.segment, leftover.position);
            let behind = leftover.position + leftover.bytes;
            // All but the first attempt at a write is not what tore, but what has to go with it.
            let is_tail = leftover.segment == tail.segment;
            let by = if is_tail { by } else { TornBy::Garbage };
            self.find(site, behind, (end, end), LogFault::Torn(by))?;
        }
        Ok(())
    }

    /// The header of a segment, without a word about a copy that is not intact.
    fn quiet_header(&mut self, number: SegmentNumber) -> Option<SegmentHeader> {
        let header = self.scan.header(number).ok().flatten();
        self.scan.repairs.clear();
        header
    }

    fn header_copies(&mut self) -> Result<(), RecoverError> {
        let end = self.scan.end;
        for repair in std::mem::take(&mut self.scan.repairs) {
            let site = self.site(repair.segment, repair.position);
            let behind = repair.position + BLOCK_ALIGN as u64;
            self.find(site, behind, (end, end), LogFault::HeaderCopy)?;
        }
        Ok(())
    }

    fn headers_lost(&mut self, number: SegmentNumber) -> Result<(), RecoverError> {
        let (site, end) = (self.site(number, 0), self.scan.end);
        self.find(
            site,
            SEGMENT_HEADER_BYTES as u64,
            (end, end),
            LogFault::Headers,
        )
    }

    fn missing(
        &mut self,
        first: SegmentNumber,
        last: SegmentNumber,
        end: Lsn,
    ) -> Result<(), RecoverError> {
        let lsns = (self.scan.end, end);
        self.scan.end = end;
        let site = self.site(first, 0);
        self.find(site, 0, lsns, LogFault::Missing(last))
    }

    fn whole_file(
        &mut self,
        number: SegmentNumber,
        lsns: (Lsn, Lsn),
        fault: LogFault,
    ) -> Result<(), RecoverError> {
        let volume = self.scan.volume;
        let bytes = volume.segment_bytes(self.scan.config.partition, number);
        let site = self.site(number, 0);
        self.find(site, bytes.unwrap_or(0), lsns, fault)
    }

    fn site(&self, segment: SegmentNumber, position: u64) -> BlockSite {
        BlockSite {
            partition: self.scan.config.partition,
            segment,
            position,
        }
    }

    fn find(
        &mut self,
        site: BlockSite,
        end: u64,
        lsns: (Lsn, Lsn),
        fault: LogFault,
    ) -> Result<(), RecoverError> {
        let finding = Finding {
            site,
            end,
            lsns,
            fault,
        };
        (self.tell)(Surveyed::Finding(finding)).map_err(|reason| RecoverError::Replay {
            lsn: lsns.0,
            reason,
        })
    }
}
