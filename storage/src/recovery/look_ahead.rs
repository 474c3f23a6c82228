//! Torn or rotten? What stands behind the first block that is not intact.
//!
//! A write that was in flight at a crash may be torn, and may have been overtaken by later ones; none of them
//! was confirmed, so nothing on disk attests it. Rot hits what was confirmed, and some later block attests that.
//! Telling the two apart needs only the headers of what follows: a header that checks says the truth about what
//! was confirmed when it was submitted, whatever became of its body.
//!
//! The file may have been another segment before, so anything can stand behind the end of the log. What counts is
//! what names this segment, and nothing else is looked at or cut: without its first page, which says to which
//! segment and place it belongs, no block is ever read again. The one exception is a header that is not intact in the
//! very place where the next block was expected.

use corelane_wire::Lsn;

use super::scan::Scan;
use crate::block::{BlockFault, BlockHeader, Place};
use crate::config::LogConfig;
use crate::error::{DamageCause, RecoverError};
use crate::layout::{
    BLOCK_ALIGN, BLOCK_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentNumber, segment_uuid,
};
use crate::log::Current;

/// The end of what was scanned.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: SegmentNumber,
    pub(super) file_bytes: u64,
    /// Where the next block was expected.
    pub(super) position: u64,
    pub(super) fault: BlockFault,
    /// Where the look-ahead begins: nothing of the segment may stand from here on.
    pub(super) from: u64,
    /// Identity of the segment, if its header is intact.
    uuid: Option<u64>,
    /// The segment, if it holds a block and the log goes on in it.
    pub(super) current: Option<Current>,
}

impl Tail {
    /// A segment without a header.
    pub(super) fn blank(segment: SegmentNumber, file_bytes: u64) -> Self {
        Self {
            segment,
            file_bytes,
            position: 0,
            fault: BlockFault::Magic,
            from: 0,
            uuid: None,
            current: None,
        }
    }

    /// A segment whose next block is not intact. If it is the first one, the header goes with it: they were one
    /// write.
    pub(super) fn torn(current: Current, fault: BlockFault) -> Self {
        let holds_blocks = current.blocks > 0;
        Self {
            segment: current.number,
            file_bytes: current.bytes,
            position: current.position,
            fault,
            from: if holds_blocks { current.position } else { 0 },
            uuid: Some(current.uuid),
            current: holds_blocks.then_some(current),
        }
    }

    /// A segment that ends with a SEAL, which the next block will overwrite.
    pub(super) fn sealed(current: Current) -> Self {
        let torn = Self::torn(current, BlockFault::Zero);
        Self {
            from: torn.position + BLOCK_ALIGN as u64,
            ..torn
        }
    }
}

/// What a look-ahead found.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The highest attestation.
    attested: Lsn,
    /// Intact headers behind the bad block.
    pub(super) blocks_behind: u64,
    /// What was written to this segment and has to be zero.
    pub(super) leftovers: Vec<Leftover>,
}

/// Pages that were written behind the end of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leftover {
    pub(super) segment: SegmentNumber,
    pub(super) position: u64,
    pub(super) bytes: u64,
}

impl Scan<'_, '_> {
    /// Looks at everything behind the tail; fails if any of it proves that the tail was confirmed.
    pub(super) fn look_ahead(
        &mut self,
        tail: &Tail,
        later: &[SegmentNumber],
    ) -> Result<Evidence, RecoverError> {
        let mut evidence = Evidence {
            // What a checkpoint covers was durable.
            attested: self.start,
            ..Evidence::default()
        };
        self.look_at(tail, &mut evidence)?;
        let mut expected = tail.segment;
        for segment in later {
            expected = expected.next();
            self.expect_number(expected, *segment)?;
            let file_bytes = self.file_bytes(*segment)?;
            // A header is written only when the segment before it was closed and durable.
            if let Some(header) = self.header(*segment)? {
                return Err(self.lost(tail, header.base));
            }
            self.look_at(&Tail::blank(*segment, file_bytes), &mut evidence)?;
        }
        if evidence.attested > self.end {
            return Err(self.lost(tail, evidence.attested));
        }
        Ok(evidence)
    }

    fn lost(&self, tail: &Tail, end: Lsn) -> RecoverError {
        let cause = DamageCause::Block(tail.fault);
        self.damage(tail.segment, tail.position, end, cause)
    }

    fn look_at(&mut self, tail: &Tail, evidence: &mut Evidence) -> Result<(), RecoverError> {
        let uuid = match tail.uuid {
            Some(uuid) => Some(uuid),
            None => self.uuid_of_first_block(tail.segment)?,
        };
        let reach = self.reach(tail, uuid)?;
        let end = tail.file_bytes.min(reach);
        let mut position = tail.from;
        while position < end {
            let bytes = self
                .window
                .bytes(self.volume, self.config, tail.segment, position)?;
            let page = bytes.get(..BLOCK_ALIGN).unwrap_or(bytes);
            if page.is_empty() {
                break;
            }
            let place = Place {
                segment_uuid: uuid.unwrap_or_default(),
                partition: self.config.partition,
                position,
            };
            let decoded = BlockHeader::decode(page);
            // Where the next block was expected a header that is not intact may be its own, with rot in its uuid: a
            // word too many is better than a block that goes without one.
            let is_rotten =
                position == tail.position && matches!(decoded, Err(BlockFault::HeaderChecksum));
            if is_of_segment(page, uuid, position) || is_rotten {
                match decoded {
                    Ok((header, _)) if header.is_at(&place) => {
                        evidence.attested = evidence.attested.max(header.attested);
                        evidence.blocks_behind += u64::from(position > tail.position);
                    }
                    Err(BlockFault::Level(level)) => return Err(self.newer(tail.segment, level)),
                    Ok(_) | Err(_) => {}
                }
                evidence.note(tail.segment, position);
            }
            position += BLOCK_ALIGN as u64;
        }
        Ok(())
    }

    /// How far into the file the look-ahead goes.
    fn reach(&mut self, tail: &Tail, uuid: Option<u64>) -> Result<u64, RecoverError> {
        if uuid.is_none() {
            // Without a first block nothing behind the headers is of this segment; so one taken ahead costs no
            // reading.
            return Ok(SEGMENT_HEADER_BYTES as u64);
        }
        let bytes = self
            .window
            .bytes(self.volume, self.config, tail.segment, tail.from)?;
        let page = bytes.get(..BLOCK_ALIGN).unwrap_or(bytes);
        if tail.current.is_none() || is_of_segment(page, uuid, tail.from) {
            return Ok(tail.file_bytes);
        }
        // Nothing was written here, or it has lost its first page: what a crash can leave behind it is of the one
        // write that was in flight, and what was written after it began at most a largest block further.
        Ok(tail.from + LOOK_AHEAD_BYTES)
    }

    /// The identity of a segment without an intact header, if its first block is there: it is a hash of what that
    /// block says, and a spare holds no block in that place.
    pub(super) fn uuid_of_first_block(
        &mut self,
        segment: SegmentNumber,
    ) -> Result<Option<u64>, RecoverError> {
        let position = SEGMENT_HEADER_BYTES as u64;
        let bytes = self
            .window
            .bytes(self.volume, self.config, segment, position)?;
        let Ok((first, _)) = BlockHeader::decode(bytes) else {
            return Ok(None);
        };
        let LogConfig {
            log_id, partition, ..
        } = *self.config;
        let place = Place {
            segment_uuid: segment_uuid(log_id, partition, first.epoch, first.first_lsn),
            partition,
            position,
        };
        Ok(first.is_at(&place).then_some(place.segment_uuid))
    }
}

/// Whether a page was written as a part of its segment: everything else may be left from an earlier life of the file.
fn is_of_segment(page: &[u8], uuid: Option<u64>, position: u64) -> bool {
    if position < SEGMENT_HEADER_BYTES as u64 {
        // A spare holds zeros here.
        return page.iter().any(|byte| *byte != 0);
    }
    uuid.is_some_and(|uuid| BlockHeader::names(page, uuid))
}

/// Room for two of the largest blocks: one that lost its first page, and the next one, which attests it.
const LOOK_AHEAD_BYTES: u64 = 2 * BLOCK_BYTES_MAX as u64;

impl Evidence {
    fn note(&mut self, segment: SegmentNumber, position: u64) {
        let page = BLOCK_ALIGN as u64;
        match self.leftovers.last_mut() {
            Some(last) if last.segment == segment && last.position + last.bytes == position => {
                last.bytes += page;
            }
            Some(_) | None => self.leftovers.push(Leftover {
                segment,
                position,
                bytes: page,
            }),
        }
    }
}
