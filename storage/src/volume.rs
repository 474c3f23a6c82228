//! The blocking seam to files: start-up, recovery and housekeeping go through it, the running log does not.
//!
//! Behind it stand real files ([`crate::Directory`]) or a simulated disk. Calls block; a shard's loop never
//! makes one, it hands a [`Task`] to its driver.

use std::io;

use corelane_wire::PartitionId;

use crate::layout::SegmentNumber;

/// Number of a spare file, waiting to become a segment: zeros, or a segment whose first pages are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SpareId(pub u32);

impl std::fmt::Display for SpareId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The files of a data directory.
///
/// Unless a method says so, nothing it wrote survives a power cut before the matching `sync`.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails with the error of the file operation, and with nothing else"
)]
pub trait Volume: Send {
    /// The whole of a small file in the root, or `None` if there is none.
    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a small file in the root; on return the new content survives a power cut, and a crash before
    /// leaves either the old content or the new.
    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// The segments of a partition, ascending; none if it was never used.
    fn segments(&self, partition: PartitionId) -> io::Result<Vec<SegmentNumber>>;

    /// Length of a segment file.
    fn segment_bytes(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<u64>;

    /// Reads from `position`; fewer bytes than asked for only at the end of the file.
    fn read_at(
        &self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`.
    fn write_at(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()>;

    /// On return, everything written to the segment survives a power cut.
    fn sync(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()>;

    /// Waits until no other process holds the segment: a write of a dead one may still be in flight.
    fn lock_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()>;

    /// The spare files with their lengths, ascending.
    fn spares(&self) -> io::Result<Vec<(SpareId, u64)>>;

    /// Makes a spare of `bytes` zeros, written out; on return it survives a power cut.
    fn make_spare(&mut self, spare: SpareId, bytes: u64) -> io::Result<()>;

    /// Makes a spare the segment of a partition; on return that survives a power cut.
    ///
    /// Its first [`crate::RETIRED_BYTES`] are zeros then, durably so before it gets its name; behind them stands
    /// whatever stood there.
    /// Fails with `AlreadyExists` rather than replace a segment.
    fn install_spare(
        &mut self,
        spare: SpareId,
        partition: PartitionId,
        segment: SegmentNumber,
    ) -> io::Result<()>;

    /// Makes a segment that the log does not need any more a spare of the same length; on return that survives a
    /// power cut.
    ///
    /// Its bytes stay as they are. A crash leaves the segment or the spare. Nobody may hold the file open to write.
    /// Returns false, and leaves neither, if the file has another name: a backup reads it by that name.
    /// Fails with `AlreadyExists` rather than replace a spare.
    fn retire_segment(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        spare: SpareId,
    ) -> io::Result<bool>;

    /// Deletes a segment, if it is there; on return that survives a power cut.
    fn remove_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()>;

    /// Deletes a spare.
    fn remove_spare(&mut self, spare: SpareId) -> io::Result<()>;

    /// The published checkpoints of a partition with the lengths of their files, ascending by generation.
    fn checkpoints(&self, partition: PartitionId) -> io::Result<Vec<(u32, u64)>>;

    /// Reads a published checkpoint from `position`; fewer bytes than asked for only at the end of the file.
    fn read_checkpoint(
        &self,
        partition: PartitionId,
        generation: u32,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize>;

    /// Begins the one draft that a partition may have, an empty file; what an earlier one left behind is gone.
    fn begin_draft(&mut self, partition: PartitionId) -> io::Result<()>;

    /// Appends whole pages to the draft; `position` is its length.
    fn append_to_draft(
        &mut self,
        partition: PartitionId,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()>;

    /// On return, everything written to the draft survives a power cut.
    fn sync_draft(&mut self, partition: PartitionId) -> io::Result<()>;

    /// Makes the draft the checkpoint of a generation; on return that survives a power cut.
    ///
    /// Fails with `AlreadyExists` rather than replace a checkpoint.
    fn publish_draft(&mut self, partition: PartitionId, generation: u32) -> io::Result<()>;

    /// Deletes the draft, if there is one.
    fn discard_draft(&mut self, partition: PartitionId) -> io::Result<()>;

    /// Deletes a published checkpoint; a power cut may bring it back.
    fn remove_checkpoint(&mut self, partition: PartitionId, generation: u32) -> io::Result<()>;
}

/// Housekeeping that blocks; the shell runs it through its driver, off the shard's loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// See [`Volume::make_spare`].
    MakeSpare {
        /// The number of the new spare.
        spare: SpareId,
        /// Its length.
        bytes: u64,
    },
    /// See [`Volume::install_spare`].
    Install {
        /// The spare to be used up.
        spare: SpareId,
        /// The partition that gets it.
        partition: PartitionId,
        /// The segment it becomes.
        segment: SegmentNumber,
    },
    /// See [`Volume::retire_segment`].
    Retire {
        /// The partition that had it.
        partition: PartitionId,
        /// The segment to be used up.
        segment: SegmentNumber,
        /// The spare it becomes.
        spare: SpareId,
    },
    /// See [`Volume::remove_segment`].
    RemoveSegment {
        /// The partition that had it.
        partition: PartitionId,
        /// The segment.
        segment: SegmentNumber,
    },
}

impl Task {
    /// Does the work; on success its result survives a power cut. False only if a segment did not become a spare.
    ///
    /// # Errors
    /// That of the file operation that failed.
    pub fn run(&self, volume: &mut dyn Volume) -> io::Result<bool> {
        match *self {
            Self::MakeSpare { spare, bytes } => volume.make_spare(spare, bytes).map(|()| true),
            Self::Install {
                spare,
                partition,
                segment,
            } => volume
                .install_spare(spare, partition, segment)
                .map(|()| true),
            Self::Retire {
                partition,
                segment,
                spare,
            } => volume.retire_segment(partition, segment, spare),
            Self::RemoveSegment { partition, segment } => {
                volume.remove_segment(partition, segment).map(|()| true)
            }
        }
    }
}
