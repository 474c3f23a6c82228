//! What segments held that went, for those who judge: the broker never sees it.

use std::sync::Arc;

use super::{Disk, FileName};

impl Disk {
    /// Keeps what a segment holds, for those who judge: its file goes, or becomes a spare.
    pub fn archive(&mut self, name: &FileName) {
        if let Some(file) = self.files.get(name) {
            self.met.segments_freed += 1;
            self.archived
                .entry(name.clone())
                .or_insert_with(|| Arc::clone(file));
        }
    }

    /// A copy for looking at in which every segment that went is back.
    #[must_use]
    pub fn with_archive(&self) -> Self {
        let mut copy = self.snapshot();
        let archived = self.archived.iter();
        copy.files
            .extend(archived.map(|(name, file)| (name.clone(), Arc::clone(file))));
        copy
    }
}
