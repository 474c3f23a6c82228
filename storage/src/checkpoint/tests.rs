use std::collections::BTreeMap;

use corelane_wire::{ChunkPlace, Lsn, PartitionId};

use super::{
    CHUNK_ALIGN, CheckpointConfig, CheckpointMeta, CheckpointWriter, ChunkFault, ChunkReader,
    FoundCheckpoint, OpenCheckpoints, open_checkpoints, read_chunk,
};
use crate::memory::{Memory, PARTITION};
use crate::rig::{LOG_ID, filler};
use crate::volume::Volume;

mod bounds;
mod chunks;
mod crash;
mod flips;
mod generations;

const P: PartitionId = PartitionId(PARTITION);
const CONFIG: CheckpointConfig = CheckpointConfig {
    partition: P,
    log_id: LOG_ID,
};

/// A state of numbered chunks, with its checkpoints; the root lists the places, the table is a word about the end.
#[derive(Clone, Debug, Default)]
struct State {
    chunks: BTreeMap<u32, Chunk>,
    meta: Option<CheckpointMeta>,
    end: Lsn,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where it lies, unless it changed since the last checkpoint.
    place: Option<ChunkPlace>,
}

impl State {
    fn change(&mut self, key: u32, bytes: Vec<u8>) {
        self.chunks.insert(key, Chunk { bytes, place: None });
        self.end.0 += 1;
    }

    /// Writes a generation; the state knows the new places only if that succeeded.
    fn checkpoint(&mut self, disk: &mut dyn Volume) -> std::io::Result<CheckpointMeta> {
        let mut writer = CheckpointWriter::begin(disk, CONFIG, self.meta.as_ref())?;
        let mut chunks = self.chunks.clone();
        let mut root = Vec::new();
        for (key, chunk) in &mut chunks {
            let place = match chunk.place {
                Some(place) => writer.keep(place)?,
                None => writer.put(&chunk.bytes)?,
            };
            chunk.place = Some(place);
            root.extend(encode(*key, place));
        }
        let meta = writer.finish(&root, self.end, &table(self.end))?;
        self.chunks = chunks;
        self.meta = Some(meta.clone());
        Ok(meta)
    }

    /// What a checkpoint holds, every chunk read both ways.
    fn restore(disk: &dyn Volume, found: &FoundCheckpoint) -> Result<Self, ChunkFault> {
        assert_eq!(found.table(), table(found.end()));
        let mut reader = ChunkReader::new(P);
        let mut chunks = BTreeMap::new();
        for (key, place) in decode(found.root()) {
            let bytes = reader.read(disk, place)?.to_vec();
            assert_eq!(read_chunk(disk, P, place)?, bytes);
            let place = Some(place);
            chunks.insert(key, Chunk { bytes, place });
        }
        Ok(Self {
            chunks,
            meta: Some(found.meta().clone()),
            end: found.end(),
        })
    }

    fn content(&self) -> Vec<(u32, &[u8])> {
        let chunks = self.chunks.iter();
        chunks
            .map(|(key, chunk)| (*key, &chunk.bytes[..]))
            .collect()
    }
}

fn open(disk: &dyn Volume) -> OpenCheckpoints {
    open_checkpoints(disk, &CONFIG).unwrap()
}

/// The generations that are whole, newest first.
fn generations(disk: &dyn Volume) -> Vec<u32> {
    let found = open(disk).found;
    found.iter().map(|found| found.meta().generation).collect()
}

fn files(disk: &dyn Volume) -> Vec<u32> {
    let files = disk.checkpoints(P).unwrap();
    files.iter().map(|(generation, _)| *generation).collect()
}

fn table(end: Lsn) -> Vec<u8> {
    format!("the log up to {end}").into_bytes()
}

fn encode(key: u32, place: ChunkPlace) -> Vec<u8> {
    let mut bytes = key.to_le_bytes().to_vec();
    bytes.extend(place.file.to_le_bytes());
    bytes.extend(place.bytes.to_le_bytes());
    bytes.extend(place.position.to_le_bytes());
    bytes.extend(place.crc.to_le_bytes());
    bytes
}

fn decode(root: &[u8]) -> Vec<(u32, ChunkPlace)> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let entries = root.chunks(24).map(|entry| {
        let place = ChunkPlace {
            file: word(&entry[4..8]),
            bytes: word(&entry[8..12]),
            position: u64::from_le_bytes(entry[12..20].try_into().unwrap()),
            crc: word(&entry[20..]),
        };
        (word(&entry[..4]), place)
    });
    entries.collect()
}

/// A state of `count` chunks of 100 bytes to some KiB.
fn some_state(count: u32) -> State {
    let mut state = State::default();
    for key in 0..count {
        state.change(key, some_chunk(key, 0));
    }
    state
}

fn some_chunk(key: u32, version: u32) -> Vec<u8> {
    let bytes = 100 + (key * 1_237 + version * 311) % 9_000;
    filler(u64::from(key) << 32 | u64::from(version), bytes as usize)
}
