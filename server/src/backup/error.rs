//! Why a backup or its way back fails; each text names the file, or what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use corelane_storage::{FORMAT_LEVEL, OpenError, RecoverError, SuperblockFault};
use corelane_wire::PartitionId;

/// A backup was not taken, or not restored.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackupError {
    /// An operation on a file failed.
    Io {
        /// What was done to which file.
        action: String,
        /// How it failed.
        source: io::Error,
    },
    /// The directory to be backed up has no superblock.
    NoData(PathBuf),
    /// Its superblock is not intact, or of a newer version.
    Superblock(PathBuf, SuperblockFault),
    /// Another backup of the same data directory runs.
    Busy {
        /// The process, as its lock file names it.
        pid: Option<u32>,
    },
    /// The data directory, or the one to be restored into, cannot be used.
    Open(OpenError),
    /// The directory to be written to holds something.
    NotEmpty(PathBuf),
    /// The backup would lie in the data directory itself.
    Inside(PathBuf),
    /// A partition cannot be read as a start would read it.
    Partition(PartitionId, RecoverError),
    /// Partitions that a start would not serve.
    DamagedPartitions(Vec<(PartitionId, RecoverError)>),
    /// The folder has no manifest, so it is no backup, or one that was not finished.
    NoManifest(PathBuf),
    /// The manifest is not what was written.
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The backup was taken by a newer version.
    Newer(String),
    /// A file of the backup is not what the manifest says.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

/// What is wrong with a file of a backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Flaw {
    /// It is not there.
    Missing,
    /// It has another length.
    Length {
        /// Bytes of the file.
        found: u64,
        /// Bytes that were written.
        expected: u64,
    },
    /// This range of bytes does not match its checksum.
    Range {
        /// The first byte.
        from: u64,
        /// The byte behind the last one.
        to: u64,
    },
}

impl BackupError {
    /// For `map_err` of an operation on a path.
    pub(super) fn io(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let action = format!("{action} {}", path.display());
        move |source| Self::Io { action, source }
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, source } => write!(f, "cannot {action}: {source}"),
            Self::NoData(path) => write!(
                f,
                "{} is no data directory: it has no superblock; name another with --data-dir",
                path.display()
            ),
            Self::Superblock(path, SuperblockFault::Level(level)) => write!(
                f,
                "{} has format level {level}, newer than {FORMAT_LEVEL}, the newest that this version \
                 reads; use the version that wrote it",
                path.display()
            ),
            Self::Superblock(path, _) => {
                write!(f, "the superblock of {} is damaged", path.display())
            }
            Self::Busy { pid: Some(pid) } => {
                write!(f, "process {pid} takes a backup of this data directory")
            }
            Self::Busy { pid: None } => {
                f.write_str("another process takes a backup of this data directory")
            }
            Self::Open(error) => error.fmt(f),
            Self::NotEmpty(path) => write!(
                f,
                "{} is not empty; name a directory that is empty or not there",
                path.display()
            ),
            Self::Inside(path) => write!(
                f,
                "{} lies in the data directory; name one outside, at best on another disk",
                path.display()
            ),
            Self::Partition(partition, error) => {
                write!(f, "partition {partition} cannot be backed up: {error}")
            }
            Self::DamagedPartitions(damaged) => {
                for (partition, error) in damaged {
                    writeln!(f, "partition {partition} is damaged: {error}")?;
                }
                f.write_str(
                    "  no backup was taken; repair what is damaged (stop the broker, then `corelane log repair`), or \
                     have its files copied as they are with --with-damaged",
                )
            }
            Self::NoManifest(path) => write!(
                f,
                "{} has no manifest: it is no backup, or one that was not finished",
                path.display()
            ),
            Self::Manifest { path, cause } => {
                write!(f, "{} is damaged: {cause}", path.display())
            }
            Self::Newer(what) => write!(f, "{what}; use the version that took the backup"),
            Self::Damaged { path, flaw } => write!(f, "{} is damaged: {flaw}", path.display()),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is missing"),
            Self::Length { found, expected } => {
                write!(f, "it has {found} bytes and not {expected}")
            }
            Self::Range { from, to } => write!(f, "bytes {from} to {to}: wrong checksum"),
        }
    }
}

impl std::error::Error for BackupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Open(error) => Some(error),
            Self::Partition(_, error) => Some(error),
            Self::NoData(_)
            | Self::Superblock(..)
            | Self::Busy { .. }
            | Self::NotEmpty(_)
            | Self::Inside(_)
            | Self::DamagedPartitions(_)
            | Self::NoManifest(_)
            | Self::Manifest { .. }
            | Self::Newer(_)
            | Self::Damaged { .. } => None,
        }
    }
}
