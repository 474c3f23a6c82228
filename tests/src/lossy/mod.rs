//! A file system that loses what was not synced, for power cuts under the real binary.
//!
//! `Store` keeps two versions of every file and directory in memory: what a reader sees, and what a
//! power cut would leave. `Mount` shows a store to the kernel through FUSE, so that an unmodified
//! broker process runs on it with its real system calls, `O_DIRECT` included.
//!
//! The model of a cut: a page written since the file's last fsync or fdatasync is lost, kept, or
//! torn at 512-byte sectors, each by itself; names created, renamed or removed since the last fsync
//! of a directory are all kept or all lost, as in one transaction of a journalling file system.

mod mount;
mod store;

pub use mount::{HeldSyncs, Mount};
pub use store::{CutReport, Store};

#[cfg(test)]
mod tests;
