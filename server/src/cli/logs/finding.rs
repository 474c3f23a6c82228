//! What is wrong with a file of a data directory, as it is shown.

use corelane::survey::{CheckpointFinding, Surveying};
use corelane_storage::{Finding, LogFault};
use corelane_wire::Lsn;
use serde::Serialize;

use crate::cli::output::Row;

/// A line of a report.
#[derive(Serialize)]
pub(super) struct FindingLine {
    pub(super) partition: u32,
    /// Relative to the data directory.
    file: String,
    segment: Option<u32>,
    /// The damaged bytes of the file, the second position exclusive.
    bytes: Option<(u64, u64)>,
    /// The records concerned, the second lsn exclusive.
    lsns: Option<(u64, u64)>,
    /// Whether something that was kept is not as it was.
    pub(super) damaged: bool,
    found: String,
    remedy: &'static str,
}

impl FindingLine {
    /// `covered` is the end of the checkpoint that a start would take.
    pub(super) fn in_log(finding: &Finding, covered: Lsn) -> Self {
        let site = finding.site;
        let (first, end) = finding.lsns;
        Self {
            partition: site.partition.0,
            file: format!(
                "partitions/{:04}/{:08}.log",
                site.partition.0, site.segment.0
            ),
            segment: Some(site.segment.0),
            bytes: (finding.end > site.position).then_some((site.position, finding.end)),
            lsns: (first < end).then_some((first.0, end.0)),
            damaged: finding.fault.is_damage(),
            found: finding.fault.to_string(),
            remedy: remedy(&finding.fault, end <= covered),
        }
    }

    pub(super) fn in_checkpoint(finding: &CheckpointFinding, of: &Surveying) -> Self {
        let remedy = if of.checkpoint.is_some() {
            "a start takes the other checkpoint; `corelane log repair`"
        } else {
            "a start needs the whole log from segment 0; put a copy back, or `corelane log repair`"
        };
        Self {
            partition: finding.partition.0,
            file: format!(
                "partitions/{:04}/{:08}.ckpt",
                finding.partition.0, finding.file
            ),
            segment: None,
            bytes: finding.bytes,
            lsns: None,
            damaged: true,
            found: finding.fault.clone(),
            remedy,
        }
    }

    /// How many records are lost by it.
    pub(super) fn records(&self) -> u64 {
        let lsns = self.lsns.filter(|_| self.damaged);
        lsns.map_or(0, |(first, end)| end - first)
    }
}

fn remedy(fault: &LogFault, is_covered: bool) -> &'static str {
    match fault {
        LogFault::Torn(_) => "none: nothing attests it, and the next start cuts it",
        LogFault::Leftover => "none: the next start removes it",
        LogFault::HeaderCopy => "`corelane log repair` writes it anew from the other copy",
        LogFault::Headers | LogFault::Footer(_) => {
            "put a copy of the file back, or `corelane log repair` makes it anew from the blocks"
        }
        LogFault::Blocks(_) | LogFault::Missing(_) | LogFault::Length(_) if is_covered => {
            "put a copy of the file back, or go on without these records: a start serves the rest"
        }
        LogFault::Blocks(_) | LogFault::Missing(_) | LogFault::Length(_) | LogFault::BrokenLink => {
            "put a copy of the file back, or `corelane log repair`; a start serves what is before it, read-only"
        }
        LogFault::Foreign(_) => "put the file back where it came from",
        LogFault::Level(_) => "use the version that wrote it",
        LogFault::Unreadable(_) => "see `dmesg`; copy the directory to a good disk",
    }
}

impl Row for FindingLine {
    const HEADINGS: &'static [&'static str] = &["FILE", "BYTES", "RECORDS", "FOUND", "REMEDY"];

    fn cells(&self) -> Vec<String> {
        let range = |range: Option<(u64, u64)>| {
            range.map_or_else(|| "-".to_owned(), |(first, end)| format!("{first}..{end}"))
        };
        vec![
            self.file.clone(),
            range(self.bytes),
            range(self.lsns),
            self.found.clone(),
            self.remedy.to_owned(),
        ]
    }
}
