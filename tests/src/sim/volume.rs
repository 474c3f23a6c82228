//! The blocking seam of recovery and housekeeping over the simulated disk.
//!
//! Every call may be the one in whose middle the power goes (the disk's fuse): it then has happened, or not, or
//! half, as the contract of the call allows, and every later call fails.

use std::io;

use corelane_storage::{RETIRED_BYTES, SegmentNumber, SpareId, Volume};
use corelane_wire::PartitionId;

use crate::sim::disk::{Disk, FileName};
use crate::sim::driver::{SharedDisk, lock};

/// A view of the simulated disk through `corelane_storage::Volume`.
#[derive(Debug)]
pub struct SimVolume {
    disk: SharedDisk,
}

impl SimVolume {
    /// A volume over the disk.
    pub fn new(disk: SharedDisk) -> Self {
        Self { disk }
    }

    /// Runs a change: whole while the power stays, and maybe in the moment in which it goes.
    fn change(&self, act: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        if disk.is_dead() {
            return Err(dead());
        }
        if disk.burn() {
            if disk.random().one_in(2) {
                act(&mut disk)?;
            }
            return Err(dead());
        }
        act(&mut disk)
    }

    /// A read that may fail like one of the media.
    fn read(&self, name: &FileName, position: u64, into: &mut [u8]) -> io::Result<usize> {
        self.look(|disk| {
            let odds = disk.faults.read_error;
            if disk.chance(odds) {
                disk.met.read_errors += 1;
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            if !disk.exists(name) {
                return Err(missing());
            }
            Ok(disk.read(name, position, into))
        })
    }

    fn look<T>(&self, act: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = lock(&self.disk);
        if disk.is_dead() || disk.burn() {
            return Err(dead());
        }
        act(&mut disk)
    }
}

impl Volume for SimVolume {
    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.look(|disk| {
            let name = FileName::Named(name.to_owned());
            let Some(bytes) = disk.file_bytes(&name) else {
                return Ok(None);
            };
            let mut content = vec![0; bytes as usize];
            disk.read(&name, 0, &mut content);
            Ok(Some(content))
        })
    }

    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| {
            disk.replace(&FileName::Named(name.to_owned()), bytes);
            Ok(())
        })
    }

    fn segments(&self, partition: PartitionId) -> io::Result<Vec<SegmentNumber>> {
        self.look(|disk| {
            let own = disk.names().filter_map(|name| {
                let FileName::Segment(owner, number) = name else {
                    return None;
                };
                (*owner == partition.0).then_some(SegmentNumber(*number))
            });
            Ok(own.collect())
        })
    }

    fn segment_bytes(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<u64> {
        self.look(|disk| {
            disk.file_bytes(&FileName::Segment(partition.0, segment.0))
                .ok_or_else(missing)
        })
    }

    fn read_at(
        &self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.read(&FileName::Segment(partition.0, segment.0), position, into)
    }

    fn write_at(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.change(|disk| {
            let name = FileName::Segment(partition.0, segment.0);
            if !disk.exists(&name) {
                return Err(missing());
            }
            disk.write(&name, position, bytes);
            Ok(())
        })
    }

    fn sync(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        self.change(|disk| {
            let stamp = disk.stamp();
            disk.sync(&FileName::Segment(partition.0, segment.0), stamp);
            Ok(())
        })
    }

    fn lock_segment(&mut self, _: PartitionId, _: SegmentNumber) -> io::Result<()> {
        Ok(())
    }

    fn spares(&self) -> io::Result<Vec<(SpareId, u64)>> {
        self.look(|disk| {
            let spares = disk.names().filter_map(|name| {
                let FileName::Spare(number) = name else {
                    return None;
                };
                Some((SpareId(*number), disk.file_bytes(name)?))
            });
            Ok(spares.collect())
        })
    }

    fn make_spare(&mut self, spare: SpareId, bytes: u64) -> io::Result<()> {
        self.change(|disk| {
            disk.create_zeroed(FileName::Spare(spare.0), bytes);
            Ok(())
        })
    }

    fn install_spare(
        &mut self,
        spare: SpareId,
        partition: PartitionId,
        segment: SegmentNumber,
    ) -> io::Result<()> {
        let (from, to) = (
            FileName::Spare(spare.0),
            FileName::Segment(partition.0, segment.0),
        );
        let has_content = self.look(|disk| {
            if disk.exists(&to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let mut front = [0; RETIRED_BYTES];
            disk.read(&from, 0, &mut front);
            Ok(front.iter().any(|byte| *byte != 0))
        })?;
        self.change(|disk| {
            if has_content {
                disk.write(&from, 0, &[0; RETIRED_BYTES]);
            }
            Ok(())
        })?;
        self.change(|disk| {
            let stamp = disk.stamp();
            disk.sync(&from, stamp);
            Ok(())
        })?;
        self.change(|disk| {
            if disk.rename(&from, to) {
                Ok(())
            } else {
                Err(missing())
            }
        })
    }

    fn retire_segment(
        &mut self,
        partition: PartitionId,
        segment: SegmentNumber,
        spare: SpareId,
    ) -> io::Result<bool> {
        let from = FileName::Segment(partition.0, segment.0);
        let to = FileName::Spare(spare.0);
        self.change(|disk| {
            if disk.exists(&to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.archive(&from);
            if disk.rename(&from, to) {
                Ok(())
            } else {
                Err(missing())
            }
        })
        .map(|()| true)
    }

    fn remove_segment(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        self.change(|disk| {
            let name = FileName::Segment(partition.0, segment.0);
            disk.archive(&name);
            disk.remove(&name);
            Ok(())
        })
    }

    fn remove_spare(&mut self, spare: SpareId) -> io::Result<()> {
        self.change(|disk| {
            disk.remove(&FileName::Spare(spare.0));
            Ok(())
        })
    }

    fn checkpoints(&self, partition: PartitionId) -> io::Result<Vec<(u32, u64)>> {
        self.look(|disk| {
            let own = disk.names().filter_map(|name| {
                let FileName::Checkpoint(owner, generation) = name else {
                    return None;
                };
                let bytes = disk.file_bytes(name)?;
                (*owner == partition.0).then_some((*generation, bytes))
            });
            Ok(own.collect())
        })
    }

    fn read_checkpoint(
        &self,
        partition: PartitionId,
        generation: u32,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.read(
            &FileName::Checkpoint(partition.0, generation),
            position,
            into,
        )
    }

    fn begin_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.change(|disk| {
            disk.create_zeroed(FileName::Draft(partition.0), 0);
            Ok(())
        })
    }

    fn append_to_draft(
        &mut self,
        partition: PartitionId,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.change(|disk| {
            disk.write(&FileName::Draft(partition.0), position, bytes);
            Ok(())
        })
    }

    fn sync_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.change(|disk| {
            let stamp = disk.stamp();
            disk.sync(&FileName::Draft(partition.0), stamp);
            Ok(())
        })
    }

    fn publish_draft(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        self.change(|disk| {
            let to = FileName::Checkpoint(partition.0, generation);
            if disk.exists(&to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if disk.rename(&FileName::Draft(partition.0), to) {
                Ok(())
            } else {
                Err(missing())
            }
        })
    }

    fn discard_draft(&mut self, partition: PartitionId) -> io::Result<()> {
        self.change(|disk| {
            disk.remove(&FileName::Draft(partition.0));
            Ok(())
        })
    }

    fn remove_checkpoint(&mut self, partition: PartitionId, generation: u32) -> io::Result<()> {
        self.change(|disk| {
            disk.remove(&FileName::Checkpoint(partition.0, generation));
            Ok(())
        })
    }
}

fn dead() -> io::Error {
    io::Error::other("the simulated machine has lost power")
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests;
