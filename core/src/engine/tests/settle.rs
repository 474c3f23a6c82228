use std::time::Duration;

use corelane_wire::SettleOutcome::{AlreadyDone, Done, Stale};
use corelane_wire::{ErrorCode, LeaseId, ProducerId, Request};

use super::node::*;
use crate::record::Record;
use crate::{DeliverTo, Input};

/// Five messages, the first three leased to Bob; the end of the log is 5.
fn leased() -> (Node, LeaseId) {
    let mut node = Node::new();
    node.fill("q", 5);
    let lease = node.take(bob(1), "q", 3);
    (node, lease)
}

fn ack_record(list: &[(LeaseId, u64, u32)]) -> Record {
    Record::Ack {
        queue: QUEUE,
        subscription: DEFAULT,
        entries: list
            .iter()
            .map(|&(lease, first, count)| entry(lease, first, count))
            .collect(),
    }
}

/// Acks, commits, and returns the answer's outcomes.
fn ack(node: &mut Node, list: &[(LeaseId, u64, u32)]) -> crate::Reply {
    let bytes = entries(list);
    node.request(bob(9), Request::Ack(settle("q", &bytes)));
    let mut outputs = node.turn_end();
    outputs.extend(node.durable());
    let Some(crate::Output::Reply { reply, .. }) = outputs.pop() else {
        panic!("no answer in {outputs:?}");
    };
    reply
}

#[test]
fn ack_becomes_a_record_at_the_end_of_its_turn_and_its_answer_waits_for_it() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 2)]);
    assert_eq!(node.request(bob(2), Request::Ack(settle("q", &bytes))), []);
    let outputs = node.turn_end();
    assert_eq!(
        outputs,
        [append(5, T0, ack_record(&[(lease, 0, 2)])), flush(6)]
    );
    let outputs = node.durable();
    assert_eq!(outputs, [reply(bob(2), settled(&[(0, 2, Done)]))]);
}

#[test]
fn acks_of_a_turn_share_one_record_and_see_each_other() {
    let (mut node, lease) = leased();
    for first in [0, 1, 0] {
        let bytes = entries(&[(lease, first, 1)]);
        node.request(bob(10 + first), Request::Ack(settle("q", &bytes)));
    }
    let outputs = node.turn_end();
    assert_eq!(
        outputs,
        [append(5, T0, ack_record(&[(lease, 0, 2)])), flush(6)]
    );
    assert_eq!(
        node.durable(),
        [
            reply(bob(10), settled(&[(0, 1, Done)])),
            reply(bob(11), settled(&[(1, 1, Done)])),
            reply(bob(10), settled(&[(0, 1, AlreadyDone)])),
        ]
    );
}

#[test]
fn ack_of_what_is_done_succeeds_again_without_a_record() {
    let (mut node, lease) = leased();
    ack(&mut node, &[(lease, 0, 2)]);
    let bytes = entries(&[(lease, 0, 2)]);
    node.request(bob(3), Request::Ack(settle("q", &bytes)));
    let outputs = node.turn_end();
    assert_eq!(outputs, [reply(bob(3), settled(&[(0, 2, AlreadyDone)]))]);
}

#[test]
fn ack_under_a_lease_that_is_not_in_the_state_is_stale() {
    let (mut node, lease) = leased();
    let other_epoch = lease_id(2, lease.lsn.0);
    assert_eq!(
        ack(&mut node, &[(other_epoch, 0, 3)]),
        settled(&[(0, 3, Stale)])
    );
    assert_eq!(node.engine.stats().leased, 3);
}

#[test]
fn ack_of_an_offset_that_the_lease_does_not_hold_is_stale_and_leaves_the_rest_alone() {
    let (mut node, lease) = leased();
    let other = node.take(bob(2), "q", 1);
    let answer = ack(&mut node, &[(other, 2, 1), (lease, 1, 4), (lease, 0, 1)]);
    assert_eq!(
        answer,
        settled(&[(2, 1, Stale), (1, 2, Done), (3, 2, Stale), (0, 1, Done)])
    );
    assert_eq!(node.engine.stats().leased, 1);
}

#[test]
fn done_comes_before_stale() {
    let (mut node, lease) = leased();
    ack(&mut node, &[(lease, 1, 1)]);
    let unknown = lease_id(1, 777);
    assert_eq!(
        ack(&mut node, &[(unknown, 0, 3)]),
        settled(&[(0, 1, Stale), (1, 1, AlreadyDone), (2, 1, Stale)])
    );
}

#[test]
fn offsets_beyond_the_queue_are_stale() {
    let (mut node, lease) = leased();
    assert_eq!(
        ack(&mut node, &[(lease, 1_000, 65_536)]),
        settled(&[(1_000, 65_536, Stale)])
    );
}

#[test]
fn messages_are_kept_until_every_subscription_is_done_with_them() {
    let mut node = Node::new();
    node.request(bob(1), dequeue_from("q", "other", 2, 1_000));
    node.request(alice(1), dequeue("q", 2, 1_000));
    node.fill("q", 2);
    let leases: Vec<LeaseId> = deliveries(&node.turn_end())
        .iter()
        .map(|delivery| delivery.lease)
        .collect();
    node.durable();
    ack(&mut node, &[(leases[0], 0, 2)]);
    assert_eq!(node.engine.stats().messages, 2);
    let bytes = entries(&[(leases[1], 0, 2)]);
    let mut other = settle("q", &bytes);
    other.subscription = "other";
    node.request(bob(2), Request::Ack(other));
    node.turn_end();
    assert_eq!(node.engine.stats().messages, 0);
}

#[test]
fn runs_go_when_the_last_subscription_is_done() {
    let (mut node, lease) = leased();
    ack(&mut node, &[(lease, 0, 3)]);
    assert_eq!(node.engine.stats().messages, 2);
    let lease = node.take(bob(2), "q", 2);
    ack(&mut node, &[(lease, 3, 2)]);
    let stats = node.engine.stats();
    assert_eq!((stats.messages, stats.ready, stats.leased), (0, 0, 0));
}

#[test]
fn nack_returns_messages_to_the_front_with_the_attempt_counted() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 1, 2)]);
    node.request(bob(2), nack("q", &bytes, 0));
    node.request(alice(1), dequeue("q", 10, 0));
    let outputs = node.turn_end();
    let nack = Record::Nack {
        queue: QUEUE,
        subscription: DEFAULT,
        delay_ms: 0,
        count_attempt: true,
        entries: vec![entry(lease, 1, 2)],
    };
    assert_eq!(
        outputs,
        [
            append(5, T0, nack),
            append(
                6,
                T0,
                lease_record(alice(1).session, &[range(1, 2), range(3, 2)])
            ),
            deliver(
                DeliverTo::Dequeue(alice(1)),
                lease_id(1, 6),
                &[run(2, (1, 2), 1, 2), run(2, (3, 2), 3, 1)]
            ),
            flush(7),
        ]
    );
}

#[test]
fn nack_without_counting_repeats_the_attempt() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 1)]);
    let give_back = corelane_wire::Nack {
        settle: settle("q", &bytes),
        delay_ms: 0,
        count_attempt: false,
    };
    node.request(bob(2), Request::Nack(give_back));
    node.turn_end();
    node.request(alice(1), dequeue("q", 1, 0));
    let outputs = node.turn_end();
    assert_eq!(deliveries(&outputs)[0].runs, [run(2, (0, 1), 0, 1)]);
}

#[test]
fn nacked_messages_under_the_old_lease_are_stale() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(bob(2), nack("q", &bytes, 0));
    node.turn_end();
    node.durable();
    assert_eq!(
        ack(&mut node, &[(lease, 0, 2)]),
        settled(&[(0, 1, Stale), (1, 1, Done)])
    );
}

#[test]
fn delayed_messages_are_ready_again_at_their_instant_by_a_tick() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 3)]);
    node.request(bob(2), nack("q", &bytes, 1_500));
    node.turn_end();
    node.durable();
    assert_eq!(node.engine.stats().delayed, 3);
    let due = T0.add(Duration::from_millis(1_500));
    assert_eq!(node.engine.next_deadline(), Some(due));
    assert_eq!(node.deadline_after(Duration::from_millis(1_499)), []);
    let outputs = node.deadline_after(Duration::from_millis(1));
    assert_eq!(outputs, [append(6, due, Record::Tick)]);
    node.request(alice(1), dequeue("q", 3, 0));
    let outputs = node.turn_end();
    assert_eq!(deliveries(&outputs)[0].runs, [run(2, (0, 3), 0, 2)]);
}

#[test]
fn extend_moves_the_deadline_and_keeps_the_lease() {
    let (mut node, lease) = leased();
    node.pass(Duration::from_secs(5));
    let bytes = entries(&[(lease, 0, 3)]);
    node.request(bob(2), extend("q", &bytes, 60_000));
    node.turn_end();
    let outputs = node.durable();
    assert_eq!(outputs, [reply(bob(2), settled(&[(0, 3, Done)]))]);
    node.pass(Duration::from_secs(30));
    node.step(Input::Deadline);
    node.durable();
    assert_eq!(node.engine.stats().leased, 3, "the old deadline is over");
    assert_eq!(ack(&mut node, &[(lease, 0, 3)]), settled(&[(0, 3, Done)]));
}

#[test]
fn extending_a_part_moves_only_its_deadline() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 1, 1)]);
    node.request(bob(2), extend("q", &bytes, 60_000));
    node.turn_end();
    node.durable();
    node.deadline_after(Duration::from_secs(30));
    node.durable();
    assert_eq!(
        ack(&mut node, &[(lease, 0, 3)]),
        settled(&[(0, 1, Stale), (1, 1, Done), (2, 1, Stale)])
    );
}

#[test]
fn turn_orders_acks_nacks_extends_and_leases() {
    let (mut node, lease) = leased();
    node.request(alice(1), dequeue("q", 1, 0));
    let (one, two, three) = (
        entries(&[(lease, 0, 1)]),
        entries(&[(lease, 1, 1)]),
        entries(&[(lease, 2, 1)]),
    );
    node.request(bob(2), extend("q", &one, 60_000));
    node.request(bob(3), nack("q", &two, 0));
    node.request(bob(4), Request::Ack(settle("q", &three)));
    node.turn_end();
    let kinds: Vec<u8> = node.log[5..].iter().map(|entry| entry.2.kind()).collect();
    assert_eq!(kinds, [5, 6, 7, 4]);
    let delivered = node.durable();
    let done = |first| settled(&[(first, 1, Done)]);
    assert_eq!(
        delivered,
        [
            reply(bob(4), done(2)),
            reply(bob(3), done(1)),
            reply(bob(2), done(0))
        ]
    );
}

#[test]
fn message_acked_and_nacked_in_one_turn_is_done() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(bob(2), nack("q", &bytes, 0));
    node.request(bob(3), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    assert_eq!(
        node.durable(),
        [
            reply(bob(3), settled(&[(0, 1, Done)])),
            reply(bob(2), settled(&[(0, 1, AlreadyDone)])),
        ]
    );
}

#[test]
fn scattered_acks_close_up() {
    let (mut node, lease) = leased();
    ack(&mut node, &[(lease, 2, 1)]);
    ack(&mut node, &[(lease, 0, 1)]);
    ack(&mut node, &[(lease, 1, 1)]);
    let subscription = node.engine.state.subscription((QUEUE, DEFAULT)).unwrap();
    assert_eq!(subscription.done.0, 3);
    assert_eq!(subscription.fragments(), 0);
}

#[test]
fn settling_in_an_unknown_queue_or_subscription_is_refused() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 1)]);
    let outputs = node.request(bob(2), Request::Ack(settle("other", &bytes)));
    assert_eq!(refusals(&outputs), [(bob(2), ErrorCode::QueueNotFound)]);
    let mut elsewhere = settle("q", &bytes);
    elsewhere.subscription = "other";
    let outputs = node.request(bob(3), Request::Ack(elsewhere));
    assert_eq!(
        refusals(&outputs),
        [(bob(3), ErrorCode::SubscriptionNotFound)]
    );
}

#[test]
fn lease_of_another_subscription_is_stale() {
    let (mut node, lease) = leased();
    node.request(alice(1), dequeue_from("q", "other", 1, 0));
    node.turn_end();
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    node.durable();
    let bytes = entries(&[(lease, 5, 1)]);
    let mut elsewhere = settle("q", &bytes);
    elsewhere.subscription = "other";
    node.request(bob(2), Request::Ack(elsewhere));
    let outputs = node.turn_end();
    assert_eq!(outputs, [reply(bob(2), settled(&[(5, 1, Stale)]))]);
}

#[test]
fn queue_deleted_in_the_turn_of_an_ack_refuses_it() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(bob(2), Request::Ack(settle("q", &bytes)));
    node.request(bob(3), Request::QueueDelete { queue: "q" });
    node.turn_end();
    let outputs = node.durable();
    assert_eq!(refusals(&outputs), [(bob(2), ErrorCode::QueueNotFound)]);
}
