//! `corelane log repair`.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use corelane::recovery::{PartitionState, open_partition};
use corelane::repair::{Cut, Plan, Step, plan, superblock};
use corelane_core::Limits;
use corelane_wire::PartitionId;
use serde::Serialize;

use super::set_aside::SetAside;
use super::{Offline, Place, hold, superblock_of};
use crate::cli::Common;
use crate::cli::exit::{DAMAGED, Failure};
use crate::cli::output::{self, Row};

/// Arguments of `log repair`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Repair {
    #[command(flatten)]
    place: Place,
    /// How many partitions the directory has, where its superblock is lost and the queues do not tell.
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Do it; without this the command only says what it would do.
    #[arg(long)]
    yes: bool,
}

/// A line of what is done, or lost.
#[derive(Serialize)]
struct Line {
    /// `None` if it is about the directory.
    partition: Option<u32>,
    /// Records that are lost, the second lsn exclusive.
    lost: Option<(u64, u64)>,
    action: String,
}

impl Repair {
    pub(super) fn run(self, common: &Common) -> Result<(), Failure> {
        let (offline, lost) = self.offline()?;
        let mut plans = Vec::new();
        for partition in offline.partitions() {
            let config = offline.log(partition);
            let plan = plan(&offline.directory, &config, Limits::default())
                .map_err(|error| Failure::other(error.to_string()))?;
            plans.push((partition, plan));
        }
        let of_superblock = lost.iter().map(|cause| Line {
            partition: None,
            lost: None,
            action: format!(
                "write the superblock anew for log {:032x} with {} partitions: {cause}",
                offline.superblock.log_id, offline.superblock.partitions
            ),
        });
        let of_partitions = plans
            .iter()
            .flat_map(|(partition, plan)| lines(*partition, plan));
        let told: Vec<_> = of_superblock.chain(of_partitions).collect();
        output::list(common.output, &told)?;
        if let Some((_, plan)) = plans.iter().find(|(_, plan)| plan.refused.is_some()) {
            let text = plan.refused.as_deref().unwrap_or_default();
            return Err(Failure::new(
                DAMAGED,
                format!("nothing was changed: {text}"),
            ));
        }
        plans.retain(|(_, plan)| !plan.steps.is_empty());
        if plans.is_empty() && lost.is_none() {
            return Ok(());
        }
        if !self.yes {
            let text = "nothing was changed; say --yes to do it";
            return Err(Failure::new(DAMAGED, text));
        }
        let aside = carry_out(&offline, lost.is_some(), &plans)?;
        super::super::note(&format!("set aside: {}", aside.display()));
        check(&offline, &plans)
    }

    /// The directory with its superblock, or with one made anew and what is wrong with its own.
    fn offline(&self) -> Result<(Offline, Option<String>), Failure> {
        let directory = hold(&self.place.directory)?;
        let (superblock, lost) = match superblock_of(&directory)? {
            Ok(superblock) => (superblock, None),
            Err(cause) => {
                let made = superblock(&directory, Limits::default(), self.partitions);
                let made = made.map_err(|error| Failure::other(error.to_string()))?;
                let refused =
                    |why| Failure::new(DAMAGED, format!("{cause}\n  nothing was changed: {why}"));
                (made.map_err(refused)?, Some(cause))
            }
        };
        let count = superblock.partitions;
        if self.partitions.is_some_and(|wanted| wanted != count) {
            let text = format!("the directory has {count} partitions");
            return Err(Failure::usage(text));
        }
        let offline = Offline {
            directory,
            superblock,
        };
        Ok((offline, lost))
    }
}

fn now_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Does all that was said.
fn carry_out(
    offline: &Offline,
    is_superblock_lost: bool,
    plans: &[(PartitionId, Plan)],
) -> Result<std::path::PathBuf, Failure> {
    let superblock = &offline.superblock;
    let mut aside = SetAside::begin(&offline.directory, superblock, now_seconds())?;
    if is_superblock_lost {
        aside.replace_superblock(superblock)?;
    }
    for (partition, plan) in plans {
        for step in &plan.steps {
            aside
                .take(*partition, step)
                .map_err(|error| Failure::other(format!("partition {partition}: {error}")))?;
        }
    }
    aside.finish()
}

/// A start is what says whether a partition can be started from.
fn check(offline: &Offline, plans: &[(PartitionId, Plan)]) -> Result<(), Failure> {
    for (partition, _) in plans {
        let mut volume = offline.directory.clone();
        let opened = open_partition(&mut volume, offline.log(*partition), Limits::default())
            .map_err(|error| Failure::other(error.to_string()))?;
        if let PartitionState::Damaged { reason, .. } = opened.start.state {
            return Err(Failure::new(DAMAGED, format!("still damaged: {reason}")));
        }
    }
    Ok(())
}

fn lines(partition: PartitionId, plan: &Plan) -> Vec<Line> {
    let line = |action, lost| Line {
        partition: Some(partition.0),
        lost,
        action,
    };
    let steps = plan.steps.iter().map(|step| line(told(step), None));
    let lost = plan.lost.iter().map(|(first, end)| {
        if first == end {
            let text = format!("records from {first} on may be lost: nothing says how many");
            return line(text, None);
        }
        let text = "these records are lost; what is left of them is in the files";
        line(text.to_owned(), Some((first.0, end.0)))
    });
    let refused = plan.refused.iter();
    let refused = refused.map(|text| line(format!("cannot be repaired: {text}"), None));
    steps.chain(lost).chain(refused).collect()
}

fn told(step: &Step) -> String {
    match step {
        Step::SetAsideCheckpoint(generation) => {
            format!("set checkpoint {generation} aside")
        }
        Step::Rebuild(segment, pages) => {
            let bytes: usize = pages.iter().map(|(_, bytes)| bytes.len()).sum();
            let position = pages.first().map_or(0, |(position, _)| *position);
            format!("write {bytes} bytes of segment {segment} from {position} as they were")
        }
        Step::Cut(Cut {
            segment,
            position,
            lsn,
            later,
            ..
        }) => format!(
            "end the log at record {lsn}: set aside segment {segment} from {position} and {} after it",
            later.len()
        ),
        Step::SetAsidePartition => "set all files aside and begin anew".to_owned(),
    }
}

impl Row for Line {
    const HEADINGS: &'static [&'static str] = &["PARTITION", "LOST", "ACTION"];

    fn cells(&self) -> Vec<String> {
        let lost = self
            .lost
            .map_or_else(|| "-".to_owned(), |(first, end)| format!("{first}..{end}"));
        let partition = self
            .partition
            .map_or_else(|| "-".to_owned(), |it| it.to_string());
        vec![partition, lost, self.action.clone()]
    }
}
