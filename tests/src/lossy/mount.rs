//! Shows a `Store` to the kernel through FUSE.
//!
//! Nothing is cached by the kernel (direct I/O, entries valid for no time), so that a cut is seen at
//! once by the next process that looks.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow,
};

use super::store::{Attributes, CutReport, Errno, PAGE_BYTES, Store};

/// No answer may be cached: a cut changes what names mean.
const NOT_CACHED: Duration = Duration::ZERO;
/// `FOPEN_DIRECT_IO` of the kernel's fuse.h: reads and writes bypass the page cache.
const DIRECT_IO: u32 = 1;

/// A mounted store; dropping it unmounts.
pub struct Mount {
    store: Arc<Mutex<Store>>,
    syncs: Syncs,
    _session: BackgroundSession,
}

impl Mount {
    /// Mounts an empty store at `directory`, which must exist.
    ///
    /// # Errors
    /// Where FUSE is not available (no `/dev/fuse`, or no right to mount).
    pub fn new(directory: &Path) -> io::Result<Self> {
        let store = Arc::new(Mutex::new(Store::new()));
        let options = [
            MountOption::FSName("lossy".to_owned()),
            MountOption::DefaultPermissions,
        ];
        let syncs = Syncs::default();
        let filesystem = Adapter {
            store: Arc::clone(&store),
            syncs: Arc::clone(&syncs),
        };
        let session = fuser::spawn_mount2(filesystem, directory, &options)?;
        Ok(Self {
            store,
            syncs,
            _session: session,
        })
    }

    /// Takes the power away: every later call of any process fails with EIO.
    pub fn cut_power(&self) {
        lock(&self.store).cut_power();
    }

    /// A disk that hangs: syncs of files do not return until the result is dropped.
    pub fn hold_syncs(&self) -> HeldSyncs<'_> {
        lock(&self.syncs).get_or_insert_default();
        HeldSyncs(self)
    }

    /// Drops what was not synced, by `seed`, and gives the power back.
    pub fn restore_power(&self, seed: u64) -> CutReport {
        lock(&self.store).restore_power(seed)
    }
}

struct Adapter {
    store: Arc<Mutex<Store>>,
    syncs: Syncs,
}

/// The syncs of files that are held back, each with its file; `None` while none is.
type Syncs = Arc<Mutex<Option<Vec<(u64, ReplyEmpty)>>>>;

/// Syncs of files do not return while this lives; everything else does.
///
/// A process that is killed meanwhile ends only once it is dropped.
pub struct HeldSyncs<'a>(&'a Mount);

impl Drop for HeldSyncs<'_> {
    fn drop(&mut self) {
        for (inode, reply) in lock(&self.0.syncs).take().into_iter().flatten() {
            answer_empty(reply, lock(&self.0.store).sync_file(inode));
        }
    }
}

fn lock<T>(store: &Mutex<T>) -> MutexGuard<'_, T> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Adapter {
    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }
}

fn attr(of: Attributes) -> FileAttr {
    let (kind, perm) = if of.is_directory {
        (FileType::Directory, 0o755)
    } else {
        (FileType::RegularFile, 0o644)
    };
    let time: SystemTime = UNIX_EPOCH;
    FileAttr {
        ino: of.inode,
        size: of.bytes,
        blocks: of.bytes.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: u32::try_from(PAGE_BYTES).expect("a page fits in u32"),
        flags: 0,
    }
}

fn answer_entry(reply: ReplyEntry, result: Result<Attributes, Errno>) {
    match result {
        Ok(found) => reply.entry(&NOT_CACHED, &attr(found), 0),
        Err(errno) => reply.error(errno),
    }
}

fn answer_attr(reply: ReplyAttr, result: Result<Attributes, Errno>) {
    match result {
        Ok(found) => reply.attr(&NOT_CACHED, &attr(found)),
        Err(errno) => reply.error(errno),
    }
}

fn answer_empty(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn offset_of(offset: i64) -> Result<u64, Errno> {
    u64::try_from(offset).map_err(|_| libc::EINVAL)
}

impl Filesystem for Adapter {
    fn lookup(&mut self, _req: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, self.store().lookup(parent, name));
    }

    fn getattr(&mut self, _req: &Request<'_>, ino: u64, _fh: Option<u64>, reply: ReplyAttr) {
        answer_attr(reply, self.store().attributes(ino));
    }

    fn setattr(
        &mut self,
        _req: &Request<'_>,
        ino: u64,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<u64>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<u32>,
        reply: ReplyAttr,
    ) {
        let mut store = self.store();
        let resized = size.map_or(Ok(()), |bytes| store.set_bytes(ino, bytes));
        answer_attr(reply, resized.and_then(|()| store.attributes(ino)));
    }

    fn mkdir(
        &mut self,
        _req: &Request<'_>,
        parent: u64,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        answer_entry(reply, self.store().create(parent, name, true));
    }

    fn create(
        &mut self,
        _req: &Request<'_>,
        parent: u64,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.store().create(parent, name, false) {
            Ok(made) => reply.created(&NOT_CACHED, &attr(made), 0, 0, DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&mut self, _req: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(reply, self.store().remove(parent, name));
    }

    fn rmdir(&mut self, _req: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(reply, self.store().remove(parent, name));
    }

    fn rename(
        &mut self,
        _req: &Request<'_>,
        parent: u64,
        name: &OsStr,
        newparent: u64,
        newname: &OsStr,
        _flags: u32,
        reply: ReplyEmpty,
    ) {
        let renamed = self.store().rename((parent, name), (newparent, newname));
        answer_empty(reply, renamed);
    }

    fn open(&mut self, _req: &Request<'_>, _ino: u64, _flags: i32, reply: ReplyOpen) {
        reply.opened(0, DIRECT_IO);
    }

    fn read(
        &mut self,
        _req: &Request<'_>,
        ino: u64,
        _fh: u64,
        offset: i64,
        size: u32,
        _flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyData,
    ) {
        let read = offset_of(offset).and_then(|at| self.store().read(ino, at, size as usize));
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &mut self,
        _req: &Request<'_>,
        ino: u64,
        _fh: u64,
        offset: i64,
        data: &[u8],
        _write_flags: u32,
        _flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyWrite,
    ) {
        let written = offset_of(offset).and_then(|at| self.store().write(ino, at, data));
        match written.and_then(|()| u32::try_from(data.len()).map_err(|_| libc::EINVAL)) {
            Ok(bytes) => reply.written(bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(
        &mut self,
        _req: &Request<'_>,
        ino: u64,
        _fh: u64,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(held) = lock(&self.syncs).as_mut() {
            held.push((ino, reply));
            return;
        }
        answer_empty(reply, self.store().sync_file(ino));
    }

    fn flush(
        &mut self,
        _req: &Request<'_>,
        _ino: u64,
        _fh: u64,
        _lock_owner: u64,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn readdir(
        &mut self,
        _req: &Request<'_>,
        ino: u64,
        _fh: u64,
        offset: i64,
        mut reply: ReplyDirectory,
    ) {
        match self.store().entries(ino) {
            Ok(entries) => {
                let skip = usize::try_from(offset).unwrap_or(0);
                for (index, (name, found)) in entries.iter().enumerate().skip(skip) {
                    let next = i64::try_from(index + 1).unwrap_or(i64::MAX);
                    if reply.add(found.inode, next, attr(*found).kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn fsyncdir(
        &mut self,
        _req: &Request<'_>,
        ino: u64,
        _fh: u64,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer_empty(reply, self.store().sync_directory(ino));
    }

    fn statfs(&mut self, _req: &Request<'_>, _ino: u64, reply: ReplyStatfs) {
        // One TiB in pages of 4 KiB, all of it free: the store never fills.
        let pages = 1 << 28;
        reply.statfs(pages, pages, pages, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
