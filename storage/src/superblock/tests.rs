use corelane_wire::PartitionId;

use super::{
    FreshIds, SUPERBLOCK_BYTES, SUPERBLOCK_NAME, Superblock, SuperblockFault, open_superblock,
};
use crate::memory::{Memory, PARTITION};
use crate::open_error::OpenError;
use crate::rig::{Rig, hex};
use crate::volume::Volume;

const FRESH: FreshIds = FreshIds {
    log_id: 11,
    data_uuid: 22,
};

const SUPERBLOCK: Superblock = Superblock {
    format: 5,
    log_id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
    data_uuid: 0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20,
    partitions: 8,
    starts: 5,
};

/// One changed byte here is a new format: it needs a level, a fixture and an ADR.
#[test]
fn superblock_bytes_are_golden() {
    let hex = hex(&SUPERBLOCK.encode());
    let expected = concat!(
        "434c5342", // magic
        "daa44c5b", // crc
        "05000000",
        "08000000",
        "100f0e0d0c0b0a090807060504030201",
        "201f1e1d1c1b1a191817161514131211",
        "0500000000000000",
    );
    assert_eq!(hex[..112], *expected);
    assert!(hex[112..].bytes().all(|digit| digit == b'0'));
}

#[test]
fn each_start_is_durably_counted() {
    let mut disk = Memory::default();
    for start in 1..4 {
        let superblock = open_superblock(&mut disk, 8, FRESH).unwrap();
        assert_eq!(superblock.starts, start);
        assert_eq!((superblock.log_id, superblock.data_uuid), (11, 22));
        assert_eq!(superblock.partitions, 8);
        let kept = Superblock::decode(&disk.named[SUPERBLOCK_NAME]);
        assert_eq!(kept, Ok(superblock));
    }
    let other = FreshIds {
        log_id: 1,
        data_uuid: 2,
    };
    let superblock = open_superblock(&mut disk, 99, other).unwrap();
    assert_eq!((superblock.partitions, superblock.log_id), (8, 11));
}

#[test]
fn every_flipped_byte_and_every_cut_is_found() {
    let bytes = SUPERBLOCK.encode();
    assert_eq!(Superblock::decode(&bytes), Ok(SUPERBLOCK));
    for at in 0..SUPERBLOCK_BYTES {
        let mut flipped = bytes;
        flipped[at] ^= 0x20;
        assert!(Superblock::decode(&flipped).is_err(), "byte {at}");
        assert_eq!(
            Superblock::decode(&bytes[..at]),
            Err(SuperblockFault::Length(at))
        );
    }
}

#[test]
fn a_damaged_or_newer_superblock_is_refused_and_kept() {
    let mut newer = SUPERBLOCK;
    newer.format = 6;
    let files = [
        Vec::new(),
        vec![0; 128],
        vec![7; 128],
        newer.encode().to_vec(),
    ];
    for bytes in files {
        let mut disk = Memory::default();
        disk.named.insert(SUPERBLOCK_NAME.to_owned(), bytes.clone());
        let error = open_superblock(&mut disk, 8, FRESH).unwrap_err();
        assert!(matches!(error, OpenError::Superblock(_)), "{error}");
        assert!(error.to_string().contains("--data-dir"), "{error}");
        assert_eq!(disk.named[SUPERBLOCK_NAME], bytes);
    }
}

#[test]
fn a_start_raises_the_level_of_an_older_directory() {
    let old = Superblock {
        format: 1,
        ..SUPERBLOCK
    };
    assert_eq!(hex(&old.encode()[4..12]), "1d15e47201000000");
    let mut disk = Memory::default();
    disk.named
        .insert(SUPERBLOCK_NAME.to_owned(), old.encode().to_vec());
    let opened = open_superblock(&mut disk, 8, FRESH).unwrap();
    assert_eq!(
        opened,
        Superblock {
            starts: 6,
            ..SUPERBLOCK
        }
    );
    let kept = Superblock::decode(&disk.named[SUPERBLOCK_NAME]);
    assert_eq!(
        kept,
        Ok(opened),
        "before any file of the new level is there"
    );
}

#[test]
fn segments_without_a_superblock_are_refused() {
    let mut rig = Rig::new();
    rig.commit(10);
    let error = open_superblock(&mut rig.disk, 8, FRESH).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::SuperblockMissing {
                partition: PartitionId(PARTITION)
            }
        ),
        "{error}"
    );
    assert_eq!(rig.disk.read_file(SUPERBLOCK_NAME).unwrap(), None);
}
