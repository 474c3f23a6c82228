use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corelane_wire::{Lsn, PartitionId, Timestamp};
use tempfile::TempDir;

use super::{Directory, DirectoryOptions};
use crate::buffer::Buffer;
use crate::checkpoint::{CheckpointConfig, CheckpointWriter, ChunkReader, open_checkpoints};
use crate::layout::SegmentNumber;
use crate::log::{Log, LogIo};
use crate::open_error::OpenError;
use crate::record::NewRecord;
use crate::recovery::{Scanned, recover};
use crate::rig::tiny_config;
use crate::segment_table::SegmentTable;
use crate::superblock::{FreshIds, open_superblock};
use crate::volume::{SpareId, Task, Volume};

const P: PartitionId = PartitionId(3);
const S: SegmentNumber = SegmentNumber(0);

fn options() -> DirectoryOptions {
    DirectoryOptions {
        lock_wait: Duration::from_millis(30),
        ..DirectoryOptions::default()
    }
}

fn open() -> (TempDir, Directory) {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path().join("data"), &options()).unwrap();
    (folder, directory)
}

fn with_segment(bytes: u64) -> (TempDir, Directory) {
    let (folder, mut directory) = open();
    directory.make_spare(SpareId(0), bytes).unwrap();
    directory.install_spare(SpareId(0), P, S).unwrap();
    (folder, directory)
}

#[test]
fn a_held_directory_is_refused_with_the_pid_of_its_holder() {
    let (_folder, directory) = open();
    let error = Directory::open(directory.root(), &options()).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(error, OpenError::Locked { pid: Some(found), .. } if found == pid));
    let text = error.to_string();
    assert!(text.contains(&format!("process {pid}")), "{text}");
    assert!(text.contains("--data-dir"), "names the setting: {text}");
    assert!(
        text.contains(&format!("`kill {pid}`")),
        "names the command: {text}"
    );
    let root = directory.root().to_path_buf();
    drop(directory);
    Directory::open(root, &options()).unwrap();
}

#[test]
fn the_lock_is_waited_for() {
    let (_folder, directory) = open();
    let root = directory.root().to_path_buf();
    let patient = DirectoryOptions {
        lock_wait: Duration::from_secs(20),
        ..options()
    };
    let waiting = std::thread::spawn(move || Directory::open(root, &patient).map(|_| ()));
    while !waiting.is_finished() && directory.root().join("lock").metadata().unwrap().len() == 0 {
        std::thread::yield_now();
    }
    drop(directory);
    waiting.join().unwrap().unwrap();
}

#[test]
fn the_lock_file_names_pid_and_data_uuid() {
    let (_folder, mut directory) = open();
    let fresh = FreshIds {
        log_id: 1,
        data_uuid: 0xabc,
    };
    open_superblock(&mut directory, 8, fresh).unwrap();
    let root = directory.root().to_path_buf();
    drop(directory);
    let again = Directory::open(&root, &options()).unwrap();
    let text = fs::read_to_string(root.join("lock")).unwrap();
    assert!(
        text.contains(&format!("pid {}", std::process::id())),
        "{text}"
    );
    assert!(
        text.contains("data-uuid 00000000000000000000000000000abc"),
        "{text}"
    );
    assert_eq!(again.read_file("nothing").unwrap(), None);
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    fs::write(&path, "x").unwrap();
    let error = Directory::open(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::NotADirectory { .. }), "{error}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

#[test]
fn a_new_directory_needs_room_and_an_old_one_does_not() {
    let greedy = DirectoryOptions {
        free_bytes_min: u64::MAX,
        ..options()
    };
    let (_folder, mut directory) = open();
    let root = directory.root().to_path_buf();
    let fresh = FreshIds {
        log_id: 1,
        data_uuid: 2,
    };
    open_superblock(&mut directory, 8, fresh).unwrap();
    drop(directory);
    Directory::open(&root, &greedy).unwrap();
    let error = Directory::open(root.join("new"), &greedy).unwrap_err();
    assert!(matches!(error, OpenError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("`df "), "{error}");
}

#[test]
fn every_new_name_is_followed_by_a_sync_of_its_directory() {
    let (_folder, mut directory) = open();
    let mut before = directory.directory_syncs();
    let mut synced = |directory: &Directory| {
        let count = directory.directory_syncs() - before;
        before = directory.directory_syncs();
        count
    };
    directory.replace_file("superblock", b"x").unwrap();
    assert_eq!(synced(&directory), 1, "the root");
    directory.make_spare(SpareId(0), 8_192).unwrap();
    assert_eq!(synced(&directory), 1, "spares");
    directory.install_spare(SpareId(0), P, S).unwrap();
    assert_eq!(synced(&directory), 3, "partitions, the partition's, spares");
    directory.make_spare(SpareId(1), 8_192).unwrap();
    directory.remove_spare(SpareId(1)).unwrap();
    assert_eq!(synced(&directory), 2, "spares twice");
    directory.retire_segment(P, S, SpareId(2)).unwrap();
    assert_eq!(synced(&directory), 2, "spares and the partition's");
    directory.install_spare(SpareId(2), P, S).unwrap();
    assert_eq!(synced(&directory), 2, "the partition's and spares");
    directory.remove_segment(P, S).unwrap();
    directory.remove_segment(P, S).unwrap();
    assert_eq!(synced(&directory), 2, "the partition's twice");
    assert_eq!(directory.segments(P).unwrap(), []);
}

#[test]
fn a_retired_segment_keeps_what_stands_behind_its_header() {
    let (_folder, mut directory) = open();
    directory.make_spare(SpareId(0), 16_384).unwrap();
    directory.install_spare(SpareId(0), P, S).unwrap();
    directory.write_at(P, S, 0, &[7; 16_384]).unwrap();
    directory.make_spare(SpareId(1), 8_192).unwrap();
    let error = directory.retire_segment(P, S, SpareId(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let mut bytes = [0; 16_384];
    directory.read_at(P, S, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 16_384], "nothing was done to it");
    directory.retire_segment(P, S, SpareId(2)).unwrap();
    let spares = directory.spares().unwrap();
    assert_eq!(spares, [(SpareId(1), 8_192), (SpareId(2), 16_384)]);
    assert_eq!(directory.segments(P).unwrap(), []);
    directory.install_spare(SpareId(2), P, S).unwrap();
    directory.read_at(P, S, 0, &mut bytes).unwrap();
    assert_eq!(bytes[..12_288], [0; 12_288]);
    assert_eq!(bytes[12_288..], [7; 4_096]);
}

#[test]
fn files_are_replaced_whole() {
    let (_folder, mut directory) = open();
    directory.replace_file("superblock", &[7; 5_000]).unwrap();
    directory.replace_file("superblock", b"short").unwrap();
    let read = directory.read_file("superblock").unwrap();
    assert_eq!(read.as_deref(), Some(&b"short"[..]));
    assert!(!directory.root().join("superblock.tmp").exists());
}

#[test]
fn a_spare_is_zeros_and_becomes_a_segment_once() {
    let (_folder, mut directory) = open();
    let bytes = (3 << 20) + 4_096;
    Task::MakeSpare {
        spare: SpareId(12),
        bytes,
    }
    .run(&mut directory)
    .unwrap();
    assert_eq!(directory.spares().unwrap(), [(SpareId(12), bytes)]);
    let install = Task::Install {
        spare: SpareId(12),
        partition: P,
        segment: S,
    };
    install.run(&mut directory).unwrap();
    assert_eq!(directory.spares().unwrap(), []);
    assert_eq!(directory.segments(P).unwrap(), [S]);
    assert_eq!(directory.segment_bytes(P, S).unwrap(), bytes);
    let mut buffer = Buffer::zeroed(4 << 20);
    buffer.as_mut_slice().fill(1);
    let count = directory.read_at(P, S, 0, buffer.as_mut_slice()).unwrap();
    assert_eq!(count as u64, bytes);
    assert!(buffer.as_slice()[..count].iter().all(|byte| *byte == 0));
    directory.make_spare(SpareId(12), bytes).unwrap();
    let error = install.run(&mut directory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(
        directory.spares().unwrap().len(),
        1,
        "and the spare is kept"
    );
}

#[test]
fn a_hastened_spare_is_whole_but_not_all_written_out() {
    let (_folder, directory) = open();
    let haste = Arc::new(AtomicBool::new(true));
    let mut hastened = directory.hastened_by(Arc::clone(&haste));
    let bytes = 32 << 20;
    hastened.make_spare(SpareId(0), bytes).unwrap();
    // Another handle's spares take their time.
    assert!(!directory.haste.load(Ordering::Relaxed));
    hastened.install_spare(SpareId(0), P, S).unwrap();
    assert_eq!(directory.segment_bytes(P, S).unwrap(), bytes);
    let mut buffer = Buffer::zeroed(32 << 20);
    buffer.as_mut_slice().fill(1);
    let count = directory.read_at(P, S, 0, buffer.as_mut_slice()).unwrap();
    assert_eq!(count as u64, bytes);
    assert!(buffer.as_slice().iter().all(|byte| *byte == 0));
    // Its room is its own all the same, where the file system can allocate.
    let allocated = fs::metadata(directory.path_of(P, S)).unwrap().blocks() * 512;
    assert!(allocated >= bytes, "{allocated} bytes");
}

#[test]
fn foreign_names_are_ignored_and_kept() {
    let (_folder, mut directory) = with_segment(65_536);
    let names = [
        "x",
        "1.log",
        "000000001.log",
        "0000000a.log",
        "99999999999.log",
        "00000001.log.bak",
    ];
    let partition = directory.path_of(P, S).parent().unwrap().to_path_buf();
    for name in names {
        fs::write(partition.join(name), "x").unwrap();
    }
    fs::write(directory.root().join("spares").join("0001.spare.tmp"), "x").unwrap();
    assert_eq!(directory.segments(P).unwrap(), [S]);
    assert_eq!(directory.spares().unwrap(), []);
    directory.make_spare(SpareId(10_000), 4_096).unwrap();
    assert_eq!(directory.spares().unwrap(), [(SpareId(10_000), 4_096)]);
    assert!(names.iter().all(|name| partition.join(name).exists()));
}

#[test]
fn what_is_not_a_regular_file_is_refused() {
    let (folder, mut directory) = with_segment(65_536);
    let second = directory.path_of(P, SegmentNumber(1));
    let third = directory.path_of(P, SegmentNumber(2));
    let target = folder.path().join("elsewhere");
    fs::write(&target, vec![9; 65_536]).unwrap();
    symlink(&target, &second).unwrap();
    fs::create_dir(&third).unwrap();
    for number in [1, 2] {
        let segment = SegmentNumber(number);
        let mut buffer = Buffer::zeroed(4_096);
        let read = directory.read_at(P, segment, 0, buffer.as_mut_slice());
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(directory.write_at(P, segment, 0, &[1]).is_err());
        assert!(directory.open_segment(P, segment).is_err());
        assert!(directory.lock_segment(P, segment).is_err());
    }
    assert_eq!(fs::read(target).unwrap(), vec![9; 65_536]);
}

#[test]
fn a_segment_held_by_another_is_waited_for_and_then_refused() {
    let (_folder, mut directory) = with_segment(65_536);
    let held = directory.open_segment(P, S).unwrap();
    let error = directory.lock_segment(P, S).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(held);
    directory.lock_segment(P, S).unwrap();
    directory.lock_segment(P, S).unwrap();
    directory.open_segment(P, S).unwrap();
}

#[test]
fn checkpoints_lie_in_files_of_their_own() {
    let (_folder, mut directory) = open();
    let config = CheckpointConfig {
        partition: P,
        log_id: 5,
    };
    let syncs = directory.directory_syncs();
    let mut writer = CheckpointWriter::begin(&mut directory, config, None).unwrap();
    let chunk = |key: u8| vec![key; 1_000 + 97 * usize::from(key)];
    let mut places: Vec<_> = (0..200)
        .map(|key| writer.put(&chunk(key)).unwrap())
        .collect();
    let mut meta = writer.finish(b"root", Lsn(7), b"table").unwrap();
    assert_eq!(
        directory.directory_syncs() - syncs,
        2,
        "partitions, the partition's"
    );
    for generation in 1..4 {
        let mut writer = CheckpointWriter::begin(&mut directory, config, Some(&meta)).unwrap();
        for (key, place) in (0..).zip(&mut places) {
            *place = if key < 10 {
                writer.put(&chunk(key)).unwrap()
            } else {
                writer.keep(*place).unwrap()
            };
        }
        meta = writer
            .finish(b"root", Lsn(7 + generation), b"table")
            .unwrap();
    }
    let numbers: Vec<_> = directory
        .checkpoints(P)
        .unwrap()
        .iter()
        .map(|file| file.0)
        .collect();
    assert_eq!(numbers, [0, 2, 3]);
    let path = directory.checkpoint_path(P, 3);
    assert!(path.ends_with("partitions/0003/00000003.ckpt"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        meta.files.last().unwrap().total
    );
    let open = open_checkpoints(&directory, &config).unwrap();
    assert!(open.refused.is_empty());
    assert_eq!(*open.found[0].meta(), meta);
    assert_eq!(
        (open.found[0].root(), open.found[0].table()),
        (&b"root"[..], &b"table"[..])
    );
    let mut reader = ChunkReader::new(P);
    for (key, place) in (0..).zip(&places) {
        assert_eq!(reader.read(&directory, *place).unwrap(), chunk(key));
    }
    assert_eq!(directory.segments(P).unwrap(), []);
}

#[test]
fn a_draft_left_behind_is_replaced_and_means_nothing() {
    let (_folder, mut directory) = open();
    directory.begin_draft(P).unwrap();
    directory
        .append_to_draft(P, 0, Buffer::zeroed(8_192).as_slice())
        .unwrap();
    assert_eq!(directory.checkpoints(P).unwrap(), []);
    let draft = directory.root().join("partitions/0003/checkpoint.tmp");
    assert_eq!(fs::metadata(&draft).unwrap().len(), 8_192);
    directory.begin_draft(P).unwrap();
    assert_eq!(fs::metadata(&draft).unwrap().len(), 0);
    directory.sync_draft(P).unwrap();
    directory.publish_draft(P, 4).unwrap();
    assert_eq!(directory.checkpoints(P).unwrap(), [(4, 0)]);
    directory.begin_draft(P).unwrap();
    let error = directory.publish_draft(P, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    directory.discard_draft(P).unwrap();
    directory.discard_draft(P).unwrap();
    assert!(!draft.exists());
    directory.remove_checkpoint(P, 4).unwrap();
    assert_eq!(directory.checkpoints(P).unwrap(), []);
}

/// Runs the log against files, as a driver would, until all is durable.
fn flush(directory: &mut Directory, log: &mut Log) {
    while log.durable() < log.end() {
        if let Some((segment, bytes)) = log.wants_segment() {
            let spare = SpareId(segment.0);
            directory.make_spare(spare, bytes).unwrap();
            directory.install_spare(spare, P, segment).unwrap();
            log.segment_ready(segment, bytes);
        }
        let Some(LogIo::Write {
            segment,
            position,
            buffer,
            bytes,
            id,
            ..
        }) = log.next_io(Timestamp(1), log.end())
        else {
            continue;
        };
        let file = directory.open_segment(P, segment).unwrap();
        file.write_all_at(&buffer.as_slice()[..bytes], position)
            .unwrap();
        file.sync_data().unwrap();
        log.on_write_done(Timestamp(1), id, buffer, Ok(bytes))
            .unwrap();
    }
}

#[test]
fn a_log_on_files_recovers_and_is_cut() {
    let (_folder, mut directory) = open();
    let config = tiny_config();
    let mut log = Log::new(config);
    for _ in 0..3 {
        for at in 0..20_u64 {
            let record = NewRecord {
                lsn: log.end(),
                time: Timestamp(at),
                kind: 3,
                epoch: corelane_wire::Epoch(1),
                head: b"head",
                batch: &[5; 3_000],
            };
            log.append(record).unwrap();
        }
        flush(&mut directory, &mut log);
        let current = log.current.unwrap();
        let torn = [&[0; 16], &current.uuid.to_le_bytes()[..], b"torn"].concat();
        directory
            .write_at(P, current.number, current.position, &torn)
            .unwrap();
        let mut records = 0;
        let (recovered, found) = recover(
            &mut directory,
            config,
            (Lsn(0), &SegmentTable::default()),
            &mut |scanned| {
                if let Scanned::Record(view) = scanned {
                    assert_eq!((view.head(), view.batch().len()), (&b"head"[..], 3_000));
                    records += 1;
                }
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(found.end, log.end());
        assert_eq!(Lsn(records), log.end());
        assert!(found.truncated.is_some());
        log = recovered;
    }
}
