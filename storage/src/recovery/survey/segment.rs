//! One segment: its header copies, every block, and what comes behind those that are bad.

use corelane_wire::Lsn;

use super::Survey;
use crate::block::{Block, BlockFault, BlockHeader, BlockKind, Place};
use crate::config::LogConfig;
use crate::error::{DamageCause, RecoverError};
use crate::index::Index;
use crate::layout::{BLOCK_ALIGN, SEGMENT_HEADER_BYTES, SegmentNumber, segment_uuid};
use crate::log::Current;
use crate::record::record_places;
use crate::recovery::finding::LogFault;
use crate::recovery::look_ahead::Tail;
use crate::recovery::scan::SegmentEnd;
use crate::segment::SegmentHeader;
use crate::segment_table::SegmentEntry;

/// A segment to be read.
#[derive(Clone, Copy)]
pub(super) struct Item<'s> {
    pub(super) number: SegmentNumber,
    /// What the checkpoint's table says of it.
    pub(super) entry: Option<&'s SegmentEntry>,
    /// The segment files behind it.
    pub(super) later: &'s [SegmentNumber],
}

/// How the reading of a segment ended.
#[derive(PartialEq, Eq)]
pub(super) enum Walked {
    /// At its footer.
    Closed,
    /// At damage behind which nothing of it is intact.
    Lost,
    /// At the end of the log.
    End,
}

/// What is known of a bad place.
struct Bad {
    position: u64,
    fault: BlockFault,
    /// The lsn after the last one that it holds for sure.
    end: Lsn,
}

impl Survey<'_, '_> {
    /// Reads one segment as far as anything of it is intact.
    pub(super) fn segment(&mut self, item: Item<'_>) -> Result<Walked, RecoverError> {
        self.scan.index = Index::default();
        self.scan.is_gapped = false;
        let current = match self.begin(item) {
            Ok(Ok(current)) => current,
            Ok(Err(walked)) => return Ok(walked),
            Err(error) => return self.given_up(item.number, error),
        };
        self.walk(item, current)
    }

    /// What goes before the first block.
    fn begin(&mut self, item: Item<'_>) -> Result<Result<Current, Walked>, RecoverError> {
        let number = item.number;
        let bytes = self.scan.file_bytes(number)?;
        let header = self.scan.header(number)?;
        self.header_copies()?;
        let stated =
            (item.entry.map(|entry| entry.bytes)).or_else(|| header.map(|header| header.bytes));
        if stated.is_some_and(|stated| stated != bytes) {
            let end = item.entry.map_or(self.scan.end, |entry| entry.end);
            self.whole_file(number, (self.scan.end, end), LogFault::Length(bytes))?;
        }
        let mut current = Current {
            number,
            uuid: 0,
            bytes,
            position: SEGMENT_HEADER_BYTES as u64,
            chain: 0,
            blocks: 0,
        };
        match (header, item.entry) {
            (Some(header), entry) => {
                self.check_link(item, &header)?;
                self.scan.end = entry.map_or(header.base, |entry| entry.base);
                current.uuid = entry.map_or(header.uuid, |entry| entry.uuid);
                current.chain = header.chain_start();
            }
            (None, Some(entry)) => {
                self.headers_lost(number)?;
                current.uuid = entry.uuid;
                current.chain = self.first_link(number)?;
            }
            (None, None) => {
                let tail = Tail::blank(number, bytes);
                let Some(bad) = self.judge(&tail, item.later)? else {
                    return Ok(Err(Walked::End));
                };
                let Some(uuid) = self.scan.uuid_of_first_block(number)? else {
                    let end = self.base_behind(item.later).unwrap_or(bad.end);
                    let end = end.min(bad.end).max(self.scan.end);
                    self.whole_file(number, (self.scan.end, end), LogFault::Headers)?;
                    self.scan.end = end;
                    return Ok(Err(Walked::Lost));
                };
                self.headers_lost(number)?;
                current.uuid = uuid;
                current.chain = self.first_link(number)?;
            }
        }
        Ok(Ok(current))
    }

    /// Reads the blocks of a segment, and goes on behind those that are bad.
    fn walk(&mut self, item: Item<'_>, mut current: Current) -> Result<Walked, RecoverError> {
        let closed = item.entry.filter(|entry| entry.footer.is_some());
        loop {
            let begun = current.position;
            let bad = match self.scan.blocks(current) {
                Ok(SegmentEnd::Sealed) => return Ok(Walked::Closed),
                Ok(SegmentEnd::Open(tail)) => match closed {
                    Some(entry) => Bad {
                        position: tail.position,
                        fault: tail.fault,
                        end: entry.end,
                    },
                    None => match self.judge(&tail, item.later) {
                        Ok(Some(bad)) => bad,
                        Ok(None) => return Ok(Walked::End),
                        Err(error) => return self.given_up(item.number, error),
                    },
                },
                Err(RecoverError::Damaged(damage)) => Bad {
                    position: damage.site.position,
                    fault: fault_of(damage.cause),
                    end: closed.map_or(damage.end, |entry| entry.end),
                },
                Err(error) => return self.given_up(item.number, error),
            };
            let position = bad.position.max(begun);
            let next = match self.next_block(&current, position) {
                Ok(next) => next,
                Err(error) => return self.given_up(item.number, error),
            };
            let site = self.site(item.number, position);
            let first = self.scan.end;
            let Some((found, header)) = next else {
                let behind = self.base_behind(item.later);
                let end = behind.unwrap_or(bad.end).min(bad.end).max(first);
                let footer = closed.and_then(|entry| entry.footer);
                let footer = footer.map_or(current.bytes, |footer| footer.position);
                let mut site = site;
                if first < end {
                    let to = footer.max(position);
                    self.find(site, to, (first, end), LogFault::Blocks(bad.fault))?;
                    site.position = to;
                }
                if site.position < current.bytes {
                    let fault = LogFault::Footer(bad.fault);
                    self.find(site, current.bytes, (end, end), fault)?;
                }
                self.scan.end = end;
                return Ok(Walked::Lost);
            };
            let lsns = (first, header.first_lsn);
            self.find(site, found, lsns, LogFault::Blocks(bad.fault))?;
            current = self.skip(current, (position, found), &header)?;
        }
    }

    /// Asks the look-ahead of a recovery: `None` if the log ends here.
    fn judge(&mut self, tail: &Tail, later: &[SegmentNumber]) -> Result<Option<Bad>, RecoverError> {
        match self.scan.look_ahead(tail, later) {
            Ok(evidence) => {
                self.torn(tail, &evidence)?;
                Ok(None)
            }
            Err(RecoverError::Damaged(damage)) => Ok(Some(Bad {
                position: tail.position,
                fault: tail.fault,
                end: damage.end,
            })),
            Err(error) => Err(error),
        }
    }

    /// The next intact block of the segment behind a bad place.
    fn next_block(
        &mut self,
        current: &Current,
        bad: u64,
    ) -> Result<Option<(u64, BlockHeader)>, RecoverError> {
        let base = self.base_of(current.number);
        let mut position = bad + BLOCK_ALIGN as u64;
        while position < current.bytes {
            let place = Place {
                segment_uuid: current.uuid,
                partition: self.scan.config.partition,
                position,
            };
            let (volume, config) = (self.scan.volume, self.scan.config);
            let bytes = (self.scan.window).bytes(volume, config, current.number, position)?;
            if let Some(header) = intact(bytes, &place)
                && header.first_lsn >= self.scan.end
                && u32::try_from(header.first_lsn.0 - base.0).is_ok()
            {
                return Ok(Some((position, header)));
            }
            position += BLOCK_ALIGN as u64;
        }
        Ok(None)
    }

    /// The first lsn of the next segment, if that can be told.
    fn base_behind(&mut self, later: &[SegmentNumber]) -> Option<Lsn> {
        let next = *later.first()?;
        if let Some(header) = self.quiet_header(next) {
            return Some(header.base);
        }
        self.scan.uuid_of_first_block(next).ok()??;
        let (volume, config) = (self.scan.volume, self.scan.config);
        let position = SEGMENT_HEADER_BYTES as u64;
        let bytes = (self.scan.window)
            .bytes(volume, config, next, position)
            .ok()?;
        BlockHeader::decode(bytes)
            .ok()
            .map(|(first, _)| first.first_lsn)
    }

    /// The first lsn of the segment that is read.
    fn base_of(&self, number: SegmentNumber) -> Lsn {
        let index = self.scan.index.last();
        let known = index.filter(|last| last.number == number);
        known.map_or(self.scan.end, |segment| segment.base)
    }

    /// Goes on with an intact block behind a bad place.
    fn skip(
        &mut self,
        current: Current,
        (bad, found): (u64, u64),
        header: &BlockHeader,
    ) -> Result<Current, RecoverError> {
        let first = self.scan.end;
        if self.scan.index.last().is_none() {
            self.scan.begin_segment(&current)?;
        }
        if let Some(segment) = self.scan.index.last_mut() {
            let bytes = usize::try_from(found - bad).unwrap_or(usize::MAX);
            segment.push(first, header.first_lsn, bad, bytes);
        }
        self.scan.is_gapped = true;
        self.scan.end = header.first_lsn;
        Ok(Current {
            position: found,
            chain: header.prev_crc,
            blocks: self.scan.index.last().map_or(0, |last| last.blocks().len()),
            ..current
        })
    }

    fn check_link(&mut self, item: Item<'_>, header: &SegmentHeader) -> Result<(), RecoverError> {
        let LogConfig {
            log_id, partition, ..
        } = *self.scan.config;
        let uuid = segment_uuid(log_id, partition, header.epoch, header.base);
        let is_the_one =
            (item.entry).is_none_or(|entry| (entry.base, entry.uuid) == (header.base, header.uuid));
        let follows = self.link.is_none_or(|link| link == header.previous);
        // Behind a lost segment only the header says where the records go on.
        let is_next = self.link.is_none() || header.base == self.scan.end;
        if header.uuid == uuid && is_the_one && follows && is_next {
            return Ok(());
        }
        let lsns = (self.scan.end, header.base.max(self.scan.end));
        let site = self.site(item.number, 0);
        self.find(
            site,
            SEGMENT_HEADER_BYTES as u64,
            lsns,
            LogFault::BrokenLink,
        )
    }

    /// What the first block says the header's checksum is; if that is bad, nothing can be compared with it.
    fn first_link(&mut self, number: SegmentNumber) -> Result<u32, RecoverError> {
        let (volume, config) = (self.scan.volume, self.scan.config);
        let position = SEGMENT_HEADER_BYTES as u64;
        let bytes = (self.scan.window).bytes(volume, config, number, position)?;
        Ok(BlockHeader::decode(bytes).map_or(0, |(first, _)| first.prev_crc))
    }

    /// The rest of a segment cannot be read or understood; the survey goes on with the next one.
    fn given_up(
        &mut self,
        number: SegmentNumber,
        error: RecoverError,
    ) -> Result<Walked, RecoverError> {
        let end = self.scan.end;
        let fault = match error {
            RecoverError::Foreign { owner, .. } => LogFault::Foreign(owner),
            RecoverError::FormatNewer { level, .. } => LogFault::Level(level),
            RecoverError::Io { source, .. } => LogFault::Unreadable(source),
            RecoverError::Damaged(damage) => match damage.cause {
                DamageCause::FileLength(bytes) => LogFault::Length(bytes),
                DamageCause::Block(_)
                | DamageCause::MissingSegment(_)
                | DamageCause::BrokenLink => LogFault::BrokenLink,
            },
            error @ RecoverError::Replay { .. } => return Err(error),
        };
        self.whole_file(number, (end, end), fault)?;
        Ok(Walked::Lost)
    }
}

/// The header of a block that is whole and in its place.
fn intact(bytes: &[u8], place: &Place) -> Option<BlockHeader> {
    let (header, _) = BlockHeader::decode(bytes).ok()?;
    match header.kind {
        BlockKind::Seal => header.is_at(place).then_some(header),
        BlockKind::Footer => Block::verify(bytes, place).ok().map(|it| it.header),
        BlockKind::Data => {
            let block = Block::verify(bytes, place).ok()?;
            record_places(&block).ok().map(|_| header)
        }
    }
}

fn fault_of(cause: DamageCause) -> BlockFault {
    match cause {
        DamageCause::Block(fault) => fault,
        DamageCause::MissingSegment(_) | DamageCause::BrokenLink | DamageCause::FileLength(_) => {
            BlockFault::Sequence
        }
    }
}
