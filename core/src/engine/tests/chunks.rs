//! Checkpoints of a test's node: files of chunks in memory, with the two newest generations kept.

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::{ChunkPlace, Lsn, checksum};

use crate::checkpoint::{ChunkSink, Cut};

/// Where chunks lie.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    files: BTreeMap<u32, Vec<Vec<u8>>>,
    generations: Vec<Generation>,
}

/// One checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) end: Lsn,
    pub(super) root: Vec<u8>,
    named: BTreeSet<u32>,
}

/// A checkpoint that is being written.
pub(super) struct Writing<'a> {
    chunks: &'a Chunks,
    file: u32,
    new: Vec<Vec<u8>>,
    named: BTreeSet<u32>,
    /// Chunks of this file are moved.
    emptied: u32,
}

impl ChunkSink for Writing<'_> {
    type Error = std::convert::Infallible;

    fn put(&mut self, chunk: &[u8]) -> Result<ChunkPlace, Self::Error> {
        self.new.push(chunk.to_vec());
        Ok(ChunkPlace {
            file: self.file,
            bytes: u32::try_from(chunk.len()).unwrap(),
            position: self.new.len() as u64 - 1,
            crc: checksum(&[chunk]),
        })
    }

    fn keep(&mut self, place: ChunkPlace) -> Result<ChunkPlace, Self::Error> {
        let chunk = self
            .chunks
            .read(place)
            .expect("a chunk that is kept exists");
        if place.file == self.emptied {
            return self.put(&chunk);
        }
        self.named.insert(place.file);
        Ok(place)
    }
}

impl Chunks {
    /// Writes and publishes a cut.
    pub(super) fn checkpoint(&mut self, cut: &Cut) {
        let file = u32::try_from(self.generations.len()).unwrap();
        let mut sink = Writing {
            chunks: self,
            file,
            new: Vec::new(),
            named: BTreeSet::new(),
            emptied: file.wrapping_sub(3),
        };
        let written = cut.write(&mut sink).unwrap();
        let (new, mut named) = (sink.new, sink.named);
        named.insert(file);
        self.files.insert(file, new);
        self.generations.push(Generation {
            end: cut.end(),
            root: written.root.clone(),
            named,
        });
        written.publish();
        let kept = self.generations.iter().rev().take(2);
        let kept: BTreeSet<u32> = kept.flat_map(|each| each.named.clone()).collect();
        self.files.retain(|file, _| kept.contains(file));
    }

    /// The newest checkpoint.
    pub(super) fn newest(&self) -> Option<&Generation> {
        self.generations.last()
    }

    /// The one before.
    pub(super) fn older(&self) -> Option<&Generation> {
        self.generations.iter().rev().nth(1)
    }

    /// The bytes of a chunk.
    pub(super) fn read(&self, place: ChunkPlace) -> Result<Vec<u8>, String> {
        let at = usize::try_from(place.position).map_err(|error| error.to_string())?;
        let file = self.files.get(&place.file).ok_or("the file is gone")?;
        let chunk = file.get(at).ok_or("no chunk is there")?;
        if checksum(&[chunk]) != place.crc || chunk.len() != place.bytes as usize {
            return Err("another chunk is there".to_owned());
        }
        Ok(chunk.clone())
    }
}
