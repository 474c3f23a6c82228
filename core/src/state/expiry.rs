//! The end of messages' time to live: when it is, and what it does.
//!
//! Invariants: (T1) a message that is listed in `expiring` is in one group. (T2) what has lapsed waits in no subscription.
//! (T3) what is over is listed no more: it is done in every subscription, or it has lapsed.

use corelane_wire::{Offset, OffsetRange, Timestamp};

use super::done_set::DoneSet;
use super::queue::Queue;
use super::waiting::Undelivered;
use super::{Effects, HeldRun, Misfit, NO_QUEUE, State, SubscriptionKey};
use crate::ids::QueueId;

/// When messages expire that live for so many milliseconds from an instant on: a little later, so that many expire
/// together.
pub(crate) const fn expiry(from: Timestamp, ttl_ms: u64) -> Timestamp {
    let end = from.0.saturating_add(ttl_ms.saturating_mul(1_000_000));
    Timestamp(end.saturating_add(GRAIN_NS - 1) / GRAIN_NS * GRAIN_NS)
}

impl Queue {
    /// When the first time to live ends.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiring.first().map(|((at, _), _)| *at)
    }

    /// The time to live of messages ends at an instant.
    pub(super) fn expire_at(&mut self, at: Timestamp, range: OffsetRange) {
        self.put_expiring(at, range);
        self.sweep_expiring();
    }

    fn put_expiring(&mut self, at: Timestamp, range: OffsetRange) {
        let key = (at, range.first);
        if let Some((&before, &count)) = self.expiring.at_or_before(&key)
            && before.0 == at
            && before.1.0 + u64::from(count) == range.first.0
            && let Some(count) = count.checked_add(range.count)
        {
            self.expiring.insert(before, count);
        } else {
            self.expiring.insert(key, range.count);
        }
    }

    /// Forgets some of the groups that nobody needs: the next ones, going round. So there are never many of them.
    fn sweep_expiring(&mut self) {
        let next = self.swept.unwrap_or_default();
        let groups = self.expiring.from(next).take(SWEEP_GROUPS + 1);
        let groups: Vec<_> = groups.map(|(key, count)| (*key, *count)).collect();
        self.swept = Some(match groups.get(SWEEP_GROUPS) {
            Some(&(key, _)) => key,
            None => Default::default(),
        });
        for (key, count) in groups.into_iter().take(SWEEP_GROUPS) {
            let end = Offset(key.1.0 + u64::from(count));
            // Whoever hears a broadcast may come to what others need no more.
            let is_needed = !self.broadcasts.is_empty() || self.is_needed(key.1, end);
            if end <= self.start || !is_needed {
                self.expiring.remove(&key);
            }
        }
    }

    /// Takes out what expires first, if its time is over.
    fn take_expired(&mut self, now: Timestamp) -> Option<(Offset, Offset)> {
        let (&(at, first), &count) = self.expiring.first()?;
        if at > now {
            return None;
        }
        self.expiring.remove(&(at, first));
        Some((first, Offset(first.0 + u64::from(count))))
    }

    /// Messages that expire at one instant do at another.
    pub(super) fn move_expiry(&mut self, before: Timestamp, after: Timestamp, range: OffsetRange) {
        let from = self.expiring.at_or_before(&(before, range.first));
        let from = from.map_or((before, range.first), |(key, _)| *key);
        let groups = self.expiring.from(from.max((before, Offset(0))));
        let groups = groups.take_while(|((at, first), _)| *at == before && *first < range.end());
        let groups: Vec<_> = groups.map(|(key, count)| (*key, *count)).collect();
        for (key, count) in groups {
            let (first, end) = (key.1, Offset(key.1.0 + u64::from(count)));
            let (from, to) = (first.max(range.first), end.min(range.end()));
            if from >= to {
                continue;
            }
            self.expiring.remove(&key);
            for (at, from, to) in [(before, first, from), (after, from, to), (before, to, end)] {
                if from < to {
                    let count = count_of(from, to);
                    self.put_expiring(at, OffsetRange { first: from, count });
                }
            }
        }
    }

    /// The time to live of kept messages is over.
    fn lapse(&mut self, first: Offset, end: Offset) {
        let first = first.max(self.start);
        if first < end {
            self.lapsed.insert(first, end);
            let end = self.unretained(end);
            if self.subscriptions.is_empty() && first < end {
                self.runs.kill(first, end);
            }
        }
    }

    /// Messages expire when they do in another queue, of which this one has the messages.
    pub(super) fn mirror_expiring(&mut self, other: &Self) {
        self.expiring = other.expiring.clone();
        self.swept = other.swept;
        self.lapsed = other.lapsed.clone();
        self.note_failed();
    }

    /// Derives when messages are due that may expire before, from what is delayed.
    pub(crate) fn note_failed(&mut self) {
        if self.expiring.len() == 0 {
            return;
        }
        for of in &mut self.subscriptions {
            for (&(due, first), _) in of.delayed.iter() {
                of.failed.put(first, due);
            }
        }
    }

    /// Forgets what has lapsed and is not kept any more.
    pub(super) fn forget_lapsed(&mut self) {
        if self.lapsed.count() > 0 {
            self.lapsed.drop_before(self.start);
        }
    }

    /// Where a broadcast goes on from `offset`: what has lapsed is not given out, nor anything that may have.
    pub(crate) fn heard_from(&self, offset: Offset) -> Option<(Offset, Offset)> {
        if self.swept.is_none() {
            return self.runs.kept_from(offset);
        }
        let mut next = offset.max(self.start);
        loop {
            let (first, end) = self.runs.kept_from(next)?;
            let Some(to) = self.lapsed.end_of(first) else {
                let lapsed = self.lapsed.next_after(first);
                return Some((first, lapsed.map_or(end, |lapsed| lapsed.min(end))));
            };
            next = to;
        }
    }
}

impl State {
    /// Finishes what waits of the messages whose time to live is over; handles at most about `work` groups and pieces of
    /// them and returns what is left of it.
    pub(super) fn apply_expiries(&mut self, mut work: usize, effects: &mut Effects) -> usize {
        while work > 0
            && let Some(&(at, id)) = self.expiries.first()
            && at <= self.clock.log
        {
            let queue = self.queues.get_mut(id).expect(NO_EXPIRY);
            let (first, end) = queue.take_expired(self.clock.log).expect(NO_EXPIRY);
            let after = queue.next_expiry();
            self.move_queue_expiry(id, Some(at), after);
            work = work.saturating_sub(1 + self.expire(id, (first, end), effects));
        }
        work
    }

    /// The time to live of messages is over; in how many pieces they waited.
    fn expire(&mut self, id: QueueId, range: (Offset, Offset), effects: &mut Effects) -> usize {
        let queue = self.queues.get(id).expect(NO_EXPIRY);
        let subscriptions: Vec<_> = queue.subscriptions.iter().map(|it| it.id).collect();
        let expired = subscriptions
            .into_iter()
            .map(|of| self.end_waiting((id, of), Undelivered::Expired, range, effects));
        let pieces = expired.sum();
        let queue = self.queues.get_mut(id).expect(NO_EXPIRY);
        queue.lapse(range.0, range.1);
        self.counts.messages -= queue.advance_start();
        pieces
    }

    /// Messages that were brought back expire if their time to live is over.
    pub(super) fn expire_lapsed(
        &mut self,
        key: SubscriptionKey,
        range: OffsetRange,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let queue = self.queues.get(key.0).ok_or(NO_QUEUE)?;
        let lapsed: Vec<_> = queue.lapsed.between(range.first, range.end()).collect();
        for piece in lapsed {
            self.end_waiting(key, Undelivered::Expired, piece, effects);
        }
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        self.counts.messages -= queue.advance_start();
        Ok(())
    }

    /// Messages that come back from a lease are done if their time to live is over: takes those out of `removed`.
    pub(super) fn expire_held(
        &mut self,
        key: SubscriptionKey,
        removed: &mut Vec<HeldRun>,
    ) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        if queue.lapsed.count() == 0 {
            return Ok(());
        }
        let expired = split_lapsed(&queue.lapsed, removed);
        let subscription = queue
            .subscription_mut(key.1)
            .ok_or(super::NO_SUBSCRIPTION)?;
        for run in &expired {
            let count = u64::from(run.count);
            subscription.leased -= count;
            subscription.end_undelivered(Undelivered::Expired, &[(run.first, run.end())]);
            self.counts.leased -= count;
            self.counts.expired += count;
        }
        for run in expired {
            queue.done_in(key.1, run.first, run.end());
        }
        self.counts.messages -= queue.advance_start();
        Ok(())
    }

    /// Keeps the index over the instants at which the first time to live in a queue ends.
    pub(super) fn move_queue_expiry(
        &mut self,
        id: QueueId,
        before: Option<Timestamp>,
        after: Option<Timestamp>,
    ) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.expiries.remove(&(before, id));
        }
        if let Some(after) = after {
            self.expiries.insert((after, id));
        }
    }
}

/// Takes out the parts of runs that have lapsed.
fn split_lapsed(lapsed: &DoneSet, runs: &mut Vec<HeldRun>) -> Vec<HeldRun> {
    let mut expired = Vec::new();
    let mut rest = Vec::new();
    for run in runs.drain(..) {
        let mut next = run.first;
        for (first, end) in lapsed.between(run.first, run.end()) {
            rest.extend(run.part(next, first));
            expired.extend(run.part(first, end));
            next = end;
        }
        rest.extend(run.part(next, run.end()));
    }
    *runs = rest;
    expired
}

fn count_of(first: Offset, end: Offset) -> u32 {
    u32::try_from(end.0 - first.0).expect("a part of a group of 32 bits")
}

/// What ends within the same so many nanoseconds ends together, when they are over.
const GRAIN_NS: u64 = 4_000_000;
/// With each group that is added so many are looked at.
const SWEEP_GROUPS: usize = 4;
const NO_EXPIRY: &str = "a queue that is deleted leaves no entry in `expiries`";

#[cfg(test)]
mod tests;
