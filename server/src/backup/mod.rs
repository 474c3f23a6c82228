//! Backups of a data directory, taken while a broker uses it, and their way back.
//!
//! A backup is a process of its own: it asks nothing of the shards and waits for none. It links the files of each
//! partition, reads how far its log reaches, and copies that much from the links; so the copy of a partition ends at one
//! lsn, and holds everything that was confirmed before the backup began. Why it is made so stands in ADR 0014.
//!
//! ```text
//!   BACKUP/manifest.jsonl                 what there is, with checksums; written last
//!   BACKUP/partitions/PPPP/SSSSSSSS.log   as far as each segment is used
//!   BACKUP/partitions/PPPP/GGGGGGGG.ckpt
//! ```
//! Owns: the folder of a backup. Called by: `corelane backup` and `corelane restore`. Invariants: (B1) a folder without
//! an intact manifest is no backup. (B2) nothing of a backup is restored before all of it was compared with the manifest,
//! and a directory that is restored has a superblock only once everything else is on its disk.

mod copy;
mod error;
mod manifest;
mod restore;
mod take;

pub use copy::Pace;
pub use error::{BackupError, Flaw};
pub use manifest::{CopiedFile, CopiedPartition, FileName, Manifest};
pub use restore::{restore, verify};
pub use take::{OfDamaged, take};

#[cfg(test)]
mod tests;
