use corelane_wire::Lsn;

use super::{Blocks, CLOSED_BLOCKS_MAX, Found, Index, SegmentIndex};
use crate::layout::{BLOCK_ALIGN, SegmentNumber};
use crate::segment::BlockEntry;
use crate::segment_table::FooterEntry;

const BLOCKS: u64 = 10_000;
const SEGMENTS: u32 = 20;

/// Closed segments with one record per block, and one that is written.
fn index() -> Index {
    let mut index = Index::default();
    for number in 0..=SEGMENTS {
        let base = u64::from(number) * BLOCKS;
        index.push_segment(SegmentIndex::new(
            SegmentNumber(number),
            1,
            Lsn(base),
            1 << 30,
        ));
        let segment = index.last_mut().unwrap();
        for at in 0..BLOCKS {
            let first = base + at;
            segment.push(Lsn(first), Lsn(first + 1), position(at), BLOCK_ALIGN);
        }
        if number < SEGMENTS {
            index.close(FooterEntry {
                position: position(BLOCKS),
                blocks: u32::try_from(BLOCKS).unwrap(),
                crc: 0,
            });
        }
    }
    index
}

fn position(block: u64) -> u64 {
    (block + 2) * BLOCK_ALIGN as u64
}

fn count(index: &Index) -> usize {
    let closed = index.segments.iter().filter(|it| it.footer.is_some());
    closed.map(|segment| segment.blocks().len()).sum()
}

fn is_footer(index: &Index, lsn: u64) -> bool {
    let Some(Found::Stretch(stretch)) = index.find(Lsn(lsn), 0) else {
        panic!("{lsn} is in the index");
    };
    let is_footer = stretch.position == position(BLOCKS);
    assert!(is_footer || stretch.position == position(lsn % BLOCKS));
    is_footer
}

#[test]
fn the_entries_of_closed_segments_are_bounded_the_newest_kept() {
    let index = index();
    assert_eq!(count(&index), CLOSED_BLOCKS_MAX / 10_000 * 10_000);
    for number in 0..=SEGMENTS {
        let lsn = u64::from(number) * BLOCKS + 77;
        assert_eq!(
            is_footer(&index, lsn),
            number < SEGMENTS - 6,
            "segment {number}"
        );
    }
}

#[test]
fn footers_that_are_read_push_out_the_oldest() {
    let mut index = index();
    let blocks: Vec<_> = (0..BLOCKS)
        .map(|at| BlockEntry::new(at, position(at)))
        .collect();
    for number in [3, 0, 3, 9, 1, 2, 4, 5] {
        let lsn = u64::from(number) * BLOCKS + 9_999;
        if is_footer(&index, lsn) {
            index.load(SegmentNumber(number), blocks.clone());
        }
        assert!(!is_footer(&index, lsn), "who asked finds it once");
        assert!(count(&index) <= CLOSED_BLOCKS_MAX);
    }
    assert!(
        is_footer(&index, 19 * BLOCKS),
        "the newest closed one was the oldest read"
    );
    assert!(
        !is_footer(&index, 20 * BLOCKS),
        "the one that is written has no footer"
    );
    // A footer that was read twice counts once.
    index.load(SegmentNumber(5), blocks);
    assert_eq!(count(&index), index.closed_blocks);
    assert!(matches!(index.segments[5].blocks, Blocks::Here(_)));
}
