//! Writing one generation.

use std::io;

use corelane_wire::{ChunkPlace, Lsn, PartitionId, checksum};

use super::chunk::ChunkReader;
use super::format::{FILE_BYTES, Trailer, encode_header, encode_manifest};
use super::{
    CHUNK_ALIGN, CHUNK_BYTES_MAX, CheckpointConfig, CheckpointFile, CheckpointMeta,
    MANIFEST_BYTES_MAX,
};
use crate::buffer::Buffer;
use crate::layout::{BLOCK_ALIGN, aligned};
use crate::volume::Volume;

/// Writes one generation: chunks one after the other, then `finish`. Dropped before that, it leaves nothing behind.
///
/// After a write that failed every call fails, and the generations before stay as they are.
#[derive(Debug)]
pub struct CheckpointWriter<'v> {
    config: CheckpointConfig,
    generation: u32,
    /// The generation before, whose files may be used.
    previous: Option<CheckpointMeta>,
    /// How much of each of those files this generation uses.
    kept: Vec<u64>,
    chunks: ChunkReader,
    draft: Draft<'v>,
    /// Bytes of chunks in the draft.
    live: u64,
}

impl<'v> CheckpointWriter<'v> {
    /// Begins the generation after `previous`, and after every file there is.
    ///
    /// `previous` is what `finish` returned last, or what the state was restored from.
    ///
    /// # Errors
    /// That of the file operation that failed; `StorageFull` among them.
    pub fn begin(
        volume: &'v mut dyn Volume,
        config: CheckpointConfig,
        previous: Option<&CheckpointMeta>,
    ) -> io::Result<Self> {
        let newest = volume.checkpoints(config.partition)?.pop();
        let newest = newest.map(|(generation, _)| generation);
        let newest = newest.max(previous.map(|previous| previous.generation));
        let generation = match newest {
            Some(newest) => (newest.checked_add(1))
                .ok_or_else(|| io::Error::other("the generations of checkpoints are used up"))?,
            None => 0,
        };
        let mut writer = Self {
            config,
            generation,
            previous: previous.cloned(),
            kept: vec![0; previous.map_or(0, |previous| previous.files.len())],
            chunks: ChunkReader::new(config.partition),
            draft: Draft::begin(volume, config.partition)?,
            live: 0,
        };
        writer.draft.push(&encode_header(&config, generation))?;
        Ok(writer)
    }

    /// The generation that is being written.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Writes a chunk of 1 byte to `CHUNK_BYTES_MAX`.
    ///
    /// # Errors
    /// That of the write; `InvalidInput` for another length.
    pub fn put(&mut self, chunk: &[u8]) -> io::Result<ChunkPlace> {
        if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX {
            return Err(refusal(format!("a chunk of {} bytes", chunk.len())));
        }
        let crc = checksum(&[chunk]);
        let place = self.draft.put(self.generation, chunk, crc)?;
        self.live += footprint(place);
        Ok(place)
    }

    /// Keeps a chunk of the generation before, each one once: returns the same place, or another one if the file is
    /// being emptied.
    ///
    /// # Errors
    /// That of the read or write; `InvalidData` if the chunk had to move and is damaged; `InvalidInput` if no such
    /// chunk can be in the generation before. A chunk that cannot be kept can be `put` instead.
    pub fn keep(&mut self, place: ChunkPlace) -> io::Result<ChunkPlace> {
        let files = self.previous.as_ref().map_or(&[][..], |meta| &meta.files);
        let Ok(at) = files.binary_search_by_key(&place.file, |file| file.generation) else {
            let file = place.file;
            return Err(refusal(format!(
                "file {file} is not of the generation before"
            )));
        };
        let file = files[at];
        if is_emptied(&file) {
            let chunk = self.chunks.read(&*self.draft.volume, place)?;
            let moved = self.draft.put(self.generation, chunk, place.crc)?;
            self.live += footprint(moved);
            return Ok(moved);
        }
        let kept = self.kept[at] + footprint(place);
        let end = place.position.checked_add(u64::from(place.bytes));
        if kept > file.live || place.bytes == 0 || end.is_none_or(|end| end > file.total) {
            return Err(refusal(format!(
                "{place:?} is not in the generation before"
            )));
        }
        self.kept[at] = kept;
        Ok(place)
    }

    /// Writes the root and the table of the log, makes all durable and publishes it; then deletes the files that
    /// neither this generation nor the one before needs.
    ///
    /// # Errors
    /// That of the file operation that failed; `InvalidInput` for more than `MANIFEST_BYTES_MAX`.
    pub fn finish(mut self, root: &[u8], end: Lsn, table: &[u8]) -> io::Result<CheckpointMeta> {
        self.draft.pad(BLOCK_ALIGN)?;
        let manifest = self.draft.end();
        let mut files = self.earlier_files();
        let bytes = aligned(root.len() + table.len() + (files.len() + 1) * FILE_BYTES);
        if bytes > MANIFEST_BYTES_MAX {
            return Err(refusal(format!("a manifest of {bytes} bytes")));
        }
        files.push(CheckpointFile {
            generation: self.generation,
            total: manifest + (bytes + BLOCK_ALIGN) as u64,
            live: self.live,
        });
        let (body, parts) = encode_manifest(root, table, &files);
        let trailer = Trailer {
            end,
            manifest,
            root_bytes: within_manifest(root.len()),
            table_bytes: within_manifest(table.len()),
            files: within_manifest(files.len()),
            parts,
        };
        self.draft.push(&body)?;
        self.draft
            .push(&trailer.encode(&self.config, self.generation))?;
        self.draft.publish(self.generation)?;
        let meta = CheckpointMeta {
            generation: self.generation,
            end,
            files,
        };
        if let Err(error) = self.remove_unused() {
            // They are room, nothing else, and the next generation tries again.
            let partition = self.config.partition.0;
            tracing::warn!(partition, %error, "files of old checkpoints stay behind");
        }
        Ok(meta)
    }

    fn earlier_files(&self) -> Vec<CheckpointFile> {
        let files = self.previous.iter().flat_map(|meta| &meta.files);
        let kept = files.zip(&self.kept).filter(|(_, kept)| **kept > 0);
        kept.map(|(file, kept)| CheckpointFile {
            live: *kept,
            ..*file
        })
        .collect()
    }

    /// The generation before names every older file that this one uses. What is newer than it stays: a damaged
    /// generation may still be of use to somebody, and goes when two whole ones are newer.
    fn remove_unused(&mut self) -> io::Result<()> {
        let Some(previous) = &self.previous else {
            return Ok(());
        };
        let partition = self.config.partition;
        for (generation, _) in self.draft.volume.checkpoints(partition)? {
            if generation < previous.generation && !previous.names(generation) {
                self.draft.volume.remove_checkpoint(partition, generation)?;
            }
        }
        Ok(())
    }
}

/// The file that is being written, through one large piece after the other.
struct Draft<'v> {
    volume: &'v mut dyn Volume,
    partition: PartitionId,
    piece: Buffer,
    filled: usize,
    /// Where the piece goes.
    position: u64,
    /// Nothing is written twice: what a failed write left behind is not known.
    is_broken: bool,
    is_published: bool,
}

impl<'v> Draft<'v> {
    fn begin(volume: &'v mut dyn Volume, partition: PartitionId) -> io::Result<Self> {
        volume.begin_draft(partition)?;
        Ok(Self {
            volume,
            partition,
            piece: Buffer::zeroed(PIECE_BYTES),
            filled: 0,
            position: 0,
            is_broken: false,
            is_published: false,
        })
    }

    /// Where the next byte goes.
    fn end(&self) -> u64 {
        self.position + self.filled as u64
    }

    fn put(&mut self, file: u32, chunk: &[u8], crc: u32) -> io::Result<ChunkPlace> {
        self.pad(CHUNK_ALIGN)?;
        let position = self.end();
        self.push(chunk)?;
        Ok(ChunkPlace {
            file,
            bytes: u32::try_from(chunk.len()).map_err(|_| refusal("a chunk of 4 GiB"))?,
            position,
            crc,
        })
    }

    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.filled == PIECE_BYTES {
                self.write_piece()?;
            }
            let count = bytes.len().min(PIECE_BYTES - self.filled);
            let (now, later) = bytes.split_at(count);
            self.piece.as_mut_slice()[self.filled..self.filled + count].copy_from_slice(now);
            self.filled += count;
            bytes = later;
        }
        Ok(())
    }

    /// Zeros up to the next multiple of `align`, which divides a page.
    fn pad(&mut self, align: usize) -> io::Result<()> {
        let zeros = self.filled.next_multiple_of(align) - self.filled;
        self.push(&[0; BLOCK_ALIGN][..zeros])
    }

    fn write_piece(&mut self) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("a write of this checkpoint failed before"));
        }
        let bytes = &self.piece.as_slice()[..self.filled];
        let written = (self.volume).append_to_draft(self.partition, self.position, bytes);
        self.is_broken = written.is_err();
        written?;
        self.position += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    fn publish(&mut self, generation: u32) -> io::Result<()> {
        self.write_piece()?;
        self.volume.sync_draft(self.partition)?;
        self.volume.publish_draft(self.partition, generation)?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.is_published {
            return;
        }
        if let Err(error) = self.volume.discard_draft(self.partition) {
            let partition = self.partition.0;
            tracing::warn!(partition, %error, "the draft of a checkpoint stays behind");
        }
    }
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Draft")
            .field("partition", &self.partition)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

/// Whether more than half of a file is dead.
fn is_emptied(file: &CheckpointFile) -> bool {
    file.live < file.total.div_ceil(2)
}

/// What a chunk takes of its file.
fn footprint(place: ChunkPlace) -> u64 {
    u64::from(place.bytes).next_multiple_of(CHUNK_ALIGN as u64)
}

fn within_manifest(count: usize) -> u32 {
    u32::try_from(count).expect("a manifest is shorter than 4 GiB")
}

fn refusal(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

/// One write: long enough to be cheap, short enough for a commit to wait for.
const PIECE_BYTES: usize = 256 << 10;
