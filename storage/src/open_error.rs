//! Why a data directory could not be opened: each text names the cause, the setting and the command that helps.

use std::fmt;
use std::io;
use std::path::PathBuf;

use corelane_wire::PartitionId;

use crate::layout::FORMAT_LEVEL;
use crate::superblock::SuperblockFault;

/// A data directory could not be opened; nothing in it was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// An operation on a file failed.
    Io {
        /// What was done.
        action: String,
        /// How it failed.
        source: io::Error,
    },
    /// Another process has it.
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, as the lock file names it.
        pid: Option<u32>,
    },
    /// The path is something else than a directory.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It lies on a network file system, whose locks and `fdatasync` cannot be relied on.
    NetworkFileSystem {
        /// The directory.
        path: PathBuf,
    },
    /// Too little room for the log to begin.
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The superblock is not intact, or of a newer version.
    Superblock(SuperblockFault),
    /// There are segments, but no superblock.
    SuperblockMissing {
        /// A partition that has segments.
        partition: PartitionId,
    },
}

impl OpenError {
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            action: action.into(),
            source,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, source } => write_io(formatter, action, source),
            Self::Locked { path, pid } => {
                let path = path.display();
                match pid {
                    Some(pid) => write!(
                        formatter,
                        "data directory {path} is in use by process {pid}; stop it with `kill {pid}`, \
                         or choose another directory with --data-dir"
                    ),
                    None => write!(
                        formatter,
                        "data directory {path} is in use by another process; find it with \
                         `fuser {path}/lock`, or choose another directory with --data-dir"
                    ),
                }
            }
            Self::NotADirectory { path } => write!(
                formatter,
                "{} is not a directory; choose another path with --data-dir, or move it away with `mv`",
                path.display()
            ),
            Self::NetworkFileSystem { path } => write!(
                formatter,
                "data directory {} lies on a network file system, where neither locks nor fdatasync \
                 can be relied on; choose a local disk with --data-dir, or take the risk with \
                 --force-network-fs",
                path.display()
            ),
            Self::NoSpace { path, free, needed } => write!(
                formatter,
                "data directory {} has {free} bytes free, {needed} are needed; see `df {}`, free some, \
                 or choose another disk with --data-dir",
                path.display(),
                path.display()
            ),
            Self::Superblock(fault) => write_superblock(formatter, *fault),
            Self::SuperblockMissing { partition } => write!(
                formatter,
                "the superblock is missing, but partition {partition} has segments; restore the file \
                 from a copy, have it made anew with `corelane log repair`, or choose an empty directory \
                 with --data-dir"
            ),
        }
    }
}

fn write_io(formatter: &mut fmt::Formatter<'_>, action: &str, source: &io::Error) -> fmt::Result {
    write!(formatter, "cannot {action}: {source}; ")?;
    if source.kind() == io::ErrorKind::PermissionDenied {
        formatter.write_str(
            "give the directory to the user that runs corelane with `chown -R`, or choose another one \
             with --data-dir",
        )
    } else if source.kind() == io::ErrorKind::StorageFull {
        formatter.write_str("see `df`, free some room, or choose another disk with --data-dir")
    } else if source.kind() == io::ErrorKind::ReadOnlyFilesystem {
        formatter.write_str(
            "see `dmesg` for why the file system is read-only, or choose another disk with --data-dir",
        )
    } else {
        formatter
            .write_str("see `dmesg` for errors of the disk, or choose another one with --data-dir")
    }
}

fn write_superblock(formatter: &mut fmt::Formatter<'_>, fault: SuperblockFault) -> fmt::Result {
    let cause = match fault {
        SuperblockFault::Level(level) => {
            return write!(
                formatter,
                "the data directory has format level {level}, newer than {FORMAT_LEVEL}, the newest \
                 that this version reads; start the version that wrote it, or choose another directory \
                 with --data-dir"
            );
        }
        SuperblockFault::Length(bytes) => format!("it has {bytes} bytes"),
        SuperblockFault::Magic => String::from("it does not begin like one"),
        SuperblockFault::Checksum => String::from("it does not match its checksum"),
        SuperblockFault::Field => String::from("a field is out of range"),
    };
    write!(
        formatter,
        "the superblock is damaged: {cause}; restore the file from a copy, have it made anew with \
         `corelane log repair`, or choose another directory with --data-dir; nothing was changed"
    )
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Locked { .. }
            | Self::NotADirectory { .. }
            | Self::NetworkFileSystem { .. }
            | Self::NoSpace { .. }
            | Self::Superblock(_)
            | Self::SuperblockMissing { .. } => None,
        }
    }
}
