use super::*;

use crate::ids::SubscriptionId;

type Row = (u64, u32, u64);
const NONE: [Row; 0] = [];

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

/// A queue of 20 messages, of which 2 to 5 are due at 50, 6 to 7 at 60, and 12 at 70.
fn queue() -> Queue {
    let mut queue = Queue::new("q".into(), Timestamp(0));
    queue.end = Offset(20);
    for (due, range) in [(50, range(2, 4)), (60, range(6, 2)), (70, range(12, 1))] {
        queue.schedule(Timestamp(0), (Timestamp(due), 0), range);
    }
    queue
}

fn waiting(queue: &Queue, now: u64, first: u64, end: u64) -> Vec<Row> {
    let waiting = queue.waiting_within(Timestamp(now), Offset(first), Offset(end));
    let rows = waiting.map(|(range, due)| (range.first.0, range.count, due.0));
    rows.collect()
}

#[test]
fn what_waits_is_found_by_offset_and_not_once_it_is_due() {
    let queue = queue();
    assert_eq!(
        waiting(&queue, 0, 0, 20),
        [(2, 4, 50), (6, 2, 60), (12, 1, 70)]
    );
    assert_eq!(waiting(&queue, 0, 4, 7), [(4, 2, 50), (6, 1, 60)]);
    assert_eq!(waiting(&queue, 50, 0, 12), [(6, 2, 60)]);
    assert_eq!(waiting(&queue, 0, 8, 12), NONE);
}

#[test]
fn a_group_comes_apart_and_only_while_it_is_not_due() {
    let mut queue = queue();
    let now = Timestamp(10);
    assert_eq!(queue.unschedule(now, range(5, 2)), None, "of two groups");
    assert_eq!(queue.unschedule(Timestamp(50), range(3, 1)), None, "due");
    assert_eq!(queue.unschedule(now, range(8, 1)), None, "not scheduled");
    let taken = queue.unschedule(now, range(3, 2));
    assert_eq!(taken.map(|group| group.due), Some(Timestamp(50)));
    assert_eq!(
        waiting(&queue, 0, 0, 12),
        [(2, 1, 50), (5, 1, 50), (6, 2, 60)]
    );
    queue.forget_due(Timestamp(60), Offset(5), Offset(7));
    assert_eq!(waiting(&queue, 0, 0, 12), [(2, 1, 50)]);
    queue.forget_scheduled(Timestamp(50));
    assert_eq!(waiting(&queue, 0, 0, 20), [(12, 1, 70)]);
}

#[test]
fn a_queue_without_a_subscription_forgets_what_is_due() {
    let mut queue = queue();
    for offset in 20..20 + 3 * SWEEP_EVERY as u64 {
        let now = Timestamp(offset);
        queue.schedule(now, (Timestamp(offset + 1), 0), range(offset, 1));
    }
    let len = queue.scheduled.len();
    assert!(len < SWEEP_EVERY, "{len}");
}

#[test]
fn delayed_messages_are_cut_out_of_those_with_the_same_due_time() {
    let mut of = Subscription::new(SubscriptionId(0), "s".into(), Offset(0));
    let due = Timestamp(50);
    of.schedule(due, range(2, 4));
    of.schedule(due, range(8, 4));
    of.schedule(Timestamp(60), range(6, 2));
    let mut cut = |first, count| {
        let cut = of.cut_delayed(due, range(first, count)).into_iter();
        cut.map(|(first, of)| (first.0, of.count))
            .collect::<Vec<_>>()
    };
    assert_eq!(cut(4, 6), [(4, 2), (8, 2)]);
    assert_eq!(cut(4, 6).len(), 0);
    assert_eq!(cut(0, 3), [(2, 1)]);
    let left = of.delayed.iter();
    let left: Vec<_> = left
        .map(|((due, first), it)| (due.0, first.0, it.count))
        .collect();
    assert_eq!(left, [(50, 3, 1), (50, 10, 2), (60, 6, 2)]);
    assert_eq!(of.delayed_count, 5);
}
