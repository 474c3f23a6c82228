//! What becomes of segment files while backups link them: seen from outside, in the folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Which file it is, whatever its name: numbers of files are given again, so the birth belongs to it.
type Identity = (u64, Option<SystemTime>);

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Files that were a segment, and then another one.
    pub reused: u64,
    /// Segments that the broker let go while a backup had a link to them, so that only the link was left.
    pub outlived: u64,
}

/// Looks at a data directory until `is_over`.
pub(super) fn watch(data: &Path, is_over: &AtomicBool) -> Seen {
    let mut names: BTreeMap<Identity, PathBuf> = BTreeMap::new();
    let mut outlived = BTreeSet::new();
    let mut reused = 0;
    while !is_over.load(Ordering::Relaxed) {
        for (name, file) in segments(&data.join("partitions")) {
            let before = names.insert(identity(&file), name.clone());
            reused += u64::from(before.is_some_and(|before| before != name));
        }
        let linked = segments(&data.join("backup/partitions"));
        let alone = linked.iter().filter(|(_, file)| file.nlink() == 1);
        outlived.extend(alone.map(|(_, file)| identity(file)));
        thread::sleep(PAUSE);
    }
    Seen {
        reused,
        outlived: outlived.len() as u64,
    }
}

fn identity(file: &Metadata) -> Identity {
    (file.ino(), file.created().ok())
}

/// The segment files below a folder; what goes meanwhile is left out.
fn segments(folder: &Path) -> Vec<(PathBuf, Metadata)> {
    let folders = entries(folder).map(|entry| entry.path());
    let files = folders.flat_map(|folder| entries(&folder));
    let files = files.filter(|entry| entry.path().extension().is_some_and(|it| it == "log"));
    files
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}
