//! The leases of a partition: who holds which messages until when.
//!
//! Messages are kept as runs inside their lease, so that "held by this lease" is asked of the lease alone; the three
//! indexes (by id, by deadline, by session) hold the same leases.
//! Invariants: (L1) runs of a lease are sorted, disjoint and not empty. (L2) a lease's deadline is the least of its
//! runs'. (L3) a lease that holds nothing does not exist.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use corelane_wire::{LeaseId, Offset, OffsetRange, SessionId, Timestamp};

use super::SubscriptionKey;
use super::chunk::Chunk;
use super::pages::{FrozenPage, Page, Pages};
use crate::time::LeaseTime;

/// All leases of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    held: Pages<LeaseId, Lease>,
    by_deadline: BTreeSet<(LeaseTime, LeaseId)>,
    by_session: BTreeSet<(SessionId, LeaseId)>,
}

/// What one Lease record gave out and is not settled.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Lease {
    /// Whose messages.
    pub(crate) key: SubscriptionKey,
    /// Who holds them.
    pub(crate) session: SessionId,
    /// When they were given out, in log time.
    pub(crate) given: Timestamp,
    deadline: LeaseTime,
    runs: Vec<HeldRun>,
}

/// Who was given messages last, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Holder {
    /// The session.
    pub(crate) session: SessionId,
    /// In log time.
    pub(crate) given: Timestamp,
}

/// Messages held alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HeldRun {
    /// The first message.
    pub(crate) first: Offset,
    /// How many.
    pub(crate) count: u32,
    /// How often they were given out, this time included.
    pub(crate) attempt: u32,
    /// When they return unless settled.
    pub(crate) deadline: LeaseTime,
}

impl Leases {
    /// Opens a lease; `runs` are sorted by `first`.
    pub(crate) fn open(
        &mut self,
        id: LeaseId,
        (key, session, given): (SubscriptionKey, SessionId, Timestamp),
        runs: Vec<HeldRun>,
    ) {
        let lease = Lease {
            key,
            session,
            given,
            deadline: least_deadline(&runs),
            runs,
        };
        assert!(!lease.runs.is_empty(), "L3: lease {id} begins empty");
        self.by_deadline.insert((lease.deadline, id));
        self.by_session.insert((session, id));
        let replaced = self.held.insert(id, lease);
        assert!(replaced.is_none(), "lease {id} is opened twice");
    }

    /// The lease with this id.
    pub(crate) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.held.get(&id)
    }

    /// Takes `range` out of a lease of `key` and appends it to `removed`; false, without effect, if it does not hold
    /// all of it. A lease that holds nothing any more ends.
    pub(crate) fn remove(
        &mut self,
        id: LeaseId,
        key: SubscriptionKey,
        range: OffsetRange,
        removed: &mut Vec<HeldRun>,
    ) -> bool {
        let Some(lease) = self.held.get_mut(&id).filter(|lease| lease.key == key) else {
            return false;
        };
        lease.cut(range, removed) && {
            self.settle_indexes(id);
            true
        }
    }

    /// Gives `range` of a lease of `key` another deadline; false, without effect, if it does not hold all of it.
    pub(crate) fn extend(
        &mut self,
        id: LeaseId,
        key: SubscriptionKey,
        range: OffsetRange,
        deadline: LeaseTime,
    ) -> bool {
        let Some(lease) = self.held.get_mut(&id).filter(|lease| lease.key == key) else {
            return false;
        };
        let mut cut = Vec::new();
        lease.cut(range, &mut cut) && {
            for run in cut {
                lease.put(HeldRun { deadline, ..run });
            }
            self.settle_indexes(id);
            true
        }
    }

    /// Ends what is past its deadline in the lease that expires first; `None` if none is past it.
    pub(crate) fn expire_first(
        &mut self,
        now: LeaseTime,
        removed: &mut Vec<HeldRun>,
    ) -> Option<(LeaseId, SubscriptionKey, Holder)> {
        let &(deadline, id) = self.by_deadline.first()?;
        if deadline > now {
            return None;
        }
        let lease = self.held.get_mut(&id)?;
        let (key, holder) = (lease.key, lease.holder());
        removed.extend(lease.runs.extract_if(.., |run| run.deadline <= now));
        self.settle_indexes(id);
        Some((id, key, holder))
    }

    /// Ends the first lease of a session; `None` if it has none.
    pub(crate) fn release_first(
        &mut self,
        session: SessionId,
        removed: &mut Vec<HeldRun>,
    ) -> Option<(LeaseId, SubscriptionKey, Holder)> {
        let id = self.first_of(session)?;
        let lease = self.held.get_mut(&id)?;
        let (key, holder) = (lease.key, lease.holder());
        removed.append(&mut lease.runs);
        self.settle_indexes(id);
        Some((id, key, holder))
    }

    /// Ends all leases whose key `is_gone`; returns their ids, and how many messages each held.
    pub(crate) fn drop_where(
        &mut self,
        is_gone: impl Fn(SubscriptionKey) -> bool,
    ) -> Vec<(LeaseId, u32)> {
        let gone = self.held.iter();
        let gone = gone.filter(|(_, lease)| is_gone(lease.key));
        let count = |lease: &Lease| lease.runs.iter().map(|run| run.count).sum();
        let gone: Vec<_> = gone.map(|(&id, lease)| (id, count(lease))).collect();
        for &(id, _) in &gone {
            if let Some(lease) = self.held.get_mut(&id) {
                lease.runs.clear();
            }
            self.settle_indexes(id);
        }
        gone
    }

    /// When the first lease expires.
    pub(crate) fn next_deadline(&self) -> Option<LeaseTime> {
        self.by_deadline.first().map(|&(deadline, _)| deadline)
    }

    /// How many messages of a subscription a session holds.
    pub(crate) fn held_by(&self, session: SessionId, key: SubscriptionKey) -> u64 {
        let leases = self.by_session.range((session, LeaseId::default())..);
        let leases = leases.take_while(|(of, _)| *of == session);
        let leases = leases.filter_map(|(_, id)| self.held.get(id));
        let runs = leases
            .filter(|lease| lease.key == key)
            .flat_map(Lease::runs);
        runs.map(|run| u64::from(run.count)).sum()
    }

    /// Whether a session holds a lease.
    pub(crate) fn has_session(&self, session: SessionId) -> bool {
        self.first_of(session).is_some()
    }

    /// The sessions that hold leases, each once.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        let mut sessions: Vec<SessionId> = self.by_session.iter().map(|&(of, _)| of).collect();
        sessions.dedup();
        sessions
    }

    /// How many leases there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// All leases, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.held.iter().map(|(&id, lease)| (id, lease))
    }

    /// The leases as of now, in pages.
    pub(crate) fn freeze(&mut self) -> Vec<FrozenPage<LeaseId, Lease>> {
        self.held.freeze(|_| {})
    }

    /// Takes in a page that was read from a checkpoint; false if it does not follow those before.
    pub(crate) fn push_page(&mut self, page: Chunk<Page<LeaseId, Lease>>) -> bool {
        for (id, lease) in page.get() {
            self.by_deadline.insert((lease.deadline, *id));
            self.by_session.insert((lease.session, *id));
        }
        self.held.push_page(page)
    }

    /// O(1) part of the invariants: the indexes hold as many leases.
    pub(crate) fn assert_counts(&self) {
        assert_eq!(
            self.held.len(),
            self.by_deadline.len(),
            "leases by deadline"
        );
        assert_eq!(self.held.len(), self.by_session.len(), "leases by session");
    }

    fn first_of(&self, session: SessionId) -> Option<LeaseId> {
        self.by_session
            .range((session, LeaseId::default())..)
            .next()
            .filter(|&&(of, _)| of == session)
            .map(|&(_, id)| id)
    }

    /// Brings the indexes in line after the runs of a lease changed.
    fn settle_indexes(&mut self, id: LeaseId) {
        let Some(lease) = self.held.get_mut(&id) else {
            return;
        };
        let before = lease.deadline;
        if lease.runs.is_empty() {
            let session = lease.session;
            self.held.remove(&id);
            self.by_deadline.remove(&(before, id));
            self.by_session.remove(&(session, id));
            return;
        }
        lease.deadline = least_deadline(&lease.runs);
        if lease.deadline != before {
            self.by_deadline.remove(&(before, id));
            self.by_deadline.insert((lease.deadline, id));
        }
    }
}

impl Hash for Leases {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.held.hash(state);
    }
}

impl Lease {
    /// Who has, or had, the messages.
    pub(crate) const fn holder(&self) -> Holder {
        Holder {
            session: self.session,
            given: self.given,
        }
    }

    /// A lease as it was read from a checkpoint; `None` if its runs are not those of one.
    pub(crate) fn read(
        (key, session, given): (SubscriptionKey, SessionId, Timestamp),
        runs: Vec<HeldRun>,
    ) -> Option<Self> {
        let is_whole = runs.iter().all(|run| run.count > 0 && run.attempt > 0)
            && runs.is_sorted_by(|left, right| left.end() <= right.first)
            && !runs.is_empty();
        is_whole.then(|| Self {
            key,
            session,
            given,
            deadline: least_deadline(&runs),
            runs,
        })
    }

    /// The run that holds `offset`.
    pub(crate) fn run_at(&self, offset: Offset) -> Option<HeldRun> {
        let run = *self.runs.get(self.first_ending_after(offset))?;
        (run.first <= offset).then_some(run)
    }

    /// The first held offset after `offset`, if `offset` itself is not held.
    pub(crate) fn next_after(&self, offset: Offset) -> Option<Offset> {
        let run = self.runs.get(self.first_ending_after(offset))?;
        Some(run.first)
    }

    /// The runs in order.
    pub(crate) fn runs(&self) -> &[HeldRun] {
        &self.runs
    }

    fn first_ending_after(&self, offset: Offset) -> usize {
        self.runs.partition_point(|run| run.end() <= offset)
    }

    /// Takes `range` out; false, without effect, unless all of it is held.
    fn cut(&mut self, range: OffsetRange, removed: &mut Vec<HeldRun>) -> bool {
        let (first, end) = (range.first, range.end());
        let from = self.first_ending_after(first);
        let mut covered = first;
        let mut to = from;
        while covered < end {
            match self.runs.get(to) {
                Some(run) if run.first <= covered => covered = run.end(),
                Some(_) | None => return false,
            }
            to += 1;
        }
        let (head, tail) = match (self.runs.get(from), self.runs.get(to.wrapping_sub(1))) {
            (Some(&head), Some(&tail)) => (head.before(first), tail.from(end)),
            (_, _) => return false,
        };
        for run in &self.runs[from..to] {
            removed.extend(run.from(first).and_then(|run| run.before(end)));
        }
        self.runs.splice(from..to, head.into_iter().chain(tail));
        true
    }

    /// Puts a run into its place, joined with neighbours that are held alike.
    fn put(&mut self, run: HeldRun) {
        let at = self.runs.partition_point(|other| other.first < run.first);
        self.runs.insert(at, run);
        if at + 1 < self.runs.len() && self.runs[at].joins(&self.runs[at + 1]) {
            self.runs[at].count += self.runs[at + 1].count;
            self.runs.remove(at + 1);
        }
        if at > 0 && self.runs[at - 1].joins(&self.runs[at]) {
            self.runs[at - 1].count += self.runs[at].count;
            self.runs.remove(at);
        }
    }
}

impl HeldRun {
    /// The end, exclusive.
    pub(crate) const fn end(&self) -> Offset {
        Offset(self.first.0 + self.count as u64)
    }

    /// What lies within `first..end`, if anything.
    pub(super) fn part(self, first: Offset, end: Offset) -> Option<Self> {
        self.from(first)?.before(end)
    }

    /// What lies before `end`, if anything.
    fn before(self, end: Offset) -> Option<Self> {
        let kept = self.end().min(end).0.saturating_sub(self.first.0);
        self.sized(self.first, kept)
    }

    /// What lies from `first` on, if anything.
    fn from(self, first: Offset) -> Option<Self> {
        let first = self.first.max(first);
        self.sized(first, self.end().0.saturating_sub(first.0))
    }

    fn sized(self, first: Offset, count: u64) -> Option<Self> {
        let count = u32::try_from(count).expect("a part is not larger than its run");
        (count > 0).then_some(Self {
            first,
            count,
            ..self
        })
    }

    fn joins(&self, next: &Self) -> bool {
        self.end() == next.first && self.attempt == next.attempt && self.deadline == next.deadline
    }
}

/// The least deadline; lease time 0 for no runs, which no lease has.
fn least_deadline(runs: &[HeldRun]) -> LeaseTime {
    runs.iter()
        .map(|run| run.deadline)
        .min()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
