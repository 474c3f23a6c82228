use std::path::Path;

use super::*;

const PARTITION: PartitionId = PartitionId(8);
const PIECE: u64 = 1 << 20;

fn names_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn segment(files: &mut VolatileFiles, number: u32) -> SegmentNumber {
    let (spare, segment) = (SpareId(number), SegmentNumber(number));
    files.make_spare(spare, PIECE).unwrap();
    files.install_spare(spare, PARTITION, segment).unwrap();
    segment
}

#[test]
fn what_is_below_the_mark_is_in_memory_and_what_is_beyond_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = VolatileFiles::new(folder.path().to_owned(), 2 * PIECE);
    for number in 0..4 {
        let segment = segment(&mut files, number);
        let byte = [u8::try_from(number).unwrap() + 1];
        files.write_at(PARTITION, segment, 5, &byte).unwrap();
    }
    assert_eq!(files.in_memory(), 2 * PIECE);
    assert_eq!(names_in(folder.path()), 0);
    let kept: Vec<_> = files.segments(PARTITION).unwrap();
    assert_eq!(kept.len(), 4);
    for segment in kept {
        let mut byte = [0];
        let opened = files.open_segment(PARTITION, segment).unwrap();
        opened.read_exact_at(&mut byte, 5).unwrap();
        assert_eq!(u32::from(byte[0]), segment.0 + 1);
        assert_eq!(files.segment_bytes(PARTITION, segment).unwrap(), PIECE);
    }
    files.remove_segment(PARTITION, SegmentNumber(0)).unwrap();
    assert_eq!(files.in_memory(), PIECE, "there is room again");
    segment(&mut files, 7);
    assert_eq!(files.in_memory(), 2 * PIECE);
}

#[test]
fn a_retired_segment_is_a_spare_whose_front_is_cleared_when_it_is_used_again() {
    let mut files = VolatileFiles::new("/nowhere".into(), 2 * PIECE);
    let first = segment(&mut files, 0);
    files.write_at(PARTITION, first, 0, &[7; 8]).unwrap();
    let spare = SpareId(9);
    assert!(files.retire_segment(PARTITION, first, spare).unwrap());
    assert_eq!(files.spares().unwrap(), [(spare, PIECE)]);
    let second = SegmentNumber(1);
    files.install_spare(spare, PARTITION, second).unwrap();
    let mut front = [1; 8];
    let read = files.read_at(PARTITION, second, 0, &mut front).unwrap();
    assert_eq!((read, front), (8, [0; 8]));
    assert_eq!(files.segments(PARTITION).unwrap(), [second]);
    let other = SpareId(10);
    files.make_spare(other, PIECE).unwrap();
    let again = files.install_spare(other, PARTITION, second).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_draft_grows_counts_and_is_published_under_its_generation() {
    let mut files = VolatileFiles::new("/nowhere".into(), PIECE);
    files.begin_draft(PARTITION).unwrap();
    files.append_to_draft(PARTITION, 0, &[1; 4_096]).unwrap();
    files
        .append_to_draft(PARTITION, 4_096, &[2; 4_096])
        .unwrap();
    assert_eq!(files.in_memory(), 8_192);
    files.publish_draft(PARTITION, 3).unwrap();
    assert_eq!(files.checkpoints(PARTITION).unwrap(), [(3, 8_192)]);
    let mut bytes = [0; 4];
    files
        .read_checkpoint(PARTITION, 3, 4_094, &mut bytes)
        .unwrap();
    assert_eq!(bytes, [1, 1, 2, 2]);
    files.remove_checkpoint(PARTITION, 3).unwrap();
    assert_eq!(files.in_memory(), 0);
}

#[test]
fn where_there_is_no_room_for_a_file_that_is_said() {
    let mut files = VolatileFiles::new("/nowhere/at/all".into(), 0);
    let error = files.make_spare(SpareId(0), PIECE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(files.spares().unwrap(), []);
}
