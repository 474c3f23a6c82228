//! The files of volatile partitions: in memory up to a mark, beyond it files without a name on disk.
//!
//! Nothing of them outlives the process, and nothing is ever synced. Called by: [`crate::Volumes`], for partitions
//! and spares beyond those of the data directory. Invariants: (V1) what is made while less than the mark is in
//! memory stays in memory until it is removed; its length counts from when it is made. (V2) no name of it is ever
//! in the data directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corelane_wire::PartitionId;
use rustix::fs::{MemfdFlags, Mode, OFlags};

use crate::layout::{RETIRED_BYTES, SegmentNumber};
use crate::volume::{SpareId, Volume};

/// Files in memory, by name; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct VolatileFiles {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where files are made that have no room in memory.
    spill: PathBuf,
    /// Bytes in memory beyond which a file is made on disk.
    memory_max: u64,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    by_name: BTreeMap<Name, Held>,
    /// Bytes of those in memory.
    in_memory: u64,
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Name {
    Segment(PartitionId, SegmentNumber),
    Checkpoint(PartitionId, u32),
    Draft(PartitionId),
    Spare(SpareId),
}

#[derive(Clone, Debug)]
struct Held {
    file: Arc<File>,
    bytes: u64,
    is_in_memory: bool,
}

impl VolatileFiles {
    pub(crate) fn new(spill: PathBuf, memory_max: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                spill,
                memory_max,
                files: Mutex::default(),
            }),
        }
    }

    /// Bytes of the files in memory.
    #[cfg(test)]
    fn in_memory(&self) -> u64 {
        self.files().in_memory
    }

    /// The file of a segment, to read and write.
    pub(crate) fn open_segment(
        &self,
        partition: PartitionId,
        segment: SegmentNumber,
    ) -> io::Result<File> {
        self.find(Name::Segment(partition, segment))?
            .file
            .try_clone()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        let files = &self.shared.files;
        files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: Name) -> io::Result<Held> {
        let files = self.files();
        let found = files.by_name.get(&name).cloned();
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Makes a file of so many zeros.
    fn make(&self, name: Name, bytes: u64) -> io::Result<()> {
        let mut files = self.files();
        let is_in_memory = files.in_memory + bytes <= self.shared.memory_max;
        let file = if is_in_memory {
            File::from(rustix::fs::memfd_create("corelane", MemfdFlags::CLOEXEC)?)
        } else {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            File::from(rustix::fs::open(&self.shared.spill, flags, mode)?)
        };
        file.set_len(bytes)?;
        files.put(
            name,
            Held {
                file: Arc::new(file),
                bytes,
                is_in_memory,
            },
        )
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        let mut files = self.files();
        if files.by_name.contains_key(&to) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let held = files.take(from)?;
        files.put(to, held)
    }

    /// The numbers of the files whose name `number` takes.
    fn numbers<T>(&self, number: impl Fn(&Name, &Held) -> Option<T>) -> Vec<T> {
        let files = self.files();
        let found = files.by_name.iter();
        found
            .filter_map(|(name, held)| number(name, held))
            .collect()
    }
}

impl Files {
    fn put(&mut self, name: Name, held: Held) -> io::Result<()> {
        if self.by_name.contains_key(&name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        if held.is_in_memory {
            self.in_memory += held.bytes;
        }
        self.by_name.insert(name, held);
        Ok(())
    }

    fn take(&mut self, name: Name) -> io::Result<Held> {
        let held = self.by_name.remove(&name);
        let held = held.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if held.is_in_memory {
            self.in_memory -= held.bytes;
        }
        Ok(held)
    }
}

impl Held {
    fn read(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < into.len() {
            match self
                .file
                .read_at(&mut into[count..], position + count as u64)
            {
                Ok(0) => break,
                Ok(read) => count += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

impl Volume for VolatileFiles {
    fn read_file(&self, _name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn replace_file(&mut self, _name: &str, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn segments(&self, partition: PartitionId) -> io::Result<Vec<SegmentNumber>> {
        Ok(self.numbers(|name, _| match *name {
            Name::Segment(of, number) if of == partition => Some(number),
            Name::Segment(..) | Name::Checkpoint(..) | Name::Draft(_) | Name::Spare(_) => None,
        }))
    }

    fn segment_bytes(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<u64> {
        Ok(self.find(Name::Segment(partition, segment))?.bytes)
    }

    fn read_at(
        &self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.find(Name::Segment(partition, segment))?
            .read(position, into)
    }

    fn write_at(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let held = self.find(Name::Segment(partition, segment))?;
        held.file.write_all_at(bytes, position)
    }

    fn sync(&mut self, _partition: PartitionId, _segment: SegmentNumber) -> io::Result<()> {
        Ok(())
    }

    fn lock_segment(&mut self, _partition: PartitionId, _segment: SegmentNumber) -> io::Result<()> {
        Ok(())
    }

    fn spares(&self) -> io::Result<Vec<(SpareId, u64)>> {
        Ok(self.numbers(|name, held| match *name {
            Name::Spare(spare) => Some((spare, held.bytes)),
            Name::Segment(..) | Name::Checkpoint(..) | Name::Draft(_) => None,
        }))
    }

    fn make_spare(&mut self, spare: SpareId, bytes: u64) -> io::Result<()> {
        self.make(Name::Spare(spare), bytes)
    }

    fn install_spare(
        &mut self,
        spare: SpareId,
        partition: PartitionId,
        segment: SegmentNumber,
    ) -> io::Result<()> {
        let held = self.find(Name::Spare(spare))?;
        held.file.write_all_at(&[0; RETIRED_BYTES], 0)?;
        self.rename(Name::Spare(spare), Name::Segment(partition, segment))
    }

    fn retire_segment(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        spare: SpareId,
    ) -> io::Result<bool> {
        self.rename(Name::Segment(partition, segment), Name::Spare(spare))?;
        Ok(true)
    }

    fn remove_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        match self.files().take(Name::Segment(partition, segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn remove_spare(&mut self, spare: SpareId) -> io::Result<()> {
        self.files().take(Name::Spare(spare)).map(drop)
    }

    fn checkpoints(&self, partition: PartitionId) -> io::Result<Vec<(u32, u64)>> {
        Ok(self.numbers(|name, held| match *name {
            Name::Checkpoint(of, generation) if of == partition => Some((generation, held.bytes)),
            Name::Segment(..) | Name::Checkpoint(..) | Name::Draft(_) | Name::Spare(_) => None,
        }))
    }

    fn read_checkpoint(
        &self,
        partition: PartitionId,
        generation: u32,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.find(Name::Checkpoint(partition, generation))?
            .read(position, into)
    }

    fn begin_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.discard_draft(partition)?;
        self.make(Name::Draft(partition), 0)
    }

    fn append_to_draft(
        &mut self,
        partition: PartitionId,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut files = self.files();
        let mut held = files.take(Name::Draft(partition))?;
        let written = held.file.write_all_at(bytes, position);
        held.bytes = held.bytes.max(position + bytes.len() as u64);
        files.put(Name::Draft(partition), held)?;
        written
    }

    fn sync_draft(&mut self, _partition: PartitionId) -> io::Result<()> {
        Ok(())
    }

    fn publish_draft(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        self.rename(
            Name::Draft(partition),
            Name::Checkpoint(partition, generation),
        )
    }

    fn discard_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        match self.files().take(Name::Draft(partition)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn remove_checkpoint(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        let name = Name::Checkpoint(partition, generation);
        self.files().take(name).map(drop)
    }
}

#[cfg(test)]
mod tests;
