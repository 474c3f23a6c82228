//! The O(n) check of everything that the invariants of the state say.

use std::collections::BTreeMap;

use corelane_wire::{LeaseId, Offset, Timestamp};

use super::runs::RunsAt;
use super::{Counts, Queue, State, SubscriptionKey};

/// First offset and end of a piece between `done` and `cursor`.
type Piece = (Offset, Offset);

pub(super) fn assert_consistent(state: &State) {
    for (_, queue) in state.queues.iter() {
        assert_queue(queue);
    }
    assert_subscriptions(state);
}

/// All but what concerns the messages that queues have.
pub(super) fn assert_subscriptions(state: &State) {
    let mut counts = Counts::default();
    let mut due: Vec<(Timestamp, SubscriptionKey)> = Vec::new();
    let mut held = held_pieces(state);
    for (id, queue) in state.queues.iter() {
        assert_eq!(state.queues.find(&queue.name), Some(id), "queue by name");
        let done = queue.subscriptions.iter().map(|each| each.done).min();
        let start = done.map_or(queue.start, |done| queue.unretained(done));
        assert_eq!(queue.start, start, "Q1: start of {}", queue.name);
        counts.messages += queue.end.0 - queue.start.0;
        counts.subscriptions += queue.broadcasts.len();
        for broadcast in &queue.broadcasts {
            broadcast.assert_counts();
            let (begin, none) = (broadcast.begin, broadcast.done_set.count());
            assert_eq!((begin, none), (broadcast.cursor, 0), "{broadcast:?}");
            assert!(!broadcast.is_kept_for() && broadcast.begin <= queue.end);
        }
        assert!(
            queue
                .subscriptions
                .is_sorted_by(|left, right| left.id < right.id),
            "subscriptions by number"
        );
        for subscription in &queue.subscriptions {
            let key = (id, subscription.id);
            subscription.assert_counts();
            assert!(subscription.accounts(), "S2: {subscription:?}");
            assert!(subscription.cursor <= queue.end, "Q1: cursor of {key:?}");
            counts.enter(subscription, queue.end);
            assert!(subscription.failed.is_of(&subscription.delayed), "{key:?}");
            due.extend(subscription.next_due().map(|first| (first, key)));
            let mut pieces = held.remove(&key).unwrap_or_default();
            let leased: u64 = pieces.iter().map(|piece| piece.1.0 - piece.0.0).sum();
            assert_eq!(leased, subscription.leased, "E5: leased in {key:?}");
            pieces.extend(subscription.done_set.iter());
            let returned = subscription.returned.iter();
            pieces.extend(returned.map(|(&first, fragment)| piece(first, fragment.count)));
            let behind = subscription.behind.rows().iter();
            pieces.extend(behind.map(|(&first, row)| piece(first, row.fragment.count)));
            let delayed = subscription.delayed.iter();
            pieces.extend(delayed.map(|(&(_, first), fragment)| piece(first, fragment.count)));
            for aside in [&subscription.dead, &subscription.parked] {
                let rows = aside.rows().iter();
                pieces.extend(rows.map(|(&first, row)| piece(first, row.count)));
            }
            let letter = subscription.letter.iter();
            pieces.extend(letter.map(|letter| (letter.first, letter.end())));
            let ahead = subscription.ahead.iter();
            let ahead = ahead.map(|(&first, &count)| piece(first, count));
            let regions = [(subscription.done, subscription.cursor)].into_iter();
            for (first, end) in regions.chain(ahead) {
                let inside = |piece: &Piece| first <= piece.0 && piece.0 < end;
                let within = pieces.extract_if(.., |piece| inside(piece)).collect();
                assert_tiles(within, first, end);
            }
            assert_eq!(pieces, [], "E4: neither given out nor ahead");
        }
    }
    assert!(held.is_empty(), "leases of no subscription: {held:?}");
    assert_eq!(counts, state.counts, "sums over all queues");
    assert_eq!(counts.accounted(), counts.enqueued, "the law");
    due.sort_unstable();
    assert_eq!(
        due,
        state.due.iter().copied().collect::<Vec<_>>(),
        "index over due instants"
    );
    assert_expiries(state);
    state.leases.assert_counts();
}

/// T1 to T3, and the index over the queues.
fn assert_expiries(state: &State) {
    let mut expiries = Vec::new();
    for (id, queue) in state.queues.iter() {
        assert_expiring(queue, state.clock.log);
        expiries.extend(queue.next_expiry().map(|first| (first, id)));
    }
    expiries.sort_unstable();
    let index = state.expiries.iter().copied();
    assert_eq!(expiries, index.collect::<Vec<_>>(), "index over expiries");
}

fn assert_expiring(queue: &Queue, now: Timestamp) {
    let groups = queue.expiring.iter();
    let groups = groups.map(|((_, first), count)| piece(*first, (*count).into()));
    let mut groups: Vec<_> = groups.collect();
    groups.sort_unstable();
    assert!(
        groups.is_sorted_by(|left, right| left.1 <= right.0),
        "T1: {groups:?}"
    );
    for &(first, end) in &groups {
        let first = first.max(queue.start);
        assert_eq!(queue.lapsed.between(first, end).next(), None, "T3: {first}");
    }
    for (first, end) in queue.lapsed.between(queue.start, queue.end) {
        for of in &queue.subscriptions {
            for offset in (first.0..end.0).map(Offset) {
                let is_delayed = of.delayed.iter().any(|((due, first), fragment)| {
                    let range = *first..Offset(first.0 + fragment.count);
                    *due > now && range.contains(&offset)
                });
                let is_ready = of.standing(offset).is_ready();
                assert!(!is_ready && !is_delayed, "T2: {offset} in {}", of.name);
            }
        }
    }
}

/// Q2, and those of the runs.
fn assert_queue(queue: &Queue) {
    let retained = queue.retained_from.unwrap_or(queue.end);
    assert_eq!(queue.config.retains(), queue.retained_from.is_some());
    assert!(queue.start <= retained && retained <= queue.end, "Q1");
    let mut dead = vec![(queue.start, queue.end)];
    for subscription in &queue.subscriptions {
        dead = dead
            .into_iter()
            .flat_map(|(first, end)| subscription.done_between(first, end))
            .collect();
    }
    if queue.subscriptions.is_empty() {
        dead = queue.lapsed.between(queue.start, queue.end).collect();
    }
    let is_live = |offset: u64| {
        let is_dead = |(first, end): &(Offset, Offset)| (first.0..end.0).contains(&offset);
        offset >= queue.start.0 && (offset >= retained.0 || !dead.iter().any(is_dead))
    };
    let expected = (queue.start.0..queue.end.0).filter(|offset| is_live(*offset));
    let expected = expected.count() as u64;
    let mut found = 0;
    let mut before = Offset(0);
    for (&first, stretch) in queue.runs.stretches() {
        assert!(before <= first && first < stretch.end, "R1: {stretch:?}");
        let live = (first.0..stretch.end.0)
            .filter(|offset| is_live(*offset))
            .count();
        assert_eq!(
            live as u64, stretch.live,
            "R3: {} {first} {stretch:?}",
            queue.name
        );
        assert!(stretch.live > 0, "R3: {stretch:?}");
        if !matches!(queue.runs.at(first), RunsAt::Away(..)) {
            let mut lost = (first.0..stretch.end.0).filter(|offset| {
                is_live(*offset) && matches!(queue.runs.at(Offset(*offset)), RunsAt::Nothing)
            });
            assert_eq!(lost.next(), None, "R5: {stretch:?}");
        }
        found += stretch.live;
        before = stretch.end;
    }
    assert_eq!(found, expected, "Q2: live messages of {}", queue.name);
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
