//! The simulated disk: files of 4 KiB sectors that know which of their versions are durable.
//!
//! A write makes a new version of each sector it touches; an fdatasync makes durable what was written before it
//! began. At a power loss each unsynced sector is, independently, kept, lost or torn into pieces of 512 bytes of
//! any of its versions. Kept, lost and torn may differ between the sectors of one write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::sim::random::{Concern, Ppm, Random};
use crate::sim::swarm::DiskFaults;

/// Bytes that the device writes as one unit when all is well.
pub const SECTOR_BYTES: usize = 4096;
/// Bytes that are never torn.
pub const ATOM_BYTES: usize = 512;

/// Shared between a disk and its copies.
type SectorBytes = Arc<[u8; SECTOR_BYTES]>;

/// The name of a file on the simulated disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// A small file in the data directory: `superblock`, `lock`.
    Named(String),
    /// A spare segment.
    Spare(u32),
    /// A segment of a partition.
    Segment(u32, u32),
    /// A published checkpoint of a partition.
    Checkpoint(u32, u32),
    /// The checkpoint of a partition that is being written.
    Draft(u32),
}

#[derive(Clone, Debug)]
struct Version {
    stamp: u64,
    /// An fdatasync that covered it has failed: later ones do not make it durable (the "fsyncgate" of 2018).
    doomed: bool,
    bytes: SectorBytes,
}

#[derive(Clone, Debug, Default)]
struct Sector {
    durable: Option<SectorBytes>,
    volatile: Vec<Version>,
}

/// One file.
#[derive(Clone, Debug, Default)]
struct StoredFile {
    bytes: u64,
    sectors: BTreeMap<u64, Sector>,
    unsynced: BTreeSet<u64>,
}

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The process dies; the page cache and the device cache live on.
    Kill,
    /// The machine loses power.
    PowerLoss,
}

/// All files of one node.
#[derive(Debug)]
pub struct Disk {
    files: BTreeMap<FileName, Arc<StoredFile>>,
    /// Segments that went, as they were.
    archived: BTreeMap<FileName, Arc<StoredFile>>,
    random: Random,
    /// The fault probabilities now in force.
    pub faults: DiskFaults,
    stamp: u64,
    /// Operations until the power goes in the middle of one; `None`: it stays.
    fuse: Option<u32>,
    /// What was done to the files, if that is recorded.
    tape: Option<Vec<Moment>>,
    /// What was met.
    pub met: DiskMet,
}

/// How often the disk did what it may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskMet {
    /// Sectors lost at a power loss.
    pub sectors_lost: u64,
    /// Sectors torn at a power loss.
    pub sectors_torn: u64,
    /// Failed reads.
    pub read_errors: u64,
    /// Reads of a running shard.
    pub reads: u64,
    /// Chunks of checkpoints that a running shard read.
    pub chunk_reads: u64,
    /// Stretches that were read to find damage.
    pub scrubs: u64,
    /// Checkpoints that were written.
    pub checkpoints: u64,
    /// Failed writes.
    pub writes_failed: u64,
    /// Short writes.
    pub writes_short: u64,
    /// Failed fdatasyncs.
    pub syncs_failed: u64,
    /// Segments that went.
    pub segments_freed: u64,
    /// Segments that could not be installed, retired or removed.
    pub installs_failed: u64,
}

impl DiskMet {
    /// Writes and fdatasyncs that did not do what they should.
    pub fn failures(&self) -> u64 {
        self.writes_failed + self.writes_short + self.syncs_failed + self.installs_failed
    }
}

impl Disk {
    /// An empty disk.
    pub fn new(seed: u64, faults: DiskFaults) -> Self {
        Self {
            files: BTreeMap::new(),
            archived: BTreeMap::new(),
            random: Random::stream(seed, Concern::Disk),
            faults,
            stamp: 0,
            fuse: None,
            tape: None,
            met: DiskMet::default(),
        }
    }

    /// A copy for looking at: same files, no faults.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self {
            files: self.files.clone(),
            archived: BTreeMap::new(),
            random: self.random.clone(),
            faults: DiskFaults::default(),
            stamp: self.stamp,
            fuse: None,
            tape: None,
            met: DiskMet::default(),
        }
    }

    fn file_mut(&mut self, name: &FileName) -> Option<&mut StoredFile> {
        self.files.get_mut(name).map(Arc::make_mut)
    }

    /// Lets the power go in the middle of the `operations`-th blocking operation from now.
    pub fn set_fuse(&mut self, operations: Option<u32>) {
        self.fuse = operations;
    }

    /// Counts down the fuse: true when the power goes within this operation.
    pub fn burn(&mut self) -> bool {
        match &mut self.fuse {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                *left == 0
            }
        }
    }

    /// True after the fuse has blown: every further operation fails.
    pub fn is_dead(&self) -> bool {
        self.fuse == Some(0)
    }

    /// True with probability `p` of the disk's own stream.
    pub fn chance(&mut self, p: Ppm) -> bool {
        self.random.chance(p)
    }

    /// The disk's own random stream.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// True when the file exists.
    pub fn exists(&self, name: &FileName) -> bool {
        self.files.contains_key(name)
    }

    /// Length of the file.
    pub fn file_bytes(&self, name: &FileName) -> Option<u64> {
        self.files.get(name).map(|file| file.bytes)
    }

    /// Names of all files, in order.
    pub fn names(&self) -> impl Iterator<Item = &FileName> {
        self.files.keys()
    }

    /// Makes a file of zeros, durable at once (the caller models what happens in between).
    pub fn create_zeroed(&mut self, name: FileName, bytes: u64) {
        self.note("create", &name, (0, bytes as usize));
        let file = StoredFile {
            bytes,
            ..StoredFile::default()
        };
        self.files.insert(name, Arc::new(file));
    }

    /// Replaces a small file whole, durable at once.
    pub fn replace(&mut self, name: &FileName, bytes: &[u8]) {
        self.note("replace", name, (0, bytes.len()));
        let tape = self.tape.take();
        self.create_zeroed(name.clone(), bytes.len() as u64);
        self.write(name, 0, bytes);
        let stamp = self.stamp;
        self.sync(name, stamp);
        self.tape = tape;
    }

    /// Renames a file; false when there is none.
    pub fn rename(&mut self, from: &FileName, to: FileName) -> bool {
        self.note("rename", from, (0, 0));
        match self.files.remove(from) {
            Some(file) => {
                self.files.insert(to, file);
                true
            }
            None => false,
        }
    }

    /// Removes a file.
    pub fn remove(&mut self, name: &FileName) {
        self.note("remove", name, (0, 0));
        self.files.remove(name);
    }

    /// Reads up to `into.len()` bytes at `position`; returns how many there were.
    pub fn read(&self, name: &FileName, position: u64, into: &mut [u8]) -> usize {
        let Some(file) = self.files.get(name) else {
            return 0;
        };
        let end = file.bytes.min(position + into.len() as u64);
        let mut at = position;
        while at < end {
            let (index, skip) = (
                at / SECTOR_BYTES as u64,
                (at % SECTOR_BYTES as u64) as usize,
            );
            let take = (SECTOR_BYTES - skip).min((end - at) as usize);
            let target = &mut into[(at - position) as usize..][..take];
            match file.sectors.get(&index).and_then(Sector::visible) {
                Some(bytes) => target.copy_from_slice(&bytes[skip..skip + take]),
                None => target.fill(0),
            }
            at += take as u64;
        }
        end.saturating_sub(position) as usize
    }

    /// Writes `bytes` at `position`, unsynced, growing the file if need be.
    pub fn write(&mut self, name: &FileName, position: u64, bytes: &[u8]) {
        self.note("write", name, (position, bytes.len()));
        self.stamp += 1;
        let stamp = self.stamp;
        let Some(file) = self.file_mut(name) else {
            return;
        };
        let end = position + bytes.len() as u64;
        file.bytes = file.bytes.max(end);
        let mut at = position;
        while at < end {
            let (index, skip) = (
                at / SECTOR_BYTES as u64,
                (at % SECTOR_BYTES as u64) as usize,
            );
            let take = (SECTOR_BYTES - skip).min((end - at) as usize);
            let source = &bytes[(at - position) as usize..][..take];
            file.sectors
                .entry(index)
                .or_default()
                .overwrite(stamp, skip, source);
            file.unsynced.insert(index);
            at += take as u64;
        }
    }

    /// The stamp of the newest write: an fdatasync that begins now covers up to it.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Makes durable what was written to the file up to `stamp`.
    pub fn sync(&mut self, name: &FileName, stamp: u64) {
        self.note("sync", name, (0, 0));
        let Some(file) = self.file_mut(name) else {
            return;
        };
        let sectors = &mut file.sectors;
        file.unsynced.retain(|index| {
            sectors
                .get_mut(index)
                .is_some_and(|sector| sector.sync(stamp))
        });
    }

    /// An fdatasync of the file fails: what it should have covered will never be durable by a later one.
    pub fn fail_sync(&mut self, name: &FileName, stamp: u64) {
        let Some(file) = self.file_mut(name) else {
            return;
        };
        for index in &file.unsynced {
            for version in &mut file.sectors.entry(*index).or_default().volatile {
                version.doomed |= version.stamp <= stamp;
            }
        }
    }

    /// The machine stops: decides what every unsynced sector holds from now on. After a mere kill only what a
    /// failed fdatasync left in doubt is decided: a restart reads it from the media.
    pub fn stop(&mut self, stop: Stop) {
        let odds = (self.faults.sector_lost, self.faults.sector_torn);
        for file in self.files.values_mut().map(Arc::make_mut) {
            let sectors = &mut file.sectors;
            let (random, met) = (&mut self.random, &mut self.met);
            file.unsynced.retain(|index| {
                let Some(sector) = sectors.get_mut(index) else {
                    return false;
                };
                let doomed = sector.volatile.iter().any(|version| version.doomed);
                if stop == Stop::PowerLoss || doomed {
                    sector.settle(random, odds, met);
                    return false;
                }
                true
            });
        }
        self.fuse = None;
    }

    /// Positions of the sectors of a file that were ever written, in order.
    pub fn written_sectors(&self, name: &FileName) -> impl Iterator<Item = u64> {
        self.files
            .get(name)
            .into_iter()
            .flat_map(|file| file.sectors.keys().map(|index| index * SECTOR_BYTES as u64))
    }

    /// Flips bits of one durable byte.
    pub fn rot(&mut self, name: &FileName, position: u64, mask: u8) {
        let Some(file) = self.file_mut(name) else {
            return;
        };
        let index = position / SECTOR_BYTES as u64;
        let skip = (position % SECTOR_BYTES as u64) as usize;
        let sector = file.sectors.entry(index).or_default();
        for version in &mut sector.volatile {
            Arc::make_mut(&mut version.bytes)[skip] ^= mask;
        }
        let durable = sector.durable.get_or_insert_with(zeroed);
        Arc::make_mut(durable)[skip] ^= mask;
    }

    /// Forgets every unsynced version, for the last look at what is durable for sure.
    pub fn lose_everything_unsynced(&mut self) {
        self.lose(|_, _| false);
    }

    /// How many segments the partition has.
    pub fn segments(&self, partition: u32) -> u64 {
        let is_own =
            |name: &&FileName| matches!(name, FileName::Segment(owner, _) if *owner == partition);
        self.files.keys().filter(is_own).count() as u64
    }

    /// A number that differs when any visible byte of the partition's segments differs.
    pub fn fingerprint(&self, partition: u32) -> u64 {
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        for (name, file) in &self.files {
            let FileName::Segment(owner, number) = name else {
                continue;
            };
            if *owner != partition {
                continue;
            }
            hash = mix(hash, u64::from(*number));
            for (index, sector) in &file.sectors {
                let Some(bytes) = sector.visible() else {
                    continue;
                };
                hash = mix(hash, *index);
                for word in bytes.chunks_exact(8) {
                    let word: [u8; 8] = word.try_into().unwrap_or_default();
                    hash = mix(hash, u64::from_le_bytes(word));
                }
            }
        }
        hash
    }
}

impl Sector {
    fn visible(&self) -> Option<&SectorBytes> {
        self.volatile
            .last()
            .map(|version| &version.bytes)
            .or(self.durable.as_ref())
    }

    fn overwrite(&mut self, stamp: u64, skip: usize, source: &[u8]) {
        let bytes = if let Ok(whole) = <[u8; SECTOR_BYTES]>::try_from(source) {
            Arc::new(whole)
        } else {
            let mut bytes = self.visible().cloned().unwrap_or_else(zeroed);
            Arc::make_mut(&mut bytes)[skip..skip + source.len()].copy_from_slice(source);
            bytes
        };
        self.volatile.push(Version {
            stamp,
            doomed: false,
            bytes,
        });
    }

    /// Returns true when some version is still unsynced.
    fn sync(&mut self, stamp: u64) -> bool {
        let covered = self
            .volatile
            .iter()
            .rposition(|version| version.stamp <= stamp && !version.doomed);
        if let Some(index) = covered {
            let mut rest = self.volatile.split_off(index + 1);
            std::mem::swap(&mut rest, &mut self.volatile);
            self.durable = rest.pop().map(|version| version.bytes);
        }
        !self.volatile.is_empty()
    }

    fn settle(&mut self, random: &mut Random, odds: (Ppm, Ppm), met: &mut DiskMet) {
        let versions = std::mem::take(&mut self.volatile);
        let old = self.durable.take();
        if random.chance(odds.1) {
            met.sectors_torn += 1;
            let mut torn = [0; SECTOR_BYTES];
            for atom in 0..SECTOR_BYTES / ATOM_BYTES {
                let source = match random.index(versions.len() + 1) {
                    0 => old.as_ref(),
                    index => Some(&versions[index - 1].bytes),
                };
                let span = atom * ATOM_BYTES..(atom + 1) * ATOM_BYTES;
                if let Some(bytes) = source {
                    torn[span.clone()].copy_from_slice(&bytes[span]);
                }
            }
            self.durable = Some(Arc::new(torn));
        } else if random.chance(odds.0) {
            met.sectors_lost += 1;
            let kept = random.index(versions.len());
            self.durable = match kept {
                0 => old,
                index => Some(versions[index - 1].bytes.clone()),
            };
        } else {
            self.durable = versions
                .into_iter()
                .next_back()
                .map(|version| version.bytes);
        }
    }
}

fn zeroed() -> SectorBytes {
    Arc::new([0; SECTOR_BYTES])
}

/// One step of a 64-bit mixing hash (FNV-1a by words, with a rotation).
pub fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word)
        .wrapping_mul(0x0000_0100_0000_01B3)
        .rotate_left(23)
}

mod archive;
mod loss;
mod tape;

pub use loss::Unsynced;
pub use tape::{Change, Moment};

#[cfg(test)]
mod tests;
