use super::*;

use crate::time::LeaseTime;

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

fn held(first: u64, count: u32) -> HeldRun {
    HeldRun {
        first: Offset(first),
        count,
        attempt: 1,
        deadline: LeaseTime(0),
    }
}

/// A subscription that gave out ten messages.
fn leased() -> Subscription {
    let mut subscription = Subscription::new(SubscriptionId(0), "s".into(), Offset(0));
    assert_eq!(subscription.advance(range(0, 10), Offset(20)), Some(1));
    subscription
}

#[test]
fn first_deliveries_are_strictly_in_order() {
    let mut subscription = leased();
    assert_eq!(subscription.advance(range(11, 1), Offset(20)), None);
    assert_eq!(subscription.advance(range(10, 11), Offset(20)), None);
    assert_eq!(subscription.advance(range(10, 10), Offset(20)), Some(1));
}

#[test]
fn done_prefix_absorbs_what_was_done_out_of_order() {
    let mut subscription = leased();
    for first in [4, 2, 1] {
        subscription.finish(held(first, 1));
    }
    assert_eq!(subscription.done_end(Offset(2)), Some(Offset(3)));
    assert_eq!(subscription.done_end(Offset(3)), None);
    subscription.finish(held(0, 1));
    assert_eq!(subscription.done, Offset(3));
    subscription.finish(held(3, 1));
    assert_eq!(subscription.done, Offset(5));
    assert_eq!(subscription.fragments(), 0);
    subscription.assert_counts();
}

#[test]
fn returned_fragments_join_only_with_the_same_attempts() {
    let mut subscription = leased();
    subscription.give_back(held(0, 2), 1);
    subscription.give_back(held(4, 2), 1);
    subscription.give_back(held(2, 2), 1);
    subscription.give_back(held(6, 2), 2);
    assert_eq!(subscription.fragments(), 2);
    assert_eq!(subscription.returned_count, 8);
    assert_eq!(subscription.take_returned(range(1, 2)), Some(2));
    assert_eq!(
        subscription.take_returned(range(5, 2)),
        None,
        "two fragments"
    );
    assert_eq!(subscription.take_returned(range(6, 1)), Some(3));
    assert_eq!(subscription.fragments(), 3);
    subscription.assert_counts();
}

#[test]
fn delayed_fragments_come_due_in_order() {
    let mut subscription = leased();
    subscription.delay(held(0, 1), 1, Timestamp(20));
    subscription.delay(held(1, 3), 1, Timestamp(10));
    assert_eq!(subscription.next_due(), Some(Timestamp(10)));
    assert_eq!(subscription.come_due(Timestamp(9)), None);
    assert_eq!(subscription.come_due(Timestamp(10)), Some(3));
    assert_eq!(subscription.come_due(Timestamp(10)), None);
    assert_eq!(subscription.next_due(), Some(Timestamp(20)));
    subscription.assert_counts();
}
