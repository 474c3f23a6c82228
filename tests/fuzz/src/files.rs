//! The files of one partition in memory, as recovery sees them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use corelane_storage::{SegmentNumber, SpareId, Volume};
use corelane_wire::PartitionId;

/// Segment and checkpoint files, with a count of how often they were read.
#[derive(Clone, Default, Debug)]
pub struct Files {
    /// Their bytes, by number.
    pub segments: BTreeMap<u32, Vec<u8>>,
    /// Bytes of the checkpoints, by generation.
    pub checkpoints: BTreeMap<u32, Vec<u8>>,
    /// The checkpoint that is being written.
    pub draft: Vec<u8>,
    /// Calls of `read_at` and `read_checkpoint`.
    pub reads: Cell<usize>,
}

impl Files {
    fn file(&self, segment: SegmentNumber) -> io::Result<&Vec<u8>> {
        let found = self.segments.get(&segment.0);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read(&self, file: &[u8], position: u64, into: &mut [u8]) -> usize {
        self.reads.set(self.reads.get() + 1);
        let from = usize::try_from(position).map_or(file.len(), |from| from.min(file.len()));
        let count = into.len().min(file.len() - from);
        into[..count].copy_from_slice(&file[from..from + count]);
        count
    }
}

impl Volume for Files {
    fn read_file(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn replace_file(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn segments(&self, _: PartitionId) -> io::Result<Vec<SegmentNumber>> {
        Ok(self.segments.keys().copied().map(SegmentNumber).collect())
    }

    fn segment_bytes(&self, _: PartitionId, segment: SegmentNumber) -> io::Result<u64> {
        Ok(self.file(segment)?.len() as u64)
    }

    fn read_at(
        &self,
        _: PartitionId,
        segment: SegmentNumber,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        Ok(self.read(self.file(segment)?, position, into))
    }

    fn write_at(
        &mut self,
        _: PartitionId,
        segment: SegmentNumber,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let file = self.segments.get_mut(&segment.0);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        let into = file.get_mut(from..from + bytes.len());
        into.ok_or(io::ErrorKind::InvalidInput)?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: PartitionId, _: SegmentNumber) -> io::Result<()> {
        Ok(())
    }

    fn lock_segment(&mut self, _: PartitionId, _: SegmentNumber) -> io::Result<()> {
        Ok(())
    }

    fn spares(&self) -> io::Result<Vec<(SpareId, u64)>> {
        Ok(Vec::new())
    }

    fn make_spare(&mut self, _: SpareId, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn install_spare(&mut self, _: SpareId, _: PartitionId, _: SegmentNumber) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn retire_segment(&mut self, _: PartitionId, _: SegmentNumber, _: SpareId) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_segment(&mut self, _: PartitionId, _: SegmentNumber) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_spare(&mut self, _: SpareId) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn checkpoints(&self, _: PartitionId) -> io::Result<Vec<(u32, u64)>> {
        let files = self.checkpoints.iter();
        Ok(files
            .map(|(generation, file)| (*generation, file.len() as u64))
            .collect())
    }

    fn read_checkpoint(
        &self,
        _: PartitionId,
        generation: u32,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let file = self.checkpoints.get(&generation);
        Ok(self.read(file.ok_or(io::ErrorKind::NotFound)?, position, into))
    }

    fn begin_draft(&mut self, _: PartitionId) -> io::Result<()> {
        self.draft.clear();
        Ok(())
    }

    fn append_to_draft(&mut self, _: PartitionId, position: u64, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(position, self.draft.len() as u64);
        self.draft.extend_from_slice(bytes);
        Ok(())
    }

    fn sync_draft(&mut self, _: PartitionId) -> io::Result<()> {
        Ok(())
    }

    fn publish_draft(&mut self, _: PartitionId, generation: u32) -> io::Result<()> {
        let draft = std::mem::take(&mut self.draft);
        assert!(self.checkpoints.insert(generation, draft).is_none());
        Ok(())
    }

    fn discard_draft(&mut self, _: PartitionId) -> io::Result<()> {
        self.draft.clear();
        Ok(())
    }

    fn remove_checkpoint(&mut self, _: PartitionId, generation: u32) -> io::Result<()> {
        let removed = self.checkpoints.remove(&generation);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
