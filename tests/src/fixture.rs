//! Data directories on file: what an older version wrote, small enough for the repository.
//!
//! A packed directory is a row of files, each as its name, its length and those of its pieces that hold anything;
//! all integers are little-endian u32, and the rest of a file is zeros.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, ensure};

/// Small, since the headers in a log fill a few lines of a page each.
const PIECE_BYTES: usize = 64;

/// Packs every file below `folder` but the lock.
///
/// # Errors
/// If a file cannot be read.
pub fn pack(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut names = Vec::new();
    collect(folder, folder, &mut names)?;
    names.sort();
    let mut packed = Vec::new();
    for name in names.iter().filter(|name| *name != "lock") {
        let bytes = fs::read(folder.join(name))?;
        let pieces: Vec<(u32, &[u8])> = (0..)
            .zip(bytes.chunks(PIECE_BYTES))
            .filter(|(_, piece)| piece.iter().any(|byte| *byte != 0))
            .collect();
        put(&mut packed, name.len())?;
        packed.extend_from_slice(name.as_bytes());
        put(&mut packed, bytes.len())?;
        put(&mut packed, pieces.len())?;
        for (number, piece) in pieces {
            packed.extend_from_slice(&number.to_le_bytes());
            packed.extend_from_slice(piece);
            packed.resize(packed.len() + PIECE_BYTES - piece.len(), 0);
        }
    }
    Ok(packed)
}

/// Writes a packed directory into `folder`.
///
/// # Errors
/// If it is cut short, or a file cannot be written.
pub fn unpack(mut packed: &[u8], folder: &Path) -> anyhow::Result<()> {
    while !packed.is_empty() {
        let name_bytes = take_number(&mut packed)? as usize;
        let path = folder.join(std::str::from_utf8(take(&mut packed, name_bytes)?)?);
        fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        let file = fs::File::create(&path)?;
        file.set_len(u64::from(take_number(&mut packed)?))?;
        for _ in 0..take_number(&mut packed)? {
            let position = u64::from(take_number(&mut packed)?) * PIECE_BYTES as u64;
            let left = file.metadata()?.len().saturating_sub(position);
            let piece = take(&mut packed, PIECE_BYTES)?;
            let bytes = usize::try_from(left)?.min(PIECE_BYTES);
            file.write_all_at(&piece[..bytes], position)?;
        }
    }
    Ok(())
}

fn collect(root: &Path, folder: &Path, names: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, names)?;
        } else {
            let name = path
                .strip_prefix(root)?
                .to_str()
                .context("a name of ours")?;
            names.push(name.to_owned());
        }
    }
    Ok(())
}

fn put(packed: &mut Vec<u8>, number: usize) -> anyhow::Result<()> {
    packed.extend_from_slice(&u32::try_from(number)?.to_le_bytes());
    Ok(())
}

fn take<'a>(packed: &mut &'a [u8], bytes: usize) -> anyhow::Result<&'a [u8]> {
    ensure!(packed.len() >= bytes, "a packed directory is cut short");
    let (taken, rest) = packed.split_at(bytes);
    *packed = rest;
    Ok(taken)
}

fn take_number(packed: &mut &[u8]) -> anyhow::Result<u32> {
    Ok(u32::from_le_bytes(take(packed, 4)?.try_into()?))
}
