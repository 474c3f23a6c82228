//! The operations on files and folders that a data directory is made of.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use crate::layout::{BLOCK_ALIGN, RETIRED_BYTES};

pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Opens a file that must be a regular one: a FIFO in its place would block for ever, a link lead elsewhere.
pub(super) fn open_regular(path: &Path, flags: i32) -> io::Result<File> {
    check_regular(path)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags | libc::O_NOFOLLOW)
        .open(path)
}

pub(super) fn open_regular_to_read(path: &Path, flags: i32) -> io::Result<File> {
    check_regular(path)?;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags | libc::O_NOFOLLOW)
        .open(path)
}

/// Sees to it that a spare that was a segment begins with zeros, durably.
pub(super) fn clear_front(path: &Path) -> io::Result<()> {
    let file = open_regular(path, 0)?;
    let mut front = [0; RETIRED_BYTES];
    let read = read_full(&file, 0, &mut front)?;
    if front[..read].iter().any(|byte| *byte != 0) {
        file.write_all_at(&[0; RETIRED_BYTES], 0)?;
    }
    // Zeros that are read may be those of a start that was killed before it synced them.
    file.sync_data()
}

pub(super) fn check_regular(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_file() {
        return Ok(());
    }
    let text = format!("{} is not a regular file", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

pub(super) fn read_full(file: &File, position: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // A read that ends off the alignment has met the end of the file; direct I/O would refuse to go on.
        if !filled.is_multiple_of(BLOCK_ALIGN) {
            break;
        }
    }
    Ok(filled)
}

/// The numbers of the files in a folder that are named `digits` digits (or more) and `suffix`, ascending.
pub(super) fn numbers_in(folder: &Path, digits: usize, suffix: &str) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(suffix))
            .filter(|stem| stem.len() >= digits && stem.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|stem| stem.len() == digits || !stem.starts_with('0'))
            .and_then(|stem| stem.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
