//! The tape: every change of the disk, each with the disk before it.

use super::{Disk, FileName};

/// A change of the disk, and the disk before it.
#[derive(Debug)]
pub struct Moment {
    /// The disk before the change; none of its faults.
    pub disk: Disk,
    /// What is done.
    pub change: Change,
}

/// What is done to a file.
#[derive(Clone, Debug)]
pub struct Change {
    /// In a word.
    pub verb: &'static str,
    /// To which file.
    pub name: FileName,
    /// Where in it.
    pub position: u64,
    /// How many bytes.
    pub bytes: usize,
}

impl Disk {
    /// Records every change from now on.
    pub fn record(&mut self) {
        self.tape = Some(Vec::new());
    }

    /// How many changes were recorded.
    pub fn recorded(&self) -> usize {
        self.tape.as_ref().map_or(0, Vec::len)
    }

    /// Ends the recording and returns it.
    pub fn take_tape(&mut self) -> Vec<Moment> {
        self.tape.take().unwrap_or_default()
    }

    /// Notes a change that is about to be made.
    pub(super) fn note(
        &mut self,
        verb: &'static str,
        name: &FileName,
        (position, bytes): (u64, usize),
    ) {
        if self.tape.is_none() {
            return;
        }
        let moment = Moment {
            disk: self.snapshot(),
            change: Change {
                verb,
                name: name.clone(),
                position,
                bytes,
            },
        };
        self.tape.get_or_insert_default().push(moment);
    }
}
