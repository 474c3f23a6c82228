use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::store::{ROOT, Store};
use super::{CutReport, Mount};

fn file(store: &mut Store, name: &str) -> u64 {
    let made = store.create(ROOT, OsStr::new(name), false).unwrap();
    store.sync_directory(ROOT).unwrap();
    made.inode
}

#[test]
fn synced_bytes_survive_every_cut() {
    for seed in 0..64 {
        let mut store = Store::new();
        let log = file(&mut store, "log");
        store.write(log, 100, &[7; 9000]).unwrap();
        store.sync_file(log).unwrap();
        store.cut_power();
        assert_eq!(store.read(log, 100, 9000), Err(libc::EIO));
        store.restore_power(seed);
        assert_eq!(store.read(log, 100, 9000), Ok(vec![7; 9000]));
    }
}

#[test]
fn unsynced_pages_are_lost_kept_and_torn() {
    let mut total = CutReport::default();
    for seed in 0..64 {
        let mut store = Store::new();
        let log = file(&mut store, "log");
        store.write(log, 0, &[1; 8192]).unwrap();
        store.sync_file(log).unwrap();
        store.write(log, 0, &[2; 8192]).unwrap();
        let report = store.restore_power(seed);
        total.pages_lost += report.pages_lost;
        total.pages_kept += report.pages_kept;
        total.pages_torn += report.pages_torn;
        let bytes = store.read(log, 0, 8192).unwrap();
        let is_sector_whole = |sector: &[u8]| sector.iter().all(|byte| *byte == sector[0]);
        assert!(bytes.chunks(512).all(is_sector_whole), "seed {seed}");
    }
    assert!(total.pages_lost > 0 && total.pages_kept > 0 && total.pages_torn > 0);
}

#[test]
fn a_rename_without_directory_sync_may_be_lost_and_the_old_file_is_back() {
    let mut outcomes = [0; 2];
    for seed in 0..32 {
        let mut store = Store::new();
        let old = file(&mut store, "superblock");
        let new = store.create(ROOT, OsStr::new("temporary"), false).unwrap();
        let from = (ROOT, OsStr::new("temporary"));
        let to = (ROOT, OsStr::new("superblock"));
        store.rename(from, to).unwrap();
        store.restore_power(seed);
        let found = store.lookup(ROOT, to.1).unwrap().inode;
        assert!(found == old || found == new.inode);
        outcomes[usize::from(found == old)] += 1;
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "{outcomes:?}");
}

#[test]
fn the_kernel_sees_the_store_and_the_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mount = Mount::new(directory.path()).unwrap();
    let path = directory.path().join("log");
    let log = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .unwrap();
    fs::File::open(directory.path())
        .unwrap()
        .sync_all()
        .unwrap();
    // Aligned by over-allocation, as O_DIRECT wants it.
    let memory = vec![3_u8; 12_288];
    let skip = memory.as_ptr().align_offset(4096);
    log.write_all_at(&memory[skip..skip + 4096], 0).unwrap();
    log.sync_data().unwrap();
    let mut unsynced = fs::File::create(directory.path().join("unsynced")).unwrap();
    unsynced.write_all(b"lost").unwrap();
    drop((log, unsynced));

    mount.cut_power();
    assert!(fs::read(&path).is_err());
    let report = mount.restore_power(3);
    assert_eq!(fs::read(&path).unwrap(), vec![3; 4096]);
    let other = directory.path().join("unsynced");
    assert_eq!(other.exists(), report.names_kept);
}
