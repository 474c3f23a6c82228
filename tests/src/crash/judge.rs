//! One state, from the start on it to the second start: what it must have, and what it must be able to do.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corelane_storage::{Buffer, Log, Lookup, RecordView, Volume};
use corelane_wire::{Lsn, PartitionId, Timestamp};

use super::driver::shared;
use super::harm::{Verdict, lost, unrecovered, wrong};
use super::machine::{Opened, open};
use super::reference::{Reference, is_needed, observe};
use super::serve::serve;
use super::setup::Setup;
use super::written::Written;
use crate::sim::checker::evidence::Evidence;
use crate::sim::disk::Disk;
use crate::sim::driver::{SharedDisk, lock};
use crate::sim::volume::SimVolume;

/// What recovery may take.
const RECOVERY_MAX: Duration = Duration::from_millis(300);
/// How often a slow one is measured again, since the machine may have been busy.
const MEASURED_AGAIN: u32 = 3;
/// How many prefixes are kept as models.
const MODELS_MAX: usize = 64;

/// The judge of one run of a script.
pub(super) struct Judge<'a> {
    setup: &'a Setup,
    reference: &'a Reference,
    /// The model at some ends of the log.
    models: BTreeMap<u64, Rc<Evidence>>,
    /// Recoveries that took too long, and did not when they were measured again.
    pub(super) slow: u64,
    /// The longest recovery.
    pub(super) longest: Duration,
}

impl<'a> Judge<'a> {
    pub(super) fn new(setup: &'a Setup, reference: &'a Reference) -> Self {
        Self {
            setup,
            reference,
            models: BTreeMap::new(),
            slow: 0,
            longest: Duration::ZERO,
        }
    }

    /// Judges what a machine left that had made so many changes to its disk.
    pub(super) fn judge(&mut self, image: Disk, changes: usize, now: Timestamp) -> Verdict {
        let disk = shared(image);
        let mut opened = self.start(&disk)?;
        let end = self.compare(&disk, &mut opened, self.reference.required(changes))?;
        let model = self.model(end)?;
        let promise = serve(&disk, self.setup, opened, (&model, now))?;
        lock(&disk).lose_everything_unsynced();
        let mut again = self.start(&disk)?;
        let found = again.ready.log.end().0;
        if found < end {
            return lost(format!(
                "the second start ends at {found}, the first at {end}"
            ));
        }
        let (before, _) = self.reference.records.split_at(end as usize);
        let records: Vec<&Written> = before.iter().chain(&promise.written).collect();
        let Some((records, _)) = records.split_at_checked(found as usize) else {
            return wrong(format!("the log ends at {found}, nobody wrote so much"));
        };
        let mut after = Evidence::clone(&model);
        for lsn in end..found {
            observe(&mut after, records[lsn as usize], lsn)?;
        }
        // What was served may have moved messages, so that their old record could go.
        compare_records(&disk, &mut again.ready.log, &after, records)?;
        promise.check(&after)
    }

    /// Starts the node on the disk, and sees to it that this does not take too long.
    pub(super) fn start(&mut self, disk: &SharedDisk) -> Verdict<Opened> {
        let before = lock(disk).snapshot();
        let (opened, mut least) = timed(|| open(disk, self.setup));
        let opened = opened?;
        self.longest = self.longest.max(least);
        if least > RECOVERY_MAX {
            for _ in 0..MEASURED_AGAIN {
                let copy = shared(before.snapshot());
                least = least.min(timed(|| open(&copy, self.setup)).1);
            }
            if least > RECOVERY_MAX {
                return unrecovered(format!("recovery took {least:?}"));
            }
            self.slow += 1;
        }
        Ok(opened)
    }

    /// Holds what was recovered against the reference; returns its end.
    fn compare(&mut self, disk: &SharedDisk, opened: &mut Opened, required: u64) -> Verdict<u64> {
        let end = opened.ready.log.end().0;
        if end < required {
            return lost(format!(
                "the log ends at {end}, confirmed was up to {required}"
            ));
        }
        let Some(hash) = self.reference.hash(end) else {
            let count = self.reference.records.len();
            return wrong(format!("the log ends at {end}, only {count} were written"));
        };
        if opened.ready.engine.positions().end.0 != end {
            let state = opened.ready.engine.positions().end;
            return wrong(format!("the state ends at {state}, the log at {end}"));
        }
        if opened.ready.engine.state_hash() != hash {
            return wrong(format!("the state at {end} differs from that of a replay"));
        }
        let model = self.model(end)?;
        let (records, _) = self.reference.records.split_at(end as usize);
        let records: Vec<&Written> = records.iter().collect();
        compare_records(disk, &mut opened.ready.log, &model, &records)?;
        Ok(end)
    }

    /// The model at this end of the log.
    fn model(&mut self, end: u64) -> Verdict<Rc<Evidence>> {
        let nearest = self.models.range(..=end).next_back();
        let (mut at, mut model) = match nearest {
            Some((at, model)) if *at == end => return Ok(Rc::clone(model)),
            Some((at, model)) => (*at, Evidence::clone(model)),
            None => (0, Evidence::default()),
        };
        while at < end {
            self.reference.observe(&mut model, at)?;
            at += 1;
        }
        let model = Rc::new(model);
        self.models.insert(end, Rc::clone(&model));
        if self.models.len() > MODELS_MAX {
            self.models.pop_first();
        }
        Ok(model)
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = work();
    (result, begun.elapsed())
}

/// Every record reads as it was written; one may be gone if it holds nothing that is needed.
fn compare_records(
    disk: &SharedDisk,
    log: &mut Log,
    model: &Evidence,
    records: &[&Written],
) -> Verdict {
    for (lsn, written) in (0..).zip(records) {
        let is_same = with_record(disk, log, lsn, |view| view.map(|view| written.is(&view)))?;
        match is_same {
            Some(true) => {}
            Some(false) => return wrong(format!("record {lsn} reads as another")),
            None if is_needed(written, lsn, model) => {
                return lost(format!("record {lsn} holds messages, and cannot be read"));
            }
            None => {}
        }
    }
    Ok(())
}

/// Reads a record back as the shard does, from the cache or the disk; `look` gets `None` if it is not there.
pub(super) fn with_record<T>(
    disk: &SharedDisk,
    log: &mut Log,
    lsn: u64,
    look: impl FnOnce(Option<RecordView<'_>>) -> T,
) -> Verdict<T> {
    for _ in 0..READS_MAX {
        let (segment, position, bytes) = match log.reader().read(Lsn(lsn)) {
            Lookup::Cached(_) | Lookup::Unknown | Lookup::Damaged(_) => break,
            Lookup::OnDisk {
                segment,
                position,
                bytes,
            } => (segment, position, bytes),
        };
        let mut buffer = Buffer::zeroed(bytes);
        let volume = SimVolume::new(SharedDisk::clone(disk));
        let read = volume.read_at(PartitionId(0), segment, position, buffer.as_mut_slice());
        let read = read.map_err(|error| error.raw_os_error().unwrap_or_default());
        if let Err(error) = log.on_read_done(segment, position, buffer, read) {
            return lost(format!("record {lsn}: {error}"));
        }
    }
    match log.reader().read(Lsn(lsn)) {
        Lookup::Cached(view) => Ok(look(Some(view))),
        Lookup::Unknown => Ok(look(None)),
        Lookup::Damaged(damage) => lost(format!("record {lsn}: {damage}")),
        Lookup::OnDisk { .. } => unrecovered(format!("record {lsn} is never in the cache")),
    }
}

/// Reads after which a record must be there.
const READS_MAX: u32 = 4;
