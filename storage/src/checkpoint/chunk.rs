//! Reading chunks back: one, or many of them through windows that read ahead.
//!
//! A chunk's length is compared with `CHUNK_BYTES_MAX` before anything is allocated, and its bytes with the
//! checksum in its place before they are handed out.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use corelane_wire::{ChunkPlace, PartitionId, checksum};

use super::CHUNK_BYTES_MAX;
use crate::buffer::Buffer;
use crate::layout::BLOCK_ALIGN;
use crate::volume::Volume;

/// A chunk cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChunkFault {
    /// No chunk has such a place: it is empty, too long, or ends beyond every file.
    Place,
    /// The file ends before the chunk does.
    Short,
    /// Its bytes do not match the checksum of its place.
    Checksum,
    /// It could not be read; `NotFound` if the file is missing.
    Io(io::Error),
}

impl fmt::Display for ChunkFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place => formatter.write_str("no chunk has such a place"),
            Self::Short => formatter.write_str("the file ends before the chunk"),
            Self::Checksum => formatter.write_str("wrong checksum of a chunk"),
            Self::Io(error) => write!(formatter, "read of a chunk failed: {error}"),
        }
    }
}

impl std::error::Error for ChunkFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Place | Self::Short | Self::Checksum => None,
        }
    }
}

impl From<ChunkFault> for io::Error {
    fn from(fault: ChunkFault) -> Self {
        match fault {
            ChunkFault::Io(error) => error,
            ChunkFault::Place | ChunkFault::Short | ChunkFault::Checksum => {
                Self::new(io::ErrorKind::InvalidData, fault)
            }
        }
    }
}

/// The whole pages of its file that hold a chunk: position and bytes.
///
/// # Errors
/// `ChunkFault::Place` if there is no such chunk.
pub fn chunk_stretch(place: ChunkPlace) -> Result<(u64, usize), ChunkFault> {
    let bytes = place.bytes as usize;
    if bytes == 0 || bytes > CHUNK_BYTES_MAX || place.position > POSITION_MAX {
        return Err(ChunkFault::Place);
    }
    let skip = skip_in_page(place);
    Ok((
        place.position - skip as u64,
        (skip + bytes).next_multiple_of(BLOCK_ALIGN),
    ))
}

/// The chunk in what was read of its stretch, checked.
///
/// # Errors
/// What is wrong with the place or the bytes.
pub fn chunk_of(place: ChunkPlace, read: &[u8]) -> Result<&[u8], ChunkFault> {
    chunk_stretch(place)?;
    checked(place, read.get(skip_in_page(place)..))
}

/// Reads one chunk. For many use a [`ChunkReader`].
///
/// # Errors
/// Why it cannot be had.
pub fn read_chunk(
    volume: &dyn Volume,
    partition: PartitionId,
    place: ChunkPlace,
) -> Result<Vec<u8>, ChunkFault> {
    let mut window = Window::new(0);
    window.load(volume, partition, place)?;
    window.chunk(place).map(<[u8]>::to_vec)
}

/// Reads chunks of a partition through a window on each file, which reads further ahead the longer the chunks of that
/// file are asked for in ascending order.
#[derive(Debug)]
pub struct ChunkReader {
    partition: PartitionId,
    windows: BTreeMap<u32, Window>,
    reads: u64,
    bytes_read: u64,
}

impl ChunkReader {
    /// A reader that has read nothing.
    pub fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            windows: BTreeMap::new(),
            reads: 0,
            bytes_read: 0,
        }
    }

    /// Bytes that were read of the files until now.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The bytes of a chunk, checked; they begin on a multiple of `CHUNK_ALIGN`, as they do in their file.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn read(&mut self, volume: &dyn Volume, place: ChunkPlace) -> Result<&[u8], ChunkFault> {
        chunk_stretch(place)?;
        if !self.windows.contains_key(&place.file) && self.windows.len() == WINDOWS_MAX {
            self.drop_oldest();
        }
        self.reads += 1;
        let window = (self.windows.entry(place.file)).or_insert_with(|| Window::new(AHEAD_MIN));
        window.used = self.reads;
        if !window.holds(place) {
            window.load(volume, self.partition, place)?;
            self.bytes_read += window.buffer.len() as u64;
        }
        window.chunk(place)
    }

    fn drop_oldest(&mut self) {
        let oldest = self.windows.iter().min_by_key(|(_, window)| window.used);
        if let Some(file) = oldest.map(|(file, _)| *file) {
            self.windows.remove(&file);
        }
    }
}

/// What was read last of a file.
#[derive(Debug)]
struct Window {
    position: u64,
    buffer: Buffer,
    /// Bytes to read at least when the next chunk is not in the window.
    ahead: usize,
    used: u64,
}

impl Window {
    fn new(ahead: usize) -> Self {
        let mut buffer = Buffer::zeroed(ahead);
        buffer.set_len(0);
        Self {
            position: 0,
            buffer,
            ahead,
            used: 0,
        }
    }

    fn end(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }

    fn holds(&self, place: ChunkPlace) -> bool {
        place.position >= self.position
            && (place.position.checked_add(u64::from(place.bytes)))
                .is_some_and(|end| end <= self.end())
    }

    /// Reads the stretch of a chunk and what lies behind it.
    fn load(
        &mut self,
        volume: &dyn Volume,
        partition: PartitionId,
        place: ChunkPlace,
    ) -> Result<(), ChunkFault> {
        let (position, bytes) = chunk_stretch(place)?;
        let goes_on = !self.buffer.is_empty() && position >= self.position;
        if goes_on && position - self.position <= 2 * self.buffer.len() as u64 {
            self.ahead = (2 * self.ahead).min(AHEAD_MAX);
        } else {
            self.ahead = self.ahead.min(AHEAD_MIN);
        }
        let bytes = bytes.max(self.ahead);
        if self.buffer.capacity() < bytes {
            self.buffer = Buffer::zeroed(bytes);
        }
        self.position = position;
        self.buffer.set_len(bytes);
        let into = self.buffer.as_mut_slice();
        let read = volume.read_checkpoint(partition, place.file, position, into);
        // A read that failed left nothing that can be relied on.
        self.buffer.set_len(*read.as_ref().unwrap_or(&0));
        read.map(drop).map_err(ChunkFault::Io)
    }

    fn chunk(&self, place: ChunkPlace) -> Result<&[u8], ChunkFault> {
        let skip = place.position.checked_sub(self.position);
        let skip = skip.and_then(|skip| usize::try_from(skip).ok());
        checked(
            place,
            skip.and_then(|skip| self.buffer.as_slice().get(skip..)),
        )
    }
}

/// The chunk at the front of `read`.
fn checked(place: ChunkPlace, read: Option<&[u8]>) -> Result<&[u8], ChunkFault> {
    let chunk = read.and_then(|read| read.get(..place.bytes as usize));
    let chunk = chunk.ok_or(ChunkFault::Short)?;
    if checksum(&[chunk]) == place.crc {
        Ok(chunk)
    } else {
        Err(ChunkFault::Checksum)
    }
}

fn skip_in_page(place: ChunkPlace) -> usize {
    usize::try_from(place.position % BLOCK_ALIGN as u64).expect("a remainder of 4,096 is small")
}

/// No file is longer: beyond lie places whose ends could not be told.
const POSITION_MAX: u64 = 1 << 60;
/// A chunk that nothing around is asked for costs one read of this.
const AHEAD_MIN: usize = 64 << 10;
/// Chunks in a row cost reads of this: long enough for a disk to be as fast as it can.
const AHEAD_MAX: usize = 1 << 20;
/// So many files are read from at the same time.
const WINDOWS_MAX: usize = 32;
