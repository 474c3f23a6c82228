//! Recovery: reads a partition's log back, decides whether its end is torn or damaged, and cuts what is torn.
//!
//! Called by: start-up, before the partition is served. Blocks.
//! Invariants:
//! (R1) nothing is written before the whole log was scanned and found undamaged.
//! (R2) what might have been confirmed is never cut: if anything after a bad block attests above it, the answer
//! is [`RecoverError::Damaged`].
//! (R3) what is kept is synced before it counts as durable: blocks that were written but not synced when the
//! process was killed scan as valid.
//! (R4) after a cut no page behind it names its segment, so a block that was cut cannot come back: it has lost its
//! header. What else stands there, of an earlier life of the file, was never a part of this log's segment.
//! (R5) recovery may be interrupted anywhere and run again: each step leaves a log that recovers to the same end.

use std::io;

use corelane_wire::{Epoch, Lsn};

use crate::block::BlockSite;
use crate::config::LogConfig;
use crate::error::{Damage, RecoverError};
use crate::layout::SegmentNumber;
use crate::log::{Log, Recovered};
use crate::record::RecordView;
use crate::segment_table::SegmentTable;
use crate::volume::Volume;

mod cut;
mod extent;
mod finding;
mod look_ahead;
mod rebuild;
mod resume;
mod scan;
mod survey;
mod window;

pub use extent::{LogExtent, SegmentExtent, log_extent};
pub use finding::{Finding, LogFault};
pub use rebuild::{Rebuilt, rebuild};
pub use survey::{Surveyed, VisitSurvey, survey};

use resume::LastScanned;
use scan::Scan;

/// What recovery found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// The next lsn to be appended; every record below was handed out and is durable.
    pub end: Lsn,
    /// How many records were handed out.
    pub records: u64,
    /// The highest epoch in the log; 0 if it is empty.
    pub epoch: Epoch,
    /// Every segment file, ascending, those that hold nothing yet included. Those of `missing` and `leftovers` are not.
    pub segments: Vec<SegmentNumber>,
    /// Segments that the checkpoint's table names and whose files are gone or not whole: what they held is damaged,
    /// everything else is served.
    pub missing: Vec<Damage>,
    /// Segment files that the log does not use any more: a removal was cut off. They were not looked at.
    pub leftovers: Vec<SegmentNumber>,
    /// What was cut off the end, if anything was.
    pub truncated: Option<Truncated>,
}

/// A torn end that was cut off. None of it was confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncated {
    /// The first lsn that is gone.
    pub lsn: Lsn,
    /// Where the first bad block stood.
    pub site: BlockSite,
    /// Bytes that were zeroed, in whole pages.
    pub bytes: u64,
    /// How it was torn.
    pub by: TornBy,
}

/// How the end of a log was torn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TornBy {
    /// Later blocks are intact, but none attests the bad one: the device reordered unsynced writes.
    Reordering,
    /// Nothing of the segment after the bad block is intact: a torn write, or rot of a block that nothing attests.
    Garbage,
}

/// What recovery hands out, in the order of the log.
#[derive(Clone, Copy, Debug)]
pub enum Scanned<'a> {
    /// A segment begins: the record `base`, which comes next, is its first.
    Segment {
        /// See [`Log::take_rolled`], which says the same of the running log.
        base: Lsn,
    },
    /// A block that holds records which come next begins here.
    Block(BlockSite),
    /// The next record.
    Record(RecordView<'a>),
}

/// Takes what is scanned, records in lsn order; an error ends the recovery.
pub type Visit<'a> = dyn FnMut(Scanned<'_>) -> Result<(), String> + 'a;

/// Opens a partition's log: hands the records from `start` on to `visit` in lsn order and returns the log, ready to
/// go on.
///
/// `table` is that of a checkpoint at `start`, which holds everything below; only what follows it is read. With an
/// empty table the log is read from its first segment.
///
/// On return everything below `Recovery::end` survives a power cut, and nothing behind it is left on disk.
/// # Errors
/// See [`RecoverError`]. With any kind but `Io` no file was changed; after `Io` it can be run again.
pub fn recover(
    volume: &mut dyn Volume,
    config: LogConfig,
    (start, table): (Lsn, &SegmentTable),
    visit: &mut Visit<'_>,
) -> Result<(Log, Recovery), RecoverError> {
    config.assert_valid();
    let partition = config.partition;
    let files = volume
        .segments(partition)
        .map_err(|source| failed(&config, "list the segments", source))?;
    // The two newest are the only ones a dead process can still have been writing to.
    for segment in files.iter().rev().take(2) {
        volume
            .lock_segment(partition, *segment)
            .map_err(|source| failed(&config, "lock a segment", source))?;
    }
    let mut scan = Scan::new(&*volume, &config, start, visit);
    let known = scan.closed_segments(table, files)?;
    let last = scan.segments(table, &known.scanned)?;
    let mut found = Recovery {
        end: scan.end,
        records: scan.records,
        epoch: scan.epoch,
        segments: [known.closed, known.scanned.clone()].concat(),
        missing: known.missing,
        leftovers: known.leftovers,
        truncated: None,
    };
    let (tail, later) = match last {
        LastScanned::Open(tail, later) => (tail, later),
        LastScanned::Unused => return Ok((Log::new(config), found)),
        LastScanned::Closed { next } => return Err(scan.missing_segment(next)),
    };
    let evidence = scan.look_ahead(&tail, later)?;
    let ready = scan.ready_segments(&tail, later)?;
    let (index, previous, repairs) = (scan.index, scan.link, scan.repairs);
    let damage = (&tail, &evidence, &repairs[..]);
    found.truncated = cut::cut(volume, &config, (found.end, &known.scanned), damage)?;
    let recovered = Recovered {
        end: found.end,
        current: tail.current,
        previous,
        ready,
        next_number: known
            .scanned
            .last()
            .map_or(SegmentNumber(0), |last| last.next()),
        index,
    };
    Ok((Log::from_recovered(config, recovered), found))
}

/// Opens the front of a log of which `recover` said where it is damaged: every record before that can be read.
///
/// Nothing is written, neither now nor later: the log refuses it as a poisoned one does.
///
/// # Errors
/// That of a file operation.
pub fn open_damaged(
    volume: &dyn Volume,
    config: LogConfig,
    (start, table): (Lsn, &SegmentTable),
    damage: &Damage,
) -> Result<Log, RecoverError> {
    let files = volume
        .segments(config.partition)
        .map_err(|source| failed(&config, "list the segments", source))?;
    let mut visit = |_: Scanned<'_>| Ok(());
    let mut scan = Scan::new(volume, &config, start, &mut visit);
    let scanned = scan
        .closed_segments(table, files)
        .and_then(|known| scan.segments(table, &known.scanned).map(drop));
    match scanned {
        // It ends where the one before ended, whatever that was.
        Ok(()) | Err(RecoverError::Damaged(_)) => {}
        Err(error) => return Err(error),
    }
    let recovered = Recovered {
        end: scan.end,
        index: scan.index,
        ..Recovered::default()
    };
    Ok(Log::read_only(config, recovered, damage.site))
}

fn failed(config: &LogConfig, action: &str, source: io::Error) -> RecoverError {
    RecoverError::Io {
        action: format!("partition {}: cannot {action}", config.partition),
        source,
    }
}

#[cfg(test)]
mod tests;
