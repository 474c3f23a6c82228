//! What a log asks of a volume, done with the files of a data directory.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use corelane_wire::PartitionId;

use super::file::{
    check_regular, clear_front, create, numbers_in, open_regular, open_regular_to_read, read_full,
};
use super::{Directory, SMALL_FILE_BYTES_MAX, links, lock};
use crate::layout::SegmentNumber;
use crate::volume::{SpareId, Volume};
impl Volume for Directory {
    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match open_regular_to_read(&self.shared.root.join(name), 0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // No small file of ours comes near the bound; a larger one is not ours and must not fill the memory.
        let mut bytes = vec![0; SMALL_FILE_BYTES_MAX];
        let count = read_full(&file, 0, &mut bytes)?;
        bytes.truncate(count);
        Ok(Some(bytes))
    }

    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.shared.root.join(name);
        let temporary = self.shared.root.join(format!("{name}.tmp"));
        let file = create(&temporary)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        fs::rename(&temporary, &path)?;
        self.sync_directory(&self.shared.root)
    }

    fn segments(&self, partition: PartitionId) -> io::Result<Vec<SegmentNumber>> {
        let numbers = numbers_in(&self.partition_path(partition), 8, ".log")?;
        Ok(numbers.into_iter().map(SegmentNumber).collect())
    }

    fn segment_bytes(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<u64> {
        Ok(fs::symlink_metadata(self.path_of(partition, segment))?.len())
    }

    fn read_at(
        &self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.read_path(&self.path_of(partition, segment), position, into)
    }

    fn write_at(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        open_regular(&self.path_of(partition, segment), 0)?.write_all_at(bytes, position)
    }

    fn sync(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        open_regular(&self.path_of(partition, segment), 0)?.sync_data()
    }

    fn lock_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        // Held for a moment only: nobody but this process, which holds the directory, writes from now on.
        let file = open_regular(&self.path_of(partition, segment), 0)?;
        lock::hold(&file, self.shared.lock_wait)
    }

    fn spares(&self) -> io::Result<Vec<(SpareId, u64)>> {
        let mut spares = Vec::new();
        for number in numbers_in(&self.shared.root.join("spares"), 4, ".spare")? {
            let spare = SpareId(number);
            let found = fs::symlink_metadata(self.spare_path(spare))?;
            if found.is_file() {
                spares.push((spare, found.len()));
            }
        }
        Ok(spares)
    }

    fn make_spare(&mut self, spare: SpareId, bytes: u64) -> io::Result<()> {
        let path = self.spare_path(spare);
        let temporary = path.with_extension("spare.tmp");
        let made = self
            .write_zeros(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = made {
            // Half a spare is room that acks on a full disk may need.
            if let Err(left) = fs::remove_file(&temporary) {
                tracing::warn!(error = %left, "a half-made spare file stays behind");
            }
            return Err(error);
        }
        self.sync_directory(&self.shared.root.join("spares"))
    }

    fn install_spare(
        &mut self,
        spare: SpareId,
        partition: PartitionId,
        segment: SegmentNumber,
    ) -> io::Result<()> {
        let folder = self.partition_folder(partition)?;
        let path = self.path_of(partition, segment);
        // A rename would silently replace a segment with records. Nobody else creates one: we hold the lock.
        if fs::symlink_metadata(&path).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let spare = self.spare_path(spare);
        clear_front(&spare)?;
        fs::rename(spare, &path)?;
        self.sync_directory(&folder)?;
        self.sync_directory(&self.shared.root.join("spares"))
    }

    fn retire_segment(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        spare: SpareId,
    ) -> io::Result<bool> {
        let path = self.path_of(partition, segment);
        let spare = self.spare_path(spare);
        if fs::symlink_metadata(&spare).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        check_regular(&path)?;
        fs::rename(&path, &spare)?;
        // After the rename: whoever linked the segment before is seen here, and later nobody can.
        let is_spare = links::has_one_name(&spare)?;
        if !is_spare {
            fs::remove_file(&spare)?;
        }
        self.sync_directory(&self.shared.root.join("spares"))?;
        self.sync_directory(&self.partition_path(partition))?;
        Ok(is_spare)
    }

    fn remove_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        match fs::remove_file(self.path_of(partition, segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => self.sync_directory(&self.partition_path(partition)),
        }
    }

    fn remove_spare(&mut self, spare: SpareId) -> io::Result<()> {
        fs::remove_file(self.spare_path(spare))?;
        self.sync_directory(&self.shared.root.join("spares"))
    }

    fn checkpoints(&self, partition: PartitionId) -> io::Result<Vec<(u32, u64)>> {
        let mut checkpoints = Vec::new();
        for generation in numbers_in(&self.partition_path(partition), 8, ".ckpt")? {
            let found = fs::symlink_metadata(self.checkpoint_path(partition, generation))?;
            if found.is_file() {
                checkpoints.push((generation, found.len()));
            }
        }
        Ok(checkpoints)
    }

    fn read_checkpoint(
        &self,
        partition: PartitionId,
        generation: u32,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.read_path(&self.checkpoint_path(partition, generation), position, into)
    }

    fn begin_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.partition_folder(partition)?;
        self.discard_draft(partition)?;
        create(&self.draft_path(partition)).map(drop)
    }

    fn append_to_draft(
        &mut self,
        partition: PartitionId,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        // Past the page cache and with a pause, like the zeros of a spare: commits come first.
        let begun = Instant::now();
        open_regular(&self.draft_path(partition), self.direct_flag())?
            .write_all_at(bytes, position)?;
        if !self.haste.load(Ordering::Relaxed) {
            thread::sleep(begun.elapsed());
        }
        Ok(())
    }

    fn sync_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        open_regular(&self.draft_path(partition), 0)?.sync_data()
    }

    fn publish_draft(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        let path = self.checkpoint_path(partition, generation);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        fs::rename(self.draft_path(partition), &path)?;
        self.sync_directory(&self.partition_path(partition))
    }

    fn discard_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        match fs::remove_file(self.draft_path(partition)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn remove_checkpoint(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        fs::remove_file(self.checkpoint_path(partition, generation))
    }
}
