//! The forward scan: verifies every block of every segment and hands out its records.

use std::collections::VecDeque;

use corelane_wire::{Epoch, Lsn};

use super::look_ahead::Tail;
use super::window::Window;
use super::{Scanned, Visit, failed};
use crate::block::{Block, BlockFault, BlockHeader, BlockKind, BlockSite, Place};
use crate::config::LogConfig;
use crate::error::{Damage, DamageCause, RecoverError};
use crate::index::{Index, SegmentIndex};
use crate::layout::{
    BLOCK_ALIGN, BLOCK_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentNumber, segment_uuid,
};
use crate::log::Current;
use crate::record::{RecordView, record_places};
use crate::segment::{HeaderFault, Link, SegmentHeader, decode_footer, footer_matches};
use crate::segment_table::FooterEntry;
use crate::volume::Volume;

pub(super) struct Scan<'a, 'v> {
    pub(super) volume: &'a dyn Volume,
    pub(super) config: &'a LogConfig,
    visit: &'a mut Visit<'v>,
    pub(super) window: Window,
    /// Everything below is in a checkpoint, so it was durable.
    pub(super) start: Lsn,
    /// The first lsn to be handed out.
    pub(super) from: Lsn,
    /// The lsn that must come next.
    pub(super) end: Lsn,
    pub(super) records: u64,
    pub(super) epoch: Epoch,
    /// The end of the chain of the last closed segment.
    pub(super) link: Link,
    pub(super) index: Index,
    pub(super) repairs: Vec<Repair>,
    /// Blocks of the segment were passed over, so its footer names more than was read.
    pub(super) is_gapped: bool,
}

/// A copy of a segment's header that is not intact while the other one is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    pub(super) segment: SegmentNumber,
    pub(super) position: u64,
    pub(super) header: SegmentHeader,
}

/// How a segment ended.
pub(super) enum SegmentEnd {
    /// With a footer: nothing will ever be written to it.
    Sealed,
    /// Without one: it is the last with records, or has lost some.
    Open(Tail),
}

/// What stands at the place where a block is expected.
enum Found {
    Data { bytes: usize, crc: u32 },
    Footer(FooterEntry),
    Seal,
    Fault(BlockFault),
}

impl<'a, 'v> Scan<'a, 'v> {
    pub(super) fn new(
        volume: &'a dyn Volume,
        config: &'a LogConfig,
        start: Lsn,
        visit: &'a mut Visit<'v>,
    ) -> Self {
        Self {
            start,
            from: start,
            volume,
            config,
            visit,
            window: Window::new(),
            end: Lsn(0),
            records: 0,
            epoch: Epoch(0),
            link: Link::default(),
            index: Index::default(),
            repairs: Vec::new(),
            is_gapped: false,
        }
    }

    /// The segments that are scanned are numbered without gaps; a hole is damage, whatever is behind it.
    pub(super) fn expect_number(
        &self,
        expected: SegmentNumber,
        number: SegmentNumber,
    ) -> Result<(), RecoverError> {
        if number == expected {
            return Ok(());
        }
        Err(self.missing_segment(expected))
    }

    pub(super) fn missing_segment(&self, missing: SegmentNumber) -> RecoverError {
        let cause = DamageCause::MissingSegment(missing);
        self.damage(missing, 0, self.start, cause)
    }

    /// Scans one segment from its header to its footer, or to the first block that is not intact.
    pub(super) fn segment(&mut self, number: SegmentNumber) -> Result<SegmentEnd, RecoverError> {
        let file_bytes = self.file_bytes(number)?;
        let Some(header) = self.header(number)? else {
            return Ok(SegmentEnd::Open(Tail::blank(number, file_bytes)));
        };
        if header.bytes != file_bytes {
            let cause = DamageCause::FileLength(file_bytes);
            return Err(self.damage(number, 0, self.end, cause));
        }
        let uuid = segment_uuid(
            self.config.log_id,
            self.config.partition,
            header.epoch,
            header.base,
        );
        if header.base != self.end || header.previous != self.link || header.uuid != uuid {
            return Err(self.damage(number, 0, header.base, DamageCause::BrokenLink));
        }
        self.blocks(Current {
            number,
            uuid,
            bytes: file_bytes,
            position: SEGMENT_HEADER_BYTES as u64,
            chain: header.chain_start(),
            blocks: 0,
        })
    }

    /// Scans blocks from the end of what is known of a segment on.
    pub(super) fn blocks(&mut self, mut current: Current) -> Result<SegmentEnd, RecoverError> {
        loop {
            match self.block(&current)? {
                Found::Data { bytes, crc } => {
                    current.position += bytes as u64;
                    current.chain = crc;
                    current.blocks += 1;
                }
                Found::Footer(footer) => {
                    self.link = Link {
                        uuid: current.uuid,
                        crc: footer.crc,
                    };
                    self.index.close(footer);
                    return Ok(SegmentEnd::Sealed);
                }
                Found::Seal => return Ok(SegmentEnd::Open(Tail::sealed(current))),
                Found::Fault(fault) => return Ok(SegmentEnd::Open(Tail::torn(current, fault))),
            }
        }
    }

    /// Verifies the block at the end of what was scanned, and hands out its records.
    fn block(&mut self, current: &Current) -> Result<Found, RecoverError> {
        let place = Place {
            segment_uuid: current.uuid,
            partition: self.config.partition,
            position: current.position,
        };
        let bytes =
            self.window
                .bytes(self.volume, self.config, current.number, current.position)?;
        // All that a SEAL says stands in its header, so it does not matter what a torn one left behind it.
        if let Ok((header, _)) = BlockHeader::decode(bytes)
            && header.kind == BlockKind::Seal
            && header.is_at(&place)
        {
            // One that attests more than was found proves a loss: the look-ahead has to see it.
            let is_end = current.blocks > 0 && header.attested <= self.end;
            return Ok(if is_end {
                Found::Seal
            } else {
                Found::Fault(BlockFault::Sequence)
            });
        }
        let block = match Block::verify(bytes, &place) {
            Ok(block) => block,
            Err(fault) => return self.fault(current, fault),
        };
        let header = block.header;
        if header.prev_crc != current.chain {
            return Ok(Found::Fault(BlockFault::Chain));
        }
        if header.first_lsn != self.end {
            return Ok(Found::Fault(BlockFault::Sequence));
        }
        if header.kind == BlockKind::Footer {
            let body = &block.bytes[BLOCK_HEADER_BYTES..][..header.body_bytes];
            let matches = self
                .index
                .last()
                .filter(|last| last.number == current.number)
                .is_some_and(|last| {
                    if self.is_gapped {
                        decode_footer(body, last.base, self.end, current.position).is_some()
                    } else {
                        footer_matches(body, last.base, self.end, last.blocks())
                    }
                });
            let footer = FooterEntry {
                position: current.position,
                blocks: u32::try_from(current.blocks).unwrap_or(u32::MAX),
                crc: block.crc,
            };
            if matches {
                return Ok(Found::Footer(footer));
            }
            return self.fault(current, BlockFault::Record);
        }
        let (crc, bytes) = (block.crc, block.bytes.len());
        if let Err(fault) = record_places(&block) {
            return self.fault(current, fault);
        }
        self.take_in(current, &header)?;
        Ok(Found::Data { bytes, crc })
    }

    /// Hands out the records of a block that was verified, and moves the end behind it.
    fn take_in(&mut self, current: &Current, header: &BlockHeader) -> Result<(), RecoverError> {
        if current.blocks == 0 {
            self.begin_segment(current)?;
        }
        let site = BlockSite {
            partition: self.config.partition,
            segment: current.number,
            position: current.position,
        };
        self.hand_out(self.end, Scanned::Block(site))?;
        let block =
            self.window
                .bytes(self.volume, self.config, current.number, current.position)?;
        let mut at = BLOCK_HEADER_BYTES;
        for _ in 0..header.count {
            let read = RecordView::read(block, at, header.first_lsn, header.epoch);
            let (view, next) = read.expect("each record was decoded a moment ago");
            if view.lsn >= self.from {
                (self.visit)(Scanned::Record(view)).map_err(|reason| RecoverError::Replay {
                    lsn: view.lsn,
                    reason,
                })?;
                self.records += 1;
            }
            at = next;
        }
        if let Some(last) = self.index.last_mut() {
            let bytes = header.block_bytes();
            last.push(self.end, header.end_lsn(), current.position, bytes);
        }
        self.epoch = self.epoch.max(header.epoch);
        self.end = header.end_lsn();
        Ok(())
    }

    pub(super) fn begin_segment(&mut self, current: &Current) -> Result<(), RecoverError> {
        let base = self.end;
        if base >= self.from {
            self.hand_out(base, Scanned::Segment { base })?;
        }
        let begun = SegmentIndex::new(current.number, current.uuid, base, current.bytes);
        self.index.push_segment(begun);
        Ok(())
    }

    fn hand_out(&mut self, lsn: Lsn, scanned: Scanned<'_>) -> Result<(), RecoverError> {
        (self.visit)(scanned).map_err(|reason| RecoverError::Replay { lsn, reason })
    }

    /// A write that was torn breaks a checksum. What checks but makes no sense was written so: it is not cut.
    fn fault(&self, current: &Current, fault: BlockFault) -> Result<Found, RecoverError> {
        match fault {
            BlockFault::Level(level) => Err(self.newer(current.number, level)),
            BlockFault::Field | BlockFault::Record => {
                let cause = DamageCause::Block(fault);
                Err(self.damage(current.number, current.position, self.end, cause))
            }
            BlockFault::Zero
            | BlockFault::Short
            | BlockFault::Magic
            | BlockFault::HeaderChecksum
            | BlockFault::BodyChecksum
            | BlockFault::Place
            | BlockFault::Chain
            | BlockFault::Sequence => Ok(Found::Fault(fault)),
        }
    }

    /// The header of a segment, from whichever copy is intact; `None` if neither is.
    ///
    /// An intact header of another log, partition or number means that the file was put here by mistake.
    pub(super) fn header(
        &mut self,
        segment: SegmentNumber,
    ) -> Result<Option<SegmentHeader>, RecoverError> {
        let positions = [0, BLOCK_ALIGN as u64];
        let mut copies = [None; 2];
        for (copy, position) in copies.iter_mut().zip(positions) {
            let bytes = self
                .window
                .bytes(self.volume, self.config, segment, position)?;
            *copy = match SegmentHeader::decode(bytes, position) {
                Ok(header) => Some(header),
                Err(HeaderFault::Absent) => None,
                Err(HeaderFault::Level(level)) => return Err(self.newer(segment, level)),
            };
        }
        let Some(header) = copies.into_iter().flatten().next() else {
            return Ok(None);
        };
        let is_ours = header.log_id == self.config.log_id
            && header.partition == self.config.partition
            && header.number == segment;
        if !is_ours {
            return Err(RecoverError::Foreign {
                partition: self.config.partition,
                segment,
                owner: format!(
                    "log {:032x} partition {} segment {}",
                    header.log_id, header.partition, header.number
                ),
            });
        }
        for (copy, position) in copies.into_iter().zip(positions) {
            if copy != Some(header) {
                self.repairs.push(Repair {
                    segment,
                    position,
                    header,
                });
            }
        }
        Ok(Some(header))
    }

    pub(super) fn file_bytes(&self, segment: SegmentNumber) -> Result<u64, RecoverError> {
        let bytes = self
            .volume
            .segment_bytes(self.config.partition, segment)
            .map_err(|source| failed(self.config, "measure a segment", source))?;
        if bytes < self.config.segment_bytes_min() || !bytes.is_multiple_of(BLOCK_ALIGN as u64) {
            let cause = DamageCause::FileLength(bytes);
            return Err(self.damage(segment, 0, self.end, cause));
        }
        Ok(bytes)
    }

    /// The segments that hold nothing, to be written to next, with their lengths.
    pub(super) fn ready_segments(
        &self,
        tail: &Tail,
        later: &[SegmentNumber],
    ) -> Result<VecDeque<(SegmentNumber, u64)>, RecoverError> {
        let own = tail.current.is_none().then_some(tail.segment);
        let ready = own.into_iter().chain(later.iter().copied());
        ready
            .map(|segment| Ok((segment, self.file_bytes(segment)?)))
            .collect()
    }

    pub(super) fn newer(&self, segment: SegmentNumber, level: u16) -> RecoverError {
        RecoverError::FormatNewer {
            partition: self.config.partition,
            segment,
            level,
        }
    }

    pub(super) fn damage(
        &self,
        segment: SegmentNumber,
        position: u64,
        end: Lsn,
        cause: DamageCause,
    ) -> RecoverError {
        RecoverError::Damaged(Damage {
            site: BlockSite {
                partition: self.config.partition,
                segment,
                position,
            },
            first: self.end,
            end: end.max(self.end),
            cause,
        })
    }
}
