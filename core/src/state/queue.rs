//! A queue: its messages as runs, and its subscriptions.
//!
//! Invariants: (Q1) `start` is the least offset that some subscription is not done with, or `retained_from` if that is
//! less; without a subscription everything from `start` on is kept. (Q2) the live messages of the stretches are those
//! from `start` on that some subscription is not done with, and all from `retained_from` on.

use std::hash::{Hash, Hasher};

use corelane_wire::{Lsn, Offset, QueueConfig, Timestamp};

use super::done_set::DoneSet;
use super::pages::Pages;
use super::runs::{EnqueueRun, Layout, Runs};
use super::schedule::Group;
use super::subscription::Subscription;
use crate::ids::SubscriptionId;

/// The replicated part of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// Its name within the partition.
    pub(crate) name: String,
    /// When it was created, in log time.
    pub(crate) created: Timestamp,
    /// The offset of the next message.
    pub(crate) end: Offset,
    /// The first message that is kept.
    pub(crate) start: Offset,
    /// A hash over everything that was enqueued.
    pub(crate) enqueued: u64,
    /// Which records the messages came with.
    pub(crate) runs: Runs,
    /// By number, ascending; those that messages are kept for.
    pub(crate) subscriptions: Vec<Subscription>,
    /// By number, ascending; those that nothing is kept for.
    pub(crate) broadcasts: Vec<Subscription>,
    /// The number of the next subscription; never given twice.
    pub(crate) next_subscription: SubscriptionId,
    /// Messages that are due later, by offset. What comes due goes then, or some time after.
    pub(crate) scheduled: Pages<Offset, Group>,
    /// What it keeps and takes.
    pub(crate) config: QueueConfig,
    /// Messages from here on are kept although every subscription is done with them: its end when that was configured,
    /// or where it was trimmed last.
    pub(crate) retained_from: Option<Offset>,
    /// Messages whose time to live ends, by then.
    pub(crate) expiring: Pages<(Timestamp, Offset), u32>,
    /// Which of them is looked at next, whether anybody needs it; `None` if no message ever had a time to live.
    pub(crate) swept: Option<(Timestamp, Offset)>,
    /// Kept messages whose time to live has ended.
    pub(crate) lapsed: DoneSet,
}

impl Queue {
    /// A queue without messages.
    pub(crate) fn new(name: String, created: Timestamp) -> Self {
        Self {
            name,
            created,
            end: Offset(0),
            start: Offset(0),
            enqueued: 0,
            runs: Runs::default(),
            subscriptions: Vec::new(),
            broadcasts: Vec::new(),
            next_subscription: SubscriptionId(0),
            scheduled: Pages::new(),
            config: QueueConfig::PLAIN,
            retained_from: None,
            expiring: Pages::new(),
            swept: None,
            lapsed: DoneSet::new(),
        }
    }

    /// The number of the subscription with this name.
    pub(crate) fn find(&self, name: &str) -> Option<SubscriptionId> {
        let mut subscriptions = self.subscriptions.iter().chain(&self.broadcasts);
        let found = subscriptions.find(|subscription| subscription.name == name)?;
        Some(found.id)
    }

    /// The subscription with this number.
    pub(crate) fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        match self.place_of(id) {
            Some(at) => self.subscriptions.get(at),
            None => self.broadcasts.iter().find(|it| it.id == id),
        }
    }

    /// The subscription with this number, to change it; none that nothing is kept for.
    pub(crate) fn subscription_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        let at = self.place_of(id)?;
        self.subscriptions.get_mut(at)
    }

    fn place_of(&self, id: SubscriptionId) -> Option<usize> {
        // While none was deleted, a number is a place.
        let at = id.0 as usize;
        if self.subscriptions.get(at).is_some_and(|it| it.id == id) {
            return Some(at);
        }
        let found = self.subscriptions.binary_search_by_key(&id, |it| it.id);
        found.ok()
    }

    /// Adds a subscription under the next number; messages that nobody has any more are not for it.
    pub(crate) fn subscribe(&mut self, now: Timestamp, name: &str, from: Offset) -> &Subscription {
        let id = self.next_subscription;
        self.next_subscription = SubscriptionId(id.0 + 1);
        let gone = self.gone_from(from);
        let mut subscription = Subscription::new(id, name.to_owned(), from);
        subscription.begin_at(from, &gone, &self.scheduled_from(now, from, &gone));
        self.subscriptions.push(subscription);
        self.subscriptions.last().expect("it was just pushed")
    }

    /// Into how many pieces the messages from `from` on come apart at most for a subscription that begins there; not
    /// counted beyond `max` for any other one.
    pub(crate) fn pieces_from(&self, from: Offset, max: usize) -> usize {
        let end = self.unretained(self.end);
        let others = self.subscriptions.iter().filter(|_| from < end);
        let pieces = others.map(|of| of.done_between(from, end).take(max).count());
        pieces.sum::<usize>() + self.lapsed.between(from, self.end).take(max).count()
    }

    /// Begins a subscription anew at `from`. `None` if there is none.
    pub(crate) fn seek(&mut self, now: Timestamp, id: SubscriptionId, from: Offset) -> Option<()> {
        let gone = self.gone_from(from);
        let scheduled = self.scheduled_from(now, from, &gone);
        self.pass_by(id, from)?;
        let lapsed: Vec<_> = self.lapsed.between(from, self.end).collect();
        for (first, end) in lapsed {
            self.pass_by_within(id, first, end)?;
        }
        let subscription = self.subscription_mut(id)?;
        subscription.begin_at(from, &gone, &scheduled);
        Some(())
    }

    /// Takes a subscription out; returns it, and how far `start` moved. With the last one all messages go that are not
    /// retained, and what comes is kept for the next first one.
    pub(crate) fn unsubscribe(&mut self, id: SubscriptionId) -> Option<(Subscription, u64)> {
        self.pass_by(id, self.end)?;
        let at = self.place_of(id)?;
        let gone = self.subscriptions.remove(at);
        let mut moved = self.advance_start();
        if self.subscriptions.is_empty() {
            let start = self.unretained(self.end);
            moved += start.0 - self.start.0;
            self.start = start;
            self.forget_lapsed();
        }
        Some((gone, moved))
    }

    /// What a subscription was not done with before `end` is dead if all others are done with it.
    pub(super) fn pass_by(&mut self, id: SubscriptionId, end: Offset) -> Option<()> {
        self.pass_by_within(id, self.start, end)
    }

    fn pass_by_within(&mut self, id: SubscriptionId, first: Offset, end: Offset) -> Option<()> {
        let subscription = self.subscription(id)?;
        let mut needed = Vec::new();
        let mut next = first;
        for (first, to) in subscription.done_between(first, end) {
            if next < first {
                needed.push((next, first));
            }
            next = to;
        }
        if next < end {
            needed.push((next, end));
        }
        for (first, end) in needed {
            self.done_in(id, first, end);
        }
        Some(())
    }

    /// The end of the messages whose Enqueue record is below `committed`.
    pub(crate) fn visible_end(&self, committed: Lsn) -> Offset {
        if committed == Lsn(0) {
            // Before the first commit of a start nothing is known to be.
            return self.start;
        }
        self.runs.first_from(committed).unwrap_or(self.end)
    }

    /// Adds the messages of an Enqueue record; see [`Runs::push`].
    pub(crate) fn push(&mut self, run: EnqueueRun, layout: Layout) -> Option<Offset> {
        let words = [
            run.lsn.0,
            run.first.0,
            run.count.into(),
            run.bytes.into(),
            run.time.0,
        ];
        for word in words {
            let mixed = (self.enqueued ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.enqueued = mixed.rotate_left(31);
        }
        self.end = run.end();
        self.runs.push(run, layout)
    }

    /// The subscription is done with these messages: those with which all others are done too are dead.
    pub(crate) fn done_in(&mut self, id: SubscriptionId, first: Offset, end: Offset) {
        let end = self.unretained(end);
        if end <= first {
            return;
        }
        if self.subscriptions.len() == 1 {
            return self.runs.kill(first, end);
        }
        let others = self.subscriptions.iter().filter(|other| other.id != id);
        for (first, end) in gone_between(others, first, end) {
            self.runs.kill(first, end);
        }
    }

    /// Live messages get a new place; see [`Runs::relocate`].
    pub(crate) fn relocate(&mut self, run: EnqueueRun, layout: Layout) -> Option<Offset> {
        let mut runs = std::mem::take(&mut self.runs);
        let relocated = runs.relocate(run, layout, |first, end| self.live_count(first, end));
        self.runs = runs;
        relocated
    }

    /// A segment of the log has begun; see [`Runs::cut`].
    pub(crate) fn cut(&mut self, layout: Layout) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.cut(layout, |first, end| self.live_count(first, end));
        self.runs = runs;
    }

    /// Whether a message of a range is kept.
    pub(super) fn is_needed(&self, first: Offset, end: Offset) -> bool {
        self.live_count(first, end) > 0
    }

    /// The messages of a run that are kept, as ranges, ends exclusive.
    pub(crate) fn live_in(&self, run: EnqueueRun) -> Vec<(Offset, Offset)> {
        self.live_between(run.first, run.end())
    }

    /// How many messages of a range are kept.
    fn live_count(&self, first: Offset, end: Offset) -> u64 {
        let live = self.live_between(first, end).into_iter();
        live.map(|(first, end)| end.0 - first.0).sum()
    }

    /// The messages of a range that are kept, as ranges, ends exclusive.
    pub(super) fn live_between(&self, first: Offset, end: Offset) -> Vec<(Offset, Offset)> {
        let first = first.max(self.start);
        let mut next = first;
        let mut live = Vec::new();
        for (first, after) in self
            .dead_between(first, end)
            .into_iter()
            .chain([(end, end)])
        {
            if next < first {
                live.push((next, first));
            }
            next = next.max(after);
        }
        live
    }

    /// The messages of a range from `start` on that are not kept: not retained, and every subscription is done with them,
    /// or, without one, they have lapsed.
    fn dead_between(&self, first: Offset, end: Offset) -> Vec<(Offset, Offset)> {
        let end = self.unretained(end);
        match &*self.subscriptions {
            [] => self.lapsed.between(first, end).collect(),
            of => gone_between(of, first, end),
        }
    }

    /// The messages from an offset on that a subscription which begins there has no more, as ranges, ends exclusive.
    pub(crate) fn gone_from(&self, from: Offset) -> Vec<(Offset, Offset)> {
        let lapsed = self.lapsed.between(from, self.end);
        if self.subscriptions.is_empty() {
            return lapsed.collect();
        }
        let gone = gone_between(&self.subscriptions, from, self.unretained(self.end));
        if self.lapsed.count() == 0 {
            return gone;
        }
        let mut all: Vec<_> = gone.into_iter().chain(lapsed).collect();
        all.sort_unstable();
        all.dedup_by(|after, before| {
            let touches = after.0 <= before.1;
            if touches {
                before.1 = before.1.max(after.1);
            }
            touches
        });
        all
    }

    /// `end`, or where messages are retained if that is before it.
    pub(super) fn unretained(&self, end: Offset) -> Offset {
        self.retained_from.map_or(end, |from| from.min(end))
    }

    /// Messages are retained from `to` on, which is not before where they were; what is before, and what nobody needs,
    /// goes.
    pub(super) fn retain_from(&mut self, to: Option<Offset>) {
        let before = std::mem::replace(&mut self.retained_from, to);
        if let Some(from) = before {
            self.kill_all(self.dead_between(from, self.end));
        }
    }

    /// The first subscription begins at `from`: what is before is dead.
    pub(super) fn begin_first(&mut self, from: Offset) {
        self.kill_all(self.live_between(self.start, self.unretained(from)));
    }

    /// These messages are not kept any more.
    pub(super) fn kill_all(&mut self, ranges: Vec<(Offset, Offset)>) {
        for (first, end) in ranges {
            self.runs.kill(first, end);
        }
    }

    /// Moves `start` behind what is done in every subscription, or, if there is none, has lapsed, and what is not
    /// retained; returns how many messages that are.
    pub(crate) fn advance_start(&mut self) -> u64 {
        let done = self.subscriptions.iter().map(|each| each.done).min();
        let Some(done) = done.or_else(|| self.lapsed.end_of(self.start)) else {
            return 0;
        };
        let done = self.unretained(done);
        let moved = done.0 - self.start.0;
        self.start = done;
        self.forget_lapsed();
        moved
    }

    /// Whether a subscription gives out messages of the stretch that holds `offset` next, or of the one before it.
    pub(crate) fn is_near(&self, offset: Offset) -> bool {
        let Some((first, stretch)) = self.runs.stretch_of(offset) else {
            return false;
        };
        let end = stretch.end;
        let before = self.runs.stretches().range(..first).next_back();
        let from = before.map_or(first, |(before, _)| *before);
        self.subscriptions.iter().any(|each| {
            let next = each
                .returned
                .first()
                .map_or(each.cursor, |(first, _)| *first);
            (from..end).contains(&next) || (from..end).contains(&each.cursor)
        })
    }

    /// Freezes what is in it; returns the last offset of a stretch that became a chunk of its own.
    pub(super) fn freeze(&mut self, layout: Layout) -> Option<Offset> {
        for subscription in &mut self.subscriptions {
            subscription.freeze();
        }
        self.scheduled.freeze(|_| {});
        self.expiring.freeze(|_| {});
        self.lapsed.map_mut().freeze(|_| {});
        self.runs.freeze(layout)
    }
}

impl Hash for Queue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Which records are kept follows from what was enqueued and what is done.
        self.name.hash(state);
        self.created.hash(state);
        self.end.hash(state);
        self.start.hash(state);
        self.enqueued.hash(state);
        self.subscriptions.hash(state);
        self.broadcasts.hash(state);
        self.next_subscription.hash(state);
        self.scheduled.hash(state);
        self.config.hash(state);
        self.retained_from.hash(state);
        self.expiring.hash(state);
        self.swept.hash(state);
        self.lapsed.hash(state);
    }
}

/// The messages of a range that every one of these subscriptions is done with, as ranges, ends exclusive.
fn gone_between<'a>(
    subscriptions: impl IntoIterator<Item = &'a Subscription>,
    first: Offset,
    end: Offset,
) -> Vec<(Offset, Offset)> {
    let mut gone: Vec<_> = [(first, end)].into_iter().filter(|_| first < end).collect();
    for subscription in subscriptions {
        let both = gone.into_iter();
        let both = both.flat_map(|(first, end)| subscription.done_between(first, end));
        gone = both.collect();
    }
    gone
}
