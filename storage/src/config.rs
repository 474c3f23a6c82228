//! What a partition's log is told when it is opened.

use std::time::Duration;

use corelane_wire::PartitionId;
use corelane_wire::record::RECORD_HEADER_BYTES;

use crate::layout::{
    BLOCK_ALIGN, BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, FIRST_SEGMENT_BYTES, SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
};

/// Settings of one partition's log. Sizes below the defaults are for tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// The partition.
    pub partition: PartitionId,
    /// Identity of the data directory's logs, from the superblock.
    pub log_id: u128,
    /// Bytes of segment 0.
    pub first_segment_bytes: u64,
    /// Bytes of every later segment.
    pub segment_bytes: u64,
    /// The largest block; a larger record cannot be appended.
    pub block_bytes_max: usize,
    /// Bound of the block cache.
    pub cache_bytes: usize,
    /// How far a read from disk reaches beyond the block that was asked for.
    pub read_ahead_bytes: usize,
    /// How long after the last commit an idle log attests it.
    pub seal_after: Duration,
    /// Whether this node is the whole chain, so that what is durable here is committed.
    pub alone: bool,
}

impl LogConfig {
    /// The defaults.
    pub fn new(partition: PartitionId, log_id: u128) -> Self {
        Self {
            partition,
            log_id,
            first_segment_bytes: FIRST_SEGMENT_BYTES,
            segment_bytes: SEGMENT_BYTES,
            block_bytes_max: BLOCK_BYTES_MAX,
            cache_bytes: CACHE_BYTES,
            read_ahead_bytes: READ_AHEAD_BYTES,
            seal_after: SEAL_AFTER,
            alone: true,
        }
    }

    /// The largest `NewRecord::bytes()` that fits.
    pub fn record_bytes_max(&self) -> usize {
        self.block_bytes_max - BLOCK_HEADER_BYTES
    }

    /// The least a segment must hold: headers, one largest block and its footer.
    pub(crate) fn segment_bytes_min(&self) -> u64 {
        (SEGMENT_HEADER_BYTES + self.block_bytes_max + BLOCK_ALIGN) as u64
    }

    /// Panics on sizes that cannot work: they are constants of a program or a test, not a user's input.
    pub(crate) fn assert_valid(&self) {
        let block = self.block_bytes_max;
        assert!(
            block.is_multiple_of(BLOCK_ALIGN) && block <= BLOCK_BYTES_MAX,
            "a block of {block} bytes"
        );
        assert!(block > BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES);
        for bytes in [self.first_segment_bytes, self.segment_bytes] {
            assert!(
                bytes >= self.segment_bytes_min() && bytes.is_multiple_of(BLOCK_ALIGN as u64),
                "a segment of {bytes} bytes cannot hold blocks of {block}"
            );
        }
    }
}

const CACHE_BYTES: usize = 32 << 20;
const READ_AHEAD_BYTES: usize = 1 << 20;
const SEAL_AFTER: Duration = Duration::from_millis(5);
