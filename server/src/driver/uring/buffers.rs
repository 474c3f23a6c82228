//! Receive buffers that the kernel picks from: a ring of descriptions, and the memory they name.
//!
//! Invariants:
//! (P1) every buffer is either described in the ring, and then the kernel's, or lent to the shard;
//! (P2) memory and ring live at one address until the driver has unregistered them and nothing
//! receives any more; a driver that cannot know that leaks them.
#![expect(
    unsafe_code,
    reason = "the kernel writes into this memory while the process holds other parts of it"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// The buffers of one driver.
pub(super) struct Buffers {
    memory: Block<u8>,
    entries: Block<BufRingEntry>,
    buffer_bytes: usize,
    /// A power of two.
    count: u16,
    /// Descriptions written so far, modulo 2^16.
    tail: u16,
    lent: Vec<bool>,
    /// Buffers that are the kernel's, as far as completions have told.
    available: usize,
}

/// Memory at a fixed address.
struct Block<T> {
    start: NonNull<T>,
    layout: Layout,
}

// SAFETY: a block is plain memory that belongs to its owner alone.
unsafe impl<T: Send> Send for Block<T> {}

impl<T> Block<T> {
    fn zeroed(count: usize, align: usize) -> Self {
        let layout = Layout::array::<T>(count).and_then(|layout| layout.align_to(align));
        let layout = layout.expect("a size within the address space");
        assert!(layout.size() > 0, "a block has bytes");
        // SAFETY: the layout has a size.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start.cast()) {
            Some(start) => Self { start, layout },
            None => handle_alloc_error(layout),
        }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: the memory came from the allocator with this layout and is freed once.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}

impl Buffers {
    /// At least `count` buffers of `buffer_bytes` each; their pages are touched on first use.
    pub(super) fn new(count: u32, buffer_bytes: usize) -> Self {
        let count = count.clamp(1, COUNT_MAX).next_power_of_two();
        let count = u16::try_from(count).expect("at most 2^15");
        let mut buffers = Self {
            memory: Block::zeroed(usize::from(count) * buffer_bytes, MEMORY_ALIGN),
            entries: Block::zeroed(usize::from(count), PAGE),
            buffer_bytes,
            count,
            tail: 0,
            lent: vec![false; usize::from(count)],
            available: 0,
        };
        for index in 0..count {
            buffers.describe(index);
        }
        buffers
    }

    /// Address and length of the ring of descriptions, to register it.
    pub(super) fn ring(&self) -> (u64, u16) {
        (self.entries.start.as_ptr().addr() as u64, self.count)
    }

    /// How many buffers the kernel has left.
    pub(super) const fn available(&self) -> usize {
        self.available
    }

    /// A completion says that the kernel has filled this buffer.
    pub(super) fn lend(&mut self, index: u16) {
        let lent = &mut self.lent[usize::from(index)];
        assert!(!*lent, "P1: buffer {index} was lent already");
        *lent = true;
        self.available -= 1;
    }

    /// The first `len` bytes of a lent buffer.
    pub(super) fn bytes(&self, index: u32, len: u32) -> &[u8] {
        let (index, len) = (index as usize, len as usize);
        assert!(self.lent[index], "P1: buffer {index} is not lent");
        assert!(len <= self.buffer_bytes, "{len} bytes in buffer {index}");
        let memory = self.memory.start.as_ptr();
        // SAFETY: `index` is one of `count` buffers, all within the block.
        let start = unsafe { memory.add(index * self.buffer_bytes) };
        // SAFETY: the bytes lie within the buffer, were zero at first and have been written by the
        // kernel, which leaves them alone until `take_back`; that needs `&mut self`.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// Takes a lent buffer back and offers it to the kernel.
    pub(super) fn take_back(&mut self, index: u32) {
        let lent = &mut self.lent[index as usize];
        assert!(*lent, "P1: buffer {index} came back twice");
        *lent = false;
        self.describe(u16::try_from(index).expect("there are at most 2^15 buffers"));
    }

    /// Writes the description of a buffer behind the others and publishes it.
    fn describe(&mut self, index: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        let base = self.entries.start.as_ptr();
        // SAFETY: `place` is one of `count` entries, all within the block.
        let entry = unsafe { base.add(place) };
        // SAFETY: the block is aligned to a page and zeroed, which is a valid entry; the kernel
        // only reads entries, and this one only after the tail has passed it.
        let entry = unsafe { &mut *entry };
        let memory = self.memory.start.as_ptr().addr();
        entry.set_addr((memory + usize::from(index) * self.buffer_bytes) as u64);
        entry.set_len(u32::try_from(self.buffer_bytes).expect("a buffer is smaller than 4 GiB"));
        entry.set_bid(index);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `base` points to the first entry of the block.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the tail is two aligned bytes within the block that only this driver writes.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
        self.available += 1;
    }
}

/// Buffers in one ring at most.
const COUNT_MAX: u32 = 1 << 15;
/// The kernel wants the descriptions to begin on a page.
const PAGE: usize = 4_096;
/// Small, so that the allocator takes untouched pages instead of clearing them.
const MEMORY_ALIGN: usize = 16;
