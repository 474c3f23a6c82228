//! Reading a closed segment through, to find what went bad on the disk before somebody needs it.
//!
//! Made by: the log that has the segment. Called by: a job off the shard's thread, a stretch at a time, while the log
//! goes on. Reads past the page cache where the volume does, and changes nothing.
//! Invariant: (U1) everything that a checksum covers is verified once, and each block that is not intact is told
//! about once.

use std::io;

use corelane_wire::{Lsn, PartitionId};

use crate::block::{Block, BlockFault, BlockHeader, BlockKind, BlockSite, Place};
use crate::buffer::Buffer;
use crate::index::SegmentIndex;
use crate::layout::{
    BLOCK_ALIGN, BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentNumber,
};
use crate::record::record_places;
use crate::recovery::{Finding, LogFault};
use crate::segment::{BlockEntry, SegmentHeader, decode_footer, footer_bytes};
use crate::segment_table::FooterEntry;
use crate::volume::Volume;

/// A closed segment on its way from its header to its footer.
#[derive(Debug)]
pub struct SegmentScrub {
    partition: PartitionId,
    segment: SegmentNumber,
    uuid: u64,
    base: Lsn,
    end: Lsn,
    footer: FooterEntry,
    /// The blocks that are not verified yet, as the footer names them; `None` if that is not intact.
    blocks: Option<Vec<BlockEntry>>,
    /// How many of them were verified.
    done: usize,
    has_begun: bool,
    /// Where the next block begins, and with which record.
    position: u64,
    next: Lsn,
    /// The link that the next block names; `None` behind one that is not intact.
    chain: Option<u32>,
}

/// What was read, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Scrubbed {
    /// Bytes read.
    pub bytes: u64,
    /// What is not intact.
    pub found: Vec<Finding>,
}

impl SegmentScrub {
    pub(crate) fn new(partition: PartitionId, segment: &SegmentIndex, footer: FooterEntry) -> Self {
        Self {
            partition,
            segment: segment.number,
            uuid: segment.uuid,
            base: segment.base,
            end: segment.end,
            footer,
            blocks: None,
            done: 0,
            has_begun: false,
            position: SEGMENT_HEADER_BYTES as u64,
            next: segment.base,
            chain: None,
        }
    }

    /// The segment.
    pub fn segment(&self) -> SegmentNumber {
        self.segment
    }

    /// Whether all of it was verified.
    pub fn is_done(&self) -> bool {
        self.has_begun && self.position >= self.footer.position
    }

    /// Verifies what comes next: header and footer first, then blocks of about `bytes_max`, or one that is larger.
    ///
    /// # Errors
    /// `NotFound` if the file is gone, which is no damage: its segment is not needed any more. Bytes that cannot be
    /// read are a finding.
    pub fn advance(&mut self, volume: &dyn Volume, bytes_max: usize) -> io::Result<Scrubbed> {
        let mut scrubbed = Scrubbed::default();
        if self.has_begun {
            self.advance_blocks(volume, bytes_max, &mut scrubbed)?;
        } else {
            self.begin(volume, &mut scrubbed)?;
            self.has_begun = true;
        }
        Ok(scrubbed)
    }

    /// Both copies of the header, and the footer.
    fn begin(&mut self, volume: &dyn Volume, into: &mut Scrubbed) -> io::Result<()> {
        for position in [0, BLOCK_ALIGN as u64] {
            let page = self.read(volume, position, BLOCK_ALIGN, into)?;
            match page.and_then(|page| self.check_header(page.as_slice(), position)) {
                Ok(chain) => self.chain = Some(chain),
                Err(fault) => {
                    into.found.push(self.finding(
                        position,
                        BLOCK_ALIGN,
                        (self.base, self.base),
                        fault,
                    ));
                }
            }
        }
        let FooterEntry {
            position, blocks, ..
        } = self.footer;
        let bytes = footer_bytes(blocks as usize);
        let footer = self.read(volume, position, bytes, into)?;
        match footer.and_then(|footer| self.check_footer(footer.as_slice())) {
            Ok(blocks) => self.blocks = Some(blocks),
            Err(fault) => {
                into.found
                    .push(self.finding(position, bytes, (self.end, self.end), fault));
            }
        }
        Ok(())
    }

    /// The chain's start.
    fn check_header(&self, page: &[u8], position: u64) -> Result<u32, LogFault> {
        let header = SegmentHeader::decode(page, position).ok();
        let own = header.filter(|header| {
            header.uuid == self.uuid
                && header.number == self.segment
                && header.partition == self.partition
                && header.base == self.base
        });
        let own = own.ok_or(LogFault::HeaderCopy)?;
        Ok(own.chain_start())
    }

    fn check_footer(&self, bytes: &[u8]) -> Result<Vec<BlockEntry>, LogFault> {
        let position = self.footer.position;
        let block = Block::verify(bytes, &self.place(position)).map_err(LogFault::Footer)?;
        if block.header.kind != BlockKind::Footer || block.crc != self.footer.crc {
            return Err(LogFault::Footer(BlockFault::Chain));
        }
        let body = &block.bytes[BLOCK_HEADER_BYTES..][..block.header.body_bytes];
        let blocks = decode_footer(body, self.base, self.end, position);
        blocks.ok_or(LogFault::Footer(BlockFault::Record))
    }

    fn advance_blocks(
        &mut self,
        volume: &dyn Volume,
        bytes_max: usize,
        into: &mut Scrubbed,
    ) -> io::Result<()> {
        let bytes = self.stretch(bytes_max);
        let buffer = match self.read(volume, self.position, bytes, into)? {
            Ok(buffer) => buffer,
            // What cannot be read is told about block by block.
            Err(_) if bytes > self.stretch(0) => {
                return self.advance_blocks(volume, 0, into);
            }
            Err(fault) => {
                let end = self.end_of_block(&[]);
                self.pass_over(end, fault, into);
                return Ok(());
            }
        };
        let mut at = 0;
        while (at < buffer.len() || at == 0) && !self.is_done() {
            let left = &buffer.as_slice()[at..];
            let end = self.end_of_block(left);
            let bytes = usize::try_from(end - self.position).unwrap_or(usize::MAX);
            // Without the footer a block may reach further than what was read.
            if bytes > left.len() && at > 0 {
                break;
            }
            let block = &left[..bytes.min(left.len())];
            at += bytes;
            match self.check_block(block, end) {
                Ok((chain, next)) => {
                    self.chain = Some(chain);
                    self.step_to(end, next);
                }
                Err(fault) => self.pass_over(end, LogFault::Blocks(fault), into),
            }
        }
        Ok(())
    }

    /// Bytes to read from the next block on.
    fn stretch(&self, bytes_max: usize) -> usize {
        let left = usize::try_from(self.footer.position - self.position).unwrap_or(usize::MAX);
        if self.blocks.is_none() {
            return bytes_max.max(BLOCK_BYTES_MAX).min(left);
        }
        let ends = (self.done..).map_while(|at| self.end_of(at));
        let lengths = ends.map(|end| usize::try_from(end - self.position).unwrap_or(usize::MAX));
        let mut bytes = 0;
        for length in lengths {
            if bytes > 0 && length > bytes_max {
                break;
            }
            bytes = length;
        }
        bytes
    }

    /// Where the block of this entry of the footer ends.
    fn end_of(&self, at: usize) -> Option<u64> {
        let blocks = self.blocks.as_ref()?;
        blocks.get(at)?;
        let next = blocks.get(at + 1).map(|next| next.position());
        Some(next.unwrap_or(self.footer.position))
    }

    /// Where the next block ends: by the footer, else by its header, else where the next one names its own place.
    fn end_of_block(&self, bytes: &[u8]) -> u64 {
        if let Some(end) = self.end_of(self.done) {
            return end;
        }
        if let Ok((header, _)) = BlockHeader::decode(bytes)
            && header.is_at(&self.place(self.position))
        {
            return (self.position + header.block_bytes() as u64).min(self.footer.position);
        }
        let is_block = |distance: &usize| {
            let place = self.place(self.position + *distance as u64);
            let found = bytes.get(*distance..).map(BlockHeader::decode);
            found.is_some_and(|found| found.is_ok_and(|(header, _)| header.is_at(&place)))
        };
        let length = bytes.len().max(BLOCK_ALIGN);
        let mut pages = (BLOCK_ALIGN..length).step_by(BLOCK_ALIGN);
        let distance = pages.find(is_block).unwrap_or(length);
        (self.position + distance as u64).min(self.footer.position)
    }

    /// The link to the next block, and its first record, if the block is intact and continues the one before.
    fn check_block(&self, bytes: &[u8], end: u64) -> Result<(u32, Lsn), BlockFault> {
        let block = Block::verify(bytes, &self.place(self.position))?;
        record_places(&block)?;
        let header = &block.header;
        if header.kind != BlockKind::Data || self.position + block.bytes.len() as u64 != end {
            return Err(BlockFault::Field);
        }
        if self.chain.is_some_and(|chain| chain != header.prev_crc) {
            return Err(BlockFault::Chain);
        }
        let is_next = match &self.blocks {
            Some(_) => header.first_lsn == self.next && header.end_lsn() == self.next_at(end),
            // Behind a block that is not intact nobody knows what comes.
            None => self.chain.is_none() || header.first_lsn == self.next,
        };
        if is_next {
            Ok((block.crc, header.end_lsn()))
        } else {
            Err(BlockFault::Sequence)
        }
    }

    /// A block that is not intact.
    fn pass_over(&mut self, end: u64, fault: LogFault, into: &mut Scrubbed) {
        let next = self.next_at(end);
        let bytes = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        into.found
            .push(self.finding(self.position, bytes, (self.next, next), fault));
        self.chain = None;
        self.step_to(end, next);
    }

    fn step_to(&mut self, position: u64, next: Lsn) {
        self.position = position;
        self.next = next;
        self.done += 1;
    }

    /// The first record behind the next block, which ends there: by the footer, else the least that may be.
    fn next_at(&self, end: u64) -> Lsn {
        let next = self.blocks.as_ref().and_then(|it| it.get(self.done + 1));
        match next {
            Some(next) => Lsn(self.base.0 + u64::from(next.lsn_delta)),
            None if end >= self.footer.position => self.end,
            None => self.next,
        }
    }

    /// Reads all of it, or says why that cannot be.
    fn read(
        &self,
        volume: &dyn Volume,
        position: u64,
        bytes: usize,
        into: &mut Scrubbed,
    ) -> io::Result<Result<Buffer, LogFault>> {
        let mut buffer = Buffer::zeroed(bytes);
        let read = volume.read_at(
            self.partition,
            self.segment,
            position,
            buffer.as_mut_slice(),
        );
        match read {
            Ok(count) => {
                into.bytes += count as u64;
                buffer.set_len(count);
                Ok(Ok(buffer))
            }
            Err(error) if is_media_error(&error) => Ok(Err(LogFault::Unreadable(error))),
            Err(error) => Err(error),
        }
    }

    fn place(&self, position: u64) -> Place {
        Place {
            segment_uuid: self.uuid,
            partition: self.partition,
            position,
        }
    }

    fn finding(&self, position: u64, bytes: usize, lsns: (Lsn, Lsn), fault: LogFault) -> Finding {
        Finding {
            site: BlockSite {
                partition: self.partition,
                segment: self.segment,
                position,
            },
            end: position + bytes as u64,
            lsns,
            fault,
        }
    }
}

/// Whether a read failed because of what is on the disk.
pub fn is_media_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::ENODATA | libc::EILSEQ | libc::EREMOTEIO)
    )
}

#[cfg(test)]
mod tests;
