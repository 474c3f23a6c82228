//! Group commit: what is written next, and what a finished write means.

use std::sync::Arc;

use corelane_wire::{Epoch, Lsn, Timestamp};

use super::{Current, Log};
use crate::block::{BlockHeader, BlockKind, BlockSite, Place};
use crate::buffer::Buffer;
use crate::cache::CachedBlock;
use crate::config::LogConfig;
use crate::error::{Poison, PoisonCause};
use crate::index::SegmentIndex;
use crate::layout::{
    BLOCK_ALIGN, BLOCK_HEADER_BYTES, FORMAT_LEVEL, SEGMENT_HEADER_BYTES, SegmentNumber,
    segment_uuid,
};
use crate::open_block::OpenBlock;
use crate::segment::{Link, SegmentHeader, encode_footer, footer_body_bytes, footer_bytes};
use crate::segment_table::FooterEntry;

/// What the log wants done by the driver.
#[derive(Debug)]
pub enum LogIo {
    /// Write the first `bytes` of `buffer`, which is aligned, at `position`, which is too.
    Write {
        /// The segment file.
        segment: SegmentNumber,
        /// Byte distance from the start of the file.
        position: u64,
        /// The bytes; they go back to the log with `on_write_done`.
        buffer: Buffer,
        /// How many of them.
        bytes: usize,
        /// Whether an `fdatasync` must follow before the write counts as done.
        durable: bool,
        /// Names the write in `on_write_done`.
        id: u64,
    },
}

/// The write that the driver has now.
#[derive(Debug)]
pub(super) struct InFlight {
    id: u64,
    io: Submission,
}

#[derive(Debug)]
struct Submission {
    segment: SegmentNumber,
    position: u64,
    bytes: usize,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    Block(Written),
    Footer(FooterEntry),
    Seal,
}

/// A data block on its way to the disk; its buffer is with the driver.
#[derive(Debug)]
struct Written {
    /// Where the block begins in the buffer: behind the segment's header if it is the first.
    start: usize,
    bytes: usize,
    uuid: u64,
    first_lsn: Lsn,
    end_lsn: Lsn,
    epoch: Epoch,
    records: Vec<u32>,
}

impl Log {
    /// The next write, if one should begin now: records below `flush_to` wait and none is in flight, or a block
    /// is full, or the log was idle long enough to attest its last commit.
    pub fn next_io(&mut self, now: Timestamp, flush_to: Lsn) -> Option<LogIo> {
        if self.poison.is_some() || self.in_flight.is_some() {
            return None;
        }
        let open_waits = self
            .open
            .as_ref()
            .is_some_and(|open| flush_to > open.first_lsn);
        let block = if self.closed.is_empty() && !open_waits {
            None
        } else {
            self.submit_block()
        };
        // A block that waits for its segment must not keep the SEAL from going, or its deadline would stay
        // in the past and the loop would spin until the segment is there.
        let io = match block {
            Some(io) => Some(io),
            None => self.submit_seal(now),
        };
        self.assert_invariants();
        io
    }

    /// When `next_io` should be called although nothing was appended.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.poison.is_some() || self.in_flight.is_some() {
            return None;
        }
        self.seal_at
    }

    fn submit_block(&mut self) -> Option<LogIo> {
        let next = self.closed.front().or(self.open.as_ref())?;
        let bytes = next.block_bytes();
        match self.current {
            Some(current) if current.fits(bytes) => {
                let block = self.take_block()?;
                Some(self.submit_into(current, block))
            }
            // L5: the footer goes out only when the next segment is at hand, so at a start a footer without a
            // next segment is a lost file.
            Some(current) if !self.ready.is_empty() => Some(self.submit_footer(current)),
            Some(_) => None,
            None => {
                let (number, segment_bytes) = self.ready.pop_front()?;
                let block = self.take_block()?;
                Some(self.submit_first(number, segment_bytes, block))
            }
        }
    }

    fn take_block(&mut self) -> Option<OpenBlock> {
        let block = self.closed.pop_front().or_else(|| self.open.take())?;
        assert_eq!(
            block.first_lsn, self.positions.submitted,
            "L1: blocks in order"
        );
        Some(block)
    }

    /// Writes a block behind the last one of the current segment.
    fn submit_into(&mut self, current: Current, mut block: OpenBlock) -> LogIo {
        let buffer = std::mem::replace(&mut block.buffer, Buffer::zeroed(0));
        self.submit_data(current, &mut block, buffer, 0)
    }

    /// Writes both copies of a segment's header and its first block, as one write.
    fn submit_first(
        &mut self,
        number: SegmentNumber,
        segment_bytes: u64,
        mut block: OpenBlock,
    ) -> LogIo {
        let LogConfig {
            log_id, partition, ..
        } = self.config;
        let header = SegmentHeader {
            level: FORMAT_LEVEL,
            number,
            log_id,
            partition,
            epoch: block.epoch,
            base: block.first_lsn,
            uuid: segment_uuid(log_id, partition, block.epoch, block.first_lsn),
            bytes: segment_bytes,
            previous: self.previous,
        };
        let mut buffer = Buffer::zeroed(SEGMENT_HEADER_BYTES + block.block_bytes());
        let into = buffer.as_mut_slice();
        into[..BLOCK_ALIGN].copy_from_slice(&header.encode(0).0);
        into[BLOCK_ALIGN..SEGMENT_HEADER_BYTES]
            .copy_from_slice(&header.encode(BLOCK_ALIGN as u64).0);
        into[SEGMENT_HEADER_BYTES..][..block.filled]
            .copy_from_slice(&block.buffer.as_slice()[..block.filled]);
        let current = Current {
            number,
            uuid: header.uuid,
            bytes: segment_bytes,
            position: SEGMENT_HEADER_BYTES as u64,
            chain: header.chain_start(),
            blocks: 0,
        };
        self.rolled = Some(header.base);
        self.submit_data(current, &mut block, buffer, SEGMENT_HEADER_BYTES)
    }

    /// Stamps the block that begins at `start` of `buffer` and hands it out.
    fn submit_data(
        &mut self,
        current: Current,
        block: &mut OpenBlock,
        mut buffer: Buffer,
        start: usize,
    ) -> LogIo {
        let bytes = block.block_bytes();
        buffer.as_mut_slice()[start + block.filled..start + bytes].fill(0);
        let mut header = BlockHeader {
            kind: BlockKind::Data,
            body_bytes: block.filled - BLOCK_HEADER_BYTES,
            epoch: block.epoch,
            first_lsn: block.first_lsn,
            count: u32::try_from(block.records.len()).expect("a block holds < 2^32 records"),
            ..self.header_at(&current)
        };
        let chain = header.stamp(&mut buffer.as_mut_slice()[start..start + bytes]);
        self.current = Some(Current {
            position: current.position + bytes as u64,
            chain,
            blocks: current.blocks + 1,
            ..current
        });
        self.positions.submitted = block.end_lsn();
        self.seal_at = None;
        // Small blocks often stand between large ones.
        self.block_bytes_hint = bytes.max(self.block_bytes_hint / 2);
        let written = Written {
            start,
            bytes,
            uuid: current.uuid,
            first_lsn: block.first_lsn,
            end_lsn: block.end_lsn(),
            epoch: block.epoch,
            records: std::mem::take(&mut block.records),
        };
        let io = Submission {
            segment: current.number,
            position: current.position - start as u64,
            bytes: start + bytes,
            purpose: Purpose::Block(written),
        };
        self.submit(io, buffer)
    }

    /// Closes the current segment; every block in it is durable.
    fn submit_footer(&mut self, current: Current) -> LogIo {
        assert_eq!(
            self.positions.durable, self.positions.submitted,
            "L5: a footer proves that all before it was durable"
        );
        let (base, blocks) = self
            .index
            .last()
            .filter(|segment| segment.number == current.number)
            .map(|segment| (segment.base, segment.blocks()))
            .expect("a segment that is closed has a block in the index");
        let count = u32::try_from(blocks.len()).expect("a segment holds fewer than 2^32 blocks");
        let mut buffer = Buffer::zeroed(footer_bytes(blocks.len()));
        let body_bytes = footer_body_bytes(blocks.len());
        let body = &mut buffer.as_mut_slice()[BLOCK_HEADER_BYTES..][..body_bytes];
        encode_footer(base, self.positions.durable, blocks, body);
        let mut header = BlockHeader {
            kind: BlockKind::Footer,
            body_bytes,
            ..self.header_at(&current)
        };
        let crc = header.stamp(buffer.as_mut_slice());
        self.seal_at = None;
        let io = Submission {
            segment: current.number,
            position: current.position,
            bytes: buffer.len(),
            purpose: Purpose::Footer(FooterEntry {
                position: current.position,
                blocks: count,
                crc,
            }),
        };
        self.submit(io, buffer)
    }

    /// Attests the last commit of an idle log, where the next block will go.
    ///
    /// There is always room: the footer's place is kept free, and a SEAL is not larger.
    fn submit_seal(&mut self, now: Timestamp) -> Option<LogIo> {
        self.seal_at.take_if(|at| *at <= now)?;
        let current = self.current?;
        let mut buffer = Buffer::zeroed(BLOCK_ALIGN);
        let mut header = BlockHeader {
            kind: BlockKind::Seal,
            prev_crc: 0,
            ..self.header_at(&current)
        };
        header.stamp(buffer.as_mut_slice());
        let io = Submission {
            segment: current.number,
            position: current.position,
            bytes: BLOCK_ALIGN,
            purpose: Purpose::Seal,
        };
        Some(self.submit(io, buffer))
    }

    /// The header of an empty block at the end of the current segment, attesting what is committed now.
    fn header_at(&self, current: &Current) -> BlockHeader {
        BlockHeader {
            kind: BlockKind::Seal,
            body_bytes: 0,
            body_crc: 0,
            place: Place {
                segment_uuid: current.uuid,
                partition: self.config.partition,
                position: current.position,
            },
            epoch: Epoch(0),
            first_lsn: self.positions.submitted,
            count: 0,
            prev_crc: current.chain,
            attested: self.positions.committed,
        }
    }

    fn submit(&mut self, io: Submission, buffer: Buffer) -> LogIo {
        assert!(self.in_flight.is_none(), "L2: one write in flight");
        self.next_id += 1;
        let id = self.next_id;
        let write = LogIo::Write {
            segment: io.segment,
            position: io.position,
            buffer,
            bytes: io.bytes,
            durable: !matches!(io.purpose, Purpose::Seal),
            id,
        };
        self.in_flight = Some(InFlight { id, io });
        write
    }

    /// A write finished: `result` is the bytes written, or the error number; of a durable write, also that of
    /// its `fdatasync`. Returns the new durable end if it moved.
    ///
    /// Anything but a whole write poisons the log: what the disk holds is unknown from then on, and a later
    /// `fdatasync` may report success for pages that were dropped.
    ///
    /// # Errors
    /// The poison, if the write was not whole; the log keeps it.
    ///
    /// # Panics
    /// If no write with this id is in flight.
    pub fn on_write_done(
        &mut self,
        now: Timestamp,
        id: u64,
        buffer: Buffer,
        result: Result<usize, i32>,
    ) -> Result<Option<Lsn>, Poison> {
        let done = self.in_flight.take().expect("L2: a write is in flight");
        assert_eq!(done.id, id, "L2: the write in flight finished");
        let io = done.io;
        let cause = match result {
            Ok(written) if written == io.bytes => None,
            Ok(written) => Some(PoisonCause::ShortWrite {
                written,
                expected: io.bytes,
            }),
            Err(errno) => Some(PoisonCause::Errno(errno)),
        };
        if let Some(cause) = cause {
            return Err(self.poison_with(&io, cause));
        }
        let durable = match io.purpose {
            Purpose::Block(written) => {
                Some(self.on_block_durable(now, io.segment, written, buffer))
            }
            Purpose::Footer(footer) => {
                if let Some(closed) = self.current.take() {
                    self.previous = Link {
                        uuid: closed.uuid,
                        crc: footer.crc,
                    };
                }
                self.index.close(footer);
                None
            }
            Purpose::Seal => None,
        };
        self.assert_invariants();
        Ok(durable)
    }

    fn on_block_durable(
        &mut self,
        now: Timestamp,
        segment: SegmentNumber,
        written: Written,
        buffer: Buffer,
    ) -> Lsn {
        let (position, file_bytes) = self
            .current
            .map(|current| (current.position - written.bytes as u64, current.bytes))
            .expect("L2: the segment of the block in flight is current");
        if self.index.last().is_none_or(|last| last.number != segment) {
            let begun = SegmentIndex::new(segment, written.uuid, written.first_lsn, file_bytes);
            self.index.push_segment(begun);
        }
        if let Some(last) = self.index.last_mut() {
            last.push(written.first_lsn, written.end_lsn, position, written.bytes);
        }
        self.positions.durable = written.end_lsn;
        if self.config.alone {
            self.positions.committed = written.end_lsn;
        }
        self.seal_at = Some(now.add(self.config.seal_after));
        self.cache.insert(CachedBlock {
            cost: buffer.capacity() + BLOCK_ALIGN,
            buffer: Arc::new(buffer),
            start: written.start,
            first_lsn: written.first_lsn,
            epoch: written.epoch,
            records: written.records,
        });
        written.end_lsn
    }

    fn poison_with(&mut self, io: &Submission, cause: PoisonCause) -> Poison {
        let poison = Poison {
            site: BlockSite {
                partition: self.config.partition,
                segment: io.segment,
                position: io.position,
            },
            cause,
        };
        self.seal_at = None;
        self.poison = Some(poison.clone());
        poison
    }
}
