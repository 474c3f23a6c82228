use std::collections::BTreeSet;

use tempfile::TempDir;

use super::*;
use crate::directory::DirectoryOptions;
use crate::layout::SegmentNumber;
use crate::superblock::SUPERBLOCK_NAME;
use crate::volume::{Task, Volume};

const P: PartitionId = PartitionId(3);
const BYTES: u64 = 16_384;
const SEVENS: [u8; 16_384] = [7; 16_384];

fn segment(number: u32) -> SegmentNumber {
    SegmentNumber(number)
}

fn reopen(root: &Path) -> Directory {
    let options = DirectoryOptions {
        lock_wait: Duration::from_millis(30),
        ..DirectoryOptions::default()
    };
    Directory::open(root, &options).unwrap()
}

/// A data directory with two segments, the first full of sevens.
fn filled() -> (TempDir, Directory) {
    let folder = tempfile::tempdir().unwrap();
    let mut directory = reopen(&folder.path().join("data"));
    directory.replace_file(SUPERBLOCK_NAME, &[1; 128]).unwrap();
    for number in 0..2 {
        directory.make_spare(SpareId(0), BYTES).unwrap();
        directory
            .install_spare(SpareId(0), P, segment(number))
            .unwrap();
    }
    directory.write_at(P, segment(0), 0, &SEVENS).unwrap();
    (folder, directory)
}

fn content(links: &Links, number: u32) -> Vec<u8> {
    let mut bytes = vec![0; SEVENS.len()];
    let read = links.files().read_at(P, segment(number), 0, &mut bytes);
    assert_eq!(read.unwrap() as u64, BYTES);
    bytes
}

fn retire(directory: &mut Directory, number: u32, spare: u32) -> bool {
    let task = Task::Retire {
        partition: P,
        segment: segment(number),
        spare: SpareId(spare),
    };
    task.run(directory).unwrap()
}

#[test]
fn a_segment_that_a_backup_reads_is_removed_and_not_used_again() {
    let (_folder, mut directory) = filled();
    let mut links = Links::open(directory.root()).unwrap();
    links.take(P).unwrap();
    assert!(!retire(&mut directory, 0, 5));
    assert_eq!(directory.segments(P).unwrap(), [segment(1)]);
    assert_eq!(directory.spares().unwrap(), []);
    assert_eq!(content(&links, 0), SEVENS);
    directory.remove_segment(P, segment(1)).unwrap();
    assert_eq!(
        links.files().segments(P).unwrap(),
        [segment(0), segment(1)],
        "and what is removed stays readable too"
    );
}

#[test]
fn a_segment_is_used_again_once_its_links_are_gone() {
    let (_folder, mut directory) = filled();
    let mut links = Links::open(directory.root()).unwrap();
    links.take(P).unwrap();
    links.release(P).unwrap();
    assert!(retire(&mut directory, 0, 5));
    links.take(P).unwrap();
    assert_eq!(links.files().segments(P).unwrap(), [segment(1)]);
    drop(links);
    assert!(retire(&mut directory, 1, 6));
    let spares = [(SpareId(5), BYTES), (SpareId(6), BYTES)];
    assert_eq!(directory.spares().unwrap(), spares);
}

#[test]
fn a_start_keeps_the_links_of_a_running_backup_and_gives_up_the_spare_that_it_reads() {
    let (_folder, directory) = filled();
    let root = directory.root().to_path_buf();
    let mut links = Links::open(&root).unwrap();
    links.take(P).unwrap();
    // A broker that was killed between the rename and the look at the names.
    let spare = spare_path(&root, SpareId(5));
    fs::rename(directory.path_of(P, segment(0)), &spare).unwrap();
    drop(directory);
    let directory = reopen(&root);
    assert_eq!(directory.spares().unwrap(), []);
    assert_eq!(content(&links, 0), SEVENS);
}

#[test]
fn what_a_killed_backup_left_goes_at_the_next_start_and_at_the_next_backup() {
    let (_folder, directory) = filled();
    let root = directory.root().to_path_buf();
    let link = |number: u32| {
        let folder = root.join("backup/partitions/0003");
        fs::create_dir_all(&folder).unwrap();
        let name = format!("{number:08}.log");
        fs::hard_link(directory.path_of(P, segment(number)), folder.join(name)).unwrap();
    };
    fs::create_dir(root.join("backup")).unwrap();
    fs::write(root.join("backup/lock"), "pid 1\n").unwrap();
    link(0);
    drop(Links::open(&root).unwrap());
    assert!(has_one_name(&directory.path_of(P, segment(0))).unwrap());
    link(0);
    link(1);
    let spare = spare_path(&root, SpareId(5));
    fs::rename(directory.path_of(P, segment(0)), &spare).unwrap();
    let (path, kept) = (directory.path_of(P, segment(1)), [(SpareId(5), BYTES)]);
    drop(directory);
    let directory = reopen(&root);
    assert!(has_one_name(&path).unwrap());
    assert_eq!(
        directory.spares().unwrap(),
        kept,
        "nobody reads it any more"
    );
}

#[test]
fn a_start_goes_on_where_links_cannot_be_taken_away() {
    let (_folder, directory) = filled();
    let root = directory.root().to_path_buf();
    // A lock that cannot be opened as a file; another user's would be refused alike.
    fs::create_dir_all(root.join("backup/partitions/0003")).unwrap();
    std::os::unix::fs::symlink("lock", root.join("backup/lock")).unwrap();
    let path = directory.path_of(P, segment(0));
    let link = root.join("backup/partitions/0003/00000000.log");
    fs::hard_link(&path, &link).unwrap();
    drop(directory);
    let mut directory = reopen(&root);
    assert!(link.exists());
    assert!(
        !retire(&mut directory, 0, 5),
        "and what they name is not used again"
    );
}

#[test]
fn two_backups_at_once_are_refused() {
    let (_folder, directory) = filled();
    let _links = Links::open(directory.root()).unwrap();
    let error = Links::open(directory.root()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[test]
fn links_are_of_one_moment_beside_a_broker_that_publishes_and_retires() {
    let (_folder, mut directory) = filled();
    let root = directory.root().to_path_buf();
    // Checkpoint g needs the segments from g on; the segment before goes once the one after is published.
    let publish = |directory: &mut Directory, generation: u32| {
        directory.begin_draft(P).unwrap();
        directory.publish_draft(P, generation).unwrap();
        directory.make_spare(SpareId(0), BYTES).unwrap();
        directory
            .install_spare(SpareId(0), P, segment(generation + 2))
            .unwrap();
        if let Some(old) = generation.checked_sub(2) {
            let spare = SpareId(generation);
            if directory.retire_segment(P, segment(old), spare).unwrap() {
                directory.remove_spare(spare).unwrap();
            }
            directory.remove_checkpoint(P, old).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let broker = scope.spawn(|| (0..300).for_each(|at| publish(&mut directory, at)));
        let mut links = Links::open(&root).unwrap();
        let mut generations = BTreeSet::new();
        while !broker.is_finished() {
            links.take(P).unwrap();
            let files = links.files();
            let Some((newest, _)) = files.checkpoints(P).unwrap().pop() else {
                continue;
            };
            let segments = files.segments(P).unwrap();
            let needed = newest.saturating_sub(1)..=newest + 1;
            for number in needed {
                let is_there = segments.contains(&segment(number));
                assert!(is_there, "{newest} needs {number} of {segments:?}");
            }
            generations.insert(newest);
        }
        assert!(generations.len() >= 10, "{generations:?}");
    });
}
