//! A sliding view of a segment file, so that a scan needs the memory of two largest blocks and not of a file.

use crate::buffer::Buffer;
use crate::config::LogConfig;
use crate::error::RecoverError;
use crate::layout::{BLOCK_BYTES_MAX, SegmentNumber};
use crate::recovery::failed;
use crate::volume::Volume;

pub(super) struct Window {
    buffer: Buffer,
    segment: Option<SegmentNumber>,
    position: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            buffer: Buffer::zeroed(WINDOW_BYTES),
            segment: None,
            position: 0,
        }
    }

    /// The bytes of a segment from an aligned position: at least a largest block of them, or up to the file's
    /// end.
    pub(super) fn bytes(
        &mut self,
        volume: &dyn Volume,
        config: &LogConfig,
        segment: SegmentNumber,
        position: u64,
    ) -> Result<&[u8], RecoverError> {
        let is_whole_file_left = self.buffer.len() < self.buffer.capacity();
        let is_inside = self.segment == Some(segment)
            && position >= self.position
            && (is_whole_file_left
                || position + BLOCK_BYTES_MAX as u64 <= self.position + WINDOW_BYTES as u64);
        if !is_inside {
            self.buffer.set_len(self.buffer.capacity());
            self.segment = None;
            let count = volume
                .read_at(
                    config.partition,
                    segment,
                    position,
                    self.buffer.as_mut_slice(),
                )
                .map_err(|source| {
                    let action = format!("read segment {segment} at {position}");
                    failed(config, &action, source)
                })?;
            self.buffer.set_len(count);
            self.segment = Some(segment);
            self.position = position;
        }
        let skipped = usize::try_from(position - self.position).unwrap_or(usize::MAX);
        Ok(self.buffer.as_slice().get(skipped..).unwrap_or_default())
    }
}

const WINDOW_BYTES: usize = 2 * BLOCK_BYTES_MAX;
