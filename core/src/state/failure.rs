//! Messages that come back from a lease: given back, tried again later, or set aside.

use std::sync::Arc;
use std::time::Duration;

use corelane_wire::limits::DELAY_MS_MAX;
use corelane_wire::{
    Aside, AsideCause, Fate, LeaseId, Lsn, Offset, SessionId, SettleEntry, SubscriptionConfig,
    Timestamp,
};

use super::aside::SetAside;
use super::behind::Comeback;
use super::lease::Holder;
use super::{Counts, Effects, HeldRun, Lease, Misfit, NO_QUEUE, NO_SUBSCRIPTION, NOT_HELD};
use super::{State, Subscription, SubscriptionKey};
use crate::limits::{ASIDE_ROWS_MAX, SWEEP_MAX};
use crate::record::Record;
use crate::time::LeaseTime;

/// What became of attempts that a record ends.
#[derive(Clone, Debug)]
struct Ended {
    /// What becomes of the messages; `None`: the attempt does not count.
    fate: Option<Fate>,
    /// Why, should they be set aside.
    cause: AsideCause,
    /// The same in words.
    text: Option<Arc<str>>,
    /// In milliseconds; `None` stands for the back-off of the subscription.
    delay: Option<u64>,
    /// The record.
    lsn: Lsn,
    /// Its log time.
    now: Timestamp,
}

impl State {
    pub(super) fn apply_nack(
        &mut self,
        lsn: Lsn,
        record: &Record,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let &Record::Nack {
            queue,
            subscription,
            delay_ms,
            count_attempt,
            ref entries,
        } = record
        else {
            return Err(super::WRONG_KIND);
        };
        let ended = Ended {
            fate: count_attempt.then_some(Fate::Retry),
            cause: AsideCause::Attempts,
            text: None,
            delay: Some(delay_ms),
            lsn,
            now: self.clock.log,
        };
        self.end_entries((queue, subscription), entries, &ended, effects)
    }

    pub(super) fn apply_reject(
        &mut self,
        lsn: Lsn,
        record: &Record,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let Record::Reject {
            queue,
            subscription,
            fate,
            text,
            entries,
        } = record
        else {
            return Err(super::WRONG_KIND);
        };
        let ended = Ended {
            fate: Some(*fate),
            cause: match fate {
                Fate::Retry => AsideCause::Attempts,
                Fate::Dead | Fate::Park => AsideCause::Rejected,
            },
            text: Some(Arc::from(&**text)),
            delay: None,
            lsn,
            now: self.clock.log,
        };
        self.end_entries((*queue, *subscription), entries, &ended, effects)
    }

    /// Ends the leases that are past their deadline; handles at most `work` of them and returns what is left of it.
    pub(super) fn expire_leases(
        &mut self,
        lsn: Lsn,
        now: LeaseTime,
        mut work: usize,
        effects: &mut Effects,
    ) -> usize {
        let ended = Ended {
            fate: Some(Fate::Retry),
            cause: AsideCause::LeaseExpired,
            text: None,
            delay: None,
            lsn,
            now: self.clock.log,
        };
        while work > 0
            && let Some(expired) = self.leases.expire_first(now, &mut effects.removed)
        {
            work -= 1;
            self.end_removed(expired, &ended, effects);
        }
        work
    }

    pub(super) fn apply_release(&mut self, lsn: Lsn, session: SessionId, effects: &mut Effects) {
        let ended = Ended {
            fate: None,
            cause: AsideCause::LeaseExpired,
            text: None,
            delay: Some(0),
            lsn,
            now: self.clock.log,
        };
        for _ in 0..SWEEP_MAX {
            let removed = &mut effects.removed;
            let Some(released) = self.leases.release_first(session, removed) else {
                return;
            };
            self.end_removed(released, &ended, effects);
        }
    }

    /// Ends what was taken out of one lease.
    fn end_removed(
        &mut self,
        (lease, key, holder): (LeaseId, SubscriptionKey, Holder),
        ended: &Ended,
        effects: &mut Effects,
    ) {
        for run in &effects.removed {
            effects.freed.push((lease, run.count));
        }
        if self.leases.get(lease).is_none() {
            effects.ended.push(lease);
        }
        self.end_runs(key, holder, ended, effects)
            .expect("a subscription that is gone leaves no lease");
    }

    fn end_entries(
        &mut self,
        key: SubscriptionKey,
        entries: &[SettleEntry],
        ended: &Ended,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        for entry in entries {
            let holder = self.leases.get(entry.lease).map(Lease::holder);
            let holder = holder.ok_or(NOT_HELD)?;
            self.remove_held(key, std::slice::from_ref(entry), effects)?;
            self.end_runs(key, holder, ended, effects)?;
        }
        Ok(())
    }

    /// Decides where each run in `effects.removed` goes.
    fn end_runs(
        &mut self,
        key: SubscriptionKey,
        holder: Holder,
        ended: &Ended,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let subscription = self.subscription_mut(key)?;
        let due_before = subscription.next_due();
        effects.change_removed(key, subscription);
        self.expire_held(key, &mut effects.removed)?;
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let about = (queue.end, queue.next_expiry().is_some());
        let subscription = queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
        for run in effects.removed.drain(..) {
            ended.end((subscription, about), run, holder, &mut self.counts);
        }
        // Others may be given out now, though these may not.
        effects.ready.push(key);
        subscription.assert_counts();
        let due_after = subscription.next_due();
        self.move_due(key, due_before, due_after);
        Ok(())
    }
}

impl Ended {
    /// Puts the messages of a run where they belong.
    fn end(
        &self,
        (subscription, (queue_end, may_expire)): (&mut Subscription, (Offset, bool)),
        run: HeldRun,
        holder: Holder,
        counts: &mut Counts,
    ) {
        let count = u64::from(run.count);
        counts.leased -= count;
        if let Some(aside) = self.aside(subscription, run) {
            let row = SetAside {
                count,
                attempts: run.attempt,
                cause: self.cause,
                since: self.now,
                leased: holder.given,
                session: holder.session,
                text: self.text.clone().unwrap_or_else(|| "".into()),
            };
            subscription.set_aside(run, aside, row);
            *counts.aside_mut(aside) += count;
            return;
        }
        let attempts = match self.fate {
            Some(_) => run.attempt,
            None => run.attempt - 1,
        };
        let backoff = || {
            backoff_ms(
                subscription.config,
                run.attempt,
                mix(self.lsn.0, run.first.0),
            )
        };
        let delay = self.delay.unwrap_or_else(backoff);
        if delay == 0 {
            let lsn = self.lsn;
            subscription.give_back(run, attempts, Comeback { lsn, queue_end });
            counts.ready += count;
            return;
        }
        let due = self.now.add(Duration::from_millis(delay));
        if may_expire {
            subscription.failed.put(run.first, due);
        }
        subscription.delay(run, attempts, due);
        counts.delayed += count;
    }

    /// Where the messages are set aside, if they are. Where there is no room for more, they are tried once more.
    fn aside(&self, subscription: &Subscription, run: HeldRun) -> Option<Aside> {
        let attempts_max = subscription.config.attempts_max;
        let is_last = attempts_max > 0 && run.attempt >= attempts_max;
        match self.fate? {
            Fate::Dead => Some(Aside::Dead),
            Fate::Park => Some(Aside::Parked),
            Fate::Retry if is_last && subscription.dead.rows().len() < ASIDE_ROWS_MAX => {
                Some(Aside::Dead)
            }
            Fate::Retry => None,
        }
    }
}

/// The delay after failed attempt number `attempt`, in milliseconds: doubled with each, capped, and from the upper half
/// of that, so that what failed together does not come back together.
fn backoff_ms(config: SubscriptionConfig, attempt: u32, seed: u64) -> u64 {
    let cap = match config.backoff_max_ms {
        0 => DELAY_MS_MAX,
        max => max,
    };
    let doublings = attempt.saturating_sub(1).min(63);
    let full = config.backoff_ms.saturating_mul(1 << doublings).min(cap);
    let drawn = (u128::from(full / 2) * u128::from(seed >> 32)) >> 32;
    full - u64::try_from(drawn).expect("less than half of it")
}

/// A number from two that looks drawn (the finaliser of splitmix64).
const fn mix(left: u64, right: u64) -> u64 {
    let mut mixed = left.rotate_left(32) ^ right.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
