//! One independent consumption of a queue: state over offsets, never over messages.
//!
//! ```text
//!      done            between                 ready            (end of the queue)
//!  ------------|-------------------------|-------------------->
//!            done   done · leased ·    cursor      but for what is `ahead`
//!                   returned · delayed ·
//!                   dead · parked
//! ```
//! A scheduled message is delayed from the beginning, wherever the cursor stands: it is *ahead* until the cursor passes
//! by, and has its place and history like one that was given out.
//!
//! Invariants: (E4) between `done` and `cursor`, and ahead, every offset is exactly one of done out of order, leased,
//! returned, delayed, dead and parked. What is ahead does not touch the cursor, nor each other. (S1) returned fragments that touch differ in their attempts. (S2) what is done from
//! `begin` on was gone when the subscription began, or was acknowledged, expired or purged since.

use corelane_wire::{Aside, Offset, OffsetRange, ReturnTo, SubscriptionConfig, Timestamp};

use super::aside::{AsideSet, SetAside};
use super::behind::{Behind, BehindRow, Comeback};
use super::done_set::DoneSet;
use super::lease::HeldRun;
use super::letter::Letter;
use super::pages::Pages;
use super::waiting::Failed;
use crate::ids::SubscriptionId;

/// The replicated part of a subscription; who waits or listens is the engine's.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Subscription {
    /// Its number within the queue.
    pub(crate) id: SubscriptionId,
    /// Its name within the queue.
    pub(crate) name: String,
    /// How it treats failed attempts.
    pub(crate) config: SubscriptionConfig,
    /// Why it gives nothing out, if so.
    pub(crate) pause: Option<Pause>,
    /// Where it began, or was sought last.
    pub(crate) begin: Offset,
    /// Messages behind `begin` that were gone then.
    pub(crate) gone: u64,
    /// Everything below is done.
    pub(crate) done: Offset,
    /// Everything from here on was never given out.
    pub(crate) cursor: Offset,
    /// Done out of order, above `done`.
    pub(crate) done_set: DoneSet,
    /// Given out before and ready again, by first offset; they go first.
    pub(crate) returned: Pages<Offset, Fragment>,
    /// The same, where they go behind those that were enqueued before they came back.
    pub(crate) behind: Behind,
    /// Ready again at an instant of log time, by instant and first offset.
    pub(crate) delayed: Pages<(Timestamp, Offset), Fragment>,
    /// When what is delayed because it failed is due.
    pub(crate) failed: Failed,
    /// Behind the cursor, and not ready by their place, by first offset.
    pub(crate) ahead: Pages<Offset, u64>,
    /// Messages in `ahead`.
    pub(crate) ahead_count: u64,
    /// Messages under lease.
    pub(crate) leased: u64,
    /// Messages in `returned` and `behind`.
    pub(crate) returned_count: u64,
    /// Messages in `delayed`.
    pub(crate) delayed_count: u64,
    /// Failed too often, or rejected for good.
    pub(crate) dead: AsideSet,
    /// Set aside by a consumer.
    pub(crate) parked: AsideSet,
    /// The queue that dead messages go to, if they do.
    pub(crate) dead_letters: Option<Box<str>>,
    /// Those that are under way there.
    pub(crate) letter: Option<Letter>,
    /// Messages that were finished since it began, by how.
    pub(crate) finished: Finished,
}

/// How messages were finished: counted as it happened, not derived from what is done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Finished {
    /// By a consumer.
    pub(crate) acked: u64,
    /// By the end of their time to live.
    pub(crate) expired: u64,
    /// By a purge.
    pub(crate) purged: u64,
}

/// Why a subscription gives nothing out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Pause {
    /// As somebody said.
    pub(crate) reason: String,
    /// Since when, in log time.
    pub(crate) since: Timestamp,
}

/// Consecutive messages with the same history.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Fragment {
    /// How many.
    pub(crate) count: u64,
    /// How often they were given out so far.
    pub(crate) attempts: u32,
}

impl Finished {
    /// All of them.
    pub(crate) const fn all(&self) -> u128 {
        self.acked as u128 + self.expired as u128 + self.purged as u128
    }
}

impl Subscription {
    /// A subscription that begins at `from`.
    pub(crate) const fn new(id: SubscriptionId, name: String, from: Offset) -> Self {
        Self {
            id,
            name,
            config: SubscriptionConfig::PLAIN,
            pause: None,
            begin: from,
            gone: 0,
            done: from,
            cursor: from,
            done_set: DoneSet::new(),
            returned: Pages::new(),
            behind: Behind::new(),
            delayed: Pages::new(),
            failed: Failed::new(),
            ahead: Pages::new(),
            ahead_count: 0,
            leased: 0,
            returned_count: 0,
            delayed_count: 0,
            dead: AsideSet::new(),
            parked: AsideSet::new(),
            dead_letters: None,
            letter: None,
            finished: Finished {
                acked: 0,
                expired: 0,
                purged: 0,
            },
        }
    }

    /// Begins at `from`, with everything else forgotten but what it is; `gone` are messages behind it that nobody has
    /// any more, ascending; `scheduled` are others that are not due yet.
    pub(crate) fn begin_at(
        &mut self,
        from: Offset,
        gone: &[(Offset, Offset)],
        scheduled: &[(Timestamp, OffsetRange)],
    ) {
        *self = Self {
            config: self.config,
            pause: self.pause.take(),
            dead_letters: self.dead_letters.take(),
            ..Self::new(self.id, std::mem::take(&mut self.name), from)
        };
        for &(first, end) in gone {
            self.gone += end.0 - first.0;
            if self.cursor < first {
                let count = first.0 - self.cursor.0;
                let attempts = 0;
                self.put_returned(self.cursor, Fragment { count, attempts });
            }
            self.cursor = end;
            self.mark_done(first, end);
        }
        let scheduled = if self.delays() { scheduled } else { &[] };
        for &(due, range) in scheduled {
            self.schedule(due, range);
        }
        self.assert_counts();
    }

    /// Messages that it is there for, out of a queue that ends at `queue_end`.
    pub(crate) const fn enqueued(&self, queue_end: Offset) -> u64 {
        queue_end.0 - self.begin.0 - self.gone
    }

    /// The messages that were set aside in one way.
    pub(crate) const fn aside(&self, aside: Aside) -> &AsideSet {
        match aside {
            Aside::Dead => &self.dead,
            Aside::Parked => &self.parked,
        }
    }

    /// The same, to change them.
    pub(crate) const fn aside_mut(&mut self, aside: Aside) -> &mut AsideSet {
        match aside {
            Aside::Dead => &mut self.dead,
            Aside::Parked => &mut self.parked,
        }
    }

    /// Messages that are dead, those under way to a dead-letter queue included.
    pub(crate) fn dead_count(&self) -> u64 {
        self.dead.count() + self.letter.as_ref().map_or(0, |letter| letter.row.count)
    }

    /// Dead messages have arrived in their dead-letter queue: whoever consumes that has them now.
    pub(super) fn forwarded(&mut self, first: Offset, end: Offset) {
        self.finished.acked += end.0 - first.0;
        self.mark_done(first, end);
    }

    /// How far messages are done from `offset` on, if it is.
    pub(crate) fn done_end(&self, offset: Offset) -> Option<Offset> {
        if offset < self.done {
            Some(self.done)
        } else {
            self.done_set.end_of(offset)
        }
    }

    /// The first message done out of order after `offset`.
    pub(crate) fn next_done_after(&self, offset: Offset) -> Option<Offset> {
        self.done_set.next_after(offset)
    }

    /// Gives out messages that are ready; returns the attempt.
    pub(crate) fn take(&mut self, range: OffsetRange, queue_end: Offset) -> Option<u32> {
        let is_new =
            range.first == self.cursor || self.cursor < range.first && !self.is_ahead_within(range);
        if is_new {
            self.advance(range, queue_end)
        } else {
            self.take_returned(range)
        }
    }

    /// Gives messages out for the first time: mostly the next ones; those that are passed over can be given out
    /// still, as if they had come back.
    pub(crate) fn advance(&mut self, range: OffsetRange, queue_end: Offset) -> Option<u32> {
        let is_there = self.cursor <= range.first && range.end() <= queue_end;
        if !is_there || self.is_ahead_within(range) {
            return None;
        }
        if self.cursor < range.first {
            self.pass_over(range.first);
        }
        self.cursor = range.end();
        self.leased += u64::from(range.count);
        self.pass_by_ahead();
        Some(1)
    }

    /// Gives out returned messages again; returns the attempt, `None` without effect unless one fragment holds all.
    pub(crate) fn take_returned(&mut self, range: OffsetRange) -> Option<u32> {
        let fragment = self.cut_returned(range)?;
        self.leased += u64::from(range.count);
        Some(fragment.attempts.saturating_add(1))
    }

    /// Takes messages out of what is returned; `None` without effect unless one fragment holds all.
    pub(super) fn cut_returned(&mut self, range: OffsetRange) -> Option<Fragment> {
        if let Some(fragment) = self.behind.take(range) {
            self.returned_count -= u64::from(range.count);
            return Some(fragment);
        }
        let (&first, &fragment) = self.returned.at_or_before(&range.first)?;
        let end = Offset(first.0 + fragment.count);
        if range.end() > end {
            return None;
        }
        self.returned.remove(&first);
        let rest = |first: Offset, end: Offset| Fragment {
            count: end.0 - first.0,
            ..fragment
        };
        if first < range.first {
            self.returned.insert(first, rest(first, range.first));
        }
        if range.end() < end {
            self.returned.insert(range.end(), rest(range.end(), end));
        }
        self.returned_count -= u64::from(range.count);
        Some(fragment)
    }

    /// Held messages are done.
    pub(crate) fn finish(&mut self, run: HeldRun) {
        self.leased -= u64::from(run.count);
        self.finished.acked += u64::from(run.count);
        self.mark_done(run.first, run.end());
    }

    pub(super) fn mark_done(&mut self, first: Offset, end: Offset) {
        if first == self.done {
            self.done = end;
            if let Some(end) = self.done_set.take_first(self.done) {
                self.done = end;
            }
        } else {
            self.done_set.insert(first, end);
        }
    }

    /// Held messages are set aside.
    pub(crate) fn set_aside(&mut self, run: HeldRun, aside: Aside, row: SetAside) {
        self.leased -= u64::from(run.count);
        self.aside_mut(aside).put(run.first, row);
    }

    /// Messages that were set aside are ready again; false, without effect, unless one row holds all.
    pub(crate) fn bring_back(&mut self, aside: Aside, range: OffsetRange, back: Comeback) -> bool {
        let count = range.count.into();
        let Some(row) = self.aside_mut(aside).take(range.first, count) else {
            return false;
        };
        let attempts = match aside {
            Aside::Dead => 0,
            Aside::Parked => row.attempts,
        };
        self.come_back(range.first, Fragment { count, attempts }, back);
        true
    }

    /// Held messages are ready again at once.
    pub(crate) fn give_back(&mut self, run: HeldRun, attempts: u32, back: Comeback) {
        self.leased -= u64::from(run.count);
        let count = run.count.into();
        self.come_back(run.first, Fragment { count, attempts }, back);
    }

    /// Held messages are ready again at `due`.
    pub(crate) fn delay(&mut self, run: HeldRun, attempts: u32, due: Timestamp) {
        self.leased -= u64::from(run.count);
        self.delayed_count += u64::from(run.count);
        self.delayed.insert(
            (due, run.first),
            Fragment {
                count: run.count.into(),
                attempts,
            },
        );
    }

    /// Makes the first delayed fragment ready if it is due; returns which messages that are, as a range, end exclusive.
    pub(crate) fn come_due(&mut self, now: Timestamp, back: Comeback) -> Option<(Offset, Offset)> {
        let (&(due, first), &fragment) = self.delayed.first()?;
        if due > now {
            return None;
        }
        self.delayed.remove(&(due, first));
        self.failed.remove(first);
        self.delayed_count -= fragment.count;
        self.come_back(first, fragment, back);
        Some((first, Offset(first.0 + fragment.count)))
    }

    /// When the first delayed message is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.delayed.first().map(|(&(due, _), _)| due)
    }

    /// How scattered the messages between `done` and `cursor`, and ahead, are, but for those that are leased or set aside:
    /// what they cost.
    pub(crate) const fn fragments(&self) -> usize {
        let ready = self.returned.len() + self.behind.rows().len();
        self.done_set.pages() + ready + self.delayed.len() + self.ahead.len()
    }

    /// Which messages of `first..end` it is done with, as ranges, ends exclusive.
    pub(crate) fn done_between(
        &self,
        first: Offset,
        end: Offset,
    ) -> impl Iterator<Item = (Offset, Offset)> {
        let mut next = first;
        std::iter::from_fn(move || {
            let from = match self.done_end(next) {
                Some(_) => next,
                None => self.next_done_after(next)?,
            };
            let to = self.done_end(from)?.min(end);
            next = to;
            (from < to).then_some((from, to))
        })
    }

    /// Derives the counts of what was read from a checkpoint; false if there is more than was given out. What is
    /// neither done nor ready must be under lease.
    pub(crate) fn derive(&mut self) -> bool {
        let behind = self.behind.rows().iter().map(|(_, row)| row.fragment);
        let returned = self.returned.iter().map(|(_, fragment)| *fragment);
        let returned = sum(returned.chain(behind).map(|fragment| fragment.count));
        let delayed = sum(self.delayed.iter().map(|(_, fragment)| fragment.count));
        let (Some(returned), Some(delayed)) = (returned, delayed) else {
            return false;
        };
        self.returned_count = returned;
        self.delayed_count = delayed;
        let aside = [self.dead_count(), self.parked.count()];
        let others = [self.done_set.count(), returned, delayed].into_iter();
        let others = sum(others.chain(aside));
        let Some(ahead) = sum(self.ahead.iter().map(|(_, count)| *count)) else {
            return false;
        };
        self.ahead_count = ahead;
        let given = (self.cursor.0 - self.done.0).checked_add(ahead);
        let leased = given.and_then(|given| given.checked_sub(others?));
        self.leased = leased.unwrap_or(0);
        leased.is_some()
    }

    /// Freezes what is in it.
    pub(crate) fn freeze(&mut self) {
        self.done_set.map_mut().freeze(|_| {});
        self.returned.freeze(|_| {});
        self.behind.rows_mut().freeze(|_| {});
        self.delayed.freeze(|_| {});
        self.ahead.freeze(|_| {});
        self.dead.rows_mut().freeze(|_| {});
        self.parked.rows_mut().freeze(|_| {});
    }

    /// S2, the law: every message that is done was finished in some way.
    pub(crate) const fn accounts(&self) -> bool {
        // Sums of 64 bits each, which a checkpoint may say anything of.
        let done = (self.done.0 - self.begin.0) as u128 + self.done_set.count() as u128;
        done == self.gone as u128 + self.finished.all()
    }

    /// How many messages are ready, those above `committed` included.
    pub(crate) const fn ready(&self, queue_end: Offset) -> u64 {
        queue_end.0 - self.cursor.0 - self.ahead_count + self.returned_count
    }

    /// O(1) part of E4.
    pub(crate) fn assert_counts(&self) {
        assert!(self.done <= self.cursor, "E4: done behind cursor: {self:?}");
        assert_eq!(
            self.cursor.0 - self.done.0 + self.ahead_count,
            self.done_set.count()
                + self.leased
                + self.returned_count
                + self.delayed_count
                + self.dead_count()
                + self.parked.count(),
            "E4: messages between done and cursor of {}",
            self.name
        );
    }

    /// Messages are ready again, at the place that the configuration gives them.
    fn come_back(&mut self, first: Offset, fragment: Fragment, back: Comeback) {
        match self.config.returned {
            ReturnTo::Front => self.put_returned(first, fragment),
            ReturnTo::Back => {
                self.returned_count += fragment.count;
                self.behind.put(first, BehindRow { fragment, back });
            }
        }
    }

    /// What waits behind others has its turn by its offset from now on.
    pub(super) fn bring_to_front(&mut self) {
        let behind = std::mem::replace(&mut self.behind, Behind::new());
        for (&first, row) in behind.rows().iter() {
            self.returned_count -= row.fragment.count;
            self.put_returned(first, row.fragment);
        }
    }

    pub(super) fn put_returned(&mut self, mut first: Offset, mut fragment: Fragment) {
        self.returned_count += fragment.count;
        if let Some((&before, other)) = self.returned.at_or_before(&first)
            && before.0 + other.count == first.0
            && other.attempts == fragment.attempts
        {
            fragment.count += other.count;
            first = before;
        }
        let end = Offset(first.0 + fragment.count);
        if let Some(other) = self.returned.get(&end)
            && other.attempts == fragment.attempts
        {
            fragment.count += other.count;
            self.returned.remove(&end);
        }
        self.returned.insert(first, fragment);
    }
}

fn sum(mut counts: impl Iterator<Item = u64>) -> Option<u64> {
    counts.try_fold(0_u64, u64::checked_add)
}

#[cfg(test)]
mod tests;
