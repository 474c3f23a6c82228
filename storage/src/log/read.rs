//! Reading a record back: from the block cache, or from disk with read-ahead.

use std::sync::Arc;

use corelane_wire::Lsn;

use super::Log;
use crate::block::{Block, BlockFault, BlockKind, BlockSite, Place};
use crate::buffer::Buffer;
use crate::cache::CachedBlock;
use crate::error::{Damage, ReadError};
use crate::index::{Found, SegmentIndex};
use crate::layout::{BLOCK_HEADER_BYTES, SegmentNumber};
use crate::record::{RecordView, record_places};
use crate::segment::{BlockEntry, decode_footer};
use crate::segment_table::FooterEntry;

/// Where a record is.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// In memory.
    Cached(RecordView<'a>),
    /// On disk: read `bytes` at `position`, both aligned, give them to `on_read_done` and ask again.
    OnDisk {
        /// The segment file.
        segment: SegmentNumber,
        /// Byte distance from the start of the file.
        position: u64,
        /// Whole blocks: the one with the record, and what follows it up to the read-ahead. Or the footer of the
        /// segment, which tells where that block is.
        bytes: usize,
    },
    /// In a segment whose file was missing or not whole when the log was opened.
    Damaged(Damage),
    /// Not in the log any more, or not durable yet.
    Unknown,
}

/// Finds durable records of a log; cheapest one after the other, because it remembers the block of the last.
#[derive(Debug)]
pub struct Reader<'a> {
    log: &'a Log,
    block: Option<&'a CachedBlock>,
}

impl<'a> Reader<'a> {
    /// Finds a durable record.
    pub fn read(&mut self, lsn: Lsn) -> Lookup<'a> {
        let log = self.log;
        if lsn >= log.positions.durable {
            return Lookup::Unknown;
        }
        if let Some(record) = self.block.and_then(|block| block.record(lsn)) {
            return Lookup::Cached(record);
        }
        self.block = log.cache.block(lsn);
        if let Some(record) = self.block.and_then(|block| block.record(lsn)) {
            return Lookup::Cached(record);
        }
        match log.index.find(lsn, log.config.read_ahead_bytes) {
            None => Lookup::Unknown,
            Some(Found::Stretch(stretch)) => {
                let is_alone = log.alone == Some((stretch.segment, stretch.position));
                let alone = log.index.block(stretch.segment, stretch.position);
                let alone = alone.filter(|_| is_alone);
                Lookup::OnDisk {
                    segment: stretch.segment,
                    position: stretch.position,
                    bytes: alone.unwrap_or(stretch.bytes),
                }
            }
            Some(Found::Lost(segment, cause)) => {
                Lookup::Damaged(segment.damage(log.config.partition, cause))
            }
        }
    }
}

impl Log {
    /// Reads records back.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            log: self,
            block: None,
        }
    }

    /// A read that a [`Reader`] asked for finished: verifies every block anew and takes the good ones into the cache.
    ///
    /// One that failed for more than the block that was asked for is `Ok`: who asks again reads that block alone, so
    /// that what cannot be read behind it does not keep it.
    ///
    /// # Errors
    /// If the block that was asked for cannot be read or is not intact; those read ahead are verified again when they are asked for
    /// themselves. The log goes on.
    pub fn on_read_done(
        &mut self,
        segment: SegmentNumber,
        position: u64,
        mut buffer: Buffer,
        result: Result<usize, i32>,
    ) -> Result<(), ReadError> {
        let site = BlockSite {
            partition: self.config.partition,
            segment,
            position,
        };
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(errno) => {
                let block = self.index.block(segment, position);
                return if block.is_some_and(|block| block < buffer.len()) {
                    self.alone = Some((segment, position));
                    Ok(())
                } else {
                    Err(ReadError::Errno { site, errno })
                };
            }
        };
        buffer.set_len(bytes.min(buffer.len()));
        let Some(found) = self.index.segment(segment) else {
            // Forgotten meanwhile: who asks again learns that.
            return Ok(());
        };
        match found.footer {
            Some(footer) if footer.position == position => {
                let blocks = read_footer(found, footer, site, buffer.as_slice());
                let blocks = blocks.map_err(|fault| self.damaged(site, fault))?;
                self.index.load(segment, blocks);
            }
            Some(_) | None => {
                let mut blocks = Vec::new();
                let fault = verify_blocks(found.uuid, site, &Arc::new(buffer), &mut blocks);
                if let (true, Some(fault)) = (blocks.is_empty(), fault) {
                    return Err(self.damaged(site, fault));
                }
                // The block that was asked for goes in last, so that those read ahead cannot push it out.
                for block in blocks.into_iter().rev() {
                    self.cache.insert(block);
                }
            }
        }
        Ok(())
    }

    fn damaged(&self, site: BlockSite, fault: BlockFault) -> ReadError {
        let range = self.index.range(site.segment, site.position);
        let (first, end) = range.unwrap_or_default();
        ReadError::Damaged {
            site,
            fault,
            first,
            end,
        }
    }
}

/// The blocks that the footer of a segment names, if it is the one that closed it.
fn read_footer(
    segment: &SegmentIndex,
    footer: FooterEntry,
    site: BlockSite,
    bytes: &[u8],
) -> Result<Vec<BlockEntry>, BlockFault> {
    let place = Place {
        segment_uuid: segment.uuid,
        partition: site.partition,
        position: site.position,
    };
    let block = Block::verify(bytes, &place)?;
    if block.header.kind != BlockKind::Footer || block.crc != footer.crc {
        return Err(BlockFault::Chain);
    }
    let body = &block.bytes[BLOCK_HEADER_BYTES..][..block.header.body_bytes];
    let blocks = decode_footer(body, segment.base, segment.end, footer.position);
    blocks.ok_or(BlockFault::Record)
}

/// Collects the intact blocks at the start of `buffer`; returns what ended that, if not its end.
fn verify_blocks(
    segment_uuid: u64,
    site: BlockSite,
    buffer: &Arc<Buffer>,
    blocks: &mut Vec<CachedBlock>,
) -> Option<BlockFault> {
    let mut start = 0;
    while start < buffer.len() || blocks.is_empty() {
        let place = Place {
            segment_uuid,
            partition: site.partition,
            position: site.position + start as u64,
        };
        let bytes = buffer.as_slice().get(start..).unwrap_or_default();
        let verified = Block::verify(bytes, &place)
            .and_then(|block| Ok((record_places(&block)?, block.header)));
        let (records, header) = match verified {
            Ok((_, header)) if header.kind != BlockKind::Data => return None,
            Ok(verified) => verified,
            Err(fault) => return Some(fault),
        };
        blocks.push(CachedBlock {
            buffer: Arc::clone(buffer),
            start,
            cost: header.block_bytes(),
            first_lsn: header.first_lsn,
            epoch: header.epoch,
            records,
        });
        start += header.block_bytes();
    }
    None
}
