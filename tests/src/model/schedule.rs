//! When messages are due, drawn, and random requests about those that are due later.

use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::{Lane, Offset, OffsetRange, OnSchedule, Request, ScheduleVerb};

use super::operations::{MILLISECOND, Mood, Operation};
use super::side_by_side::Pair;

impl Mood {
    /// Mostly so that neighbours are due together.
    pub(super) fn due_ms(&mut self, now: u64) -> Option<u64> {
        match self.random.below(60) {
            0 => Some(now + DELAY_MS_MAX + 1_000_000),
            1 => Some(now - 5_000),
            2..16 => None,
            16..30 => Some(now + 3_000),
            30..45 => Some(now / 20_000 * 20_000 + 40_000),
            _ => Some(now + self.random.skewed(1, 60_000)),
        }
    }

    /// Mostly of what waits for its due time, with neighbours that may not.
    pub(super) fn reschedule(&mut self, pair: &Pair) -> Operation {
        let (queue, log_now) = (self.queue(), pair.model.log_now());
        let found = pair.model.state.find(queue);
        let messages = found.map(|queue| pair.model.state.queues[queue].messages.iter());
        let all = (0..).zip(messages.into_iter().flatten());
        let later = all.filter(|(_, message)| message.due > log_now);
        let later: Vec<u64> = later.map(|(offset, _)| offset).collect();
        let mut next = match later.len() {
            0 => self.random.below(9),
            many => later[self.random.index(many)].saturating_sub(self.random.below(3)),
        };
        let mut ranges = Vec::new();
        for _ in 0..self.number(1, 3) {
            let count = self.number(1, 5);
            let first = Offset(next);
            ranges.push(OffsetRange { first, count });
            next += u64::from(count) + self.random.below(4);
        }
        let now = log_now / MILLISECOND;
        let due_ms = self.due_ms(now).unwrap_or(now + 1_000);
        Operation::Reschedule {
            queue,
            due_ms: (!self.random.one_in(3)).then_some(due_ms),
            ranges,
        }
    }

    pub(super) fn list_scheduled(&mut self) -> Request<'static> {
        Request::Schedule(OnSchedule {
            queue: self.queue(),
            lane: Lane(0),
            verb: ScheduleVerb::List {
                from: Offset(self.random.skewed(1, 100) - 1),
                limit: 1_000,
            },
        })
    }
}
