//! `corelane log verify|dump|repair`: the files of a data directory that no broker uses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use corelane_storage::{
    Directory, FORMAT_LEVEL, LogConfig, SUPERBLOCK_NAME, Superblock, SuperblockFault, Volume as _,
};
use corelane_wire::PartitionId;

use self::dump::Dump;
use self::repair::Repair;
use self::verify::Verify;
use super::Common;
use super::exit::{DAMAGED, Failure};

mod dump;
mod finding;
mod record;
mod repair;
mod set_aside;
mod verify;

/// Commands about the files of a data directory.
#[derive(Debug, Subcommand)]
pub(super) enum Logs {
    /// Read everything and say what is damaged; changes nothing.
    Verify(Verify),
    /// Write the records of the logs as lines of JSON, also those behind damage; changes nothing.
    Dump(Dump),
    /// Make a damaged directory one that a broker starts from; sets aside what it takes out of service.
    Repair(Repair),
}

/// The directory to look at.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The data directory; no broker may use it meanwhile.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// A data directory that is held while it is looked at.
struct Offline {
    directory: Directory,
    superblock: Superblock,
}

impl Logs {
    pub(super) fn run(self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.run(common),
            Self::Dump(dump) => dump.run(common),
            Self::Repair(repair) => repair.run(common),
        }
    }
}

impl Offline {
    /// Takes the lock and reads the superblock; writes nothing.
    fn open(path: &Path) -> Result<Self, Failure> {
        let directory = hold(path)?;
        let superblock = superblock_of(&directory)?.map_err(|cause| {
            let text = format!(
                "{cause}\n  without it nothing says whose the other files are; put a copy back, or see \
                 `corelane log repair {}`",
                path.display()
            );
            Failure::new(DAMAGED, text)
        })?;
        Ok(Self {
            directory,
            superblock,
        })
    }

    fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.superblock.partitions).map(PartitionId)
    }

    fn log(&self, partition: PartitionId) -> LogConfig {
        LogConfig::new(partition, self.superblock.log_id)
    }
}

fn hold(path: &Path) -> Result<Directory, Failure> {
    Directory::open_to_read(path, LOCK_WAIT).map_err(|error| Failure::other(error.to_string()))
}

/// The superblock, or what is wrong with it.
fn superblock_of(directory: &Directory) -> Result<Result<Superblock, String>, Failure> {
    let path = directory.root().join(SUPERBLOCK_NAME);
    let path = path.display();
    let bytes = directory
        .read_file(SUPERBLOCK_NAME)
        .map_err(|error| Failure::other(format!("{path}: {error}")))?;
    let Some(bytes) = bytes else {
        return Ok(Err(format!("{path}: there is no superblock")));
    };
    match Superblock::decode(&bytes) {
        Ok(superblock) => Ok(Ok(superblock)),
        Err(SuperblockFault::Level(level)) => Err(Failure::other(format!(
            "{path} has format level {level}, newer than {FORMAT_LEVEL}, the newest that this version reads; \
             use the version that wrote it"
        ))),
        Err(fault) => Ok(Err(format!("{path}: the superblock is damaged: {fault:?}"))),
    }
}

/// A broker that is about to end lets go within that.
const LOCK_WAIT: Duration = Duration::from_secs(2);
