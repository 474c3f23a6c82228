//! `corelane log verify`.

use clap::Args;
use corelane::survey::survey_partition;
use corelane_core::Limits;
use corelane_storage::Surveyed;
use serde::Serialize;

use super::finding::FindingLine;
use super::{Offline, Place};
use crate::cli::Common;
use crate::cli::exit::{DAMAGED, Failure};
use crate::cli::output::{self, Format, Row};

/// Arguments of `log verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    place: Place,
}

/// What the whole directory came to.
#[derive(Serialize, Default)]
pub(super) struct Summary {
    partitions: u32,
    records: u64,
    pub(super) damages: usize,
    records_damaged: u64,
}

/// Both, as one document.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [FindingLine],
    summary: &'a Summary,
}

impl Verify {
    pub(super) fn run(self, common: &Common) -> Result<(), Failure> {
        let offline = Offline::open(&self.place.directory)?;
        let (findings, summary) = examine(&offline)?;
        show(common.output, &findings, &summary)?;
        match summary.damages {
            0 => Ok(()),
            count => Err(Failure::new(
                DAMAGED,
                format!("{count} damages in {}", self.place.directory.display()),
            )),
        }
    }
}

/// Reads everything.
pub(super) fn examine(offline: &Offline) -> Result<(Vec<FindingLine>, Summary), Failure> {
    let mut findings = Vec::new();
    let mut summary = Summary {
        partitions: offline.superblock.partitions,
        ..Summary::default()
    };
    for partition in offline.partitions() {
        let mut in_log = Vec::new();
        let mut visit = |met: Surveyed<'_>| {
            match met {
                Surveyed::Record(..) => summary.records += 1,
                Surveyed::Finding(finding) => in_log.push(finding),
            }
            Ok(())
        };
        let config = offline.log(partition);
        let surveying =
            survey_partition(&offline.directory, &config, Limits::default(), &mut visit)
                .map_err(|error| Failure::other(error.to_string()))?;
        let covered = surveying
            .checkpoint
            .map_or_else(Default::default, |it| it.1);
        let checkpoints = surveying.checkpoints.iter();
        findings.extend(checkpoints.map(|finding| FindingLine::in_checkpoint(finding, &surveying)));
        findings.extend(
            in_log
                .iter()
                .map(|finding| FindingLine::in_log(finding, covered)),
        );
    }
    summary.damages = findings.iter().filter(|found| found.damaged).count();
    summary.records_damaged = findings.iter().map(FindingLine::records).sum();
    Ok((findings, summary))
}

fn show(format: Format, findings: &[FindingLine], summary: &Summary) -> Result<(), Failure> {
    match format {
        Format::Json => output::line(&output::item_json(&Report { findings, summary })?),
        Format::Table | Format::Jsonl => {
            if !findings.is_empty() {
                output::list(format, findings)?;
            }
            if format == Format::Table && !findings.is_empty() {
                output::line("")?;
            }
            output::one(format, summary)
        }
    }
}

impl Row for Summary {
    const HEADINGS: &'static [&'static str] =
        &["PARTITIONS", "RECORDS", "DAMAGES", "RECORDS DAMAGED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.partitions.to_string(),
            self.records.to_string(),
            self.damages.to_string(),
            self.records_damaged.to_string(),
        ]
    }
}
