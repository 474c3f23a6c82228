//! Receive buffers: a fixed number of equal ones in one allocation, lent and taken back by index.
//!
//! Invariant: (P1) every index is either in `free` or lent to the shard, never both; so at most
//! `count` buffers are out, and a shard that keeps them all stops the driver from reading, which
//! closes the peers' TCP windows.

/// The buffers of one driver.
pub(super) struct Pool {
    bytes: Vec<u8>,
    free: Vec<u32>,
    lent: Vec<bool>,
    buffer_bytes: usize,
}

impl Pool {
    /// A pool of `count` buffers of `buffer_bytes` each; their pages are touched on first use.
    pub(super) fn new(count: u32, buffer_bytes: usize) -> Self {
        Self {
            bytes: vec![0; count as usize * buffer_bytes],
            // Taken from the end, so that a quiet shard touches only the first few.
            free: (0..count).rev().collect(),
            lent: vec![false; count as usize],
            buffer_bytes,
        }
    }

    /// Whether no buffer is left.
    pub(super) fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// The buffer that the next [`Pool::lend`] will lend, to be filled first.
    pub(super) fn next(&mut self) -> Option<&mut [u8]> {
        let index = *self.free.last()?;
        let start = index as usize * self.buffer_bytes;
        Some(&mut self.bytes[start..start + self.buffer_bytes])
    }

    /// Lends the buffer that [`Pool::next`] showed.
    pub(super) fn lend(&mut self) -> u32 {
        let index = self.free.pop().expect("the caller saw the next buffer");
        self.lent[index as usize] = true;
        index
    }

    /// The first `len` bytes of a lent buffer.
    pub(super) fn bytes(&self, index: u32, len: u32) -> &[u8] {
        assert!(self.lent[index as usize], "buffer {index} is not lent");
        let start = index as usize * self.buffer_bytes;
        &self.bytes[start..start + len as usize]
    }

    /// Takes a buffer back.
    pub(super) fn take_back(&mut self, index: u32) {
        let lent = &mut self.lent[index as usize];
        assert!(*lent, "buffer {index} came back twice");
        *lent = false;
        self.free.push(index);
    }
}
