//! Finding the newest whole checkpoint, and the one before.

use std::io;

use corelane_wire::Lsn;

use super::fault::CheckpointFault;
use super::format::{Trailer, check_header};
use super::{CheckpointConfig, CheckpointMeta};
use crate::buffer::Buffer;
use crate::layout::BLOCK_ALIGN;
use crate::volume::Volume;

/// The checkpoints to start from.
#[derive(Debug, Default)]
pub struct OpenCheckpoints {
    /// The whole ones, newest first, two at most. Their chunks were not read.
    pub found: Vec<FoundCheckpoint>,
    /// Newer ones that are not whole, newest first.
    pub refused: Vec<(u32, CheckpointFault)>,
}

/// A generation whose header, manifest and trailer are intact, and whose files are all there.
#[derive(Debug)]
pub struct FoundCheckpoint {
    meta: CheckpointMeta,
    manifest: Buffer,
    root_bytes: usize,
    table_bytes: usize,
}

impl FoundCheckpoint {
    /// What the writer of the next generation needs.
    pub fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }

    /// The state is the one after every record below.
    pub fn end(&self) -> Lsn {
        self.meta.end
    }

    /// The root, as it was given to `finish`; it begins on a page boundary.
    pub fn root(&self) -> &[u8] {
        &self.manifest.as_slice()[..self.root_bytes]
    }

    /// The table of the log, as it was given to `finish`.
    pub fn table(&self) -> &[u8] {
        &self.manifest.as_slice()[self.root_bytes..self.root_bytes + self.table_bytes]
    }
}

/// Looks for the two newest whole checkpoints of a partition; changes nothing.
///
/// A caller that meets a bad chunk in the first one goes on with the second, and a log that was never trimmed can be
/// replayed without any.
///
/// # Errors
/// That of listing the files. A file that cannot be read is refused like one that is damaged.
pub fn open_checkpoints(
    volume: &dyn Volume,
    config: &CheckpointConfig,
) -> io::Result<OpenCheckpoints> {
    let files = volume.checkpoints(config.partition)?;
    let mut open = OpenCheckpoints::default();
    for (generation, bytes) in files.iter().rev() {
        match open_one(volume, config, *generation, *bytes, &files) {
            Ok(found) => open.found.push(found),
            Err(fault) => open.refused.push((*generation, fault)),
        }
        if open.found.len() == 2 {
            break;
        }
    }
    Ok(open)
}

fn open_one(
    volume: &dyn Volume,
    config: &CheckpointConfig,
    generation: u32,
    bytes: u64,
    files: &[(u32, u64)],
) -> Result<FoundCheckpoint, CheckpointFault> {
    if bytes < FILE_BYTES_MIN || !bytes.is_multiple_of(PAGE) {
        return Err(CheckpointFault::Length(bytes));
    }
    let read = |position, bytes| {
        let mut buffer = Buffer::zeroed(bytes);
        let into = buffer.as_mut_slice();
        let read = volume.read_checkpoint(config.partition, generation, position, into);
        buffer.set_len(read.map_err(CheckpointFault::Io)?);
        Ok(buffer)
    };
    check_header(read(0, BLOCK_ALIGN)?.as_slice(), config, generation)?;
    let page = read(bytes - PAGE, BLOCK_ALIGN)?;
    let trailer = Trailer::decode(page.as_slice(), config, generation, bytes)?;
    // It lies in the file, as the trailer's decoding made sure.
    let manifest_bytes = usize::try_from(trailer.manifest_bytes());
    let manifest_bytes = manifest_bytes.map_err(|_| CheckpointFault::Field)?;
    let manifest = read(trailer.manifest, manifest_bytes)?;
    if manifest.len() != manifest_bytes {
        return Err(CheckpointFault::Length(bytes));
    }
    let used = trailer.files(generation, manifest.as_slice())?;
    for file in &used {
        let found = files.binary_search_by_key(&file.generation, |(generation, _)| *generation);
        let found = found.ok().map(|at| files[at].1);
        if found != Some(file.total) {
            return Err(CheckpointFault::File {
                generation: file.generation,
                found,
                expected: file.total,
            });
        }
    }
    Ok(FoundCheckpoint {
        meta: CheckpointMeta {
            generation,
            end: trailer.end,
            files: used,
        },
        manifest,
        root_bytes: trailer.root_bytes as usize,
        table_bytes: trailer.table_bytes as usize,
    })
}

const PAGE: u64 = BLOCK_ALIGN as u64;
/// A header, a manifest that names its own file, and a trailer.
const FILE_BYTES_MIN: u64 = 3 * PAGE;
