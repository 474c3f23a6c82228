//! One data directory, what it holds, and what is made of it when a bit of it has flipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use corelane::recovery::{Opened, PartitionState, ReadyPartition, open_partition};
use corelane_core::ChunkWalk;
use corelane_storage::{CheckpointConfig, Volume, open_checkpoints, open_superblock, read_chunk};
use corelane_wire::{ChunkPlace, PartitionId};

use super::Outcome;
use super::places::{Flip, Kind, Places};
use crate::crash::choice::{choices, stop};
use crate::crash::driver::shared;
use crate::crash::harm::Harm;
use crate::crash::judge::with_record;
use crate::crash::reference::Reference;
use crate::crash::script::play;
use crate::crash::setup::Setup;
use crate::sim::disk::Disk;
use crate::sim::driver::SharedDisk;
use crate::sim::volume::SimVolume;

const PARTITION: PartitionId = PartitionId(0);

/// What a script left on the disk, and what is known about it.
pub(super) struct Directory {
    setup: Setup,
    reference: Reference,
    image: Disk,
    /// What is read without a flip.
    whole: Whole,
}

/// What a start finds when nothing is wrong.
struct Whole {
    end: u64,
    generation: Option<u32>,
    /// The records that are in the log.
    records: Vec<u64>,
    chunks: BTreeMap<(u32, u64), (ChunkPlace, Vec<u8>)>,
}

/// What a start made of a directory.
enum Started {
    /// It was refused, or the partition is damaged: with a reason, and nothing is served.
    Refused,
    Ready(Box<ReadyPartition>, IsCut),
}

/// Whether recovery cut the end of the log, and said so.
type IsCut = bool;

impl Directory {
    /// What the script of this seed left, if it has all that is to be flipped.
    ///
    /// # Panics
    /// If it is not whole without a flip.
    pub(super) fn new(seed: u64) -> Option<Self> {
        let setup = Setup::draw(seed);
        let played = play(&setup, None).expect("a script without a fault does no harm");
        let reference = Reference::new(&played).expect("nor does it contradict itself");
        let mut image = played.last.snapshot();
        let all_written = choices(&image, seed)[0];
        stop(&mut image, all_written);
        let places = Places::of(&image);
        let volume = SimVolume::new(shared(image.snapshot()));
        let generations = volume
            .checkpoints(PARTITION)
            .expect("a disk without faults");
        let has_all = [Kind::Footer, Kind::Data, Kind::LastBlock]
            .into_iter()
            .all(|kind| places.has(kind));
        if !has_all || generations.len() < 2 {
            return None;
        }
        let whole = Whole::of(&image, &setup);
        assert!(
            whole.end >= reference.required(usize::MAX),
            "seed {seed}: what was confirmed is there"
        );
        Some(Self {
            setup,
            reference,
            image,
            whole,
        })
    }

    pub(super) fn seed(&self) -> u64 {
        self.setup.seed
    }

    pub(super) fn places(&self) -> Places {
        Places::of(&self.image)
    }

    /// Flips the bit and reads everything.
    pub(super) fn judge(&self, flip: &Flip) -> Outcome {
        let mut image = self.image.snapshot();
        image.rot(&flip.file, flip.position, flip.mask);
        let disk = shared(image);
        let Started::Ready(mut ready, is_cut) = start(&disk, &self.setup) else {
            return Outcome::Detected;
        };
        let end = ready.log.end().0;
        if end > self.whole.end {
            return Outcome::Wrong(format!("the log ends at {end}"));
        }
        let is_the_exception = flip.kind == Kind::LastBlock && is_cut;
        if end < self.whole.end && !is_the_exception {
            return Outcome::Undetected(format!("the log ends at {end}, not {}", self.whole.end));
        }
        if self.reference.hash(end) != Some(ready.engine.state_hash()) {
            return Outcome::Wrong(format!("the state at {end} differs from that of a replay"));
        }
        let generation = ready.checkpoint.as_ref().map(|meta| meta.generation);
        let mut is_told = ready.is_partly_damaged || generation != self.whole.generation;
        let read = self
            .read_records(&disk, &mut ready, end)
            .and_then(|told| Ok(told | self.read_chunks(&disk)?));
        match read {
            Ok(told) => is_told |= told,
            Err(harm) => return harm,
        }
        if end < self.whole.end {
            Outcome::Cut
        } else if is_told {
            Outcome::Detected
        } else {
            Outcome::Harmless
        }
    }

    /// Whether a record cannot be read.
    fn read_records(
        &self,
        disk: &SharedDisk,
        ready: &mut ReadyPartition,
        end: u64,
    ) -> Result<bool, Outcome> {
        let mut is_told = false;
        let records = self.whole.records.iter().copied();
        for lsn in records.take_while(|lsn| *lsn < end) {
            let written = &self.reference.records[lsn as usize];
            let read = with_record(disk, &mut ready.log, lsn, |view| {
                view.map(|view| written.is(&view))
            });
            match read {
                Ok(Some(true)) => {}
                Ok(Some(false)) => {
                    return Err(Outcome::Wrong(format!("record {lsn} reads as another")));
                }
                Ok(None) => return Err(Outcome::Undetected(format!("record {lsn} is unknown"))),
                Err(Harm::Lost(_)) => is_told = true,
                Err(harm) => return Err(Outcome::Undetected(harm.to_string())),
            }
        }
        Ok(is_told)
    }

    /// Whether a chunk cannot be read.
    fn read_chunks(&self, disk: &SharedDisk) -> Result<bool, Outcome> {
        let volume = SimVolume::new(Arc::clone(disk));
        let mut is_told = false;
        for (place, bytes) in self.whole.chunks.values() {
            match read_chunk(&volume, PARTITION, *place) {
                Ok(read) if read == *bytes => {}
                Ok(_) => return Err(Outcome::Wrong(format!("chunk {place:?} reads as another"))),
                Err(_) => is_told = true,
            }
        }
        Ok(is_told)
    }
}

impl Whole {
    fn of(image: &Disk, setup: &Setup) -> Self {
        let disk = shared(image.snapshot());
        let Started::Ready(mut ready, _) = start(&disk, setup) else {
            panic!("a directory without a flip is opened");
        };
        let end = ready.log.end().0;
        let is_there = |lsn: &u64| {
            let found = with_record(&disk, &mut ready.log, *lsn, |view| view.is_some());
            found.expect("a record without a flip can be read")
        };
        let records = (0..end).filter(is_there).collect();
        let generation = ready.checkpoint.as_ref().map(|meta| meta.generation);
        Self {
            end,
            generation,
            records,
            chunks: chunks(&SimVolume::new(disk), setup),
        }
    }
}

/// The chunks of both generations, with their bytes.
fn chunks(volume: &SimVolume, setup: &Setup) -> BTreeMap<(u32, u64), (ChunkPlace, Vec<u8>)> {
    let of = CheckpointConfig {
        partition: PARTITION,
        log_id: setup.config.log_id,
    };
    let mut chunks = BTreeMap::new();
    for found in open_checkpoints(volume, &of)
        .expect("a disk without faults")
        .found
    {
        let mut walk = ChunkWalk::new(found.root()).expect("a root without a flip");
        while let Some(chunk) = walk.next_chunk() {
            let place = chunk.place;
            let bytes = read_chunk(volume, PARTITION, place).expect("a chunk without a flip");
            walk.enter(chunk, &bytes).expect("a chunk without a flip");
            chunks.insert((place.file, place.position), (place, bytes));
        }
    }
    chunks
}

/// Opens a directory as a node does.
fn start(disk: &SharedDisk, setup: &Setup) -> Started {
    let mut volume = SimVolume::new(Arc::clone(disk));
    if open_superblock(&mut volume, 1, setup.fresh_ids()).is_err() {
        return Started::Refused;
    }
    let Ok(Opened { start, recovery }) = open_partition(&mut volume, setup.config, setup.limits)
    else {
        return Started::Refused;
    };
    match start.state {
        PartitionState::Ready(ready) => {
            let is_cut = recovery.is_some_and(|found| found.truncated.is_some());
            Started::Ready(ready, is_cut)
        }
        PartitionState::Damaged { .. } => Started::Refused,
    }
}
