//! The window through which a scan sees a segment.

use std::ops::Range;

use crate::layout::{BLOCK_ALIGN, BLOCK_BYTES_MAX, SegmentNumber};
use crate::recovery::window::Window;
use crate::rig::Rig;

const FILE_BYTES: usize = 5 * BLOCK_BYTES_MAX + BLOCK_ALIGN;

/// What a scan of blocks of one page reads from the disk, in bytes.
fn reads(rig: &mut Rig, pages: Range<usize>) -> usize {
    let mut window = Window::new();
    let before = rig.disk.segment_bytes_read.get();
    for page in pages {
        let position = page * BLOCK_ALIGN;
        let seen = window
            .bytes(
                &rig.disk,
                rig.log.config(),
                SegmentNumber(0),
                position as u64,
            )
            .unwrap();
        let marks = seen.chunks(BLOCK_ALIGN).map(|page| page[0]);
        let expected = (page..).map(mark);
        assert!(marks.zip(expected).all(|(mark, expected)| mark == expected));
        assert!(seen.len() >= BLOCK_BYTES_MAX.min(FILE_BYTES - position));
    }
    rig.disk.segment_bytes_read.get() - before
}

/// What the page of this number begins with.
fn mark(page: usize) -> u8 {
    u8::try_from(page % 251).unwrap()
}

#[test]
fn a_scan_reads_the_file_twice_at_most() {
    let mut rig = Rig::new();
    rig.commit(100);
    rig.disk.tamper(0, |bytes| {
        bytes.resize(FILE_BYTES, 0);
        for (page, bytes) in bytes.chunks_mut(BLOCK_ALIGN).enumerate() {
            bytes[0] = mark(page);
        }
    });
    let pages = FILE_BYTES / BLOCK_ALIGN;
    let whole = reads(&mut rig, 0..pages);
    assert!(whole <= 2 * FILE_BYTES, "{whole} bytes of {FILE_BYTES}");
    // One block's worth and the next are in the window at once.
    assert_eq!(
        reads(&mut rig, 0..BLOCK_BYTES_MAX / BLOCK_ALIGN + 1),
        2 * BLOCK_BYTES_MAX
    );
}
