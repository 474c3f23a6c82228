//! `corelane backup` and `corelane restore`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;
use corelane::backup::{BackupError, Manifest, OfDamaged, Pace, restore, take, verify};
use corelane::config::quantity::parse_bytes;
use serde::Serialize;

use super::exit::{DAMAGED, FAILURE, Failure};
use super::output::{self, Format, Row};
use super::settings::Directory;
use super::{Common, note};

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// Where to write; must be empty or not there.
    dir: PathBuf,
    #[command(flatten)]
    data: Directory,
    /// How much to read per second at most; without it as much as the disks give.
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    bytes_per_second: Option<NonZeroU64>,
    /// Copy partitions that a broker would not serve too, as they are; without it they fail the backup.
    #[arg(long)]
    with_damaged: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup.
    backup: PathBuf,
    /// The data directory to be made; must be empty or not there.
    #[arg(required_unless_present = "verify_only")]
    dir: Option<PathBuf>,
    /// Compare the backup with its checksums, and write nothing.
    #[arg(long, conflicts_with = "dir")]
    verify_only: bool,
}

/// What was written or compared.
#[derive(Serialize)]
struct Summary {
    backup: String,
    corelane: String,
    taken_ms: u64,
    bytes: u64,
    partitions: Vec<Copied>,
}

/// A partition of it.
#[derive(Serialize)]
struct Copied {
    partition: usize,
    end: u64,
    files: usize,
    bytes: u64,
}

impl Backup {
    pub(super) fn run(self, common: &Common) -> Result<(), Failure> {
        let data = self.data.path()?;
        let of_damaged = if self.with_damaged {
            OfDamaged::CopyAsTheyAre
        } else {
            OfDamaged::Refuse
        };
        let pace = Pace::new(self.bytes_per_second);
        let manifest = take(&data, &self.dir, pace, of_damaged)?;
        tell(common, &self.dir, &manifest, "written")
    }
}

impl Restore {
    pub(super) fn run(self, common: &Common) -> Result<(), Failure> {
        let (manifest, done) = match &self.dir {
            Some(dir) => (restore(&self.backup, dir)?, "restored"),
            None => (verify(&self.backup)?, "intact"),
        };
        tell(common, &self.backup, &manifest, done)
    }
}

/// A line per partition and one about all of them.
fn tell(
    common: &Common,
    backup: &std::path::Path,
    manifest: &Manifest,
    done: &str,
) -> Result<(), Failure> {
    let partitions = manifest.partitions.iter().enumerate();
    let summary = Summary {
        backup: backup.display().to_string(),
        corelane: manifest.corelane.clone(),
        taken_ms: manifest.taken_ms,
        bytes: manifest.stored(),
        partitions: partitions
            .map(|(partition, copied)| Copied {
                partition,
                end: copied.end,
                files: copied.files.len(),
                bytes: copied.files.iter().map(|file| file.stored).sum(),
            })
            .collect(),
    };
    for missing in manifest.partitions.iter().flat_map(|it| &it.missing) {
        note(&format!(
            "corelane: not whole in the backup, as in its source: {missing}"
        ));
    }
    if common.output != Format::Table {
        return output::line(&output::item_json(&summary)?);
    }
    output::list(Format::Table, &summary.partitions)?;
    output::line(&format!(
        "{done}: {} partitions, {} files, {} bytes",
        summary.partitions.len(),
        manifest.files().count(),
        summary.bytes
    ))
}

impl Row for Copied {
    const HEADINGS: &'static [&'static str] = &["PARTITION", "END", "FILES", "BYTES"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.partition.to_string(),
            self.end.to_string(),
            self.files.to_string(),
            self.bytes.to_string(),
        ]
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let is_damage = matches!(
            error,
            BackupError::Damaged { .. }
                | BackupError::DamagedPartitions(_)
                | BackupError::Manifest { .. }
        );
        let code = if is_damage { DAMAGED } else { FAILURE };
        Self::new(code, error.to_string())
    }
}

/// A size that is not 0.
fn rate(text: &str) -> Result<NonZeroU64, String> {
    let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
    let bytes = u64::try_from(bytes).ok().and_then(NonZeroU64::new);
    bytes.ok_or_else(|| "expected a size above 0".to_owned())
}
