//! `corelane log dump`.

use clap::Args;
use corelane::survey::survey_partition;
use corelane_core::Limits;
use corelane_storage::Surveyed;
use corelane_wire::{Lsn, PartitionId};

use super::finding::FindingLine;
use super::record::RecordLine;
use super::{Offline, Place};
use crate::cli::Common;
use crate::cli::exit::{DAMAGED, Failure};
use crate::cli::output::{self, Format};

/// Arguments of `log dump`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Dump {
    #[command(flatten)]
    place: Place,
    /// Only this partition.
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// First record.
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    from: u64,
    /// Record to end before.
    #[arg(long, value_name = "LSN", default_value_t = u64::MAX)]
    to: u64,
}

impl Dump {
    pub(super) fn run(self, common: &Common) -> Result<(), Failure> {
        if common.output == Format::Json {
            return Err(Failure::usage(
                "a dump is lines, not one JSON document\n  use -o jsonl",
            ));
        }
        let offline = Offline::open(&self.place.directory)?;
        let count = offline.superblock.partitions;
        if let Some(wanted) = self.partition.filter(|wanted| *wanted >= count) {
            return Err(Failure::usage(format!(
                "there is no partition {wanted}: the directory has {count}"
            )));
        }
        let mut damages = 0;
        for partition in offline.partitions() {
            if self.partition.is_none_or(|wanted| wanted == partition.0) {
                damages += self.dump(&offline, partition)?;
            }
        }
        match damages {
            0 => Ok(()),
            count => Err(Failure::new(
                DAMAGED,
                format!("{count} damages between these records; their lines say where"),
            )),
        }
    }

    /// Writes a partition's records; says how many damages were met.
    fn dump(&self, offline: &Offline, partition: PartitionId) -> Result<usize, Failure> {
        let mut damages = 0;
        let mut failed = None;
        let mut visit = |met: Surveyed<'_>| {
            self.line(&met, &mut damages).map_err(|failure| {
                failed = Some(failure);
                String::new()
            })
        };
        let config = offline.log(partition);
        let surveyed = survey_partition(&offline.directory, &config, Limits::default(), &mut visit);
        match (failed, surveyed) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => Err(Failure::other(error.to_string())),
            (None, Ok(_)) => Ok(damages),
        }
    }

    fn line(&self, met: &Surveyed<'_>, damages: &mut usize) -> Result<(), Failure> {
        match met {
            Surveyed::Record(record, site) => {
                if !(self.from..self.to).contains(&record.lsn.0) {
                    return Ok(());
                }
                output::line(&output::item_json(&RecordLine::new(record, *site))?)
            }
            Surveyed::Finding(finding) => {
                let (Lsn(first), Lsn(end)) = finding.lsns;
                if first >= self.to || end < self.from {
                    return Ok(());
                }
                // What a checkpoint covers makes no difference to who reads the log.
                let found = FindingLine::in_log(finding, Lsn(0));
                *damages += usize::from(found.damaged);
                output::line(&output::item_json(&found)?)
            }
        }
    }
}
