use super::*;

use crate::time::LeaseTime;

const BACK: Comeback = Comeback {
    lsn: corelane_wire::Lsn(1),
    queue_end: Offset(20),
};

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
fn first_deliveries_may_pass_over_others_which_can_be_given_out_still() {
    let mut subscription = leased();
    subscription.schedule(Timestamp(50), range(14, 2));
    assert_eq!(subscription.advance(range(10, 11), Offset(20)), None);
    assert_eq!(subscription.advance(range(9, 2), Offset(20)), None);
    assert_eq!(
        subscription.advance(range(13, 2), Offset(20)),
        None,
        "ahead"
    );
    assert_eq!(subscription.advance(range(16, 2), Offset(20)), Some(1));
    assert_eq!(
        (subscription.cursor, subscription.ahead_count),
        (Offset(18), 0)
    );
    assert_eq!(subscription.take(range(13, 2), Offset(20)), None, "delayed");
    assert_eq!(subscription.take(range(10, 4), Offset(20)), Some(1));
    assert_eq!(subscription.take(range(18, 2), Offset(20)), Some(1));
    assert_eq!((subscription.leased, subscription.delayed_count), (18, 2));
    subscription.assert_counts();
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
    subscription.give_back(held(0, 2), 1, BACK);
    subscription.give_back(held(4, 2), 1, BACK);
    subscription.give_back(held(2, 2), 1, BACK);
    subscription.give_back(held(6, 2), 2, BACK);
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
    assert_eq!(subscription.come_due(Timestamp(9), BACK), None);
    assert_eq!(
        subscription.come_due(Timestamp(10), BACK),
        Some((Offset(1), Offset(4)))
    );
    assert_eq!(subscription.come_due(Timestamp(10), BACK), None);
    assert_eq!(subscription.next_due(), Some(Timestamp(20)));
    subscription.assert_counts();
}

#[test]
fn what_is_behind_goes_to_the_front_for_messages_in_the_order_of_keys() {
    let mut subscription = leased();
    subscription.config.returned = ReturnTo::Back;
    for (lsn, first) in [(1, 2), (2, 4)] {
        let lsn = corelane_wire::Lsn(lsn);
        subscription.give_back(held(first, 2), 1, Comeback { lsn, ..BACK });
    }
    assert_eq!(subscription.take(range(3, 2), Offset(20)), None, "of two");
    subscription.bring_to_front();
    assert_eq!(subscription.returned_count, 4);
    assert_eq!(subscription.take(range(3, 2), Offset(20)), Some(2));
    subscription.assert_counts();
}
