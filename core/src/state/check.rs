//! The O(n) check of everything that the invariants of the state say.

use std::collections::BTreeMap;

use corelane_wire::{LeaseId, Offset, Timestamp};

use super::{Counts, Queue, State, SubscriptionKey};
use crate::ids::SubscriptionId;

/// First offset and end of a piece between `done` and `cursor`.
type Piece = (Offset, Offset);

pub(super) fn assert_consistent(state: &State) {
    let mut counts = Counts::default();
    let mut due: Vec<(Timestamp, SubscriptionKey)> = Vec::new();
    let mut held = held_pieces(state);
    for (id, queue) in state.queues.iter() {
        assert_eq!(state.queues.find(&queue.name), Some(id), "queue by name");
        assert_queue(queue);
        counts.runs += queue.runs.len();
        counts.messages += queue.end.0 - queue.start().0;
        for (number, subscription) in (0..).zip(&queue.subscriptions) {
            let key = (id, SubscriptionId(number));
            subscription.assert_counts();
            assert!(subscription.cursor <= queue.end, "Q1: cursor of {key:?}");
            counts.subscriptions += 1;
            counts.ready += subscription.ready(queue.end);
            counts.leased += subscription.leased;
            counts.delayed += subscription.delayed_count;
            due.extend(subscription.next_due().map(|first| (first, key)));
            let mut pieces = held.remove(&key).unwrap_or_default();
            let leased: u64 = pieces.iter().map(|piece| piece.1.0 - piece.0.0).sum();
            assert_eq!(leased, subscription.leased, "E5: leased in {key:?}");
            pieces.extend(subscription.done_ranges.iter());
            let returned = subscription.returned.iter();
            pieces.extend(returned.map(|(&first, fragment)| piece(first, fragment.count)));
            let delayed = subscription.delayed.iter();
            pieces.extend(delayed.map(|(&(_, first), fragment)| piece(first, fragment.count)));
            assert_tiles(pieces, subscription.done, subscription.cursor);
        }
    }
    assert!(held.is_empty(), "leases of no subscription: {held:?}");
    assert_eq!(counts, state.counts, "sums over all queues");
    due.sort_unstable();
    assert_eq!(
        due,
        state.due.iter().copied().collect::<Vec<_>>(),
        "index over due instants"
    );
    state.leases.assert_counts();
}

/// Q1 and Q2.
fn assert_queue(queue: &Queue) {
    let mut next = queue.start();
    for run in &queue.runs {
        assert_eq!(run.first, next, "Q1: runs of {}", queue.name);
        next = run.end();
    }
    assert_eq!(next, queue.end, "Q1: end of {}", queue.name);
    if let Some(done) = queue.subscriptions.iter().map(|each| each.done).min()
        && let Some(first) = queue.runs.front()
    {
        assert!(first.end() > done, "Q2: a run of {} is done", queue.name);
    }
}

/// L1 to L3 of every lease; returns what each subscription has under lease.
fn held_pieces(state: &State) -> BTreeMap<SubscriptionKey, Vec<Piece>> {
    let mut pieces: BTreeMap<SubscriptionKey, Vec<Piece>> = BTreeMap::new();
    let mut first_deadline = None;
    for (id, lease) in state.leases.iter() {
        let runs = lease.runs();
        assert!(!runs.is_empty(), "L3: lease {id} is empty");
        let of = pieces.entry(lease.key).or_default();
        let mut end = Offset(0);
        for run in runs {
            assert!(run.count > 0 && run.attempt > 0, "L1: {id} {run:?}");
            assert!(end <= run.first, "L1: {id} {runs:?}");
            end = run.end();
            of.push((run.first, run.end()));
            first_deadline = first_deadline.into_iter().chain([run.deadline]).min();
        }
        assert_ne!(id, LeaseId::default(), "a lease without a record");
    }
    assert_eq!(first_deadline, state.leases.next_deadline(), "L2");
    pieces
}

/// E4: the pieces cover `from..to` without gap and overlap.
fn assert_tiles(mut pieces: Vec<Piece>, from: Offset, to: Offset) {
    pieces.sort_unstable();
    let mut next = from;
    for (first, end) in &pieces {
        assert_eq!(*first, next, "E4: {pieces:?} between {from} and {to}");
        next = *end;
    }
    assert_eq!(next, to, "E4: {pieces:?} between {from} and {to}");
}

const fn piece(first: Offset, count: u64) -> Piece {
    (first, Offset(first.0 + count))
}
