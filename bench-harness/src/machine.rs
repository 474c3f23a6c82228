//! Facts about the machine that a figure is worth nothing without.

use std::fs;
use std::path::Path;
use std::thread;

/// One line: cores, kernel, and the file system under `folder`.
pub fn describe(folder: &Path) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = file_system(folder).unwrap_or_else(|| "unknown".to_owned());
    format!("{cores} cores, Linux {}, data on {system}", kernel.trim())
}

/// Type of the file system that holds `folder`, from the longest mount point above it.
fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(point), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        let length = point.len();
        if folder.starts_with(point) && best.is_none_or(|(longest, _)| longest <= length) {
            best = Some((length, kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}
