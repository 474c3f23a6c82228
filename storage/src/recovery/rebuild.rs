//! Headers and footers made anew from what else says what they were.
//!
//! Nothing is guessed: what is made is handed out only if a checksum that stands elsewhere is that of its bytes. The
//! first block names the header's, and the next segment or a checkpoint names the footer's.

use corelane_wire::{Epoch, Lsn};

use super::Scanned;
use super::finding::{Finding, LogFault};
use super::scan::Scan;
use crate::block::{Block, BlockHeader, BlockKind, Place};
use crate::config::LogConfig;
use crate::error::RecoverError;
use crate::layout::{
    BLOCK_ALIGN, BLOCK_HEADER_BYTES, FORMAT_LEVEL, SEGMENT_HEADER_BYTES, SegmentNumber,
};
use crate::segment::{
    BlockEntry, Link, SegmentHeader, encode_footer, footer_body_bytes, footer_bytes,
};
use crate::segment_table::SegmentTable;
use crate::volume::Volume;

/// Bytes to be written over damaged ones: the position, and what stood there.
pub type Rebuilt = Vec<(u64, Vec<u8>)>;

/// What stood where a survey found a header or a footer damaged; `None` if that cannot be told for sure, or if
/// something else is damaged.
///
/// # Errors
/// That of a read, or of a segment around it that is not understood.
pub fn rebuild(
    volume: &dyn Volume,
    config: &LogConfig,
    table: &SegmentTable,
    finding: &Finding,
) -> Result<Option<Rebuilt>, RecoverError> {
    let mut visit = |_: Scanned<'_>| Ok(());
    let mut rebuild = Rebuild {
        scan: Scan::new(volume, config, Lsn(0), &mut visit),
        table,
    };
    let number = finding.site.segment;
    match finding.fault {
        LogFault::HeaderCopy => rebuild.header_copy(number),
        LogFault::Headers => rebuild.headers(number),
        LogFault::Footer(_) => rebuild.footer(number, finding.site.position),
        LogFault::Blocks(_)
        | LogFault::Torn(_)
        | LogFault::Missing(_)
        | LogFault::BrokenLink
        | LogFault::Length(_)
        | LogFault::Foreign(_)
        | LogFault::Level(_)
        | LogFault::Unreadable(_)
        | LogFault::Leftover => Ok(None),
    }
}

struct Rebuild<'a, 'v> {
    scan: Scan<'a, 'v>,
    table: &'a SegmentTable,
}

/// The blocks at the front of a segment.
struct Front {
    blocks: Vec<BlockEntry>,
    /// Where they end.
    position: u64,
    end: Lsn,
    /// Checksum of the last one's header.
    chain: u32,
    /// Checksum of the footer behind them, if one is there.
    footer: Option<u32>,
}

impl Front {
    /// A block goes from where this ends to a position and a record.
    fn push(&mut self, base: Lsn, position: u64, end: Lsn) {
        let entry = BlockEntry::checked(base, self.end, self.position);
        self.blocks.extend(entry);
        (self.position, self.end) = (position, end);
    }
}

impl Rebuild<'_, '_> {
    fn header_copy(&mut self, number: SegmentNumber) -> Result<Option<Rebuilt>, RecoverError> {
        self.scan.header(number)?;
        let repairs = std::mem::take(&mut self.scan.repairs).into_iter();
        let pages = repairs.map(|repair| {
            let (page, _) = repair.header.encode(repair.position);
            (repair.position, page.to_vec())
        });
        Ok(Some(pages.collect()))
    }

    fn headers(&mut self, number: SegmentNumber) -> Result<Option<Rebuilt>, RecoverError> {
        let bytes = self.scan.file_bytes(number)?;
        let Some(uuid) = self.scan.uuid_of_first_block(number)? else {
            return Ok(None);
        };
        let Some((first, _)) = self.block_header(number, SEGMENT_HEADER_BYTES as u64)? else {
            return Ok(None);
        };
        let Some(previous) = self.link_before(number)? else {
            return Ok(None);
        };
        let LogConfig {
            log_id, partition, ..
        } = *self.scan.config;
        let header = |level| SegmentHeader {
            level,
            number,
            log_id,
            partition,
            epoch: first.epoch,
            base: first.first_lsn,
            uuid,
            bytes,
            previous,
        };
        let mut levels = (1..=FORMAT_LEVEL).map(header);
        let found = levels.find(|header| header.chain_start() == first.prev_crc);
        Ok(found.map(|header| {
            let copies = [0, BLOCK_ALIGN as u64].into_iter();
            copies
                .map(|position| (position, header.encode(position).0.to_vec()))
                .collect()
        }))
    }

    fn footer(
        &mut self,
        number: SegmentNumber,
        position: u64,
    ) -> Result<Option<Rebuilt>, RecoverError> {
        let Some(header) = self.scan.header(number)? else {
            return Ok(None);
        };
        let Some(wanted) = self.footer_crc(number)? else {
            return Ok(None);
        };
        let front = self.front(number, &header)?;
        if front.position != position || front.blocks.is_empty() {
            return Ok(None);
        }
        let mut bytes = vec![0; footer_bytes(front.blocks.len())];
        let body_bytes = footer_body_bytes(front.blocks.len());
        let body = &mut bytes[BLOCK_HEADER_BYTES..][..body_bytes];
        encode_footer(header.base, front.end, &front.blocks, body);
        let mut footer = BlockHeader {
            kind: BlockKind::Footer,
            body_bytes,
            body_crc: 0,
            place: self.place(header.uuid, position),
            epoch: Epoch(0),
            first_lsn: front.end,
            count: 0,
            prev_crc: front.chain,
            attested: front.end,
        };
        let mut levels = 1..=FORMAT_LEVEL;
        let found = levels.find(|level| footer.stamp_at_level(&mut bytes, *level) == wanted);
        Ok(found.map(|_| vec![(position, bytes)]))
    }

    /// What the header of a segment says of the one before.
    fn link_before(&mut self, number: SegmentNumber) -> Result<Option<Link>, RecoverError> {
        let Some(before) = number.0.checked_sub(1).map(SegmentNumber) else {
            return Ok(Some(Link::default()));
        };
        let mut entries = self.table.segments.iter();
        let entry = entries.find(|entry| entry.number == before);
        if let Some((entry, footer)) = entry.and_then(|it| Some((it, it.footer?))) {
            return Ok(Some(Link {
                uuid: entry.uuid,
                crc: footer.crc,
            }));
        }
        if !self.is_there(before)? {
            return Ok(None);
        }
        let Some(header) = self.scan.header(before)? else {
            return Ok(None);
        };
        let footer = self.front(before, &header)?.footer;
        Ok(footer.map(|crc| Link {
            uuid: header.uuid,
            crc,
        }))
    }

    /// The checksum of a segment's footer, as others know it.
    fn footer_crc(&mut self, number: SegmentNumber) -> Result<Option<u32>, RecoverError> {
        let mut entries = self.table.segments.iter();
        let entry = entries.find(|entry| entry.number == number);
        if let Some(footer) = entry.and_then(|entry| entry.footer) {
            return Ok(Some(footer.crc));
        }
        let next = number.next();
        if !self.is_there(next)? {
            return Ok(None);
        }
        let header = self.scan.header(next)?;
        Ok(header.map(|header| header.previous.crc))
    }

    fn is_there(&self, number: SegmentNumber) -> Result<bool, RecoverError> {
        let config = self.scan.config;
        let files = self
            .scan
            .volume
            .segments(config.partition)
            .map_err(|source| super::failed(config, "list the segments", source))?;
        Ok(files.contains(&number))
    }

    /// Reads the headers of the blocks of a segment up to its footer, or to where nothing of it follows.
    ///
    /// Where no header is intact, what is there up to the next one is taken for one block: who uses what comes of that
    /// has a checksum to hold it against.
    fn front(
        &mut self,
        number: SegmentNumber,
        header: &SegmentHeader,
    ) -> Result<Front, RecoverError> {
        let mut front = Front {
            blocks: Vec::new(),
            position: SEGMENT_HEADER_BYTES as u64,
            end: header.base,
            chain: header.chain_start(),
            footer: None,
        };
        while let Some(found) = self.header_from(number, header.uuid, front.position)? {
            let (block, crc) = found;
            let position = block.place.position;
            if position > front.position && block.first_lsn > front.end {
                front.push(header.base, position, block.first_lsn);
                front.chain = block.prev_crc;
            }
            let follows = position == front.position
                && block.prev_crc == front.chain
                && block.first_lsn == front.end;
            match block.kind {
                BlockKind::Data if follows => {
                    let behind = position + block.block_bytes() as u64;
                    front.push(header.base, behind, block.end_lsn());
                    front.chain = crc;
                }
                BlockKind::Footer if follows => {
                    let place = self.place(header.uuid, position);
                    let (volume, config) = (self.scan.volume, self.scan.config);
                    let bytes = (self.scan.window).bytes(volume, config, number, position)?;
                    front.footer = Block::verify(bytes, &place).ok().map(|footer| footer.crc);
                    return Ok(front);
                }
                BlockKind::Data | BlockKind::Footer | BlockKind::Seal => return Ok(front),
            }
        }
        Ok(front)
    }

    /// The first intact header of a block of the segment at this position or behind it, with its checksum.
    fn header_from(
        &mut self,
        number: SegmentNumber,
        uuid: u64,
        from: u64,
    ) -> Result<Option<(BlockHeader, u32)>, RecoverError> {
        let end = self.scan.file_bytes(number)?;
        for position in (from..end).step_by(BLOCK_ALIGN) {
            let found = self.block_header(number, position)?;
            let place = self.place(uuid, position);
            if let Some(found) = found.filter(|(header, _)| header.is_at(&place)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn block_header(
        &mut self,
        number: SegmentNumber,
        position: u64,
    ) -> Result<Option<(BlockHeader, u32)>, RecoverError> {
        let (volume, config) = (self.scan.volume, self.scan.config);
        let bytes = (self.scan.window).bytes(volume, config, number, position)?;
        Ok(BlockHeader::decode(bytes).ok())
    }

    fn place(&self, segment_uuid: u64, position: u64) -> Place {
        Place {
            segment_uuid,
            partition: self.scan.config.partition,
            position,
        }
    }
}
