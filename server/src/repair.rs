//! What can be done about the damaged files of a partition, so that a broker starts from it.
//!
//! Called by `corelane log repair`. Planning changes nothing, and a plan is kept to. Rules:
//! (F1) what can be made anew byte for byte, confirmed by a checksum that stands elsewhere, is. (F2) what a start
//! serves around is left in its place. (F3) a log is cut at the first record that a start needs and cannot have, and
//! never below the end of the checkpoint that it begins with. (F4) of the starting points that there are, whole
//! checkpoints go before the whole log, and that before a checkpoint with damaged chunks; a partition without any
//! begins anew. (F5) a superblock is made anew if the other files leave no doubt about it.

use corelane_core::Limits;
use corelane_storage::{
    CheckpointMeta, Finding, LogConfig, LogFault, Rebuilt, RecoverError, SegmentNumber,
    SegmentTable, Surveyed, Volume, rebuild, survey as survey_log,
};
use corelane_wire::Lsn;

use crate::recovery::{begin, checkpoints, restore};
use crate::survey::{check_chunks, survey_checkpoints};

mod superblock;

pub use superblock::superblock;

/// What is to be done about one partition.
#[derive(Debug, Default)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// Records that are lost: the first, and the one after the last.
    pub lost: Vec<(Lsn, Lsn)>,
    /// What cannot be repaired, and has to be seen to first: nothing is done about the partition then.
    pub refused: Option<String>,
}

/// One change.
#[derive(Debug)]
pub enum Step {
    /// The file of a checkpoint is set aside.
    SetAsideCheckpoint(u32),
    /// Headers or a footer of a segment are written as they were.
    Rebuild(SegmentNumber, Rebuilt),
    /// The log ends here: what is behind is set aside.
    Cut(Cut),
    /// All files of the partition are set aside, and it begins anew.
    SetAsidePartition,
}

/// Where a log is cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The segment that ends the log from now on.
    pub segment: SegmentNumber,
    /// From here on it holds nothing.
    pub position: u64,
    /// The record that will be appended next.
    pub lsn: Lsn,
    /// Whether the file of the segment is there.
    pub is_there: bool,
    /// Segment files behind it.
    pub later: Vec<SegmentNumber>,
}

/// What a replay may begin with.
struct Base {
    checkpoint: Option<CheckpointMeta>,
    table: SegmentTable,
    covered: Lsn,
    has_damaged_chunks: bool,
}

/// Looks at a partition and says what to do about it; nothing if nothing is damaged that a start cannot serve around.
///
/// # Errors
/// If files cannot be listed or read.
pub fn plan(volume: &dyn Volume, config: &LogConfig, limits: Limits) -> Result<Plan, RecoverError> {
    let io = |source| RecoverError::Io {
        action: format!("partition {}: cannot list its files", config.partition),
        source,
    };
    let files = volume.segments(config.partition).map_err(io)?;
    let generations = volume.checkpoints(config.partition).map_err(io)?;
    let refused = begin(volume, config, limits)?.refused;
    let damaged = survey_checkpoints(volume, config, limits, &refused)?;
    let mut end = Lsn(0);
    for base in bases(volume, config, limits, &files)? {
        let (findings, found_end) = findings(volume, config, &base)?;
        end = end.max(found_end);
        let Some(mut plan) = base.plan(volume, config, (&files, found_end), &findings)? else {
            continue;
        };
        let newest = base.checkpoint.as_ref().map(|meta| meta.generation);
        let is_used = |generation| {
            let files = base.checkpoint.iter().flat_map(|meta| &meta.files);
            files.into_iter().any(|file| file.generation == generation)
        };
        let aside = generations.iter().map(|(generation, _)| *generation);
        let aside = aside.filter(|generation| {
            let is_damaged = damaged.iter().any(|finding| finding.file == *generation);
            let is_newer = newest.is_none_or(|newest| *generation > newest);
            (is_damaged || is_newer) && !is_used(*generation)
        });
        plan.steps.splice(0..0, aside.map(Step::SetAsideCheckpoint));
        return Ok(plan);
    }
    // What is left of the log says how far it went.
    let (_, found_end) = findings(volume, config, &Base::beginning())?;
    let end = end.max(found_end);
    Ok(Plan {
        steps: vec![Step::SetAsidePartition],
        lost: vec![(Lsn(0), end)],
        refused: None,
    })
}

/// F4.
fn bases(
    volume: &dyn Volume,
    config: &LogConfig,
    limits: Limits,
    files: &[SegmentNumber],
) -> Result<Vec<Base>, RecoverError> {
    let mut bases = Vec::new();
    for found in checkpoints(volume, config)?.found {
        if let Ok((engine, table)) = restore(volume, &found, config.partition, limits) {
            let covered = engine.positions().end;
            let mut damaged = Vec::new();
            check_chunks(volume, engine, &mut damaged);
            bases.push(Base {
                checkpoint: Some(found.meta().clone()),
                table,
                covered,
                has_damaged_chunks: !damaged.is_empty(),
            });
        }
    }
    if files.first().is_none_or(|first| *first == SegmentNumber(0)) {
        bases.push(Base::beginning());
    }
    bases.sort_by_key(|base| base.has_damaged_chunks);
    Ok(bases)
}

fn findings(
    volume: &dyn Volume,
    config: &LogConfig,
    base: &Base,
) -> Result<(Vec<Finding>, Lsn), RecoverError> {
    let mut findings = Vec::new();
    let mut visit = |met: Surveyed<'_>| {
        if let Surveyed::Finding(finding) = met {
            findings.push(finding);
        }
        Ok(())
    };
    let end = survey_log(volume, config, (base.covered, &base.table), &mut visit)?;
    Ok((findings, end))
}

impl Base {
    /// That of the log.
    fn beginning() -> Self {
        Self {
            checkpoint: None,
            table: SegmentTable::default(),
            covered: Lsn(0),
            has_damaged_chunks: false,
        }
    }

    /// What to do so that a start can begin with this; `None` if none can.
    fn plan(
        &self,
        volume: &dyn Volume,
        config: &LogConfig,
        (files, end): (&[SegmentNumber], Lsn),
        findings: &[Finding],
    ) -> Result<Option<Plan>, RecoverError> {
        let mut plan = Plan::default();
        for finding in findings {
            match finding.fault {
                LogFault::Torn(_) | LogFault::Leftover => continue,
                LogFault::Foreign(_) | LogFault::Level(_) | LogFault::Unreadable(_) => {
                    plan.refused = Some(format!("{}: {}", finding.site, finding.fault));
                    return Ok(Some(plan));
                }
                LogFault::HeaderCopy
                | LogFault::Headers
                | LogFault::Footer(_)
                | LogFault::Blocks(_)
                | LogFault::Missing(_)
                | LogFault::BrokenLink
                | LogFault::Length(_) => {}
            }
            if let Some(made) = rebuild(volume, config, &self.table, finding)? {
                plan.steps.push(Step::Rebuild(finding.site.segment, made));
            } else if self.is_served_around(finding) {
                plan.lost.extend(self.lost(finding));
            } else {
                let lsn = finding.lsns.0;
                if lsn < self.covered {
                    return Ok(None);
                }
                let segment = finding.site.segment;
                plan.lost.push((lsn, end));
                plan.steps.push(Step::Cut(Cut {
                    segment,
                    position: finding.site.position,
                    lsn,
                    is_there: files.contains(&segment),
                    later: files.iter().filter(|it| **it > segment).copied().collect(),
                }));
                break;
            }
        }
        Ok(Some(plan))
    }

    /// Whether it lies before what a start reads.
    fn is_served_around(&self, finding: &Finding) -> bool {
        let resume = self.table.resume.as_ref();
        resume.is_some_and(|resume| {
            let segment = finding.site.segment;
            let is_before = segment == resume.segment && finding.end <= resume.position;
            // Its header is read, to know that it is the one.
            let is_header = matches!(finding.fault, LogFault::Headers | LogFault::BrokenLink);
            segment < resume.segment || (is_before && !is_header)
        })
    }

    /// What a reader of the log misses: without its footer, or with another length, the whole segment.
    fn lost(&self, finding: &Finding) -> Option<(Lsn, Lsn)> {
        let mut entries = self.table.segments.iter();
        let entry = entries.find(|entry| entry.number == finding.site.segment);
        match finding.fault {
            LogFault::Footer(_) | LogFault::Length(_) => entry.map(|it| (it.base, it.end)),
            LogFault::HeaderCopy
            | LogFault::Headers
            | LogFault::Blocks(_)
            | LogFault::Missing(_)
            | LogFault::BrokenLink
            | LogFault::Torn(_)
            | LogFault::Foreign(_)
            | LogFault::Level(_)
            | LogFault::Unreadable(_)
            | LogFault::Leftover => (finding.lsns.0 < finding.lsns.1).then_some(finding.lsns),
        }
    }
}
