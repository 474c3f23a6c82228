//! Where the bytes of a data directory belong, found by a parser that is not the broker's.

use std::collections::BTreeMap;
use std::fmt;

use crate::sim::disk::{Disk, FileName, SECTOR_BYTES};
use crate::sim::random::Random;
use crate::sim::rot::{Seen, blocks};

const PAGE: u64 = SECTOR_BYTES as u64;
/// Bytes of a block before its body.
const BLOCK_HEADER_BYTES: u64 = 128;

/// What a byte is part of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Superblock,
    /// Either copy of a segment's header.
    SegmentHeader,
    /// The header of a block in a closed segment.
    BlockHeader,
    Footer,
    /// The first page of a checkpoint, its chunks and manifest, its last page.
    Checkpoint,
    /// The body of a block in a closed segment, its padding included.
    Data,
    /// A block in the segment that is written, which something attests.
    Tail,
    /// The last block, if nothing attests it.
    LastBlock,
    /// A SEAL at the end.
    Seal,
    /// Bytes of a segment behind its last block.
    Behind,
}

/// A bit to be flipped.
#[derive(Clone, Debug)]
pub(super) struct Flip {
    pub(super) kind: Kind,
    pub(super) file: FileName,
    pub(super) position: u64,
    pub(super) mask: u8,
}

/// Stretches of files by what they are.
#[derive(Debug, Default)]
pub(super) struct Places {
    stretches: BTreeMap<Kind, Vec<(FileName, u64, u64)>>,
}

impl Kind {
    pub(super) const ALL: [Self; 10] = [
        Self::Superblock,
        Self::SegmentHeader,
        Self::BlockHeader,
        Self::Footer,
        Self::Checkpoint,
        Self::Data,
        Self::Tail,
        Self::LastBlock,
        Self::Seal,
        Self::Behind,
    ];

    /// Whether every byte of it is flipped.
    const fn is_flipped_throughout(self) -> bool {
        match self {
            Self::Superblock
            | Self::SegmentHeader
            | Self::BlockHeader
            | Self::Footer
            | Self::Checkpoint => true,
            Self::Data | Self::Tail | Self::LastBlock | Self::Seal | Self::Behind => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Superblock => "superblock",
            Self::SegmentHeader => "segment headers",
            Self::BlockHeader => "block headers, closed",
            Self::Footer => "footers",
            Self::Checkpoint => "checkpoints",
            Self::Data => "data, closed segments",
            Self::Tail => "tail, attested",
            Self::LastBlock => "last block, unattested",
            Self::Seal => "seal",
            Self::Behind => "behind the last block",
        })
    }
}

impl Places {
    /// Everything that a node with one partition keeps.
    pub(super) fn of(disk: &Disk) -> Self {
        let mut places = Self::default();
        let names: Vec<_> = disk.names().cloned().collect();
        for name in names {
            let bytes = disk.file_bytes(&name).unwrap_or_default();
            match &name {
                FileName::Named(text) if text == "superblock" => {
                    places.push(Kind::Superblock, &name, 0, bytes);
                }
                FileName::Checkpoint(..) => places.push(Kind::Checkpoint, &name, 0, bytes),
                FileName::Named(_)
                | FileName::Spare(_)
                | FileName::Draft(_)
                | FileName::Segment(..) => {}
            }
        }
        let found = blocks(disk, 0);
        for (at, block) in found.iter().enumerate() {
            let rest = &found[at..];
            places.take_in(disk, block, rest);
        }
        places
    }

    /// A block, and those behind it, in the order of the log.
    fn take_in(&mut self, disk: &Disk, block: &Seen, rest: &[Seen]) {
        let file = FileName::Segment(0, block.segment);
        if block.position == 2 * PAGE {
            self.push(Kind::SegmentHeader, &file, 0, 2 * PAGE);
        }
        let mut of_segment = rest.iter().filter(|other| other.segment == block.segment);
        let is_closed = of_segment.clone().any(|other| other.is_footer);
        let is_last = of_segment.nth(1).is_none();
        let (position, bytes) = (block.position, block.bytes);
        let is_attested = rest.iter().any(|other| other.attested > block.first_lsn);
        if block.is_footer {
            self.push(Kind::Footer, &file, position, bytes);
        } else if !block.holds_records {
            self.push(Kind::Seal, &file, position, bytes);
        } else if is_closed {
            self.push(Kind::BlockHeader, &file, position, BLOCK_HEADER_BYTES);
            let body = bytes - BLOCK_HEADER_BYTES;
            self.push(Kind::Data, &file, position + BLOCK_HEADER_BYTES, body);
        } else if is_attested {
            self.push(Kind::Tail, &file, position, bytes);
        } else {
            self.push(Kind::LastBlock, &file, position, bytes);
        }
        if is_last {
            let end = position + bytes;
            let left = disk.file_bytes(&file).unwrap_or_default() - end;
            self.push(Kind::Behind, &file, end, left);
        }
    }

    fn push(&mut self, kind: Kind, file: &FileName, position: u64, bytes: u64) {
        if bytes > 0 {
            let stretches = self.stretches.entry(kind).or_default();
            stretches.push((file.clone(), position, bytes));
        }
    }

    /// Whether there is something of this kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.stretches.contains_key(&kind)
    }

    /// One bit of every `stride`-th byte where all are to be flipped.
    pub(super) fn every(&self, stride: usize, random: &mut Random) -> Vec<Flip> {
        let kinds = self.stretches.iter();
        let kinds = kinds.filter(|(kind, _)| kind.is_flipped_throughout());
        let bytes = kinds.flat_map(|(kind, stretches)| {
            let bytes = stretches.iter().flat_map(|(file, position, bytes)| {
                (*position..position + bytes).map(move |at| (file, at))
            });
            bytes.map(move |(file, at)| (*kind, file, at))
        });
        let some = bytes.step_by(stride);
        some.map(|(kind, file, position)| Flip {
            kind,
            file: file.clone(),
            position,
            mask: 1 << random.below(8),
        })
        .collect()
    }

    /// So many bits of data, and a tenth as many of each other kind of which not all are flipped.
    pub(super) fn random(&self, count: u64, random: &mut Random) -> Vec<Flip> {
        let mut flips = Vec::new();
        let kinds = self.stretches.iter();
        for (&kind, stretches) in kinds.filter(|(kind, _)| !kind.is_flipped_throughout()) {
            let count = if kind == Kind::Data {
                count
            } else {
                count / 10
            };
            let total = stretches.iter().map(|(_, _, bytes)| bytes).sum();
            for _ in 0..count {
                let (file, position) = nth_byte(stretches, random.below(total));
                flips.push(Flip {
                    kind,
                    file,
                    position,
                    mask: 1 << random.below(8),
                });
            }
        }
        flips
    }
}

/// The `nth` byte of these stretches together.
fn nth_byte(stretches: &[(FileName, u64, u64)], mut nth: u64) -> (FileName, u64) {
    for (file, position, bytes) in stretches {
        if nth < *bytes {
            return (file.clone(), position + nth);
        }
        nth -= bytes;
    }
    unreachable!("a number below the sum of the lengths is in one of them")
}
