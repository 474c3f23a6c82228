//! Messages of a queue that are due later: listed, cancelled, or moved to another due time.

use std::time::SystemTime;

use corelane_wire::limits::{LIST_MAX, RESCHEDULE_MAX};
use corelane_wire::{
    Lane, Offset, OffsetRange, OffsetRanges, OnSchedule, Request, ScheduleAnswer, ScheduleVerb,
    ScheduledInfo,
};

use crate::answer::Answer;
use crate::client::{Client, Route, check_name};
use crate::error::Error;

/// What a queue has scheduled.
#[derive(Clone, Debug)]
pub struct Schedule {
    client: Client,
    queue: String,
}

/// Messages that are not due yet, by offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchedulePage {
    /// Neighbours with the same due time share a row.
    pub rows: Vec<ScheduledInfo>,
    /// Where the next page begins, if there is one.
    pub next: Option<Offset>,
}

impl Schedule {
    pub(crate) fn new(client: Client, queue: &str) -> Self {
        Self {
            client,
            queue: queue.to_owned(),
        }
    }

    /// Up to 1,000 rows of messages that are not due yet, from an offset on.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name.
    pub async fn list(&self, from: Offset) -> Result<SchedulePage, Error> {
        let verb = ScheduleVerb::List {
            from,
            limit: LIST_MAX,
        };
        let ScheduleAnswer::List { rows, more } = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        let next = rows.last().filter(|_| more).map(|row| row.range.end());
        Ok(SchedulePage { rows, next })
    }

    /// Finishes messages without delivering them, in every subscription; how many. What is not waiting for its due time
    /// any more, or never was, is skipped.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name. The broker refuses with
    /// `subscription_not_found` if the queue has no subscription. Ranges beyond 10,000 messages take several requests,
    /// and an error leaves the ones before it done.
    pub async fn cancel(&self, ranges: &[OffsetRange]) -> Result<u64, Error> {
        let mut sum = 0;
        for bytes in requests(ranges) {
            let ranges = OffsetRanges::read(&bytes).map_err(|_| Error::unexpected())?;
            let answer = self.ask(ScheduleVerb::Cancel { ranges }).await?;
            let ScheduleAnswer::Cancelled { count } = answer else {
                return Err(Error::unexpected());
            };
            sum += u64::from(count);
        }
        Ok(sum)
    }

    /// Gives messages another due time, up to 366 days ahead; how many. One that is over means at once. What is not
    /// waiting for its due time any more, or never was, is skipped.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name. Ranges beyond 10,000 messages take several
    /// requests, and an error leaves the ones before it done.
    pub async fn move_to(&self, due: SystemTime, ranges: &[OffsetRange]) -> Result<u64, Error> {
        let since = due
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let due_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut sum = 0;
        for bytes in requests(ranges) {
            let ranges = OffsetRanges::read(&bytes).map_err(|_| Error::unexpected())?;
            let answer = self.ask(ScheduleVerb::Move { due_ms, ranges }).await?;
            let ScheduleAnswer::Moved { count } = answer else {
                return Err(Error::unexpected());
            };
            sum += u64::from(count);
        }
        Ok(sum)
    }

    async fn ask(&self, verb: ScheduleVerb<'_>) -> Result<ScheduleAnswer, Error> {
        check_name(&self.queue)?;
        let lane = Lane(0);
        let queue = self.queue.as_str();
        let request = Request::Schedule(OnSchedule { queue, lane, verb });
        let route = Route::Queue(queue, lane);
        let Answer::Schedule(answer) = self.client.ask(route, &request).await? else {
            return Err(Error::unexpected());
        };
        Ok(answer)
    }
}

/// The ranges of each request, in order, apart, and with as many messages as one may have.
fn requests(ranges: &[OffsetRange]) -> Vec<Vec<u8>> {
    let mut sorted: Vec<(u64, u64)> = ranges
        .iter()
        .map(|range| {
            (
                range.first.0,
                range.first.0.saturating_add(range.count.into()),
            )
        })
        .collect();
    sorted.sort_unstable();
    let mut requests: Vec<Vec<u8>> = Vec::new();
    let (mut next, mut left) = (0, 0);
    for (first, end) in sorted {
        next = first.max(next);
        while next < end {
            if left == 0 {
                requests.push(Vec::new());
                left = RESCHEDULE_MAX;
            }
            let count = u32::try_from(end - next).unwrap_or(u32::MAX).min(left);
            let range = OffsetRange {
                first: Offset(next),
                count,
            };
            if let Some(bytes) = requests.last_mut() {
                OffsetRanges::put(range, bytes);
            }
            left -= count;
            next = range.end().0;
        }
    }
    requests
}

#[cfg(test)]
mod tests;
