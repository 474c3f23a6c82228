//! The only part of recovery that writes: zeros over what is torn, then a sync of what is kept.

use corelane_wire::Lsn;

use super::look_ahead::{Evidence, Leftover, Tail};
use super::scan::Repair;
use super::{TornBy, Truncated, failed};
use crate::block::BlockSite;
use crate::buffer::Buffer;
use crate::config::LogConfig;
use crate::error::RecoverError;
use crate::layout::SegmentNumber;
use crate::volume::Volume;

/// Zeroes everything behind the last good block, repairs copies of headers and syncs every segment that was scanned.
pub(super) fn cut(
    volume: &mut dyn Volume,
    config: &LogConfig,
    (end, scanned): (Lsn, &[SegmentNumber]),
    (tail, evidence, repairs): (&Tail, &Evidence, &[Repair]),
) -> Result<Option<Truncated>, RecoverError> {
    let truncated = truncation(config, end, tail, evidence);
    if let Some(truncated) = &truncated {
        tracing::warn!(
            partition = config.partition.0,
            lsn = truncated.lsn.0,
            segment = tail.segment.0,
            position = tail.position,
            bytes = truncated.bytes,
            fault = %tail.fault,
            by = ?truncated.by,
            "torn end of the log truncated: nothing attests that it was confirmed"
        );
    }
    for leftover in &evidence.leftovers {
        zero(volume, config, leftover)?;
    }
    let is_cut = |segment| tail.current.is_none() && segment == tail.segment;
    for repair in repairs.iter().filter(|repair| !is_cut(repair.segment)) {
        tracing::warn!(
            partition = config.partition.0,
            segment = repair.segment.0,
            position = repair.position,
            "copy of a segment header was not intact and is written anew"
        );
        let (page, _) = repair.header.encode(repair.position);
        write(volume, config, (repair.segment, repair.position), &page)?;
    }
    for segment in scanned {
        volume
            .sync(config.partition, *segment)
            .map_err(|source| failed(config, &format!("sync segment {segment}"), source))?;
    }
    Ok(truncated)
}

fn truncation(config: &LogConfig, end: Lsn, tail: &Tail, evidence: &Evidence) -> Option<Truncated> {
    if evidence.leftovers.is_empty() {
        return None;
    }
    let by = if evidence.blocks_behind > 0 {
        TornBy::Reordering
    } else {
        TornBy::Garbage
    };
    Some(Truncated {
        lsn: end,
        site: BlockSite {
            partition: config.partition,
            segment: tail.segment,
            position: tail.position,
        },
        bytes: evidence.leftovers.iter().map(|left| left.bytes).sum(),
        by,
    })
}

fn zero(
    volume: &mut dyn Volume,
    config: &LogConfig,
    leftover: &Leftover,
) -> Result<(), RecoverError> {
    let bytes = usize::try_from(leftover.bytes).unwrap_or(ZEROS_BYTES);
    let zeros = Buffer::zeroed(bytes.min(ZEROS_BYTES));
    let mut done = 0;
    while done < leftover.bytes {
        let left = usize::try_from(leftover.bytes - done).unwrap_or(ZEROS_BYTES);
        let part = &zeros.as_slice()[..left.min(zeros.len())];
        let at = (leftover.segment, leftover.position + done);
        write(volume, config, at, part)?;
        done += part.len() as u64;
    }
    Ok(())
}

fn write(
    volume: &mut dyn Volume,
    config: &LogConfig,
    (segment, position): (SegmentNumber, u64),
    bytes: &[u8],
) -> Result<(), RecoverError> {
    volume
        .write_at(config.partition, segment, position, bytes)
        .map_err(|source| failed(config, &format!("write segment {segment}"), source))
}

const ZEROS_BYTES: usize = 1 << 20;
