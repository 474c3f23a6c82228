use std::fs;
use std::path::Path;

use corelane_storage::{FORMAT_LEVEL, SegmentNumber, Superblock};
use corelane_wire::checksum;

use super::error::BackupError;
use super::manifest::{CopiedFile, CopiedPartition, FileName, Manifest, RANGE_BYTES};

fn superblock() -> Superblock {
    Superblock {
        format: u32::from(FORMAT_LEVEL),
        log_id: 7,
        data_uuid: u128::MAX - 1,
        partitions: 2,
        starts: 3,
    }
}

fn manifest() -> Manifest {
    let mut manifest = Manifest::new(&superblock(), 1_000);
    let file = |name, stored, crc32| CopiedFile {
        name,
        bytes: 4 << 20,
        stored,
        crc32,
    };
    manifest.partitions.push(CopiedPartition {
        end: 10,
        files: vec![
            file(FileName::Segment(SegmentNumber(0)), 8_192, vec![1]),
            file(
                FileName::Segment(SegmentNumber(123_456_789)),
                RANGE_BYTES as u64 + 4_096,
                vec![2, 3],
            ),
            file(FileName::Checkpoint(4), 0, Vec::new()),
        ],
        missing: vec!["a segment".to_owned()],
    });
    manifest.partitions.push(CopiedPartition {
        end: 0,
        files: Vec::new(),
        missing: Vec::new(),
    });
    manifest
}

/// Writes a manifest whose first line is this, with the checksum that belongs to it.
fn put(folder: &Path, line: &str) {
    let crc = checksum(&[line.as_bytes()]);
    let text = format!("{line}\n{{\"crc32\":{crc}}}\n");
    fs::write(folder.join("manifest.jsonl"), text).unwrap();
}

fn line_of(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    text.lines().next().unwrap().to_owned()
}

#[test]
fn a_manifest_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    manifest().write(folder.path()).unwrap();
    assert_eq!(Manifest::read(folder.path()).unwrap(), manifest());
    assert_eq!(manifest().stored(), 8_192 + RANGE_BYTES as u64 + 4_096);
    let ranges: Vec<_> = manifest().partitions[0].files[1].ranges().collect();
    let second = (RANGE_BYTES as u64, 4_096, 3);
    assert_eq!(ranges, [(0, RANGE_BYTES, 2), second]);
}

#[test]
fn a_change_of_any_byte_of_a_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.jsonl");
    manifest().write(folder.path()).unwrap();
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        fs::write(&path, &other).unwrap();
        let read = Manifest::read(folder.path());
        assert!(
            matches!(read, Err(BackupError::Manifest { .. })),
            "byte {at}: {read:?}"
        );
    }
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(Manifest::read(folder.path()).is_err(), "{length} bytes");
    }
}

#[test]
fn newer_manifests_and_formats_are_told_from_damaged_ones() {
    let folder = tempfile::tempdir().unwrap();
    manifest().write(folder.path()).unwrap();
    let line = line_of(folder.path());
    let format = format!("\"format\":{FORMAT_LEVEL}");
    for newer in [
        line.replacen("{\"v\":1", "{\"v\":2,\"new\":true", 1),
        line.replacen(&format, "\"format\":9999", 1),
    ] {
        assert_ne!(newer, line);
        put(folder.path(), &newer);
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(matches!(error, BackupError::Newer(_)), "{error}");
    }
}

#[test]
fn what_no_version_writes_is_refused_although_its_checksum_is_right() {
    let folder = tempfile::tempdir().unwrap();
    manifest().write(folder.path()).unwrap();
    let line = line_of(folder.path());
    for (from, to) in [
        ("00000000.log", "../../../x.log"),
        ("00000000.log", "0.log"),
        ("00000000.log", "00000000.tmp"),
        ("\"stored\":8192", "\"stored\":8388608"),
        ("\"crc32\":[1]", "\"crc32\":[]"),
        ("\"taken_ms\":1000", "\"taken_ms\":1000,\"more\":0"),
    ] {
        let other = line.replacen(from, to, 1);
        assert_ne!(other, line, "{from}");
        put(folder.path(), &other);
        let read = Manifest::read(folder.path());
        assert!(matches!(read, Err(BackupError::Manifest { .. })), "{to}");
    }
}

#[test]
fn a_restored_directory_keeps_its_logs_and_starts_above_every_epoch_before() {
    let restored = manifest().superblock(5, 1_700_000_000);
    assert_eq!(
        restored,
        Superblock {
            data_uuid: 5,
            starts: 1_700_000_000,
            ..superblock()
        }
    );
    let with_a_wrong_clock = manifest().superblock(5, 0);
    assert_eq!(with_a_wrong_clock.starts, 3);
}
