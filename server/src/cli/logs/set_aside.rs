//! Taking files out of service without losing a byte of them.
//!
//! What goes aside goes into a folder `set-aside-SECONDS` of the data directory that has its layout, so that
//! `corelane log verify` and `dump` read it like one. A file that is changed is copied there whole before.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use corelane::repair::{Cut, Step};
use corelane_storage::{
    Directory, FIRST_SEGMENT_BYTES, SEGMENT_HEADER_BYTES, SUPERBLOCK_NAME, SegmentNumber, SpareId,
    Superblock, Volume as _,
};
use corelane_wire::PartitionId;

use crate::cli::exit::Failure;

/// The folder, and the directory that is repaired.
pub(super) struct SetAside {
    directory: Directory,
    folder: PathBuf,
}

impl SetAside {
    /// A folder of its own, with this superblock: of two repairs within a second the later one is named for the next.
    pub(super) fn begin(
        directory: &Directory,
        superblock: &Superblock,
        seconds: u64,
    ) -> Result<Self, Failure> {
        let root = directory.root();
        let named = |seconds: u64| root.join(format!("set-aside-{seconds}"));
        let mut seconds = seconds;
        while named(seconds).exists() {
            seconds += 1;
        }
        let folder = named(seconds);
        let cannot = |error: io::Error| Failure::other(format!("{}: {error}", folder.display()));
        make(&folder).map_err(cannot)?;
        let place = folder.join(SUPERBLOCK_NAME);
        let written = fs::write(&place, superblock.encode()).and_then(|()| synced(&place));
        written.map_err(cannot)?;
        sync(root).map_err(cannot)?;
        Ok(Self {
            directory: directory.clone(),
            folder,
        })
    }

    /// The superblock is this one from now on; one that is there is kept beside that of the folder.
    pub(super) fn replace_superblock(&mut self, superblock: &Superblock) -> Result<(), Failure> {
        let from = self.directory.root().join(SUPERBLOCK_NAME);
        let to = self.folder.join(DAMAGED_SUPERBLOCK_NAME);
        let kept = if from.exists() {
            copy(&from, &to)
        } else {
            Ok(())
        };
        let written = kept.and_then(|()| {
            self.directory
                .replace_file(SUPERBLOCK_NAME, &superblock.encode())
        });
        written.map_err(|error| Failure::other(format!("{}: {error}", from.display())))
    }

    /// Makes one change; on return it survives a power cut.
    pub(super) fn take(&mut self, partition: PartitionId, step: &Step) -> io::Result<()> {
        match step {
            Step::SetAsideCheckpoint(generation) => {
                let path = self.directory.checkpoint_path(partition, *generation);
                self.rename(&path)
            }
            Step::Rebuild(segment, pages) => {
                self.keep_copy(partition, *segment)?;
                for (position, bytes) in pages {
                    self.directory
                        .write_at(partition, *segment, *position, bytes)?;
                }
                self.directory.sync(partition, *segment)
            }
            Step::Cut(cut) => self.cut(partition, cut),
            Step::SetAsidePartition => {
                let any = self.directory.path_of(partition, SegmentNumber(0));
                self.rename(any.parent().unwrap_or(&any))
            }
        }
    }

    pub(super) fn finish(self) -> Result<PathBuf, Failure> {
        sync(&self.folder)
            .map_err(|error| Failure::other(format!("{}: {error}", self.folder.display())))?;
        Ok(self.folder)
    }

    /// The later files go first: until the segment itself is cut, a start refuses what is left as it did before.
    fn cut(&mut self, partition: PartitionId, cut: &Cut) -> io::Result<()> {
        if cut.is_there {
            self.keep_copy(partition, cut.segment)?;
        }
        for segment in &cut.later {
            let path = self.directory.path_of(partition, *segment);
            self.rename(&path)?;
        }
        if cut.is_there {
            self.clear(partition, cut)
        } else if cut.segment > SegmentNumber(0) {
            self.install_blank(partition, cut.segment)
        } else {
            Ok(())
        }
    }

    /// Nothing of what stood there may be read again, so all of it becomes zeros.
    fn clear(&mut self, partition: PartitionId, cut: &Cut) -> io::Result<()> {
        let bytes = self.directory.segment_bytes(partition, cut.segment)?;
        let is_blank = cut.position <= SEGMENT_HEADER_BYTES as u64;
        let mut position = if is_blank { 0 } else { cut.position };
        let zeros = vec![0; ZEROS_BYTES];
        while position < bytes {
            let left = usize::try_from(bytes - position).unwrap_or(ZEROS_BYTES);
            let part = &zeros[..left.min(ZEROS_BYTES)];
            self.directory
                .write_at(partition, cut.segment, position, part)?;
            position += part.len() as u64;
        }
        self.directory.sync(partition, cut.segment)
    }

    /// Behind a footer stands a segment, be it empty.
    fn install_blank(&mut self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        let spares = self.directory.spares()?;
        let free = spares.last().map_or(0, |(last, _)| last.0 + 1);
        let spare = SpareId(free);
        self.directory.make_spare(spare, FIRST_SEGMENT_BYTES)?;
        self.directory.install_spare(spare, partition, segment)
    }

    fn keep_copy(&self, partition: PartitionId, segment: SegmentNumber) -> io::Result<()> {
        let from = self.directory.path_of(partition, segment);
        let to = self.place_of(&from)?;
        // The first copy is of what was found.
        if to.exists() {
            Ok(())
        } else {
            copy(&from, &to)
        }
    }

    fn rename(&self, from: &Path) -> io::Result<()> {
        let to = self.place_of(from)?;
        fs::rename(from, &to)?;
        for path in [from, &to] {
            if let Some(folder) = path.parent() {
                sync(folder)?;
            }
        }
        Ok(())
    }

    /// Where a file of the directory goes, in a folder that is there.
    fn place_of(&self, path: &Path) -> io::Result<PathBuf> {
        let inside = path.strip_prefix(self.directory.root());
        let place = self.folder.join(inside.map_err(io::Error::other)?);
        if let Some(folder) = place.parent() {
            make(folder)?;
        }
        Ok(place)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // The folders above it may be new as well.
    let above = folder.ancestors().skip(1).take(2);
    above
        .filter(|path| !path.as_os_str().is_empty())
        .try_for_each(sync)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    synced(to)
}

/// On return a file and its name survive a power cut.
fn synced(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

const ZEROS_BYTES: usize = 1 << 20;
/// In the folder; its `superblock` is a whole one, so that `log dump` reads it.
const DAMAGED_SUPERBLOCK_NAME: &str = "superblock.damaged";
