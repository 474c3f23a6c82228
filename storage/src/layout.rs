//! Sizes, names and identities of what lies on disk.
//!
//! Changing a value here changes the storage format: it needs a new `FORMAT_LEVEL` and a fixture.

use corelane_wire::record::RECORD_HEADER_BYTES;
use corelane_wire::{Epoch, Lsn, PartitionId};

use crate::fixed::Fnv;

/// Every block begins and ends on a multiple of this, and every write is one.
pub const BLOCK_ALIGN: usize = 4096;
/// Bytes of the header that begins every block.
pub const BLOCK_HEADER_BYTES: usize = 128;
/// The largest block, header and padding included.
pub const BLOCK_BYTES_MAX: usize = 2 << 20;
/// Bytes of a segment unless it is a partition's first one.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of a partition's first segment.
pub const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
/// The header of a segment takes one alignment and stands there twice.
pub const SEGMENT_HEADER_BYTES: usize = 2 * BLOCK_ALIGN;
/// What is zeroed at the front of a spare that was a segment before it becomes one again: both copies of the header, and
/// the page with the header of the first block, so that a block of an earlier life is never taken for the first of the next.
pub const RETIRED_BYTES: usize = SEGMENT_HEADER_BYTES + BLOCK_ALIGN;
/// The level of the format that this build writes, and the newest that it reads.
///
/// Level 1: a segment is made of zeros. Level 2: of a spare, which may hold what an earlier segment held. Level 3: there
/// are Relocate records, and checkpoints of form 2. Level 4: records about subscriptions as a whole, and checkpoints of
/// form 3. Level 5: records about what queues keep and take, and checkpoints of form 4.
pub const FORMAT_LEVEL: u16 = 5;

/// Number of a segment file within its partition, from 0, without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SegmentNumber(pub u32);

impl SegmentNumber {
    /// The number that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for SegmentNumber {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// `bytes` rounded up to whole alignments.
pub(crate) const fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_ALIGN)
}

/// Identity of a segment: a hash of what makes it one, never zero, the same on every member.
///
/// It stands in the header of every block and is covered by its checksum, so a block of another segment,
/// of another partition or of an earlier life of the same file never validates here.
pub(crate) fn segment_uuid(log_id: u128, partition: PartitionId, epoch: Epoch, base: Lsn) -> u64 {
    let mut hash = Fnv::new();
    hash.bytes(&log_id.to_le_bytes());
    hash.bytes(&partition.0.to_le_bytes());
    hash.bytes(&epoch.0.to_le_bytes());
    hash.bytes(&base.0.to_le_bytes());
    hash.finish().max(1)
}

const _: () = assert!(BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES < BLOCK_ALIGN);
const _: () = assert!(BLOCK_BYTES_MAX.is_multiple_of(BLOCK_ALIGN));
const _: () = assert!(SEGMENT_BYTES.is_multiple_of(BLOCK_ALIGN as u64));
// A first segment must hold its header, one largest block and a footer.
const _: () = assert!(
    FIRST_SEGMENT_BYTES >= (SEGMENT_HEADER_BYTES + BLOCK_BYTES_MAX + 2 * BLOCK_ALIGN) as u64
);
