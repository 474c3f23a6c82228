//! Frames whose checksums are made right, because a fuzzer does not guess them.

use corelane_wire::checksum;
use corelane_wire::frame::MAGIC;
use corelane_wire::limits::FRAME_HEADER_BYTES;

use crate::{put, u32_at};

/// Makes magic, version, flags and checksums of the frames right, as far as their lengths are possible.
pub fn repair(mut stream: &mut [u8]) {
    while stream.len() >= FRAME_HEADER_BYTES {
        let (length, head) = (u32_at(stream, 4) as usize, u32_at(stream, 12) as usize);
        if head < FRAME_HEADER_BYTES || length < head || stream.len() < length {
            stamp(stream);
            return;
        }
        let (frame, rest) = stream.split_at_mut(length);
        repair_messages(&mut frame[head..]);
        stamp(frame);
        let crc = checksum(&[&frame[..8], &frame[12..head]]);
        put(frame, 8, &crc.to_le_bytes());
        stream = rest;
    }
}

/// Makes one frame of all the bytes; `false` if there are not enough for a header.
pub fn make_one(frame: &mut [u8]) -> bool {
    let length = frame.len();
    if length < FRAME_HEADER_BYTES {
        return false;
    }
    let stated = u32::try_from(length).expect("an input is below 4 GiB");
    put(frame, 4, &stated.to_le_bytes());
    let head = u32_at(frame, 12) as usize;
    if head < FRAME_HEADER_BYTES || head > length {
        put(frame, 12, &stated.to_le_bytes());
    }
    repair(frame);
    true
}

/// What every frame begins with.
fn stamp(frame: &mut [u8]) {
    put(frame, 0, &MAGIC);
    frame[16] = 1;
    frame[20..24].fill(0);
}

/// Makes the checksums of a batch, or of bare entries, right.
fn repair_messages(messages: &mut [u8]) {
    let is_batch = messages.len() >= 48 && u32_at(messages, 0) as usize == messages.len();
    let mut entries = if is_batch {
        let (header, entries) = messages.split_at_mut(48);
        let crc = checksum(&[&header[8..]]);
        put(header, 4, &crc.to_le_bytes());
        entries
    } else {
        messages
    };
    while entries.len() >= 12 {
        let length = u32_at(entries, 0) as usize;
        if length < 12 || entries.len() < length {
            return;
        }
        let (entry, rest) = entries.split_at_mut(length);
        let crc = checksum(&[&entry[8..]]);
        put(entry, 4, &crc.to_le_bytes());
        entries = rest;
    }
}
