//! Ephemeral subscriptions: what durable ones promise while somebody uses them, and nothing of it is written.
//!
//! They have a state of their own beside the replicated one. A record about one of them is applied there and never
//! appended; what the log says about their queues is told to both. Who used one last leaves it [`EPHEMERAL_GRACE`] to be
//! used again; then it is gone.
//!
//! Invariants: (X1) no record of the log names an ephemeral subscription, and no lease of the log has the epoch of
//! theirs. (X2) one that nobody uses has an instant at which it ends. (X3) what is kept does not depend on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use corelane_wire::{
    Contract, Epoch, ErrorCode, Lsn, Offset, SubscriptionConfig, SubscriptionVerb, Timestamp,
    is_ephemeral,
};

use super::readers::pieces;
use super::request::Refusal;
use super::{Engine, Output};
use crate::ids::{ConnectionId, QueueId, SubscriptionId};
use crate::limits::EPHEMERAL_GRACE;
use crate::record::{Change, Record};
use crate::state::runs::Runs;
use crate::state::{State, Subscription, SubscriptionKey};

/// The ephemeral subscriptions of a partition.
#[derive(Debug, Default)]
pub(super) struct Ephemerals {
    pub(super) state: State,
    /// How many there were since the start.
    made: u32,
    /// What connections use, and whether for more than their consumers.
    uses: BTreeMap<(ConnectionId, SubscriptionKey), bool>,
    /// The same by subscription.
    users: BTreeSet<(SubscriptionKey, ConnectionId)>,
    /// When those end that nobody uses, in node time.
    ends: BTreeMap<SubscriptionKey, Timestamp>,
    by_end: BTreeSet<(Timestamp, SubscriptionKey)>,
}

impl Ephemerals {
    /// Those of a start, which has none yet.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            state: State::beside(epoch),
            ..Self::default()
        }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.state.counts.subscriptions
    }

    /// Those of a queue.
    pub(super) fn in_queue(&self, queue: QueueId) -> &[Subscription] {
        let queue = self.state.queues.get(queue);
        queue.map_or(&[], |queue| &queue.subscriptions)
    }

    /// The one of this name.
    fn find(&self, queue: QueueId, name: &str) -> Option<SubscriptionKey> {
        let id = self.state.queues.get(queue)?.find(name)?;
        Some((queue, id))
    }

    /// A connection uses one; `is_asking` for more than a consumer.
    pub(super) fn enter(
        &mut self,
        connection: ConnectionId,
        key: SubscriptionKey,
        is_asking: bool,
    ) {
        if key.1.is_ephemeral() {
            *self.uses.entry((connection, key)).or_default() |= is_asking;
            self.users.insert((key, connection));
            self.keep(key);
        }
    }

    /// A connection has no consumer of a subscription any more.
    fn leave(&mut self, now: Timestamp, connection: ConnectionId, key: SubscriptionKey) {
        if self.uses.get(&(connection, key)) == Some(&false) {
            self.end_use(now, connection, key);
        }
    }

    /// A connection has gone.
    pub(super) fn disconnect(&mut self, now: Timestamp, connection: ConnectionId) {
        let from = (connection, SubscriptionKey::default());
        let uses = self.uses.range(from..);
        let uses = uses.take_while(|((of, _), _)| *of == connection);
        for key in uses.map(|((_, key), _)| *key).collect::<Vec<_>>() {
            self.end_use(now, connection, key);
        }
    }

    fn end_use(&mut self, now: Timestamp, connection: ConnectionId, key: SubscriptionKey) {
        self.uses.remove(&(connection, key));
        self.users.remove(&(key, connection));
        if !self.is_used(key) {
            let end = now.add(EPHEMERAL_GRACE);
            self.ends.insert(key, end);
            self.by_end.insert((end, key));
        }
    }

    fn is_used(&self, key: SubscriptionKey) -> bool {
        let mut users = self.users.range((key, ConnectionId(0))..);
        users.next().is_some_and(|(of, _)| *of == key)
    }

    /// One does not end for now.
    fn keep(&mut self, key: SubscriptionKey) {
        if let Some(end) = self.ends.remove(&key) {
            self.by_end.remove(&(end, key));
        }
    }

    /// These have gone.
    pub(super) fn forget(&mut self, is_gone: impl Fn(SubscriptionKey) -> bool) {
        self.uses.retain(|(_, key), _| !is_gone(*key));
        self.users.retain(|(key, _)| !is_gone(*key));
        self.ends.retain(|key, _| !is_gone(*key));
        self.by_end.retain(|(_, key)| !is_gone(*key));
    }

    /// When something of them is due, in log time.
    pub(super) fn next_tick(&self) -> Option<Timestamp> {
        if self.len() == 0 {
            return None;
        }
        self.state.next_tick()
    }

    /// When the first one ends.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(end, _)| *end)
    }

    /// O(1) part of the invariants.
    pub(super) fn assert_counts(&self) {
        assert_eq!(self.uses.len(), self.users.len(), "uses by subscription");
        assert_eq!(self.ends.len(), self.by_end.len(), "ends by instant");
        self.state.leases.assert_counts();
    }

    /// O(n) check of X2, and of the state; for tests.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        self.state.assert_consistent_beside();
        for (queue, of) in self.state.queues.iter() {
            assert!(!of.subscriptions.is_empty(), "nobody is subscribed to it");
            for subscription in &of.subscriptions {
                let key = (queue, subscription.id);
                let ends = self.ends.contains_key(&key);
                assert_ne!(self.is_used(key), ends, "X2: {}", subscription.name);
            }
        }
    }
}

impl Engine {
    /// The state that has a subscription.
    pub(super) const fn state_of(&self, key: SubscriptionKey) -> &State {
        if key.1.is_ephemeral() {
            &self.ephemerals.state
        } else {
            &self.state
        }
    }

    /// A subscription, ephemeral or not.
    pub(super) fn subscription(&self, key: SubscriptionKey) -> Option<&Subscription> {
        self.state_of(key).subscription(key)
    }

    /// The number of the subscription with this name.
    pub(super) fn find_key(&self, queue: QueueId, name: &str) -> Option<SubscriptionKey> {
        if is_ephemeral(name) {
            return self.ephemerals.find(queue, name);
        }
        Some((queue, self.state.queues.get(queue)?.find(name)?))
    }

    /// An ephemeral subscription begins.
    pub(super) fn begin_ephemeral(
        &mut self,
        now: Timestamp,
        queue: QueueId,
        name: &str,
        from: Offset,
    ) -> Result<SubscriptionKey, Refusal> {
        let made = self.ephemerals.made;
        let id = SubscriptionId(SubscriptionId::EPHEMERAL | made);
        let of = self.state.queues.get(queue);
        let of = of.filter(|_| made < SubscriptionId::EPHEMERAL);
        let Some(of) = of else {
            let text = format!("the partition had {made} ephemeral subscriptions since its start");
            return Err((ErrorCode::LimitExceeded, text));
        };
        self.ephemerals.made += 1;
        let key = (queue, id);
        let log_now = self.log_now(now);
        let state = &mut self.ephemerals.state;
        state.begin_beside(log_now, of, key, (name, from));
        Ok(key)
    }

    /// Applies a record about ephemeral subscriptions.
    pub(super) fn apply_beside(&mut self, now: Timestamp, record: &Record) -> Lsn {
        let time = self.log_now(now);
        self.effects.clear();
        let state = &mut self.ephemerals.state;
        let lsn = state.apply_beside(time, record, &mut self.effects);
        self.demand.absorb(&self.effects);
        lsn
    }

    /// Tells ephemeral subscriptions what a record does to their queues, before it does; adds to `effects`.
    pub(super) fn follow(&mut self, time: Timestamp, record: &Record) {
        if self.ephemerals.len() > 0 {
            let state = &mut self.ephemerals.state;
            let followed = state.follow(time, &self.state, record, &mut self.effects);
            followed.expect("what is beside a state fits to it");
        }
    }

    /// A consumer has gone from a connection that still is there.
    pub(super) fn leave_ephemeral(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        key: SubscriptionKey,
    ) {
        if !self.demand.has_consumer_of(connection, key) {
            self.ephemerals.leave(now, connection, key);
        }
    }

    /// Ends what nobody has used for its time, and does what is due.
    pub(super) fn tend_ephemerals(&mut self, now: Timestamp, outputs: &mut VecDeque<Output>) {
        while let Some(&(end, key)) = self.ephemerals.by_end.first()
            && end <= now
        {
            self.change(now, key, Change::Unsubscribe, outputs);
            self.forget_subscription(key, outputs);
        }
        let due = self.ephemerals.next_tick();
        if due.is_some_and(|due| due <= self.log_now(now)) {
            self.apply_beside(now, &Record::Tick);
        }
    }

    /// Passes by what an ephemeral subscription would give out next and what is gone: it is missed.
    pub(super) fn pass_by_gone(&mut self, key: SubscriptionKey) {
        let queue = self.state.queues.get(key.0);
        let of = self.ephemerals.state.subscription(key);
        let (Some(queue), Some(of)) = (queue, of) else {
            return;
        };
        let visible = queue.visible_end(self.committed);
        let returned = of.ready_again();
        let returned = returned.flat_map(|(first, end)| gone_between(&queue.runs, first, end));
        let mut gone: Vec<_> = returned.collect();
        let kept = queue.runs.kept_from(of.cursor);
        let kept = kept.map_or(visible, |(first, _)| first.min(visible));
        gone.extend(of.unread(kept));
        self.miss(key, &gone);
    }

    /// Makes room for more in an ephemeral subscription that is too scattered: what waits for its time is missed, the
    /// first first.
    pub(super) fn unscatter(&mut self, key: SubscriptionKey) {
        while self
            .ephemerals
            .state
            .subscription(key)
            .is_some_and(|of| of.fragments() >= self.limits.ranges_max)
            && let Some(oldest) = self.ephemerals.state.hurry(key)
        {
            self.miss(key, &[oldest]);
        }
    }

    fn miss(&mut self, key: SubscriptionKey, gone: &[(Offset, Offset)]) {
        for &(first, end) in gone {
            let ranges = pieces(first, end);
            let missed = self.ephemerals.state.miss(key, &ranges);
            missed.expect("only what is ready is missed");
            self.missed.add(key, end.0 - first.0);
        }
    }
}

/// The subscription that a record is about, if it is an ephemeral one: such a record is not appended.
pub(super) fn is_unlogged(record: &Record) -> bool {
    match record {
        Record::Lease { subscription, .. }
        | Record::Take { subscription, .. }
        | Record::Ack { subscription, .. }
        | Record::Nack { subscription, .. }
        | Record::Reject { subscription, .. }
        | Record::Extend { subscription, .. }
        | Record::Subscribe { subscription, .. }
        | Record::Change { subscription, .. } => subscription.is_ephemeral(),
        Record::Epoch { .. }
        | Record::Create { .. }
        | Record::Enqueue { .. }
        | Record::Reschedule { .. }
        | Record::Relocate { .. }
        | Record::Tick
        | Record::Release { .. }
        | Record::Delete { .. }
        | Record::Trim { .. }
        | Record::ConfigureQueue { .. } => false,
    }
}

/// Refuses a configuration that an ephemeral subscription cannot have.
pub(super) fn check_ephemeral(config: &SubscriptionConfig) -> Result<(), Refusal> {
    let text = match config.contract {
        Contract::Competing | Contract::AtMostOnce | Contract::SingleActive => return Ok(()),
        Contract::KeyOrdered => {
            "an ephemeral subscription does not order by key: use a durable one"
        }
        Contract::Reader => "an ephemeral subscription keeps no checkpoint: use a durable reader",
        Contract::Broadcast => "nothing is written for a broadcast anyway: leave #ephemeral away",
    };
    Err((ErrorCode::NotSupported, text.to_owned()))
}

/// Refuses what is asked of an ephemeral subscription that only a durable one does.
pub(super) fn check_ephemeral_verb(verb: SubscriptionVerb<'_>) -> Result<(), Refusal> {
    let text = match verb {
        SubscriptionVerb::Seek { .. } => {
            "an ephemeral subscription cannot be sought: delete it, and create it with a start"
        }
        SubscriptionVerb::DeadLetters { .. } => {
            "an ephemeral subscription has no dead-letter queue: use a durable one"
        }
        SubscriptionVerb::Configure { config } => return check_ephemeral(&config),
        SubscriptionVerb::Create { .. }
        | SubscriptionVerb::Show
        | SubscriptionVerb::Pause { .. }
        | SubscriptionVerb::Resume
        | SubscriptionVerb::Delete
        | SubscriptionVerb::Purge { .. }
        | SubscriptionVerb::ListAside { .. }
        | SubscriptionVerb::Return { .. }
        | SubscriptionVerb::Checkpoint { .. } => return Ok(()),
    };
    Err((ErrorCode::NotSupported, text.to_owned()))
}

/// What of `first..end` no record holds any more, as ranges, ends exclusive.
fn gone_between(
    runs: &Runs,
    first: Offset,
    end: Offset,
) -> impl Iterator<Item = (Offset, Offset)> + '_ {
    let mut next = first;
    std::iter::from_fn(move || {
        while next < end {
            let from = next;
            let (kept, after) = runs.kept_from(next).unwrap_or((end, end));
            next = after.max(from);
            if from < kept {
                return Some((from, kept.min(end)));
            }
        }
        None
    })
}
