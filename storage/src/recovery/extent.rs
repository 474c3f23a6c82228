//! How far a log reaches, read while another process may be writing to it. Changes nothing.

use corelane_wire::Lsn;

use super::resume::LastScanned;
use super::scan::Scan;
use super::{Visit, failed};
use crate::config::LogConfig;
use crate::error::{Damage, RecoverError};
use crate::index::Blocks;
use crate::layout::SegmentNumber;
use crate::segment::footer_bytes;
use crate::segment_table::SegmentTable;
use crate::volume::Volume;

/// What a copy of a log has to hold so that a recovery of it ends at `end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogExtent {
    /// The lsn after the last record that could be read.
    pub end: Lsn,
    /// The segments, ascending; one that was taken ahead is not among them, unless the one before is closed.
    pub segments: Vec<SegmentExtent>,
    /// Segments that the checkpoint's table names and whose files are gone or not whole.
    pub missing: Vec<Damage>,
}

/// How much of a segment file counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentExtent {
    /// The segment.
    pub number: SegmentNumber,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// What stands behind these bytes is not of this log, or not yet: in a copy it is zeros.
    pub used_bytes: u64,
}

/// Reads a log like a recovery and says how far it reaches. Everything that was confirmed before is in it.
///
/// The last segment counts without its footer if that is there and the next segment is not: then the log goes on in it.
///
/// # Errors
/// See [`RecoverError`]. A block that was being written when it was read, and that a later one attests, looks
/// `Damaged`; read again, the log reaches beyond it. What is damaged at the same lsn twice is.
pub fn log_extent(
    volume: &dyn Volume,
    config: &LogConfig,
    (start, table): (Lsn, &SegmentTable),
    visit: &mut Visit<'_>,
) -> Result<LogExtent, RecoverError> {
    let files = volume
        .segments(config.partition)
        .map_err(|source| failed(config, "list the segments", source))?;
    let mut scan = Scan::new(volume, config, start, visit);
    let known = scan.closed_segments(table, files)?;
    let last = scan.segments(table, &known.scanned)?;
    if let LastScanned::Open(tail, later) = &last {
        scan.look_ahead(tail, later)?;
    }
    let mut segments = closed_extents(&scan);
    match last {
        LastScanned::Unused => {}
        LastScanned::Open(tail, _) => segments.push(SegmentExtent {
            number: tail.segment,
            file_bytes: tail.file_bytes,
            used_bytes: tail.current.map_or(0, |current| current.position),
        }),
        LastScanned::Closed { next } => match segments.last_mut() {
            Some(last) if known.scanned.contains(&last.number) => {
                let footer = scan.index.last().and_then(|it| it.footer);
                last.used_bytes = footer.map_or(last.used_bytes, |footer| footer.position);
            }
            Some(_) | None => return Err(scan.missing_segment(next)),
        },
    }
    Ok(LogExtent {
        end: scan.end,
        segments,
        missing: known.missing,
    })
}

fn closed_extents(scan: &Scan<'_, '_>) -> Vec<SegmentExtent> {
    let closed = scan.index.closed();
    let whole = closed.filter(|segment| !matches!(segment.blocks, Blocks::Lost(_)));
    let extents = whole.filter_map(|segment| {
        let footer = segment.footer?;
        let bytes = footer_bytes(footer.blocks as usize) as u64;
        Some(SegmentExtent {
            number: segment.number,
            file_bytes: segment.bytes,
            used_bytes: footer.position + bytes,
        })
    });
    extents.collect()
}
