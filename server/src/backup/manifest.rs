//! The manifest of a backup: two lines of JSON, the second of which is the checksum of the first.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use corelane_storage::{FORMAT_LEVEL, SegmentNumber, Superblock};
use corelane_wire::{PartitionId, checksum};
use serde::{Deserialize, Serialize};

use super::copy::write_durably;
use super::error::BackupError;

/// What a backup holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest.
    v: u32,
    /// Version of the program that took the backup.
    pub corelane: String,
    /// When it was begun, ms since the Unix epoch.
    pub taken_ms: u64,
    /// Format level of the data directory.
    format: u32,
    /// Identity of the logs.
    #[serde(with = "hex")]
    log_id: u128,
    /// Identity of the data directory.
    #[serde(with = "hex")]
    pub data_uuid: u128,
    /// How often it had been started.
    starts: u64,
    /// Every partition, ascending from 0.
    pub partitions: Vec<CopiedPartition>,
}

/// What a backup holds of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiedPartition {
    /// Every record below this lsn is in the copy, none above.
    pub end: u64,
    /// Its files.
    pub files: Vec<CopiedFile>,
    /// What was missing or damaged already, and is in the copy.
    pub missing: Vec<String>,
}

/// A file of a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiedFile {
    /// Its name, in the folder of its partition.
    pub name: FileName,
    /// Bytes of the file in a data directory: those in the backup, then zeros.
    pub bytes: u64,
    /// Bytes of the file in the backup.
    pub stored: u64,
    /// Checksums of each MiB in the backup, the last of what is left.
    pub crc32: Vec<u32>,
}

/// Name of a file in the folder of a partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum FileName {
    /// A segment.
    Segment(SegmentNumber),
    /// The file of a checkpoint, by its generation.
    Checkpoint(u32),
}

/// The second line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    crc32: u32,
}

/// What is looked at before anything else, so that a newer manifest is told from a damaged one.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Manifest {
    /// That of a backup which begins now.
    pub(super) fn new(superblock: &Superblock, taken_ms: u64) -> Self {
        Self {
            v: VERSION,
            corelane: env!("CARGO_PKG_VERSION").to_owned(),
            taken_ms,
            format: superblock.format,
            log_id: superblock.log_id,
            data_uuid: superblock.data_uuid,
            starts: superblock.starts,
            partitions: Vec::new(),
        }
    }

    /// The superblock of a directory that is restored now.
    ///
    /// `starts` jumps to the time: the epochs that the first directory used after the backup, and those of another
    /// directory restored from it, are not used again. A lease of theirs is then no lease here.
    pub(super) fn superblock(&self, data_uuid: u128, now_seconds: u64) -> Superblock {
        Superblock {
            format: self.format,
            log_id: self.log_id,
            data_uuid,
            partitions: u32::try_from(self.partitions.len()).unwrap_or(u32::MAX),
            starts: self.starts.max(now_seconds),
        }
    }

    /// Bytes in the backup, this manifest apart.
    pub fn stored(&self) -> u64 {
        self.files().map(|(_, file)| file.stored).sum()
    }

    /// Every file with its partition.
    pub fn files(&self) -> impl Iterator<Item = (PartitionId, &CopiedFile)> {
        (0..).zip(&self.partitions).flat_map(|(partition, copied)| {
            let files = copied.files.iter();
            files.map(move |file| (PartitionId(partition), file))
        })
    }

    /// Writes it into a folder; on return the backup is one, and survives a power cut (B1).
    pub(super) fn write(&self, folder: &Path) -> Result<(), BackupError> {
        let path = folder.join(NAME);
        let text = |source| BackupError::Io {
            action: "write the manifest".to_owned(),
            source: io::Error::from(source),
        };
        let line = serde_json::to_string(self).map_err(text)?;
        let seal = Seal {
            crc32: checksum(&[line.as_bytes()]),
        };
        let seal = serde_json::to_string(&seal).map_err(text)?;
        write_durably(&path, format!("{line}\n{seal}\n").as_bytes())
            .map_err(BackupError::io("write", &path))
    }

    /// Reads that of a backup.
    ///
    /// # Errors
    /// If there is none, or it is not what was written.
    pub fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(NAME);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::NoManifest(folder.to_path_buf()));
            }
            read => read.map_err(BackupError::io("read", &path))?,
        };
        Self::decode(&text).map_err(|fault| fault.at(path))
    }

    fn decode(text: &[u8]) -> Result<Self, ManifestFault> {
        let damaged = |cause: &str| ManifestFault::Damaged(cause.to_owned());
        let mut lines = text.split(|byte| *byte == b'\n');
        let (Some(line), Some(seal), Some(b""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(damaged("it has not two lines"));
        };
        let seal: Seal = serde_json::from_slice(seal).map_err(|_| damaged("its second line"))?;
        if checksum(&[line]) != seal.crc32 {
            return Err(damaged("wrong checksum"));
        }
        let json = |error: serde_json::Error| ManifestFault::Damaged(error.to_string());
        let Version { v } = serde_json::from_slice(line).map_err(json)?;
        if v > VERSION {
            return Err(ManifestFault::Newer(format!(
                "the manifest has version {v}, newer than {VERSION}, the newest that this one reads"
            )));
        }
        let manifest: Self = serde_json::from_slice(line).map_err(json)?;
        if manifest.format > u32::from(FORMAT_LEVEL) {
            return Err(ManifestFault::Newer(format!(
                "the backup has format level {}, newer than {FORMAT_LEVEL}, the newest that this \
                 version reads",
                manifest.format
            )));
        }
        let is_possible = manifest.files().all(|(_, file)| file.is_possible());
        if manifest.partitions.is_empty() || !is_possible {
            return Err(damaged("a field holds a value that no version writes"));
        }
        Ok(manifest)
    }
}

enum ManifestFault {
    Damaged(String),
    Newer(String),
}

impl ManifestFault {
    fn at(self, path: PathBuf) -> BackupError {
        match self {
            Self::Damaged(cause) => BackupError::Manifest { path, cause },
            Self::Newer(what) => BackupError::Newer(what),
        }
    }
}

impl CopiedFile {
    /// Where the file is, in a backup as in a data directory.
    pub(super) fn path(&self, root: &Path, partition: PartitionId) -> PathBuf {
        partition_folder(root, partition).join(self.name.to_string())
    }

    /// The ranges that have a checksum: first byte, bytes and checksum.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, usize, u32)> + '_ {
        let begins = (0..self.stored).step_by(RANGE_BYTES);
        begins.zip(&self.crc32).map(|(from, crc)| {
            let left = usize::try_from(self.stored - from).unwrap_or(usize::MAX);
            (from, left.min(RANGE_BYTES), *crc)
        })
    }

    fn is_possible(&self) -> bool {
        let ranges = self.stored.div_ceil(RANGE_BYTES as u64);
        self.stored <= self.bytes && ranges == self.crc32.len() as u64
    }
}

/// The folder of a partition, in a backup as in a data directory.
pub(super) fn partition_folder(root: &Path, partition: PartitionId) -> PathBuf {
    root.join("partitions").join(format!("{:04}", partition.0))
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(number) => write!(f, "{:08}.log", number.0),
            Self::Checkpoint(generation) => write!(f, "{generation:08}.ckpt"),
        }
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for FileName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let name = match text.split_once('.') {
            Some((number, "log")) => number.parse().ok().map(SegmentNumber).map(Self::Segment),
            Some((number, "ckpt")) => number.parse().ok().map(Self::Checkpoint),
            Some(_) | None => None,
        };
        // One name for each, and none that leads elsewhere.
        name.filter(|name| name.to_string() == text)
            .ok_or("no file of a partition has such a name")
    }
}

/// 128 bits as 32 digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{value:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// Bytes of a file that have a checksum of their own.
pub(super) const RANGE_BYTES: usize = 1 << 20;
const NAME: &str = "manifest.jsonl";
const VERSION: u32 = 1;
