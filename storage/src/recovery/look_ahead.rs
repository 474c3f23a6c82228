//! Torn or rotten? What stands behind the first block that is not intact.
//!
//! A write that was in flight at a crash may be torn, and may have been overtaken by later ones; none of them
//! was confirmed, so nothing on disk attests it. Rot hits what was confirmed, and some later block attests that.
//! Telling the two apart needs only the headers of what follows: a header that checks says the truth about what
//! was confirmed when it was submitted, whatever became of its body.

use corelane_wire::Lsn;

use super::scan::Scan;
use crate::block::{BlockFault, BlockHeader, Place};
use crate::error::{DamageCause, RecoverError};
use crate::layout::{BLOCK_ALIGN, SegmentNumber};
use crate::log::Current;

/// The end of what was scanned.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: SegmentNumber,
    pub(super) file_bytes: u64,
    /// Where the next block was expected.
    pub(super) position: u64,
    pub(super) fault: BlockFault,
    /// Where the look-ahead begins: all from here on is to be zero.
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
    /// What is not zero and has to be.
    pub(super) leftovers: Vec<Leftover>,
}

/// Pages that are not zero.
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
        let mut position = tail.from;
        while position < tail.file_bytes {
            let bytes = self
                .window
                .bytes(self.volume, self.config, tail.segment, position)?;
            let page = bytes.get(..BLOCK_ALIGN).unwrap_or(bytes);
            if page.is_empty() {
                break;
            }
            if page.iter().any(|byte| *byte != 0) {
                match BlockHeader::decode(page) {
                    Ok((header, _)) if is_witness(&header, tail, self, position) => {
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
}

/// Without a header the identity of the segment is not known: then any block of the partition at its own place
/// counts, since a needless refusal loses nothing.
fn is_witness(header: &BlockHeader, tail: &Tail, scan: &Scan<'_, '_>, position: u64) -> bool {
    header.is_at(&Place {
        segment_uuid: tail.uuid.unwrap_or(header.place.segment_uuid),
        partition: scan.config.partition,
        position,
    })
}

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
