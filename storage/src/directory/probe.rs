//! What the file system below a data directory is, and whether it takes direct I/O.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::DirectoryOptions;
use super::file::open_regular_to_read;
use crate::buffer::Buffer;
use crate::layout::BLOCK_ALIGN;
use crate::open_error::OpenError;
use crate::superblock::SUPERBLOCK_NAME;

pub(super) fn check_file_system(root: &Path, options: &DirectoryOptions) -> Result<(), OpenError> {
    let found = rustix::fs::statfs(root)
        .map_err(|errno| OpenError::io("look at the file system", errno.into()))?;
    let kind = found.f_type;
    let is_network = NETWORK_FILE_SYSTEMS.contains(&kind);
    if is_network && !options.force_network_fs {
        return Err(OpenError::NetworkFileSystem {
            path: root.to_path_buf(),
        });
    }
    if kind == TMPFS {
        tracing::warn!(
            path = %root.display(),
            "the data directory lies on tmpfs: nothing in it survives a reboot; choose a disk with --data-dir"
        );
    }
    let block_bytes = u64::try_from(found.f_bsize).unwrap_or(0);
    let free = found.f_bavail.saturating_mul(block_bytes);
    // A directory in use must open on a full disk too: draining it is what frees room.
    let is_new = fs::symlink_metadata(root.join(SUPERBLOCK_NAME)).is_err();
    // Some file systems have no size of their own and say nothing.
    let is_sized = found.f_blocks > 0;
    if is_new && is_sized && free < options.free_bytes_min {
        return Err(OpenError::NoSpace {
            path: root.to_path_buf(),
            free,
            needed: options.free_bytes_min,
        });
    }
    Ok(())
}

/// Whether an aligned write and read with `O_DIRECT` work here; fails only if files cannot be written at all.
pub(super) fn is_direct_possible(root: &Path) -> io::Result<bool> {
    let path = root.join("probe.tmp");
    let probed = probe(&path);
    fs::remove_file(&path)?;
    match probed {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            tracing::info!(path = %root.display(), "no direct i/o here, going through the page cache");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether the superblock can be read with `O_DIRECT`, as everything else can then.
pub(super) fn is_direct_read_possible(root: &Path) -> bool {
    let mut buffer = Buffer::zeroed(BLOCK_ALIGN);
    open_regular_to_read(&root.join(SUPERBLOCK_NAME), libc::O_DIRECT)
        .and_then(|file| file.read_at(buffer.as_mut_slice(), 0))
        .is_ok()
}

fn probe(path: &Path) -> io::Result<()> {
    let open = |flags| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(flags | libc::O_NOFOLLOW)
            .open(path)
    };
    // First without, so that a failure here means that nothing can be written.
    open(0)?;
    let file = open(libc::O_DIRECT)?;
    let mut buffer = Buffer::zeroed(BLOCK_ALIGN);
    file.write_all_at(buffer.as_slice(), 0)?;
    file.read_exact_at(buffer.as_mut_slice(), 0)
}

/// From `linux/magic.h`: nfs, smb, cifs, smb2, ceph, afs.
const NETWORK_FILE_SYSTEMS: [i64; 6] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x00c3_6400,
    0x5346_414f,
];
const TMPFS: i64 = 0x0102_1994;
