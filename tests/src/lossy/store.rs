//! The two-version store: live state, and the state that survives a power cut.
//!
//! Owned by one `Mount` and the test that cuts its power; both reach it through a mutex.
//! Invariants: (L1) a page outside `dirty` is the same in both versions; (L2) an inode is never
//! reused, so an entry that a cut brings back still finds its file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

/// Bytes of a page, the unit that is lost or kept.
pub(super) const PAGE_BYTES: usize = 4096;
/// Bytes of a sector, the unit at which a surviving page may be torn.
const SECTOR_BYTES: usize = 512;
/// The inode of the root directory.
pub(super) const ROOT: u64 = 1;

type Page = Arc<[u8; PAGE_BYTES]>;

/// Content of a file in one version; absent pages are zeros.
#[derive(Clone, Default)]
struct Content {
    pages: BTreeMap<u64, Page>,
    bytes: u64,
}

#[derive(Default)]
struct File {
    live: Content,
    durable: Content,
    dirty: BTreeSet<u64>,
}

#[derive(Default)]
struct Directory {
    live: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
}

enum Inode {
    File(File),
    Directory(Directory),
}

/// What a cut did, for the report of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// Unsynced pages that did not survive.
    pub pages_lost: u64,
    /// Unsynced pages that survived whole.
    pub pages_kept: u64,
    /// Unsynced pages of which some sectors survived.
    pub pages_torn: u64,
    /// Whether unsynced names survived.
    pub names_kept: bool,
}

/// A file system in memory that can lose its power.
pub struct Store {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    has_power: bool,
}

/// What `stat` needs of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) inode: u64,
    pub(super) bytes: u64,
    pub(super) is_directory: bool,
}

/// A refusal, as the errno that the caller gets.
pub(super) type Errno = i32;

impl CutReport {
    /// Adds what another cut did to the pages.
    pub const fn add(&mut self, other: &Self) {
        self.pages_lost += other.pages_lost;
        self.pages_kept += other.pages_kept;
        self.pages_torn += other.pages_torn;
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty file system with power.
    pub fn new() -> Self {
        let root = Inode::Directory(Directory::default());
        Self {
            inodes: BTreeMap::from([(ROOT, root)]),
            next_inode: ROOT + 1,
            has_power: true,
        }
    }

    /// Takes the power away: every later call fails with EIO until `restore_power`.
    pub fn cut_power(&mut self) {
        self.has_power = false;
    }

    /// Drops what was not synced, by the generator started from `seed`, and gives power back.
    pub fn restore_power(&mut self, seed: u64) -> CutReport {
        let mut random = SplitMix(seed);
        let mut report = CutReport {
            names_kept: random.next().is_multiple_of(2),
            ..CutReport::default()
        };
        for inode in self.inodes.values_mut() {
            match inode {
                Inode::File(file) => file.lose_unsynced(&mut random, &mut report),
                Inode::Directory(directory) if report.names_kept => {
                    directory.durable.clone_from(&directory.live);
                }
                Inode::Directory(directory) => directory.live.clone_from(&directory.durable),
            }
        }
        self.has_power = true;
        report
    }

    pub(super) fn attributes(&self, inode: u64) -> Result<Attributes, Errno> {
        let (bytes, is_directory) = match self.inode(inode)? {
            Inode::File(file) => (file.live.bytes, false),
            Inode::Directory(_) => (0, true),
        };
        Ok(Attributes {
            inode,
            bytes,
            is_directory,
        })
    }

    pub(super) fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attributes, Errno> {
        let entry = self.directory(parent)?.live.get(name).copied();
        self.attributes(entry.ok_or(libc::ENOENT)?)
    }

    pub(super) fn entries(&self, inode: u64) -> Result<Vec<(OsString, Attributes)>, Errno> {
        self.directory(inode)?
            .live
            .iter()
            .map(|(name, &child)| Ok((name.clone(), self.attributes(child)?)))
            .collect()
    }

    pub(super) fn create(
        &mut self,
        parent: u64,
        name: &OsStr,
        is_directory: bool,
    ) -> Result<Attributes, Errno> {
        let inode = self.next_inode;
        let entries = &mut self.directory_mut(parent)?.live;
        if entries.contains_key(name) {
            return Err(libc::EEXIST);
        }
        entries.insert(name.to_owned(), inode);
        self.next_inode += 1;
        let created = if is_directory {
            Inode::Directory(Directory::default())
        } else {
            Inode::File(File::default())
        };
        self.inodes.insert(inode, created);
        self.attributes(inode)
    }

    pub(super) fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let entries = &mut self.directory_mut(parent)?.live;
        entries.remove(name).map(|_| ()).ok_or(libc::ENOENT)
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        self.directory(to.0)?;
        let entries = &mut self.directory_mut(from.0)?.live;
        let inode = entries.remove(from.1).ok_or(libc::ENOENT)?;
        let target = &mut self.directory_mut(to.0)?.live;
        target.insert(to.1.to_owned(), inode);
        Ok(())
    }

    pub(super) fn read(&self, inode: u64, offset: u64, bytes: usize) -> Result<Vec<u8>, Errno> {
        Ok(self.file(inode)?.live.read(offset, bytes))
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.file_mut(inode)?.write(offset, data);
        Ok(())
    }

    pub(super) fn set_bytes(&mut self, inode: u64, bytes: u64) -> Result<(), Errno> {
        self.file_mut(inode)?.set_bytes(bytes);
        Ok(())
    }

    pub(super) fn sync_file(&mut self, inode: u64) -> Result<(), Errno> {
        self.file_mut(inode)?.sync();
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, inode: u64) -> Result<(), Errno> {
        let directory = self.directory_mut(inode)?;
        directory.durable.clone_from(&directory.live);
        Ok(())
    }

    fn inode(&self, inode: u64) -> Result<&Inode, Errno> {
        if !self.has_power {
            return Err(libc::EIO);
        }
        self.inodes.get(&inode).ok_or(libc::ENOENT)
    }

    fn inode_mut(&mut self, inode: u64) -> Result<&mut Inode, Errno> {
        if !self.has_power {
            return Err(libc::EIO);
        }
        self.inodes.get_mut(&inode).ok_or(libc::ENOENT)
    }

    fn file(&self, inode: u64) -> Result<&File, Errno> {
        match self.inode(inode)? {
            Inode::File(file) => Ok(file),
            Inode::Directory(_) => Err(libc::EISDIR),
        }
    }

    fn file_mut(&mut self, inode: u64) -> Result<&mut File, Errno> {
        match self.inode_mut(inode)? {
            Inode::File(file) => Ok(file),
            Inode::Directory(_) => Err(libc::EISDIR),
        }
    }

    fn directory(&self, inode: u64) -> Result<&Directory, Errno> {
        match self.inode(inode)? {
            Inode::Directory(directory) => Ok(directory),
            Inode::File(_) => Err(libc::ENOTDIR),
        }
    }

    fn directory_mut(&mut self, inode: u64) -> Result<&mut Directory, Errno> {
        match self.inode_mut(inode)? {
            Inode::Directory(directory) => Ok(directory),
            Inode::File(_) => Err(libc::ENOTDIR),
        }
    }
}

impl Content {
    fn read(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let end = self.bytes.min(offset.saturating_add(bytes as u64));
        let mut out = Vec::with_capacity(bytes);
        let mut at = offset;
        while at < end {
            let (page, start) = place(at);
            let count = (PAGE_BYTES - start).min(span(end - at));
            match self.pages.get(&page) {
                Some(content) => out.extend_from_slice(&content[start..start + count]),
                None => out.resize(out.len() + count, 0),
            }
            at += count as u64;
        }
        out
    }

    fn write(&mut self, offset: u64, data: &[u8], dirty: &mut BTreeSet<u64>) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let (page, start) = place(at);
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - start));
            let zeros = || Arc::new([0; PAGE_BYTES]);
            let content = Arc::make_mut(self.pages.entry(page).or_insert_with(zeros));
            content[start..start + now.len()].copy_from_slice(now);
            dirty.insert(page);
            at += now.len() as u64;
            rest = later;
        }
        self.bytes = self.bytes.max(at);
    }

    /// Sets or forgets one page; all zeros are kept as an absent page.
    fn put(&mut self, page: u64, content: Option<Page>) {
        match content {
            Some(content) if content.iter().any(|&byte| byte != 0) => {
                self.pages.insert(page, content);
            }
            Some(_) | None => {
                self.pages.remove(&page);
            }
        }
    }
}

impl File {
    fn write(&mut self, offset: u64, data: &[u8]) {
        self.live.write(offset, data, &mut self.dirty);
    }

    fn set_bytes(&mut self, bytes: u64) {
        if bytes < self.live.bytes {
            let zeros = vec![0; span(self.live.bytes - bytes)];
            self.write(bytes, &zeros);
        }
        self.live.bytes = bytes;
    }

    fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            let content = self.live.pages.get(&page).cloned();
            self.durable.put(page, content.clone());
            self.live.put(page, content);
        }
        self.durable.bytes = self.live.bytes;
    }

    fn lose_unsynced(&mut self, random: &mut SplitMix, report: &mut CutReport) {
        for page in std::mem::take(&mut self.dirty) {
            let new = self.live.pages.get(&page).cloned();
            let old = self.durable.pages.get(&page).cloned();
            match random.next() % 8 {
                0 | 1 => {
                    report.pages_kept += 1;
                    self.durable.put(page, new);
                }
                2 => {
                    report.pages_torn += 1;
                    self.durable.put(page, Some(torn(old, new, random)));
                }
                _ => report.pages_lost += 1,
            }
        }
        self.live = self.durable.clone();
    }
}

/// A page of which each sector is old or new by a coin.
fn torn(old: Option<Page>, new: Option<Page>, random: &mut SplitMix) -> Page {
    let zeros = || Arc::new([0; PAGE_BYTES]);
    let mut page = old.unwrap_or_else(zeros);
    let new = new.unwrap_or_else(zeros);
    let content = Arc::make_mut(&mut page);
    for (old, new) in content
        .chunks_mut(SECTOR_BYTES)
        .zip(new.chunks(SECTOR_BYTES))
    {
        if random.next().is_multiple_of(2) {
            old.copy_from_slice(new);
        }
    }
    page
}

/// The page of a byte, and where in it the byte lies.
fn place(offset: u64) -> (u64, usize) {
    let page = PAGE_BYTES as u64;
    (offset / page, span(offset % page))
}

/// A length that is known to fit, because it came from memory.
fn span(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a length in memory fits in usize")
}

/// `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014): enough to toss coins from a seed.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
