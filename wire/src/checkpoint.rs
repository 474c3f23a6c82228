//! What a checkpoint's writer and its reader say to each other about a chunk: the storage knows what it means, the
//! core keeps it.

/// Where a chunk of a checkpoint lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkPlace {
    /// Generation of the checkpoint whose file holds it.
    pub file: u32,
    /// How many bytes it has.
    pub bytes: u32,
    /// Byte distance from the start of the file.
    pub position: u64,
    /// Checksum of its bytes.
    pub crc: u32,
}
