use std::time::Duration;

use corelane_wire::limits::{DELIVERY_BYTES_MAX, DELIVERY_RUNS_MAX};
use corelane_wire::{ConsumerId, ErrorCode, Offset, ProducerId, Request};

use super::node::*;
use crate::ids::{ConnectionId, SubscriptionId};
use crate::limits::Limits;
use crate::record::Record;
use crate::{DeliverTo, Input, Reply};

#[test]
fn dequeue_takes_committed_messages_at_the_end_of_the_turn() {
    let mut node = filled(5);
    assert_eq!(node.request(bob(1), dequeue("q", 3, 0)), []);
    let outputs = node.turn_end();
    assert_eq!(
        outputs,
        [
            append(4, T0, lease_record(bob(1).session, &[range(0, 3)])),
            deliver(
                DeliverTo::Dequeue(bob(1)),
                lease_id(1, 4),
                &[run(2, (0, 3), 0, 1)]
            ),
        ]
    );
}

#[test]
fn next_dequeue_gets_the_next_messages() {
    let mut node = filled(5);
    node.take(bob(1), "q", 3);
    node.request(alice(2), dequeue("q", 3, 0));
    let outputs = node.turn_end();
    assert_eq!(
        outputs,
        [
            append(5, T0, lease_record(alice(2).session, &[range(3, 2)])),
            deliver(
                DeliverTo::Dequeue(alice(2)),
                lease_id(1, 5),
                &[run(2, (3, 2), 3, 1)]
            ),
        ]
    );
}

#[test]
fn one_delivery_spans_batches() {
    let mut node = filled(2);
    node.fill("q", 3);
    node.request(bob(1), dequeue("q", 10, 0));
    let outputs = node.turn_end();
    assert_eq!(
        outputs,
        [
            append(5, T0, lease_record(bob(1).session, &[range(0, 5)])),
            deliver(
                DeliverTo::Dequeue(bob(1)),
                lease_id(1, 5),
                &[run(2, (0, 2), 0, 1), run(4, (2, 3), 0, 1)]
            ),
        ]
    );
}

#[test]
fn uncommitted_messages_are_not_delivered() {
    let mut node = filled(1);
    node.enqueue("q", &batch(3, ProducerId::NONE, 0));
    node.request(bob(1), dequeue("q", 10, 1_000));
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(1)), 1)]);
    node.request(bob(2), dequeue("q", 10, 1_000));
    assert_eq!(node.turn_end(), []);
    node.durable();
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(2)), 3)]);
}

#[test]
fn first_subscription_begins_at_the_earliest_message_later_ones_at_the_latest() {
    let mut node = Node::new();
    node.fill("q", 5);
    let outputs = node.request(bob(1), dequeue_from("q", "first", 10, 1_000));
    let subscribe = |number, name: &str, from| Record::Subscribe {
        queue: QUEUE,
        subscription: SubscriptionId(number),
        name: name.into(),
        from: Offset(from),
    };
    assert_eq!(outputs, [append(3, T0, subscribe(0, "first", 0))]);
    let outputs = node.request(bob(2), dequeue_from("q", "second", 10, 1_000));
    assert_eq!(outputs, [append(4, T0, subscribe(1, "second", 5))]);
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(1)), 5)]);
    node.fill("q", 1);
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(2)), 1)]);
}

#[test]
fn dequeue_makes_queue_and_subscription_and_its_empty_answer_waits_for_them() {
    let mut node = Node::new();
    let outputs = node.request(bob(1), dequeue("new", 1, 0));
    assert_eq!(outputs.len(), 3, "epoch, create, subscribe: {outputs:?}");
    assert_eq!(node.turn_end(), [flush(3)]);
    assert_eq!(node.durable(), [reply(bob(1), Reply::Empty)]);
}

#[test]
fn subscriptions_have_a_bound() {
    let mut node = Node::with_limits(Limits {
        subscriptions_max: 1,
        ..Limits::default()
    });
    node.request(bob(1), dequeue_from("q", "a", 1, 1_000));
    node.durable();
    let outputs = node.request(bob(2), dequeue_from("q", "b", 1, 1_000));
    assert_eq!(refusals(&outputs), [(bob(2), ErrorCode::LimitExceeded)]);
}

#[test]
fn waiting_dequeue_ends_empty_at_its_deadline() {
    let mut node = filled(1);
    node.take(alice(1), "q", 1);
    node.request(bob(1), dequeue("q", 1, 2_000));
    node.turn_end();
    assert_eq!(
        node.engine.next_deadline(),
        Some(T0.add(Duration::from_secs(2)))
    );
    let outputs = node.deadline_after(Duration::from_secs(2));
    assert_eq!(outputs, [reply(bob(1), Reply::Empty)]);
    assert_eq!(node.engine.stats().waiters, 0);
}

#[test]
fn dequeue_without_wait_is_answered_in_its_turn() {
    let mut node = filled(1);
    node.take(alice(1), "q", 1);
    node.request(bob(1), dequeue("q", 1, 0));
    assert_eq!(node.turn_end(), [reply(bob(1), Reply::Empty)]);
}

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let mut node = filled(1);
    node.take(alice(1), "q", 1);
    for number in 1..=3 {
        node.request(bob(number), dequeue("q", 2, 1_000));
    }
    node.turn_end();
    node.fill("q", 3);
    assert_eq!(
        served(&node.turn_end()),
        [
            (DeliverTo::Dequeue(bob(1)), 2),
            (DeliverTo::Dequeue(bob(2)), 1)
        ]
    );
}

#[test]
fn waiters_have_a_bound() {
    let mut node = Node::with_limits(Limits {
        waiters_max: 1,
        ..Limits::default()
    });
    node.request(bob(1), dequeue("q", 1, 1_000));
    let outputs = node.request(bob(2), dequeue("q", 1, 1_000));
    assert_eq!(refusals(&outputs), [(bob(2), ErrorCode::Busy)]);
}

#[test]
fn consumer_is_pushed_up_to_its_credit() {
    let mut node = filled(10);
    let outputs = node.request(alice(1), subscribe("q", 7, 4));
    assert_eq!(outputs, [reply(alice(1), Reply::Subscribed)]);
    let outputs = node.turn_end();
    assert_eq!(
        outputs,
        [
            append(4, T0, lease_record(alice(1).session, &[range(0, 4)])),
            deliver(ALICE_7, lease_id(1, 4), &[run(2, (0, 4), 0, 1)]),
        ]
    );
    assert_eq!(node.turn_end(), [], "it holds as much as its credit");
}

#[test]
fn settled_messages_make_room_for_as_many() {
    let mut node = filled(10);
    node.request(alice(1), subscribe("q", 7, 4));
    node.turn_end();
    node.durable();
    let bytes = entries(&[(lease_id(1, 4), 0, 3)]);
    node.request(alice(2), Request::Ack(settle("q", &bytes)));
    assert_eq!(served(&node.turn_end()), [(ALICE_7, 3)]);
}

#[test]
fn credit_is_absolute_and_zero_stops_at_once() {
    let mut node = filled(10);
    node.request(alice(1), subscribe("q", 7, 2));
    node.turn_end();
    node.durable();
    let credit = |credit| Request::Credit {
        consumer: ConsumerId(7),
        credit,
    };
    let outputs = node.request(alice(2), credit(3));
    assert_eq!(outputs, [reply(alice(2), Reply::CreditSet)]);
    assert_eq!(
        served(&node.turn_end()),
        [(ALICE_7, 1)],
        "3 less the 2 held"
    );
    node.request(alice(3), credit(0));
    let bytes = entries(&[(lease_id(1, 4), 0, 2)]);
    node.request(alice(4), Request::Ack(settle("q", &bytes)));
    assert_eq!(served(&node.turn_end()), []);
    assert_eq!(node.engine.stats().leased, 1, "what it holds stays leased");
}

#[test]
fn credit_of_an_unknown_consumer_is_refused() {
    let mut node = filled(1);
    let outputs = node.request(
        alice(1),
        Request::Credit {
            consumer: ConsumerId(7),
            credit: 1,
        },
    );
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::UnknownConsumer)]);
}

#[test]
fn consumer_number_is_unique_on_its_connection() {
    let mut node = filled(1);
    node.request(alice(1), subscribe("q", 7, 0));
    let outputs = node.request(alice(2), subscribe("q", 7, 0));
    assert_eq!(refusals(&outputs), [(alice(2), ErrorCode::ConsumerExists)]);
    let outputs = node.request(bob(1), subscribe("q", 7, 0));
    assert_eq!(outputs, [reply(bob(1), Reply::Subscribed)]);
}

#[test]
fn consumers_have_a_bound_per_connection() {
    let mut node = Node::with_limits(Limits {
        consumers_per_connection_max: 1,
        ..Limits::default()
    });
    node.request(alice(1), subscribe("q", 1, 1));
    node.durable();
    let outputs = node.request(alice(2), subscribe("q", 2, 1));
    assert_eq!(refusals(&outputs), [(alice(2), ErrorCode::LimitExceeded)]);
}

#[test]
fn consumers_share_what_is_ready_and_take_turns() {
    let mut node = filled(3);
    let numbers = [1, 2];
    for number in numbers {
        node.request(alice(1), subscribe("q", number, 10));
    }
    let to = |number| DeliverTo::Consumer {
        connection: ConnectionId(1),
        consumer: ConsumerId(number),
    };
    assert_eq!(served(&node.turn_end()), [(to(1), 2), (to(2), 1)]);
    node.fill("q", 1);
    assert_eq!(served(&node.turn_end()), [(to(1), 1)]);
    node.fill("q", 1);
    assert_eq!(served(&node.turn_end()), [(to(2), 1)]);
}

#[test]
fn unsubscribed_consumer_keeps_its_leases_and_gets_nothing_more() {
    let mut node = filled(5);
    node.request(alice(1), subscribe("q", 7, 2));
    node.turn_end();
    node.durable();
    let unsubscribe = Request::Unsubscribe {
        consumer: ConsumerId(7),
    };
    let outputs = node.request(alice(2), unsubscribe);
    assert_eq!(outputs, [reply(alice(2), Reply::Unsubscribed)]);
    let bytes = entries(&[(lease_id(1, 4), 0, 1)]);
    node.request(alice(3), Request::Ack(settle("q", &bytes)));
    assert_eq!(served(&node.turn_end()), []);
    assert_eq!(node.engine.stats().leased, 1);
    let outputs = node.request(alice(4), unsubscribe);
    node.durable();
    assert_eq!(outputs, [], "the refusal waits like any other answer");
}

#[test]
fn waiters_and_consumers_of_a_lost_connection_vanish() {
    let mut node = filled(5);
    node.request(alice(1), subscribe("q", 7, 2));
    node.request(alice(2), dequeue("q", 1, 1_000));
    node.step(Input::Disconnected {
        connection: ConnectionId(1),
    });
    assert_eq!(node.turn_end(), []);
    let stats = node.engine.stats();
    assert_eq!((stats.waiters, stats.consumers), (0, 0));
}

#[test]
#[cfg_attr(miri, ignore = "checksums of megabytes take Miri minutes")]
fn delivery_is_bounded_in_bytes() {
    let mut node = Node::new();
    for _ in 0..3 {
        node.enqueue("q", &sized_batch(5, 100_000, ProducerId::NONE, 0));
        node.durable();
    }
    node.request(bob(1), dequeue("q", 100, 0));
    let outputs = node.turn_end();
    assert_eq!(served(&outputs), [(DeliverTo::Dequeue(bob(1)), 10)]);
    const { assert!(10 * 100_012 <= DELIVERY_BYTES_MAX) };
}

#[test]
#[cfg_attr(miri, ignore = "checksums of megabytes take Miri minutes")]
fn single_message_is_delivered_whatever_the_longest_of_its_batch() {
    let mut node = Node::new();
    let body = DELIVERY_BYTES_MAX - 12;
    node.enqueue("q", &sized_batch(1, body, ProducerId::NONE, 0));
    node.durable();
    node.fill("q", 1);
    node.request(bob(1), dequeue("q", 2, 0));
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(1)), 1)]);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of batches take Miri minutes")]
fn delivery_is_bounded_in_runs() {
    let mut node = Node::new();
    let runs = u32::try_from(DELIVERY_RUNS_MAX).unwrap();
    for _ in 0..=runs {
        node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    }
    node.durable();
    node.request(bob(1), dequeue("q", 10_000, 0));
    assert_eq!(
        served(&node.turn_end()),
        [(DeliverTo::Dequeue(bob(1)), runs)]
    );
}

#[test]
fn turn_that_leaves_deliveries_asks_for_another_at_once() {
    let mut node = Node::with_limits(Limits {
        turn_deliveries_max: 1,
        ..Limits::default()
    });
    node.fill("q", 4);
    node.request(bob(1), dequeue("q", 2, 1_000));
    node.request(bob(2), dequeue("q", 2, 1_000));
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(1)), 2)]);
    assert!(
        node.engine
            .next_deadline()
            .is_some_and(|next| next <= node.now)
    );
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(2)), 2)]);
}

#[test]
fn no_dequeue_is_told_that_there_is_nothing_because_a_turn_is_full() {
    let mut node = Node::with_limits(Limits {
        turn_deliveries_max: 1,
        ..Limits::default()
    });
    node.fill("q", 3);
    node.request(bob(1), dequeue("q", 2, 0));
    node.request(bob(2), dequeue("q", 2, 0));
    node.request(bob(3), dequeue("q", 2, 0));
    node.turn_end();
    assert!(!node.durable().contains(&reply(bob(2), Reply::Empty)));
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(2)), 1)]);
    assert!(node.durable().contains(&reply(bob(3), Reply::Empty)));
}

#[test]
fn lease_records_alone_are_flushed_after_ten_milliseconds() {
    let mut node = filled(1);
    node.request(bob(1), dequeue("q", 1, 0));
    node.turn_end();
    let deadline = T0.add(Duration::from_millis(10));
    assert_eq!(node.engine.next_deadline(), Some(deadline));
    let outputs = node.deadline_after(Duration::from_millis(10));
    assert_eq!(outputs, [flush(5)]);
}

#[test]
fn half_of_the_uncommitted_leases_gates_and_all_of_them_stop() {
    let mut node = Node::with_limits(Limits {
        uncommitted_leases_max: 10,
        ..Limits::default()
    });
    node.fill("q", 20);
    node.request(bob(1), dequeue("q", 4, 0));
    node.turn_end();
    node.request(bob(2), dequeue("q", 4, 1_000));
    let outputs = node.turn_end();
    assert_eq!(outputs.last(), Some(&flush(6)));
    node.request(bob(3), dequeue("q", 4, 1_000));
    node.request(bob(4), dequeue("q", 4, 1_000));
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(3)), 2)]);
    assert_eq!(node.turn_end(), []);
    node.durable();
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(4)), 4)]);
}

#[test]
fn scattered_subscription_gives_nothing_new_but_what_came_back() {
    let mut node = Node::with_limits(Limits {
        ranges_max: 1,
        ..Limits::default()
    });
    node.fill("q", 6);
    let lease = node.take(bob(1), "q", 3);
    let bytes = entries(&[(lease, 1, 1)]);
    node.request(bob(2), nack("q", &bytes, 0));
    node.turn_end();
    node.durable();
    node.request(bob(3), dequeue("q", 10, 1_000));
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(3)), 1)]);
    let bytes = entries(&[(lease, 2, 1)]);
    node.request(bob(4), nack("q", &bytes, 0));
    node.turn_end();
    node.durable();
    let bytes = entries(&[(lease, 0, 1)]);
    let outputs = node.request(bob(5), nack("q", &bytes, 1_000));
    assert_eq!(refusals(&outputs), [(bob(5), ErrorCode::Busy)]);
}

#[test]
fn subscription_that_is_scattered_no_more_goes_on_by_itself() {
    let mut node = Node::with_limits(Limits {
        ranges_max: 1,
        ..Limits::default()
    });
    node.fill("q", 6);
    let lease = node.take(bob(1), "q", 3);
    let middle = entries(&[(lease, 1, 1)]);
    node.request(bob(2), Request::Ack(settle("q", &middle)));
    node.request(bob(3), dequeue("q", 10, 1_000));
    assert_eq!(served(&node.turn_end()), []);
    node.durable();
    let first = entries(&[(lease, 0, 1)]);
    node.request(bob(4), Request::Ack(settle("q", &first)));
    assert_eq!(served(&node.turn_end()), [(DeliverTo::Dequeue(bob(3)), 3)]);
}
