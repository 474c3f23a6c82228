//! What became of every message: one byte each, because there are millions.

use anyhow::ensure;
use corelane_wire::{Offset, OffsetRange};

use super::layout::Layout;

/// The broker said that it is stored.
const CONFIRMED: u8 = 1;
/// The broker said that its ack is stored.
const ACKED: u8 = 2;
/// It came after the restart.
const CAME: u8 = 4;

#[derive(Debug)]
pub(crate) struct Book {
    pub layout: Layout,
    marks: Vec<u8>,
    /// Of each queue the confirmed messages that have neither come nor been acked.
    to_come: Vec<u64>,
    /// Confirmed messages that are not acked.
    pub unsettled: u64,
    /// Whether the broker was started again: what comes now is counted.
    is_restarted: bool,
    /// Deliveries with other bytes than were enqueued, or of what was never enqueued.
    pub wrong: u64,
    /// Deliveries after the first.
    pub duplicates: u64,
    /// Deliveries after the ack was confirmed.
    pub resurrected: u64,
    /// The body that a message must have.
    expected: Vec<u8>,
}

impl Book {
    pub(crate) fn new(layout: Layout) -> anyhow::Result<Self> {
        Ok(Self {
            marks: vec![0; usize::try_from(layout.messages)?],
            to_come: vec![0; usize::try_from(layout.queues)?],
            layout,
            unsettled: 0,
            is_restarted: false,
            wrong: 0,
            duplicates: 0,
            resurrected: 0,
            expected: Vec::new(),
        })
    }

    /// From now on deliveries are counted.
    pub(crate) fn restart(&mut self) {
        self.is_restarted = true;
    }

    pub(crate) fn confirmed(&mut self, queue: u64, range: OffsetRange) -> anyhow::Result<()> {
        for at in self.places(queue, range)? {
            self.marks[at] |= CONFIRMED;
        }
        *self.to_come_mut(queue)? += u64::from(range.count);
        self.unsettled += u64::from(range.count);
        Ok(())
    }

    pub(crate) fn acked(&mut self, queue: u64, range: OffsetRange) -> anyhow::Result<()> {
        for at in self.places(queue, range)? {
            let before = self.marks[at];
            self.marks[at] |= ACKED;
            if before & ACKED == 0 {
                self.unsettled -= 1;
                // Before the restart nothing has come: it is taken off here.
                *self.to_come_mut(queue)? -= u64::from(before & CAME == 0);
            }
        }
        Ok(())
    }

    /// An ack was refused: the messages must come again.
    pub(crate) fn ack_refused(&mut self, queue: u64, range: OffsetRange) -> anyhow::Result<()> {
        for at in self.places(queue, range)? {
            if self.marks[at] & (ACKED | CAME) == CAME {
                self.marks[at] &= !CAME;
                *self.to_come_mut(queue)? += 1;
            }
        }
        Ok(())
    }

    /// Looks at a body, and counts the delivery if it is after the restart.
    pub(crate) fn came(&mut self, queue: u64, offset: Offset, body: &[u8]) -> anyhow::Result<()> {
        let number = self.layout.number(queue, offset);
        self.layout.put_body(number, &mut self.expected);
        if self.expected != body || offset.0 >= self.layout.count(queue) {
            self.wrong += 1;
            return Ok(());
        }
        let at = usize::try_from(number)?;
        if self.is_restarted {
            let before = self.marks[at];
            self.marks[at] |= CAME;
            self.resurrected += u64::from(before & ACKED != 0);
            self.duplicates += u64::from(before & CAME != 0);
            if before == CONFIRMED {
                *self.to_come_mut(queue)? -= 1;
            }
        }
        Ok(())
    }

    /// Whether messages of the queue have not come.
    pub(crate) fn is_owed(&self, queue: u64) -> anyhow::Result<bool> {
        Ok(self.to_come[usize::try_from(queue)?] > 0)
    }

    /// Confirmed, not acked before the restart and never come after it.
    pub(crate) fn lost(&self) -> u64 {
        let is_lost = |mark: &&u8| **mark == CONFIRMED;
        self.marks.iter().filter(is_lost).count() as u64
    }

    fn to_come_mut(&mut self, queue: u64) -> anyhow::Result<&mut u64> {
        Ok(&mut self.to_come[usize::try_from(queue)?])
    }

    fn places(&self, queue: u64, range: OffsetRange) -> anyhow::Result<std::ops::Range<usize>> {
        ensure!(
            range.end().0 <= self.layout.count(queue),
            "queue {queue} has no messages {range}"
        );
        let first = usize::try_from(self.layout.number(queue, range.first))?;
        Ok(first..first + usize::try_from(range.count)?)
    }
}
