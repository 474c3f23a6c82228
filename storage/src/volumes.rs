//! All files of a node: those of its data directory, and those of its volatile partitions.
//!
//! What is volatile has numbers beyond those of the data directory, so that a number says where a file is.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use corelane_wire::PartitionId;

use crate::directory::Directory;
use crate::layout::SegmentNumber;
use crate::volatile::VolatileFiles;
use crate::volume::{SpareId, Volume};

/// The first number of a spare that becomes a segment of a volatile partition.
pub const VOLATILE_SPARES: SpareId = SpareId(1 << 31);

/// A data directory and, beside it, the files of volatile partitions; clones share them.
#[derive(Clone, Debug)]
pub struct Volumes {
    directory: Directory,
    volatile: VolatileFiles,
    /// The number of the first volatile partition.
    first: PartitionId,
}

impl Volumes {
    /// Partitions from `first` on are volatile, in memory up to `memory_max` bytes, beyond that in files of the data
    /// directory that have no name.
    pub fn new(directory: Directory, first: PartitionId, memory_max: u64) -> Self {
        let spill = directory.root().to_owned();
        Self {
            volatile: VolatileFiles::new(spill, memory_max),
            directory,
            first,
        }
    }

    /// See [`Directory::hastened_by`].
    #[must_use]
    pub fn hastened_by(&self, haste: Arc<AtomicBool>) -> Self {
        Self {
            directory: self.directory.hastened_by(haste),
            volatile: self.volatile.clone(),
            first: self.first,
        }
    }

    /// The path of the data directory.
    pub fn root(&self) -> &Path {
        self.directory.root()
    }

    /// Opens the file of a segment for the driver; see [`Directory::open_segment`].
    ///
    /// # Errors
    /// That of the open or the lock.
    pub fn open_segment(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<File> {
        if partition < self.first {
            self.directory.open_segment(partition, segment)
        } else {
            self.volatile.open_segment(partition, segment)
        }
    }

    fn of(&self, partition: PartitionId) -> &dyn Volume {
        if partition < self.first {
            &self.directory
        } else {
            &self.volatile
        }
    }

    fn of_mut(&mut self, partition: PartitionId) -> &mut dyn Volume {
        if partition < self.first {
            &mut self.directory
        } else {
            &mut self.volatile
        }
    }

    fn of_spare(&mut self, spare: SpareId) -> &mut dyn Volume {
        if spare < VOLATILE_SPARES {
            &mut self.directory
        } else {
            &mut self.volatile
        }
    }
}

impl From<Directory> for Volumes {
    /// Without volatile partitions.
    fn from(directory: Directory) -> Self {
        Self::new(directory, PartitionId(u32::MAX), 0)
    }
}

impl Volume for Volumes {
    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.directory.read_file(name)
    }

    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.directory.replace_file(name, bytes)
    }

    fn segments(&self, partition: PartitionId) -> io::Result<Vec<SegmentNumber>> {
        self.of(partition).segments(partition)
    }

    fn segment_bytes(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<u64> {
        self.of(partition).segment_bytes(partition, segment)
    }

    fn read_at(
        &self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.of(partition)
            .read_at(partition, segment, position, into)
    }

    fn write_at(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.of_mut(partition)
            .write_at(partition, segment, position, bytes)
    }

    fn sync(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        self.of_mut(partition).sync(partition, segment)
    }

    fn lock_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        self.of_mut(partition).lock_segment(partition, segment)
    }

    fn spares(&self) -> io::Result<Vec<(SpareId, u64)>> {
        let mut spares = self.directory.spares()?;
        spares.extend(self.volatile.spares()?);
        Ok(spares)
    }

    fn make_spare(&mut self, spare: SpareId, bytes: u64) -> io::Result<()> {
        self.of_spare(spare).make_spare(spare, bytes)
    }

    fn install_spare(
        &mut self,
        spare: SpareId,
        partition: PartitionId,
        segment: SegmentNumber,
    ) -> io::Result<()> {
        self.of_mut(partition)
            .install_spare(spare, partition, segment)
    }

    fn retire_segment(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        spare: SpareId,
    ) -> io::Result<bool> {
        self.of_mut(partition)
            .retire_segment(partition, segment, spare)
    }

    fn remove_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        self.of_mut(partition).remove_segment(partition, segment)
    }

    fn remove_spare(&mut self, spare: SpareId) -> io::Result<()> {
        self.of_spare(spare).remove_spare(spare)
    }

    fn checkpoints(&self, partition: PartitionId) -> io::Result<Vec<(u32, u64)>> {
        self.of(partition).checkpoints(partition)
    }

    fn read_checkpoint(
        &self,
        partition: PartitionId,
        generation: u32,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.of(partition)
            .read_checkpoint(partition, generation, position, into)
    }

    fn begin_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.of_mut(partition).begin_draft(partition)
    }

    fn append_to_draft(
        &mut self,
        partition: PartitionId,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.of_mut(partition)
            .append_to_draft(partition, position, bytes)
    }

    fn sync_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.of_mut(partition).sync_draft(partition)
    }

    fn publish_draft(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        self.of_mut(partition).publish_draft(partition, generation)
    }

    fn discard_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.of_mut(partition).discard_draft(partition)
    }

    fn remove_checkpoint(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        self.of_mut(partition)
            .remove_checkpoint(partition, generation)
    }
}
