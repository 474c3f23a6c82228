//! A byte buffer aligned for direct I/O.
//!
//! Owns: the memory of one block, of one commit or of one read.
//! Invariant: (B1) the first byte lies on a `BLOCK_ALIGN` boundary, wherever the buffer is moved to.

use crate::layout::BLOCK_ALIGN;

/// Bytes whose first one lies on a 4,096-byte boundary, as `O_DIRECT` wants them.
///
/// Aligned without `unsafe`: it allocates one alignment too much and starts at the first boundary.
/// The memory does not move when the buffer does, so the boundary stays where it was found.
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
    capacity: usize,
}

impl Buffer {
    /// Zero bytes, `capacity` of them rounded up to whole alignments; `len()` is all of them.
    pub fn zeroed(capacity: usize) -> Self {
        let capacity = capacity.max(1).next_multiple_of(BLOCK_ALIGN);
        let memory = vec![0; capacity + BLOCK_ALIGN];
        let start = memory.as_ptr().addr().wrapping_neg() % BLOCK_ALIGN;
        Self {
            memory,
            start,
            len: capacity,
            capacity,
        }
    }

    /// A buffer that begins with `bytes`; `len()` is theirs rounded up to whole alignments.
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len());
        buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        buffer
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The bytes in use, to be written to.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// How many bytes are in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes the buffer can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Uses the first `len` bytes; what they hold is what they held before.
    pub fn set_len(&mut self, len: usize) {
        assert!(
            len <= self.capacity,
            "a buffer of {} bytes cannot use {len}",
            self.capacity
        );
        self.len = len;
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Buffer")
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
