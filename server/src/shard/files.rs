//! The open segment files of one partition.
//!
//! Invariant: (F1) a file is closed only while no operation uses it, and never one of the two
//! newest segments, which are written to.

use std::collections::BTreeMap;

use corelane_storage::SegmentNumber;

use crate::driver::File;

/// Files that a partition keeps open, as long as they are not all in use.
const OPEN_MAX: usize = 16;

/// The files by segment.
#[derive(Debug, Default)]
pub(super) struct Files {
    handles: BTreeMap<SegmentNumber, Handle>,
    /// Counts uses, to find the file that was not used for longest.
    uses: u64,
}

#[derive(Debug)]
enum Handle {
    Opening,
    Open {
        file: File,
        last_use: u64,
        in_flight: u32,
    },
}

/// What becomes of the file of a segment that goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closed {
    /// There is none.
    NotOpen,
    /// It is to be closed.
    Open(File),
    /// It is being used or opened; to be asked again.
    InUse,
}

impl Files {
    /// Whether the segment is neither open nor being opened; it counts as being opened from now on.
    pub(super) fn must_open(&mut self, segment: SegmentNumber) -> bool {
        if self.handles.contains_key(&segment) {
            return false;
        }
        self.handles.insert(segment, Handle::Opening);
        true
    }

    /// The segment was opened.
    pub(super) fn opened(&mut self, segment: SegmentNumber, file: File) {
        let handle = Handle::Open {
            file,
            last_use: self.uses,
            in_flight: 0,
        };
        self.handles.insert(segment, handle);
    }

    /// The segment could not be opened.
    pub(super) fn not_opened(&mut self, segment: SegmentNumber) {
        self.handles.remove(&segment);
    }

    /// The file for an operation that begins now; ended by [`Files::done`].
    pub(super) fn take(&mut self, segment: SegmentNumber) -> Option<File> {
        self.uses += 1;
        match self.handles.get_mut(&segment)? {
            Handle::Opening => None,
            Handle::Open {
                file,
                last_use,
                in_flight,
            } => {
                *last_use = self.uses;
                *in_flight += 1;
                Some(*file)
            }
        }
    }

    /// An operation on the file ended.
    pub(super) fn done(&mut self, segment: SegmentNumber) {
        if let Some(Handle::Open { in_flight, .. }) = self.handles.get_mut(&segment) {
            *in_flight -= 1;
        }
    }

    /// The segment goes: its file is closed first.
    pub(super) fn close(&mut self, segment: SegmentNumber) -> Closed {
        match self.handles.get(&segment) {
            None => Closed::NotOpen,
            Some(&Handle::Open {
                file, in_flight: 0, ..
            }) => {
                self.handles.remove(&segment);
                Closed::Open(file)
            }
            Some(Handle::Open { .. } | Handle::Opening) => Closed::InUse,
        }
    }

    /// A file to close because too many are open (F1).
    pub(super) fn surplus(&mut self) -> Option<File> {
        if self.handles.len() <= OPEN_MAX {
            return None;
        }
        let sealed = self.handles.len() - 2;
        let (_, segment) = self
            .handles
            .iter()
            .take(sealed)
            .filter_map(|(segment, handle)| match handle {
                Handle::Open {
                    last_use,
                    in_flight: 0,
                    ..
                } => Some((*last_use, *segment)),
                Handle::Open { .. } | Handle::Opening => None,
            })
            .min()?;
        match self.handles.remove(&segment)? {
            Handle::Open { file, .. } => Some(file),
            Handle::Opening => None,
        }
    }
}
