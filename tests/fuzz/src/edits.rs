//! An input of `block_scan` or `checkpoint`: where to begin, and a list of edits of the segment files.
//!
//! Byte 0: bit 0 begins with the written log instead of zeros, bit 1 makes checksums right after the edits, bit 2
//! also lengths of bodies, places and the hash chain.
//! Then edits of 6 bytes: operation, number of the file, page, offset in the page / 16, and a length or argument in two bytes.

use std::collections::BTreeMap;

use corelane_storage::{BLOCK_ALIGN, BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use corelane_wire::{RECORD_HEADER_BYTES, checksum};

use crate::files::Files;
use crate::{put, u32_at};

/// Bit 0 of the first byte.
pub const FROM_WRITTEN: u8 = 1;
/// Bit 1 of the first byte.
pub const REPAIR: u8 = 2;
/// Bit 2 of the first byte.
pub const RELINK: u8 = 4;

const OVERWRITE: u8 = 0;
const SEGMENTS_MAX: u8 = 4;
const EDIT_BYTES: usize = 6;

/// Carries out an input; `None` if it is too short.
pub fn build(input: &[u8], written: &Files) -> Option<Files> {
    let (options, edits) = input.split_first()?;
    let mut files = if options & FROM_WRITTEN == 0 {
        blank(written)
    } else {
        written.clone()
    };
    apply_all(&mut files.segments, edits);
    if options & (REPAIR | RELINK) != 0 {
        for file in files.segments.values_mut() {
            repair(file, options & RELINK != 0);
        }
    }
    Some(files)
}

/// Carries out a list of edits.
pub fn apply_all(files: &mut BTreeMap<u32, Vec<u8>>, mut edits: &[u8]) {
    while let Some((edit, rest)) = edits.split_first_chunk::<EDIT_BYTES>() {
        edits = &rest[apply(files, *edit, rest)..];
    }
}

/// The input that writes these files onto zeros, page by page.
pub fn input_for(files: &Files) -> Vec<u8> {
    let mut input = vec![0];
    for (segment, file) in &files.segments {
        for (page, bytes) in file.chunks(BLOCK_ALIGN).enumerate() {
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            if used > 0 {
                let small = |number: usize| u8::try_from(number).expect("files here are small");
                let length = u16::try_from(used).expect("a page is 4 KiB").to_le_bytes();
                let segment = u8::try_from(*segment).expect("few segments");
                input.extend([OVERWRITE, segment, small(page), 0, length[0], length[1]]);
                input.extend(&bytes[..used]);
            }
        }
    }
    input
}

/// The same files, of zeros.
fn blank(written: &Files) -> Files {
    let mut files = written.clone();
    for file in files.segments.values_mut() {
        file.fill(0);
    }
    files
}

/// Carries out one edit and returns how many bytes of `rest` it used.
fn apply(files: &mut BTreeMap<u32, Vec<u8>>, edit: [u8; EDIT_BYTES], rest: &[u8]) -> usize {
    let [operation, segment, page, offset, low, high] = edit;
    let segment = u32::from(segment % SEGMENTS_MAX);
    let argument = usize::from(u16::from_le_bytes([low, high]));
    let source = pick(files, u32::from(low % SEGMENTS_MAX), usize::from(high));
    let Some(file) = files.get_mut(&segment) else {
        if operation == 5 {
            files.insert(segment, vec![0; argument % 16 * BLOCK_ALIGN]);
        }
        return 0;
    };
    let from = usize::from(page) * BLOCK_ALIGN + usize::from(offset) * 16;
    let to = from.min(file.len());
    let into = &mut file[to..];
    match operation % 8 {
        OVERWRITE => {
            let count = argument.min(rest.len()).min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            return count;
        }
        1 => {
            let count = argument.min(into.len());
            into[..count].fill(0);
        }
        2 => {
            let count = source.len().min(into.len());
            into[..count].copy_from_slice(&source[..count]);
        }
        3 => file.truncate(to),
        4 => drop(files.remove(&segment)),
        _ => {
            if let Some(byte) = into.get_mut(usize::from(low)) {
                *byte ^= high;
            }
        }
    }
    0
}

/// A page to be copied.
fn pick(files: &BTreeMap<u32, Vec<u8>>, segment: u32, page: usize) -> Vec<u8> {
    let file = files.get(&segment).map_or(&[][..], Vec::as_slice);
    let from = (page * BLOCK_ALIGN).min(file.len());
    file[from..file.len().min(from + BLOCK_ALIGN)].to_vec()
}

/// Makes the checksums of headers, blocks and records right, page after page.
fn repair(file: &mut [u8], relink: bool) {
    for copy in file.chunks_mut(BLOCK_ALIGN).take(2) {
        if copy.len() == BLOCK_ALIGN && copy.starts_with(b"CLSG") {
            let crc = checksum(&[&copy[8..]]);
            put(copy, 4, &crc.to_le_bytes());
        }
    }
    let mut position = SEGMENT_HEADER_BYTES;
    while position + BLOCK_ALIGN <= file.len() {
        let is_block = file[position..].starts_with(b"CLBK");
        position += if is_block {
            repair_block(file, position, relink)
        } else {
            BLOCK_ALIGN
        };
    }
}

/// Repairs one block and returns its length.
fn repair_block(file: &mut [u8], position: usize, relink: bool) -> usize {
    // The segment's first header and each block begin with magic and checksum, which is the link.
    let uuid: [u8; 8] = file[56..64].try_into().expect("eight bytes");
    let link: [u8; 4] = match file[position - BLOCK_ALIGN..].get(..8) {
        Some(before) if before.starts_with(b"CLBK") => before[4..8].try_into().expect("four"),
        _ => file[4..8].try_into().expect("four bytes"),
    };
    let rest = &mut file[position..];
    let body = u32_at(rest, 8) as usize;
    let whole = (BLOCK_HEADER_BYTES + body.min(BLOCK_BYTES_MAX)).next_multiple_of(BLOCK_ALIGN);
    if whole > rest.len() {
        return BLOCK_ALIGN;
    }
    let block = &mut rest[..whole];
    repair_records(&mut block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + body]);
    if relink {
        put(block, 16, &uuid);
        put(block, 56, &(position as u64).to_le_bytes());
        put(block, 64, &link);
    }
    let crc = checksum(&[&block[BLOCK_HEADER_BYTES..]]);
    put(block, 12, &crc.to_le_bytes());
    let crc = checksum(&[&block[8..BLOCK_HEADER_BYTES]]);
    put(block, 4, &crc.to_le_bytes());
    whole
}

fn repair_records(mut body: &mut [u8]) {
    while body.len() >= RECORD_HEADER_BYTES {
        let (bytes, head) = (u32_at(body, 0) as usize, u32_at(body, 24) as usize);
        if bytes < RECORD_HEADER_BYTES || bytes > body.len() || head > bytes - RECORD_HEADER_BYTES {
            return;
        }
        let (record, rest) = body.split_at_mut(bytes);
        let payload_head = &record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + head];
        let crc = checksum(&[&record[..28], payload_head]);
        put(record, 28, &crc.to_le_bytes());
        body = rest;
    }
}
