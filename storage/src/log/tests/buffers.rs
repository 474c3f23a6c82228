//! Buffers that are used again.

use crate::config::LogConfig;
use crate::layout::BLOCK_HEADER_BYTES;
use crate::log::LogIo;
use crate::rig::{Rig, tiny_config};

use super::{header_of, position_of};

#[test]
fn a_block_in_a_used_buffer_is_padded_with_zeros() {
    let mut rig = Rig::with(LogConfig {
        first_segment_bytes: 1 << 20,
        cache_bytes: 1,
        ..tiny_config()
    });
    let mut places = Vec::new();
    for bytes in [100, 4_000, 4_000, 4_000, 1_000, 2_000, 700] {
        rig.append(bytes);
        let io = rig.next_write().unwrap();
        let body_bytes = header_of(&io).body_bytes;
        let (_, start) = position_of(&io);
        let LogIo::Write {
            buffer,
            bytes: written,
            ..
        } = &io;
        if start > 0 {
            let padding = &buffer.as_slice()[BLOCK_HEADER_BYTES + body_bytes..*written];
            assert!(!padding.is_empty(), "{bytes}");
            assert!(padding.iter().all(|byte| *byte == 0), "{bytes}");
            places.push(buffer.as_slice().as_ptr().addr());
        }
        rig.write(&io);
        rig.done(io);
    }
    let all = places.len();
    places.sort_unstable();
    places.dedup();
    assert!(places.len() < all, "no buffer was used twice");
}
