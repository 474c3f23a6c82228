//! A power loss that is chosen and not drawn: which unsynced writes, and which pieces of them, reach the media.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ATOM_BYTES, Disk, FileName, SECTOR_BYTES, Sector, zeroed};

/// A write that no sync has covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsynced {
    /// Which one.
    pub stamp: u64,
    /// To which file.
    pub name: FileName,
    /// Its first byte, in whole sectors.
    pub position: u64,
    /// The byte behind its last one.
    pub end: u64,
}

impl Disk {
    /// The writes that are not synced, oldest first.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        let mut found: BTreeMap<u64, Unsynced> = BTreeMap::new();
        for (name, file) in &self.files {
            let versions = file.unsynced.iter().flat_map(|index| {
                let sector = file.sectors.get(index);
                sector
                    .into_iter()
                    .flat_map(|sector| &sector.volatile)
                    .map(move |version| (index * SECTOR_BYTES as u64, version.stamp))
            });
            for (position, stamp) in versions {
                let end = position + SECTOR_BYTES as u64;
                let write = found.entry(stamp).or_insert_with(|| Unsynced {
                    stamp,
                    name: name.clone(),
                    position,
                    end,
                });
                write.position = write.position.min(position);
                write.end = write.end.max(end);
            }
        }
        found.into_values().collect()
    }

    /// Whether a failed fdatasync left something in doubt.
    pub fn is_in_doubt(&self) -> bool {
        let mut files = self.files.values();
        files.any(|file| {
            let mut sectors = file.unsynced.iter().filter_map(|it| file.sectors.get(it));
            sectors.any(|sector| sector.volatile.iter().any(|version| version.doomed))
        })
    }

    /// The process is killed. What a failed fdatasync left in doubt is on the media, or is not, from now on: a
    /// restart reads it from there.
    pub fn kill(&mut self, keeps_doubtful: bool) {
        if !self.is_in_doubt() {
            return;
        }
        for file in self.files.values_mut().map(Arc::make_mut) {
            let sectors = &mut file.sectors;
            file.unsynced.retain(|index| {
                let sector = sectors.get_mut(index);
                sector.is_some_and(|sector| sector.settle_doubts(keeps_doubtful))
            });
        }
    }

    /// The power goes. Of each unsynced write, by its stamp, those pieces of 512 bytes reach the media for whose
    /// position in the file `keeps` says so.
    pub fn lose(&mut self, keeps: impl Fn(u64, u64) -> bool) {
        for file in self.files.values_mut() {
            if file.unsynced.is_empty() {
                continue;
            }
            let file = Arc::make_mut(file);
            for index in std::mem::take(&mut file.unsynced) {
                if let Some(sector) = file.sectors.get_mut(&index) {
                    sector.lose(|stamp, at| keeps(stamp, index * SECTOR_BYTES as u64 + at));
                }
            }
        }
    }
}

impl Sector {
    /// Decides about the doomed versions; returns true when some other version is still unsynced.
    fn settle_doubts(&mut self, are_kept: bool) -> bool {
        for version in std::mem::take(&mut self.volatile) {
            if !version.doomed {
                self.volatile.push(version);
            } else if are_kept {
                self.durable = Some(version.bytes);
            }
        }
        !self.volatile.is_empty()
    }

    /// Puts those pieces of the unsynced versions, oldest first, over the durable one for which `keeps` says so.
    fn lose(&mut self, keeps: impl Fn(u64, u64) -> bool) {
        for version in std::mem::take(&mut self.volatile) {
            let atoms = (0..SECTOR_BYTES).step_by(ATOM_BYTES);
            let kept: Vec<usize> = atoms
                .filter(|at| keeps(version.stamp, *at as u64))
                .collect();
            if kept.len() == SECTOR_BYTES / ATOM_BYTES {
                self.durable = Some(version.bytes);
                continue;
            }
            for at in kept {
                let span = at..at + ATOM_BYTES;
                let durable = Arc::make_mut(self.durable.get_or_insert_with(zeroed));
                durable[span.clone()].copy_from_slice(&version.bytes[span]);
            }
        }
    }
}
