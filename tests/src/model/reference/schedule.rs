//! Requests about messages of a queue that are due later.

use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::{ErrorCode, OnSchedule, ScheduleAnswer, ScheduleVerb, ScheduledInfo};
use corelane_wire::{Timestamp, record_kind};

use super::apply::one;
use super::state::{count, millis};
use super::{Model, Outcome};

impl Model {
    /// What does not wait for its due time is skipped.
    pub(super) fn on_schedule(&mut self, on: &OnSchedule<'_>) -> Outcome<ScheduleAnswer> {
        let queue = self.find(on.queue)?;
        let (due, asked) = match on.verb {
            ScheduleVerb::List { from, .. } => {
                let mut rows = self.scheduled(queue);
                rows.retain(|row| row.range.first >= from);
                return Ok(ScheduleAnswer::List { rows, more: false });
            }
            ScheduleVerb::Cancel { ranges } => (None, ranges),
            ScheduleVerb::Move { due_ms, ranges } => (Some(millis(due_ms)), ranges),
        };
        if due.is_none() && self.state.queues[queue].live().next().is_none() {
            return Err(ErrorCode::SubscriptionNotFound);
        }
        if due.is_some_and(|due| due > self.log_now() + millis(DELAY_MS_MAX)) {
            return Err(ErrorCode::OutOfRange);
        }
        let is_asked = |row: &ScheduledInfo| {
            let mut asked = asked.iter();
            asked.any(|range| (range.first..range.end()).contains(&row.range.first))
        };
        let mut rows = self.scheduled(queue);
        rows.retain(is_asked);
        if !rows.is_empty() {
            self.record(record_kind::RESCHEDULE)
                .reschedule(queue, &rows, due);
        }
        let count = count(rows.len());
        Ok(match due {
            None => ScheduleAnswer::Cancelled { count },
            Some(_) => ScheduleAnswer::Moved { count },
        })
    }

    /// The messages of a queue that wait for their due time.
    fn scheduled(&self, queue: usize) -> Vec<ScheduledInfo> {
        let messages = self.state.queues[queue].messages.iter().enumerate();
        let is_later = |at, due| due > self.log_now() && self.state.is_needed(queue, at);
        let later = messages.filter(|(at, message)| is_later(*at, message.due));
        let row = |at, due| ScheduledInfo {
            range: one(at),
            due: Timestamp(due),
        };
        later.map(|(at, message)| row(at, message.due)).collect()
    }
}
