//! A disk in memory for the tests: knows what was synced, tears at 512-byte sectors, and stops at a fuse.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use corelane_wire::PartitionId;

use crate::layout::{BLOCK_ALIGN, RETIRED_BYTES, SegmentNumber};
use crate::volume::{SpareId, Volume};

pub(crate) const SECTOR: usize = 512;

#[derive(Clone, Default, Debug)]
pub(crate) struct File {
    /// What survives a power cut.
    pub(crate) durable: Vec<u8>,
    /// What a read returns.
    pub(crate) now: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Memory {
    pub(crate) segments: BTreeMap<(u32, u32), File>,
    pub(crate) checkpoints: BTreeMap<(u32, u32), File>,
    pub(crate) drafts: BTreeMap<u32, File>,
    /// Checkpoints that were removed; the next crash may bring them back.
    pub(crate) removed: BTreeMap<(u32, u32), File>,
    pub(crate) named: BTreeMap<String, Vec<u8>>,
    pub(crate) spares: BTreeMap<u32, File>,
    pub(crate) locked: Vec<u32>,
    /// Changes that still succeed; at zero the power is gone and every call fails.
    pub(crate) fuse: Option<usize>,
    pub(crate) changes: usize,
    pub(crate) writes: usize,
    /// A segment whose reads fail.
    pub(crate) unreadable: Option<u32>,
    /// A checkpoint whose reads fail.
    pub(crate) unreadable_checkpoint: Option<u32>,
    pub(crate) checkpoint_reads: Cell<usize>,
    pub(crate) segment_bytes_read: Cell<usize>,
}

impl File {
    fn read(&self, position: u64, into: &mut [u8]) -> usize {
        let from = usize::try_from(position).unwrap().min(self.now.len());
        let count = into.len().min(self.now.len() - from);
        into[..count].copy_from_slice(&self.now[from..from + count]);
        count
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.durable = self.now.clone();
    }
}

impl Memory {
    /// Cuts the power: of what was not synced, the sectors for which `keep` says so reach the disk.
    pub(crate) fn crash(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut sector = 0;
        let files = (self.segments.values_mut())
            .chain(self.checkpoints.values_mut())
            .chain(self.drafts.values_mut());
        for file in files {
            for (position, bytes) in std::mem::take(&mut file.unsynced) {
                let parts = bytes.chunks(SECTOR).enumerate();
                for (at, part) in parts.filter(|(at, _)| keep(sector + at)) {
                    let from = position + at * SECTOR;
                    let end = from + part.len();
                    file.durable.resize(file.durable.len().max(end), 0);
                    file.durable[from..end].copy_from_slice(part);
                }
                sector += bytes.chunks(SECTOR).count();
            }
            file.now = file.durable.clone();
        }
        for (name, file) in std::mem::take(&mut self.removed) {
            if keep(sector) {
                self.checkpoints.insert(name, file);
            }
            sector += 1;
        }
        self.fuse = None;
    }

    pub(crate) fn unsynced_sectors(&self) -> usize {
        let writes = self.segments.values().flat_map(|file| &file.unsynced);
        writes.map(|(_, bytes)| bytes.chunks(SECTOR).count()).sum()
    }

    /// The content of a checkpoint, to be tampered with; it counts as synced.
    pub(crate) fn tamper_checkpoint(&mut self, generation: u32, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.checkpoints.get_mut(&(PARTITION, generation)).unwrap();
        change(&mut file.now);
        file.durable = file.now.clone();
    }

    /// The content of a segment, to be tampered with; it counts as synced.
    pub(crate) fn tamper(&mut self, segment: u32, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.segments.get_mut(&(PARTITION, segment)).unwrap();
        change(&mut file.now);
        file.durable = file.now.clone();
        file.unsynced.clear();
    }

    pub(crate) fn content(&self) -> Vec<((u32, u32), Vec<u8>)> {
        let files = self.segments.iter();
        files
            .map(|(name, file)| (*name, file.now.clone()))
            .collect()
    }

    /// A spare that was a segment loses its headers, durably.
    fn clear_front(&mut self, spare: SpareId) -> io::Result<()> {
        let file = self.spares.get_mut(&spare.0).unwrap();
        if file.now[..RETIRED_BYTES].iter().any(|byte| *byte != 0) {
            self.burn()?;
            let file = self.spares.get_mut(&spare.0).unwrap();
            file.now[..RETIRED_BYTES].fill(0);
        }
        self.burn()?;
        let file = self.spares.get_mut(&spare.0).unwrap();
        file.durable = file.now.clone();
        Ok(())
    }

    fn burn(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => return Err(io::Error::from(io::ErrorKind::BrokenPipe)),
            Some(left) => *left -= 1,
            None => {}
        }
        self.changes += 1;
        Ok(())
    }

    fn file(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<&File> {
        let found = self.segments.get(&(partition.0, segment.0));
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Volume for Memory {
    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.named.get(name).cloned())
    }

    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.burn()?;
        self.named.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn segments(&self, partition: PartitionId) -> io::Result<Vec<SegmentNumber>> {
        let names = self.segments.keys();
        Ok(names
            .filter(|(owner, _)| *owner == partition.0)
            .map(|(_, number)| SegmentNumber(*number))
            .collect())
    }

    fn segment_bytes(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<u64> {
        Ok(self.file(partition, segment)?.now.len() as u64)
    }

    fn read_at(
        &self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        if self.unreadable == Some(segment.0) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let count = self.file(partition, segment)?.read(position, into);
        self.segment_bytes_read
            .set(self.segment_bytes_read.get() + count);
        Ok(count)
    }

    fn write_at(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.burn()?;
        self.writes += 1;
        let file = self.segments.get_mut(&(partition.0, segment.0)).unwrap();
        let from = usize::try_from(position).unwrap();
        file.now[from..from + bytes.len()].copy_from_slice(bytes);
        file.unsynced.push((from, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        self.burn()?;
        let file = self.segments.get_mut(&(partition.0, segment.0)).unwrap();
        file.sync();
        Ok(())
    }

    fn lock_segment(&mut self, _: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        self.locked.push(segment.0);
        Ok(())
    }

    fn spares(&self) -> io::Result<Vec<(SpareId, u64)>> {
        let spares = self.spares.iter();
        Ok(spares
            .map(|(spare, file)| (SpareId(*spare), file.now.len() as u64))
            .collect())
    }

    fn make_spare(&mut self, spare: SpareId, bytes: u64) -> io::Result<()> {
        self.burn()?;
        let zeros = vec![0; usize::try_from(bytes).unwrap()];
        let file = File {
            durable: zeros.clone(),
            now: zeros,
            unsynced: Vec::new(),
        };
        self.spares.insert(spare.0, file);
        Ok(())
    }

    fn install_spare(
        &mut self,
        spare: SpareId,
        partition: PartitionId,
        segment: SegmentNumber,
    ) -> io::Result<()> {
        if self.segments.contains_key(&(partition.0, segment.0)) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        self.clear_front(spare)?;
        self.burn()?;
        let file = self.spares.remove(&spare.0).unwrap();
        self.segments.insert((partition.0, segment.0), file);
        Ok(())
    }

    fn retire_segment(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        spare: SpareId,
    ) -> io::Result<bool> {
        self.burn()?;
        let file = self.segments.remove(&(partition.0, segment.0)).unwrap();
        assert!(self.spares.insert(spare.0, file).is_none());
        Ok(true)
    }

    fn remove_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        self.burn()?;
        self.segments.remove(&(partition.0, segment.0));
        Ok(())
    }

    fn remove_spare(&mut self, spare: SpareId) -> io::Result<()> {
        self.spares.remove(&spare.0);
        Ok(())
    }

    fn checkpoints(&self, partition: PartitionId) -> io::Result<Vec<(u32, u64)>> {
        let files = self
            .checkpoints
            .range((partition.0, 0)..=(partition.0, u32::MAX));
        Ok(files
            .map(|((_, generation), file)| (*generation, file.now.len() as u64))
            .collect())
    }

    fn read_checkpoint(
        &self,
        partition: PartitionId,
        generation: u32,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        if self.unreadable_checkpoint == Some(generation) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.checkpoint_reads.set(self.checkpoint_reads.get() + 1);
        let found = self.checkpoints.get(&(partition.0, generation));
        Ok(found.ok_or(io::ErrorKind::NotFound)?.read(position, into))
    }

    fn begin_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.burn()?;
        self.drafts.insert(partition.0, File::default());
        Ok(())
    }

    fn append_to_draft(
        &mut self,
        partition: PartitionId,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.burn()?;
        let file = self.drafts.get_mut(&partition.0).unwrap();
        assert_eq!(position, file.now.len() as u64, "a draft is appended to");
        assert!(bytes.len().is_multiple_of(BLOCK_ALIGN), "in whole pages");
        file.unsynced.push((file.now.len(), bytes.to_vec()));
        file.now.extend_from_slice(bytes);
        Ok(())
    }

    fn sync_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.burn()?;
        self.drafts.get_mut(&partition.0).unwrap().sync();
        Ok(())
    }

    fn publish_draft(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        self.burn()?;
        if self.checkpoints.contains_key(&(partition.0, generation)) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let file = self.drafts.remove(&partition.0).unwrap();
        self.checkpoints.insert((partition.0, generation), file);
        // The sync of the folder covers names that went before, too.
        self.removed.clear();
        Ok(())
    }

    fn discard_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.burn()?;
        self.drafts.remove(&partition.0);
        Ok(())
    }

    fn remove_checkpoint(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        self.burn()?;
        let name = (partition.0, generation);
        let file = self
            .checkpoints
            .remove(&name)
            .ok_or(io::ErrorKind::NotFound)?;
        self.removed.insert(name, file);
        Ok(())
    }
}

/// The partition that the tests use.
pub(crate) const PARTITION: u32 = 3;
