//! What queues keep although everybody is done with it, and for how long: what falls outside goes with a Trim record.
//!
//! A queue is looked at at the end of a turn in which something has changed in it, and when its oldest messages may be
//! too old. What is under lease then, or under way to a dead-letter queue, goes when it comes back. Nothing of this is
//! replicated: a start looks at every queue once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use corelane_wire::{ChunkPlace, Offset, Timestamp};

use super::{Engine, Output};
use crate::ids::QueueId;
use crate::record::{Record, Trimmed};
use crate::state::runs::RunsAt;
use crate::state::{Effects, Queue};

/// The queues that retain messages.
#[derive(Debug, Default)]
pub(super) struct Retention {
    queues: BTreeMap<QueueId, Retained>,
    /// When the oldest messages of a queue may be too old, in log time.
    due: BTreeSet<(Timestamp, QueueId)>,
    /// The queues to look at.
    looks: BTreeSet<QueueId>,
}

/// What is known of one of them.
#[derive(Clone, Copy, Debug, Default)]
struct Retained {
    /// Everything before was outside when it was looked at last.
    trimmed: Offset,
    /// Nothing is too old before then, if that is known.
    due: Option<Timestamp>,
}

/// Where the messages begin that stay.
#[derive(Debug)]
struct Kept {
    first: Offset,
    /// Nothing of them is too old before then, if that is known.
    due: Option<Timestamp>,
    /// What has to be read to know more.
    away: Option<(Offset, ChunkPlace)>,
}

impl Retention {
    /// Learns of a record and of what it did.
    pub(super) fn note(&mut self, record: &Record, effects: &Effects) {
        if let Record::ConfigureQueue { queue, config } = record {
            self.configure(*queue, config.retains());
        }
        if self.queues.is_empty() {
            return;
        }
        if let Record::Delete { queue } = record {
            self.configure(*queue, false);
        }
        if let Record::Enqueue { queue, .. }
        | Record::Subscribe { queue, .. }
        | Record::Change { queue, .. } = record
        {
            self.look(*queue);
        }
        for &(queue, _) in &effects.ready {
            self.look(queue);
        }
    }

    /// Whether a queue retains messages, from now on.
    pub(super) fn configure(&mut self, queue: QueueId, retains: bool) {
        self.set(queue, Retained::default());
        if retains {
            self.looks.insert(queue);
        } else {
            self.queues.remove(&queue);
        }
    }

    /// A queue is to be looked at, if it retains messages.
    pub(super) fn look(&mut self, queue: QueueId) {
        if self.queues.contains_key(&queue) {
            self.looks.insert(queue);
        }
    }

    /// When the first queue is to be looked at although nothing has changed in it, in log time.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|&(due, _)| due)
    }

    /// The queues that are to be looked at now.
    fn take_looks(&mut self, now: Timestamp) -> BTreeSet<QueueId> {
        let mut looks = std::mem::take(&mut self.looks);
        let due = self.due.iter().take_while(|(due, _)| *due <= now);
        looks.extend(due.map(|&(_, queue)| queue));
        looks
    }

    fn set(&mut self, queue: QueueId, retained: Retained) {
        let before = self.queues.insert(queue, retained);
        if let Some(due) = before.and_then(|before| before.due) {
            self.due.remove(&(due, queue));
        }
        if let Some(due) = retained.due {
            self.due.insert((due, queue));
        }
    }
}

impl Engine {
    /// Looks for the queues that retain messages.
    pub(super) fn open_retention(&mut self) {
        for (id, queue) in self.state.queues.iter() {
            if queue.config.retains() {
                self.retention.configure(id, true);
            }
        }
    }

    /// Lets go what is not to be kept any longer.
    pub(super) fn end_retention(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        if self.retention.queues.is_empty() {
            return;
        }
        let log_now = self.log_now(now);
        for queue in self.retention.take_looks(log_now) {
            self.end_retention_in(now, queue, outputs);
        }
    }

    fn end_retention_in(
        &mut self,
        now: Timestamp,
        id: QueueId,
        outputs: &mut VecDeque<Output>,
    ) -> Option<()> {
        let retained = *self.retention.queues.get(&id)?;
        let queue = self.state.queues.get(id)?;
        let kept = kept(queue, retained, self.log_now(now));
        let end = kept.first;
        let is_outside = end > retained.trimmed.max(queue.start);
        let has_come_back = || queue.subscriptions.iter().any(|of| of.has_before(end));
        let is_trimmed = is_outside || has_come_back();
        let (trimmed, due) = (end, kept.due);
        self.retention.set(id, Retained { trimmed, due });
        if is_trimmed {
            let (queue, how) = (id, Trimmed::Gone);
            self.append(now, Record::Trim { queue, end, how }, outputs);
        }
        if let Some(away) = kept.away {
            self.load(id, away, outputs);
        }
        Some(())
    }
}

/// Where the messages of a queue begin that stay, as far as can be told.
fn kept(queue: &Queue, retained: Retained, now: Timestamp) -> Kept {
    let config = &queue.config;
    let mut first = retained.trimmed.max(queue.start);
    if config.retention_count > 0 {
        first = first.max(Offset(queue.end.0.saturating_sub(config.retention_count)));
    }
    let mut surplus = match config.retention_bytes {
        0 => 0,
        max => queue.runs.bytes_from(first).saturating_sub(max),
    };
    let due = retained.due.filter(|due| *due > now);
    let mut kept = Kept {
        first,
        due,
        away: None,
    };
    if surplus == 0 && (config.retention_ms == 0 || due.is_some()) {
        return kept;
    }
    let age_max = Duration::from_millis(config.retention_ms);
    while let Some((first, end)) = queue.runs.kept_from(kept.first) {
        let runs = match queue.runs.at(first) {
            RunsAt::Here(runs, _) => runs,
            RunsAt::Away(first, place) => {
                // Until that is read there is nothing to be done.
                kept.due = kept.due.filter(|due| *due > now);
                kept.away = Some((first, place));
                return kept;
            }
            RunsAt::Nothing => &[],
        };
        for run in runs.iter().take_while(|run| run.first < end) {
            kept.due = (config.retention_ms > 0).then(|| run.time.add(age_max));
            let is_old = kept.due.is_some_and(|due| due <= now);
            // However large the newest batch is, it stays until it is too old, or another one comes.
            let is_surplus = surplus > 0 && run.end() < queue.end;
            if !is_old && !is_surplus {
                return kept;
            }
            surplus = surplus.saturating_sub(run.record_bytes());
            kept.first = run.end();
        }
        kept.first = kept.first.max(end);
    }
    kept.due = None;
    kept
}
