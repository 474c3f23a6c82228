//! What each record does: the one place in which replicated state changes.
//!
//! Live, after a restart and on a replica the same record has the same effect; nothing else goes in than the state,
//! the record, its number and its log time. `docs/records.md` says the same in words.

use std::time::Duration;

use corelane_wire::{
    Contract, Epoch, LeaseId, Lsn, Offset, OffsetRange, ProducerId, SettleEntry, Timestamp,
};

use super::behind::Comeback;
use super::expiry::expiry;
use super::{
    Effects, EnqueueRun, HeldRun, Misfit, NO_QUEUE, NO_SUBSCRIPTION, NOT_HELD, Queue, ReplayError,
    State, SubscriptionKey, WRONG_KIND,
};
use crate::ids::QueueId;
use crate::limits::SWEEP_MAX;
use crate::record::{AT_ONCE, Record, Scheduled};
use crate::time::LeaseTime;

impl State {
    /// Applies the record with number `lsn` and log time `time`; adds to `effects` what it did.
    ///
    /// # Errors
    /// If the record does not fit; the state is not to be used any more then.
    pub(crate) fn apply(
        &mut self,
        lsn: Lsn,
        time: Timestamp,
        record: &Record,
        effects: &mut Effects,
    ) -> Result<(), ReplayError> {
        if lsn != self.end {
            return Err(ReplayError::Gap {
                expected: self.end,
                found: lsn,
            });
        }
        if time < self.clock.log {
            return Err(ReplayError::TimeWentBack {
                lsn,
                before: self.clock.log,
                found: time,
            });
        }
        let before = self.clock.log;
        self.clock.log = time;
        self.apply_kind(lsn, before, record, effects)
            .map_err(|what| ReplayError::Inconsistent {
                lsn,
                kind: record.kind(),
                what,
            })?;
        self.end = Lsn(lsn.0 + 1);
        Ok(())
    }

    fn apply_kind(
        &mut self,
        lsn: Lsn,
        before: Timestamp,
        record: &Record,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        match record {
            Record::Epoch { epoch, jump_ns } => self.apply_epoch(*epoch, *jump_ns, before),
            Record::Create { queue, name } => self.queues.create(*queue, name, self.clock.log),
            Record::Enqueue { .. } => self.apply_enqueue(lsn, record),
            Record::Reschedule { queue, due, ranges } => {
                self.apply_reschedule(*queue, *due, ranges, effects)
            }
            Record::Relocate { .. } => self.apply_relocate(lsn, record),
            Record::Lease { .. } => self.apply_lease(lsn, record),
            Record::Take {
                queue,
                subscription,
                ranges,
            } => self.apply_take((*queue, *subscription), ranges),
            Record::Ack {
                queue,
                subscription,
                entries,
            } => self.apply_ack((*queue, *subscription), entries, effects),
            Record::Nack { .. } => self.apply_nack(lsn, record, effects),
            Record::Reject { .. } => self.apply_reject(lsn, record, effects),
            Record::Extend { .. } => self.apply_extend(record),
            Record::Tick => {
                self.apply_tick(lsn, effects);
                Ok(())
            }
            Record::Release { session } => {
                self.apply_release(lsn, *session, effects);
                Ok(())
            }
            Record::Delete { queue } => self.apply_delete(*queue, effects),
            Record::ConfigureQueue { queue, config } => self.apply_queue_config(*queue, config),
            Record::Trim { queue, end, how } => self.apply_trim(*queue, (*end, *how), effects),
            Record::Subscribe {
                queue,
                subscription,
                name,
                from,
            } => self.apply_subscribe((*queue, *subscription), name, *from),
            Record::Change {
                queue,
                subscription,
                change,
            } => self.apply_change(lsn, (*queue, *subscription), change, effects),
        }
    }

    fn apply_epoch(&mut self, epoch: Epoch, jump_ns: u64, before: Timestamp) -> Result<(), Misfit> {
        if epoch <= self.epoch {
            return Err("the epoch is not greater than the one before");
        }
        if self.clock.log.0 - before.0 < jump_ns {
            return Err("log time moved less than the jump");
        }
        self.epoch = epoch;
        self.clock.jumps += jump_ns;
        Ok(())
    }

    fn apply_enqueue(&mut self, lsn: Lsn, record: &Record) -> Result<(), Misfit> {
        let &Record::Enqueue {
            queue: id,
            first,
            count,
            bytes,
            largest,
            producer,
            sequence,
            ref schedule,
        } = record
        else {
            return Err(WRONG_KIND);
        };
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        if first != queue.end {
            return Err("the first offset is not the end of the queue");
        }
        first.0.checked_add(count.into()).ok_or(OFFSET_OVERFLOW)?;
        if producer != ProducerId::NONE {
            let range = OffsetRange { first, count };
            let now = self.clock.lease();
            self.producers
                .record((id, producer), sequence, range, now)?;
        }
        let run = EnqueueRun {
            lsn,
            first,
            count,
            bytes,
            largest,
            time: self.clock.log,
        };
        if let Some(closed) = queue.push(run, self.layout) {
            self.loaded.push(id, closed, queue.runs.loaded_at(closed));
        }
        self.counts.messages += u64::from(count);
        let added = u64::from(count) * queue.subscriptions.len() as u64;
        self.counts.ready += added;
        self.counts.enqueued += added;
        if let Some(schedule) = schedule {
            self.apply_schedule(id, first, schedule)?;
        }
        Ok(())
    }

    /// Some of the messages that were just added are due later, or expire.
    pub(super) fn apply_schedule(
        &mut self,
        id: QueueId,
        first: Offset,
        schedule: &[Scheduled],
    ) -> Result<(), Misfit> {
        let now = self.clock.log;
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        let due = |queue: &Queue| -> Vec<_> {
            let subscriptions = queue.subscriptions.iter();
            subscriptions.map(|of| (of.id, of.next_due())).collect()
        };
        let before = due(queue);
        let expiry_before = queue.next_expiry();
        let mut scheduled = 0;
        for each in schedule {
            let range = OffsetRange {
                first: Offset(first.0 + u64::from(each.index)),
                count: each.count,
            };
            if each.ttl_ms > 0 {
                queue.expire_at(expiry(each.due.max(now), each.ttl_ms), range);
            }
            if each.due == AT_ONCE {
                continue;
            }
            queue.schedule(now, (each.due, each.ttl_ms), range);
            let delaying = queue.subscriptions.iter().filter(|it| it.delays());
            scheduled += u64::from(each.count) * delaying.count() as u64;
        }
        self.counts.ready -= scheduled;
        self.counts.delayed += scheduled;
        let after = due(queue);
        let expiry_after = queue.next_expiry();
        self.move_queue_expiry(id, expiry_before, expiry_after);
        for ((of, before), (_, after)) in before.into_iter().zip(after) {
            self.move_due((id, of), before, after);
        }
        Ok(())
    }

    /// Nothing changes but where the messages lie.
    fn apply_relocate(&mut self, lsn: Lsn, record: &Record) -> Result<(), Misfit> {
        let &Record::Relocate {
            queue: id,
            first,
            count,
            bytes,
            largest,
            enqueued,
        } = record
        else {
            return Err(WRONG_KIND);
        };
        let run = EnqueueRun {
            lsn,
            first,
            count,
            bytes,
            largest,
            time: enqueued,
        };
        let queue = self.queues.get_mut(id).ok_or(NO_QUEUE)?;
        let relocated = queue.relocate(run, self.layout);
        let grown = (id, relocated.ok_or("the messages are not kept")?);
        match self.growing.replace(grown) {
            Some(before) if before != grown => self.close(before),
            Some(_) | None => {}
        }
        Ok(())
    }

    fn apply_lease(&mut self, lsn: Lsn, record: &Record) -> Result<(), Misfit> {
        let Record::Lease {
            queue: queue_id,
            subscription: id,
            session,
            lease_ms,
            ranges,
        } = record
        else {
            return Err(WRONG_KIND);
        };
        let queue = self.queues.get_mut(*queue_id).ok_or(NO_QUEUE)?;
        let queue_end = queue.end;
        let subscription = queue.subscription_mut(*id).ok_or(NO_SUBSCRIPTION)?;
        let deadline = self.clock.lease().later(millis(*lease_ms));
        let mut runs: Vec<HeldRun> = Vec::with_capacity(ranges.len());
        for &range in ranges {
            let attempt = subscription.take(range, queue_end);
            if runs.last().is_some_and(|run| run.end() > range.first) {
                return Err("the ranges are not in order");
            }
            runs.push(HeldRun {
                first: range.first,
                count: range.count,
                attempt: attempt.ok_or("a message is not ready")?,
                deadline,
            });
            self.counts.ready -= u64::from(range.count);
            self.counts.leased += u64::from(range.count);
        }
        if runs.is_empty() {
            return Err("the lease is empty");
        }
        subscription.assert_counts();
        let lease = LeaseId {
            epoch: self.epoch,
            lsn,
        };
        let whose = ((*queue_id, *id), *session, self.clock.log);
        self.leases.open(lease, whose, runs);
        Ok(())
    }

    /// Messages are done before they are given out, or because a reader has read them for good.
    fn apply_take(&mut self, key: SubscriptionKey, ranges: &[OffsetRange]) -> Result<(), Misfit> {
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let queue_end = queue.end;
        let subscription = queue.subscription(key.1).ok_or(NO_SUBSCRIPTION)?;
        if subscription.config.contract == Contract::Reader {
            return self.apply_read(key, ranges);
        }
        for &range in ranges {
            let subscription = queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
            let attempt = subscription.take(range, queue_end);
            subscription.finish(HeldRun {
                first: range.first,
                count: range.count,
                attempt: attempt.ok_or("a message is not ready")?,
                deadline: LeaseTime::default(),
            });
            subscription.assert_counts();
            self.counts.ready -= u64::from(range.count);
            self.counts.acked += u64::from(range.count);
            queue.done_in(key.1, range.first, range.end());
        }
        self.counts.messages -= queue.advance_start();
        Ok(())
    }

    fn apply_ack(
        &mut self,
        key: SubscriptionKey,
        entries: &[SettleEntry],
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        self.remove_held(key, entries, effects)?;
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let subscription = queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
        let leased = subscription.leased;
        for run in &effects.removed {
            subscription.finish(*run);
        }
        subscription.assert_counts();
        let finished = leased - subscription.leased;
        let done = subscription.done;
        effects.change_removed(key, subscription);
        for run in effects.removed.drain(..) {
            queue.done_in(key.1, run.first, run.end());
        }
        self.counts.leased -= finished;
        self.counts.acked += finished;
        if done > queue.start {
            self.counts.messages -= queue.advance_start();
        }
        // A subscription that was too scattered for new messages may not be so any more.
        effects.ready.push(key);
        Ok(())
    }

    fn apply_extend(&mut self, record: &Record) -> Result<(), Misfit> {
        let Record::Extend {
            queue,
            subscription,
            lease_ms,
            entries,
        } = record
        else {
            return Err(WRONG_KIND);
        };
        let deadline = self.clock.lease().later(millis(*lease_ms));
        for entry in entries {
            let key = (*queue, *subscription);
            if !self.leases.extend(entry.lease, key, entry.range, deadline) {
                return Err(NOT_HELD);
            }
        }
        Ok(())
    }

    fn apply_tick(&mut self, lsn: Lsn, effects: &mut Effects) {
        let now = self.clock.lease();
        let mut work = self.expire_leases(lsn, now, SWEEP_MAX, effects);
        while work > 0
            && let Some(&(due, key)) = self.due.first()
            && due <= self.clock.log
        {
            work = self.apply_due(lsn, key, work, effects);
        }
        // What is due may expire, so that it has come before.
        work = self.apply_expiries(work, effects);
        self.producers.sweep(now, work);
    }

    /// Makes what is due in a subscription ready; handles at most `work` fragments and returns what is left of it.
    fn apply_due(
        &mut self,
        lsn: Lsn,
        key: SubscriptionKey,
        mut work: usize,
        effects: &mut Effects,
    ) -> usize {
        let now = self.clock.log;
        let queue = self.queues.get_mut(key.0).expect(NO_DUE);
        let back = Comeback {
            lsn,
            queue_end: queue.end,
        };
        let subscription = queue.subscription_mut(key.1).expect(NO_DUE);
        let mut came = Vec::new();
        let before = subscription.next_due();
        while work > 0
            && let Some((first, end)) = subscription.come_due(now, back)
        {
            work -= 1;
            self.counts.delayed -= end.0 - first.0;
            self.counts.ready += end.0 - first.0;
            effects.change(key, subscription, first, end);
            came.push((first, end));
        }
        subscription.assert_counts();
        let after = subscription.next_due();
        for (first, end) in came {
            queue.forget_due(now, first, end);
        }
        self.move_due(key, before, after);
        effects.ready.push(key);
        work
    }

    /// Takes the entries out of their leases into `effects.removed`.
    pub(super) fn remove_held(
        &mut self,
        key: SubscriptionKey,
        entries: &[SettleEntry],
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        for entry in entries {
            let removed = &mut effects.removed;
            if !self.leases.remove(entry.lease, key, entry.range, removed) {
                return Err(NOT_HELD);
            }
            effects.freed.push((entry.lease, entry.range.count));
            if self.leases.get(entry.lease).is_none() {
                effects.ended.push(entry.lease);
            }
        }
        Ok(())
    }

    /// Keeps the index over the subscriptions' first due instants.
    pub(super) fn move_due(
        &mut self,
        key: SubscriptionKey,
        before: Option<Timestamp>,
        after: Option<Timestamp>,
    ) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, key));
        }
        if let Some(after) = after {
            self.due.insert((after, key));
        }
    }
}

const fn millis(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds as u64)
}

const NO_DUE: &str = "a queue that is deleted leaves no entry in `due`";
const OFFSET_OVERFLOW: Misfit = "the offsets are used up";
