//! Requests about messages that are not due yet: listed, cancelled or moved.

use std::collections::VecDeque;
use std::time::Duration;

use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::{
    ErrorCode, Offset, OffsetRanges, OnSchedule, ScheduleAnswer, ScheduleVerb, ScheduledInfo,
    Timestamp,
};

use super::request::Refusal;
use super::{Engine, Output, Reply, Requester};
use crate::ids::QueueId;
use crate::record::Record;

impl Engine {
    /// A client asks something about messages that are not due yet.
    pub(super) fn on_schedule(
        &mut self,
        now: Timestamp,
        from: Requester,
        on: &OnSchedule<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let queue = self.find_queue(on.queue)?;
        let answer = match on.verb {
            ScheduleVerb::List { from, limit } => self.list_scheduled(now, queue, (from, limit)),
            ScheduleVerb::Cancel { ranges } => {
                let of_queue = self.state.queues.get(queue);
                if of_queue.is_some_and(|of| of.subscriptions.is_empty()) {
                    let text = "the queue has no subscription in which messages could be done";
                    return Err((ErrorCode::SubscriptionNotFound, text.to_owned()));
                }
                let count = self.reschedule(now, (queue, None), ranges, outputs);
                ScheduleAnswer::Cancelled { count }
            }
            ScheduleVerb::Move { due_ms, ranges } => {
                let log_now = self.log_now(now);
                let due = Timestamp::from_millis(due_ms);
                if due > log_now.add(Duration::from_millis(DELAY_MS_MAX)) {
                    let text = "the messages would be due in more than 366 days".to_owned();
                    return Err((ErrorCode::OutOfRange, text));
                }
                self.check_groups(queue, ranges.iter().count())?;
                self.check_expiring(queue, ranges.iter().count())?;
                // A time that is over means at once.
                let due = Some(due.max(log_now));
                let count = self.reschedule(now, (queue, due), ranges, outputs);
                ScheduleAnswer::Moved { count }
            }
        };
        self.reply(from, Reply::Schedule(Box::new(answer)), outputs);
        Ok(())
    }

    fn list_scheduled(
        &self,
        now: Timestamp,
        queue: QueueId,
        (from, limit): (Offset, u32),
    ) -> ScheduleAnswer {
        let now = self.log_now(now);
        let queue = self.state.queues.get(queue);
        let waiting = queue.into_iter();
        let waiting = waiting.flat_map(|of| of.waiting_within(now, from.max(of.start), of.end));
        let rows = waiting.map(|(range, due)| ScheduledInfo { range, due });
        let mut rows: Vec<_> = rows.take(limit as usize + 1).collect();
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        ScheduleAnswer::List { rows, more }
    }

    /// Changes what of the ranges is not due yet; how many messages that are.
    fn reschedule(
        &mut self,
        now: Timestamp,
        (queue, due): (QueueId, Option<Timestamp>),
        asked: OffsetRanges<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> u32 {
        let log_now = self.log_now(now);
        let of_queue = self.state.queues.get(queue);
        let waiting = of_queue.into_iter().flat_map(|of| {
            let asked = asked.iter();
            asked.flat_map(move |range| of.waiting_within(log_now, range.first, range.end()))
        });
        let ranges: Vec<_> = waiting.map(|(range, _)| range).collect();
        let count = ranges.iter().map(|range| range.count).sum();
        if count > 0 {
            let record = Record::Reschedule { queue, due, ranges };
            self.append(now, record, outputs);
        }
        count
    }

    /// Refuses what would break what is scheduled into too many groups.
    pub(super) fn check_groups(&self, queue: QueueId, more: usize) -> Result<(), Refusal> {
        let of_queue = self.state.queues.get(queue);
        let waiting = of_queue.map_or(0, |of| of.scheduled.len());
        if waiting + more > self.limits.ranges_max {
            let text = format!("{waiting} groups of messages of the queue are due later");
            return Err((ErrorCode::Busy, text));
        }
        Ok(())
    }

    /// Refuses what would break what expires into too many groups.
    pub(super) fn check_expiring(&self, queue: QueueId, more: usize) -> Result<(), Refusal> {
        let of_queue = self.state.queues.get(queue);
        let expiring = of_queue.map_or(0, |of| of.expiring.len());
        if expiring + more > self.limits.ranges_max {
            let text = format!("{expiring} groups of messages of the queue have a time to live");
            return Err((ErrorCode::Busy, text));
        }
        Ok(())
    }
}
