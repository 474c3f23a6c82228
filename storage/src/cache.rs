//! The block cache: blocks written or read lately, bounded by bytes, oldest dropped.
//!
//! Owned by a log. A written block's buffer is moved in, a read buffer is shared by the blocks in it: no copy.
//! Two buffers of dropped blocks are kept for the next ones to be written: new memory has to be zeroed first.
//! Invariant: (H1) every record in it was either written by this log or verified when its block was read back, and
//! its bytes do not change while it is there: what is taken out needs no second check.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use corelane_wire::{Epoch, Lsn};

use crate::buffer::Buffer;
use crate::record::RecordView;

/// One block in memory (H1).
#[derive(Debug)]
pub(crate) struct CachedBlock {
    pub(crate) buffer: Arc<Buffer>,
    /// Where the block lies in the buffer.
    pub(crate) start: usize,
    /// What the cache is charged for it.
    pub(crate) cost: usize,
    pub(crate) first_lsn: Lsn,
    pub(crate) epoch: Epoch,
    /// Where each record begins in the block.
    pub(crate) records: Vec<u32>,
}

impl CachedBlock {
    pub(crate) fn record(&self, lsn: Lsn) -> Option<RecordView<'_>> {
        let at = usize::try_from(lsn.0.checked_sub(self.first_lsn.0)?).ok()?;
        let place = *self.records.get(at)? as usize;
        let block = self.buffer.as_slice().get(self.start + place..)?;
        RecordView::trusted(block, self.first_lsn, self.epoch)
    }

    fn cost(&self) -> usize {
        self.cost + size_of::<u32>() * self.records.len()
    }
}

#[derive(Debug)]
pub(crate) struct Cache {
    blocks: BTreeMap<Lsn, CachedBlock>,
    oldest_first: VecDeque<Lsn>,
    bytes: usize,
    bytes_max: usize,
    /// Of the blocks that were dropped last.
    freed: Vec<Buffer>,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            blocks: BTreeMap::new(),
            oldest_first: VecDeque::new(),
            bytes: 0,
            bytes_max,
            freed: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a block in and drops the oldest ones over the bound, but never the block itself: a reader that
    /// asked for it must find it once.
    pub(crate) fn insert(&mut self, block: CachedBlock) {
        let lsn = block.first_lsn;
        self.bytes += block.cost();
        if let Some(replaced) = self.blocks.insert(lsn, block) {
            self.bytes -= replaced.cost();
            self.oldest_first.retain(|other| *other != lsn);
        }
        self.oldest_first.push_back(lsn);
        while self.bytes > self.bytes_max && self.oldest_first.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Drops the blocks of a segment that is forgotten.
    pub(crate) fn forget(&mut self, range: Range<Lsn>) {
        self.oldest_first.retain(|lsn| !range.contains(lsn));
        let lsns: Vec<_> = self.blocks.range(range).map(|(lsn, _)| *lsn).collect();
        for lsn in lsns {
            self.drop_block(lsn);
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(lsn) = self.oldest_first.pop_front() {
            self.drop_block(lsn);
        }
    }

    fn drop_block(&mut self, lsn: Lsn) {
        if let Some(block) = self.blocks.remove(&lsn) {
            self.bytes -= block.cost();
            // A read buffer may still be shared by other blocks.
            if let Some(buffer) = Arc::into_inner(block.buffer) {
                self.give_back(buffer);
            }
        }
    }

    /// Keeps a buffer that is free for [`Cache::take_buffer`].
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        self.freed.push(buffer);
        if self.freed.len() > FREED_MAX {
            self.freed.remove(0);
        }
    }

    /// A buffer for a block of about so many bytes; it may hold anything.
    pub(crate) fn take_buffer(&mut self, bytes: usize) -> Buffer {
        let fits = |freed: &Buffer| (bytes..=bytes * REUSE_MAX).contains(&freed.capacity());
        let mut buffer = match self.freed.iter().position(fits) {
            Some(at) => self.freed.remove(at),
            None => Buffer::zeroed(bytes),
        };
        buffer.set_len(buffer.capacity());
        buffer
    }

    /// The only block that can hold the record.
    pub(crate) fn block(&self, lsn: Lsn) -> Option<&CachedBlock> {
        let (_, block) = self.blocks.range(..=lsn).next_back()?;
        Some(block)
    }
}

const FREED_MAX: usize = 2;
/// How many times larger than needed a buffer may be that is used again.
const REUSE_MAX: usize = 4;
