//! Peeks that were not answered yet: one may wait for the disk, and is answered whenever it can be.

use corelane_core::Requester;
use corelane_wire::{ErrorCode, Peek};

use super::reference::{Model, Status};

#[derive(Debug, Default)]
pub(super) struct Peeks {
    waiting: Vec<Waiting>,
}

/// A peek, and what was visible when it was asked, and when it was looked at last.
#[derive(Debug)]
struct Waiting {
    from: Requester,
    queue: String,
    number: Option<usize>,
    first: u64,
    count: u32,
    committed: u64,
    visible: u64,
}

impl Peeks {
    pub(super) fn ask(&mut self, model: &Model, from: Requester, peek: &Peek<'_>) {
        if matches!(model.status, Status::Starting(_)) {
            return;
        }
        self.waiting.push(Waiting {
            from,
            queue: peek.queue.to_owned(),
            number: model.state.find(peek.queue),
            first: peek.from.0,
            count: peek.count,
            committed: model.committed,
            visible: model.committed,
        });
    }

    /// Something was read: those that waited for it are looked at again.
    pub(super) fn look_again(&mut self, model: &Model) {
        for peek in &mut self.waiting {
            peek.visible = model.committed;
        }
    }

    /// Whether this is the answer to a peek.
    pub(super) fn is_one(&self, from: Requester) -> bool {
        self.waiting.iter().any(|peek| peek.from == from)
    }

    /// Nobody has to answer any more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// A peek gets no answer.
    pub(super) fn abandon(&mut self, from: Requester) {
        self.waiting.retain(|peek| peek.from != from);
    }

    /// A peek is answered: `shown` lists queue and offset of its messages.
    pub(super) fn judge_shown(
        &mut self,
        model: &Model,
        from: Requester,
        shown: &[(usize, u64)],
    ) -> Result<(), String> {
        let peek = self.answered(from)?;
        if shown.len() > peek.count as usize {
            return Err(format!(
                "{} messages, asked for were {}",
                shown.len(),
                peek.count
            ));
        }
        let mut next = peek.first;
        for (number, offset) in shown {
            let queue = &model.state.queues[*number];
            let message = queue
                .messages
                .get(usize::try_from(*offset).unwrap_or(usize::MAX));
            let is_visible = message.is_some_and(|message| message.lsn < peek.visible);
            let is_of_queue = queue.name == peek.queue && Some(*number) >= peek.number;
            if !is_of_queue || *offset < next || !is_visible {
                return Err(format!("{offset} of queue {number} is shown to {peek:?}"));
            }
            next = offset + 1;
        }
        let is_there = |number: &usize| !model.state.queues[*number].is_deleted;
        let Some(number) = peek.number.filter(is_there) else {
            return Ok(());
        };
        // What is needed now was needed then; nothing of it may be left out before the last one shown.
        for (message, offset) in model.state.queues[number].messages.iter().zip(0..) {
            let is_asked = offset >= peek.first && (shown.is_empty() || offset < next);
            let is_due = is_asked && message.lsn < peek.committed;
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            if is_due && !shown.contains(&(number, offset)) && model.state.is_needed(number, at) {
                return Err(format!("{offset} is not shown to {peek:?}"));
            }
        }
        Ok(())
    }

    /// A peek is refused.
    pub(super) fn judge_refused(
        &mut self,
        model: &Model,
        from: Requester,
        code: ErrorCode,
    ) -> Result<(), String> {
        let peek = self.answered(from)?;
        let is_gone = |number: usize| model.state.queues[number].is_deleted;
        let is_poisoned = model.status == Status::Poisoned && code == ErrorCode::Poisoned;
        let missing = match model.status {
            Status::ReadOnly => ErrorCode::Damaged,
            Status::Starting(_) | Status::Serving | Status::Poisoned => ErrorCode::QueueNotFound,
        };
        let is_missing = code == missing && peek.number.is_none_or(is_gone);
        let is_full = self.waiting.len() >= model.limits.loads_max;
        let is_busy = code == ErrorCode::Busy && is_full;
        let wrong = || format!("{peek:?} is refused with {code:?}");
        (is_poisoned || is_missing || is_busy)
            .then_some(())
            .ok_or_else(wrong)
    }

    fn answered(&mut self, from: Requester) -> Result<Waiting, String> {
        let at = self.waiting.iter().position(|peek| peek.from == from);
        let at = at.ok_or("an answer that nobody waits for")?;
        Ok(self.waiting.swap_remove(at))
    }
}
