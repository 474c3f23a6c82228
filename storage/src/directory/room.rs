//! Room for a start on a full disk.
//!
//! A start writes a probe and a new superblock before it can serve anything. Where not even those fit, a broker
//! that was full could never be drained; so one spare file, which is nothing but room, is given up for them.

use std::fs;
use std::io;
use std::path::Path;

use super::file::{numbers_in, sync_directory};

/// Attempts something small that is written; if the disk is full, once more with a spare file less.
pub(super) fn with_room<T>(
    root: &Path,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    match attempt() {
        Err(error) if is_full(&error) && give_up_spare(root)? => attempt(),
        result => result,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Removes the newest spare file; false if there is none.
fn give_up_spare(root: &Path) -> io::Result<bool> {
    let folder = root.join("spares");
    let Some(newest) = numbers_in(&folder, 4, ".spare")?.pop() else {
        return Ok(false);
    };
    let path = folder.join(format!("{newest:04}.spare"));
    tracing::warn!(
        path = %path.display(),
        "the disk is full: a spare segment is given up for this start; see `df`, free some room"
    );
    fs::remove_file(path)?;
    sync_directory(&folder)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
