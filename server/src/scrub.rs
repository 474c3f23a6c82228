//! Reading through what is kept, to find what went bad on the disk before somebody needs it.
//!
//! A shard makes a job of one stretch and gets it back with what was found, and how to go on. Called by: the drivers,
//! on the thread that writes checkpoints and sends segments away, so that neither happens during a stretch; in the
//! simulation, as one step. The rules by which bytes are judged are the storage's.
//! Invariants: (B1) a file that is gone is no damage. (B2) a chunk that two generations share is read once.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use corelane_core::{ChunkWalk, RestoreError};
use corelane_storage::{
    CheckpointConfig, CheckpointFault, ChunkFault, ChunkReader, SegmentScrub, Volume,
    is_media_error, open_checkpoints,
};
use corelane_wire::PartitionId;

/// What a job reads at most, unless one block is longer: a commit waits for it.
pub const STRETCH_BYTES: usize = 1 << 20;

/// One stretch of something that is read through.
#[derive(Debug)]
pub struct ScrubJob {
    partition: PartitionId,
    subject: Subject,
    bytes: u64,
    damaged: u64,
}

/// What is read through.
#[derive(Debug)]
pub enum Subject {
    /// A closed segment.
    Segment(SegmentScrub),
    /// The checkpoints of a partition.
    Checkpoints(CheckpointScrub),
}

/// The checkpoints of a partition on their way.
#[derive(Debug)]
pub struct CheckpointScrub {
    of: CheckpointConfig,
    is_open: bool,
    /// Generations with the chunks that are left of them; the one in work is the last.
    walks: Vec<ChunkWalk>,
    /// File and position of the chunks that were read (B2).
    seen: BTreeSet<(u32, u64)>,
}

impl ScrubJob {
    /// The next stretch of something.
    pub const fn new(partition: PartitionId, subject: Subject) -> Self {
        Self {
            partition,
            subject,
            bytes: 0,
            damaged: 0,
        }
    }

    /// Reads the stretch, and logs what is not intact.
    ///
    /// # Errors
    /// `NotFound` if the file is gone (B1), else that of a read which says nothing about what is on the disk.
    pub fn run(&mut self, volume: &dyn Volume) -> io::Result<()> {
        match &mut self.subject {
            Subject::Segment(segment) => {
                let scrubbed = segment.advance(volume, STRETCH_BYTES)?;
                self.bytes = scrubbed.bytes;
                for found in scrubbed.found {
                    self.damaged += 1;
                    tracing::error!(
                        partition = self.partition.0,
                        segment = found.site.segment.0,
                        position = found.site.position,
                        bytes = found.end - found.site.position,
                        first_lsn = found.lsns.0.0,
                        end_lsn = found.lsns.1.0,
                        fault = %found.fault,
                        "scrubber: a segment is damaged"
                    );
                }
            }
            Subject::Checkpoints(checkpoints) => {
                let (bytes, damaged) = checkpoints.advance(volume)?;
                (self.bytes, self.damaged) = (bytes, damaged);
            }
        }
        Ok(())
    }

    /// Bytes read.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Blocks and chunks that are not intact.
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// What is left to be read.
    pub fn into_rest(self) -> Option<Subject> {
        let is_done = match &self.subject {
            Subject::Segment(segment) => segment.is_done(),
            Subject::Checkpoints(checkpoints) => {
                checkpoints.is_open && checkpoints.walks.is_empty()
            }
        };
        (!is_done).then_some(self.subject)
    }
}

impl CheckpointScrub {
    /// The checkpoints of this partition, unread.
    pub const fn new(of: CheckpointConfig) -> Self {
        Self {
            of,
            is_open: false,
            walks: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Manifests first, then chunks; how many bytes were read, and how many of those are not intact.
    fn advance(&mut self, volume: &dyn Volume) -> io::Result<(u64, u64)> {
        if self.is_open {
            return self.read_chunks(volume);
        }
        self.is_open = true;
        self.open(volume)
    }

    fn open(&mut self, volume: &dyn Volume) -> io::Result<(u64, u64)> {
        let open = open_checkpoints(volume, &self.of)?;
        let mut damaged = 0;
        for (generation, fault) in open.refused {
            if let CheckpointFault::Io(error) = &fault
                && !is_media_error(error)
            {
                continue;
            }
            damaged += 1;
            self.tell((generation, 0), &fault);
        }
        let mut bytes = 0;
        for found in &open.found {
            bytes += (found.root().len() + found.table().len()) as u64;
            match ChunkWalk::new(found.root()) {
                Ok(walk) => self.walks.push(walk),
                // Of an earlier version, which the next checkpoint replaces.
                Err(RestoreError::Form(_)) => {}
                Err(error) => {
                    damaged += 1;
                    self.tell((found.meta().generation, 0), &error);
                }
            }
        }
        Ok((bytes, damaged))
    }

    fn read_chunks(&mut self, volume: &dyn Volume) -> io::Result<(u64, u64)> {
        let mut reader = ChunkReader::new(self.of.partition);
        let mut damaged = 0;
        while reader.bytes_read() < STRETCH_BYTES as u64
            && let Some(walk) = self.walks.last_mut()
        {
            let Some(chunk) = walk.next_chunk() else {
                self.walks.pop();
                continue;
            };
            let place = chunk.place;
            if !self.seen.insert((place.file, place.position)) {
                continue;
            }
            let entered = match reader.read(volume, place) {
                Ok(bytes) => walk.enter(chunk, bytes).map_err(|error| error.to_string()),
                // A newer checkpoint has moved the chunk (B1): this generation is none of the two newest any more.
                Err(ChunkFault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    self.walks.pop();
                    continue;
                }
                Err(ChunkFault::Io(error)) if !is_media_error(&error) => return Err(error),
                Err(fault) => Err(fault.to_string()),
            };
            if let Err(cause) = entered {
                damaged += 1;
                self.tell((place.file, place.position), &cause);
            }
        }
        Ok((reader.bytes_read(), damaged))
    }

    fn tell(&self, (generation, position): (u32, u64), cause: &dyn fmt::Display) {
        tracing::error!(
            partition = self.of.partition.0,
            checkpoint = generation,
            position,
            %cause,
            "scrubber: a checkpoint is damaged"
        );
    }
}
