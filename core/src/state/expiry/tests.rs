use super::*;

use crate::ids::SubscriptionId;
use crate::state::subscription::Subscription;

type Row = (u64, u64, u32);

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

fn rows(queue: &Queue) -> Vec<Row> {
    let rows = queue.expiring.iter();
    rows.map(|((at, first), count)| (at.0, first.0, *count))
        .collect()
}

/// A queue of 100 messages, and what of it expires.
fn queue(expiring: &[(u64, OffsetRange)]) -> Queue {
    let mut queue = Queue::new("q".into(), Timestamp(0));
    queue.end = Offset(100);
    for (at, range) in expiring {
        queue.put_expiring(Timestamp(*at), *range);
    }
    queue
}

#[test]
fn times_to_live_end_together_and_never_early() {
    assert_eq!(expiry(Timestamp(0), 4), Timestamp(4_000_000));
    assert_eq!(expiry(Timestamp(1), 4), Timestamp(8_000_000));
    assert_eq!(expiry(Timestamp(4_000_000), 1), Timestamp(8_000_000));
    assert_eq!(
        expiry(Timestamp(u64::MAX), 1),
        Timestamp(u64::MAX / 4_000_000 * 4_000_000)
    );
}

#[test]
fn neighbours_that_expire_together_are_one_group() {
    let queue = queue(&[
        (10, range(0, 2)),
        (10, range(2, 1)),
        (20, range(3, 1)),
        (10, range(4, 2)),
        (20, range(6, u32::MAX)),
        (20, range(6 + u64::from(u32::MAX), 1)),
    ]);
    let long = 6 + u64::from(u32::MAX);
    assert_eq!(
        rows(&queue),
        [
            (10, 0, 3),
            (10, 4, 2),
            (20, 3, 1),
            (20, 6, u32::MAX),
            (20, long, 1)
        ]
    );
}

#[test]
fn a_part_of_a_group_moves_to_another_instant() {
    let mut queue = queue(&[(10, range(0, 10)), (10, range(20, 2)), (20, range(10, 10))]);
    queue.move_expiry(Timestamp(10), Timestamp(20), range(8, 13));
    assert_eq!(
        rows(&queue),
        [(10, 0, 8), (10, 21, 1), (20, 8, 2), (20, 10, 11)]
    );
    queue.move_expiry(Timestamp(30), Timestamp(5), range(0, 30));
    assert_eq!(rows(&queue).len(), 4, "nothing expires then");
}

#[test]
fn groups_that_nobody_needs_are_forgotten_with_those_that_come() {
    let mut queue = queue(&[]);
    queue.end = Offset(100_000);
    let id = SubscriptionId(0);
    queue
        .subscriptions
        .push(Subscription::new(id, "s".into(), Offset(0)));
    let mut most = 0;
    for at in 0..50_000 {
        // Everything lives long, and is done soon, but for the very first.
        queue.expire_at(Timestamp(1_000 + 2 * at), range(2 * at, 1));
        if at > 0 {
            let (first, end) = (Offset(2 * at), Offset(2 * at + 1));
            queue.subscriptions[0].mark_done(first, end);
        }
        most = most.max(queue.expiring.len());
    }
    assert!(most < 10, "{most}");
    assert_eq!(rows(&queue)[0], (1_000, 0, 1), "it is needed");
}
