use std::time::Duration;

use corelane_wire::{ErrorCode, Lane, OnSubscription, ProducerId, Request, SubscriptionVerb};

use super::node::*;
use crate::limits::Limits;
use crate::{Input, Output, Reply, Status};

#[test]
fn reply_leaves_at_once_when_everything_is_committed() {
    let mut node = Node::new();
    node.fill("q", 1);
    let outputs = node.request(
        alice(2),
        Request::QueueCreate {
            queue: "q",
            lanes: 1,
        },
    );
    assert_eq!(
        outputs,
        [reply(alice(2), Reply::QueueCreated { created: false })]
    );
}

#[test]
fn refusal_waits_for_what_it_was_computed_from() {
    let mut node = Node::new();
    node.fill("q", 1);
    node.request(alice(2), Request::QueueDelete { queue: "q" });
    let outputs = node.request(alice(3), Request::QueueShow { queue: "q" });
    assert_eq!(outputs, [], "the delete may still be lost");
    let outputs = node.durable();
    assert_eq!(outputs[0], reply(alice(2), Reply::QueueDeleted));
    assert_eq!(refusals(&outputs), [(alice(3), ErrorCode::QueueNotFound)]);
}

#[test]
fn empty_answer_makes_lease_records_below_it_gate_a_flush() {
    let mut node = Node::new();
    node.fill("q", 1);
    node.request(bob(1), dequeue("q", 1, 0));
    node.turn_end();
    node.request(bob(2), dequeue("q", 1, 0));
    assert_eq!(node.turn_end(), [flush(5)]);
    assert_eq!(node.durable(), [reply(bob(2), Reply::Empty)]);
}

#[test]
fn flush_is_asked_for_once_per_end() {
    let mut node = Node::new();
    node.fill("q", 1);
    let create = Request::QueueCreate {
        queue: "new",
        lanes: 1,
    };
    assert_eq!(node.request(alice(2), create).last(), Some(&flush(4)));
    assert_eq!(node.request(alice(3), create), []);
    assert_eq!(node.durable().len(), 2);
}

#[test]
fn waiting_answers_have_a_bound_that_is_answered_busy_at_once() {
    let mut node = Node::with_limits(Limits {
        gated_replies_max: 2,
        ..Limits::default()
    });
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    let outputs = node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::Busy)]);
}

#[test]
fn bytes_of_waiting_answers_have_a_bound() {
    let mut node = Node::with_limits(Limits {
        gated_bytes_max: 1_000,
        ..Limits::default()
    });
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    let mut busy = 0;
    for number in 0..20 {
        busy += refusals(&node.request(alice(number), Request::QueueShow { queue: "q" })).len();
    }
    assert!(busy > 10, "{busy} of 20 were refused");
}

/// The end of the turn frees the room: what was collected becomes records then.
#[test]
fn entries_that_a_turn_collects_count_among_the_bytes() {
    let mut node = Node::with_limits(Limits {
        gated_bytes_max: 1_000,
        ..Limits::default()
    });
    node.fill("q", 100);
    let lease = node.take(bob(1), "q", 100);
    let ack = |node: &mut Node, number: u64| {
        let list: Vec<_> = (10 * number..10 * number + 10)
            .map(|offset| (lease, offset, 1))
            .collect();
        let bytes = entries(&list);
        refusals(&node.request(bob(2 + number), Request::Ack(settle("q", &bytes))))
    };
    for number in 0..4 {
        assert_eq!(ack(&mut node, number), []);
    }
    assert_eq!(ack(&mut node, 4), [(bob(6), ErrorCode::Busy)]);
    node.turn_end();
    node.durable();
    assert_eq!(ack(&mut node, 5), []);
}

#[test]
fn poison_abandons_what_waits_and_refuses_what_had_no_effect() {
    let mut node = Node::new();
    node.fill("q", 2);
    let lease = node.take(bob(1), "q", 1);
    node.request(bob(2), dequeue("q", 5, 1_000));
    node.turn_end();
    node.request(bob(3), dequeue("q", 1, 1_000));
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(bob(4), Request::Ack(settle("q", &bytes)));
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    let outputs = node.step(Input::Poisoned);
    assert_eq!(outputs[0], Output::Abandon { to: alice(1) });
    assert_eq!(
        refusals(&outputs),
        [(bob(4), ErrorCode::Poisoned), (bob(3), ErrorCode::Poisoned)]
    );
    assert_eq!(outputs.len(), 3);
    assert_eq!(node.engine.stats().status, Status::Poisoned);
    assert_eq!(node.engine.next_deadline(), None);
}

#[test]
fn poisoned_partition_refuses_all_but_peek() {
    let mut node = Node::new();
    node.fill("q", 2);
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    node.step(Input::Poisoned);
    let outputs = node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::Poisoned)]);
    let outputs = node.request(alice(2), peek("q", 0, 10));
    assert_eq!(
        deliveries(&outputs)[0].runs,
        [run(2, (0, 2), 0, 0)],
        "only what is committed"
    );
    let outputs = node.request(alice(3), peek("unknown", 0, 10));
    assert_eq!(refusals(&outputs), [(alice(3), ErrorCode::Poisoned)]);
    assert_eq!(node.durable(), [], "a late completion confirms nothing");
    assert_eq!(node.turn_end(), []);
}

#[test]
fn a_start_that_is_poisoned_shows_nothing() {
    let limits = Limits {
        stretch_runs_max: 2,
        runs_loaded_max: 0,
        ..Limits::default()
    };
    let mut node = Node::with_limits(limits);
    for _ in 0..6 {
        node.fill("q", 1);
    }
    let cut = node.engine.cut();
    node.chunks.checkpoint(&cut);
    let end = node.engine.positions().end;
    node.restart_from_checkpoint(end, node.now, 2);
    node.step(Input::Poisoned);
    let outputs = node.request(alice(2), peek("q", 0, 10));
    assert_eq!(node.loads.len(), 0);
    assert_eq!(
        refusals(&outputs),
        [(alice(2), ErrorCode::Poisoned)],
        "nothing was committed since the start"
    );
}

#[test]
fn request_of_the_connection_is_no_request_of_a_partition() {
    let mut node = Node::new();
    let outputs = node.request(alice(1), Request::Ping);
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::Internal)]);
}

#[test]
fn read_only_partition_shows_all_that_was_replayed_and_appends_nothing() {
    let mut node = Node::new();
    node.fill("q", 3);
    node.take(bob(1), "q", 1);
    node.engine = replayed(&node.log).unwrap();
    assert_eq!(node.step(Input::ReadOnly), []);
    let outputs = node.request(alice(1), peek("q", 0, 10));
    assert_eq!(deliveries(&outputs)[0].runs, [run(2, (0, 3), 0, 0)]);
    let outputs = node.request(alice(2), Request::QueueShow { queue: "q" });
    assert_eq!((outputs.len(), refusals(&outputs).len()), (1, 0));
    let on = |verb| {
        Request::Subscription(OnSubscription {
            queue: "q",
            lane: Lane(0),
            subscription: "",
            verb,
        })
    };
    let outputs = node.request(alice(2), on(SubscriptionVerb::Show));
    assert_eq!((outputs.len(), refusals(&outputs).len()), (1, 0));
    let refused = |outputs: &[Output]| refusals(outputs).first().map(|(_, code)| *code);
    let bytes = batch(1, ProducerId::NONE, 0);
    let requests = [
        enqueue("q", &bytes),
        dequeue("q", 1, 0),
        Request::QueueDelete { queue: "q" },
        on(SubscriptionVerb::Resume),
        on(SubscriptionVerb::Delete),
        // It may have been made behind the damage.
        peek("unknown", 0, 1),
        Request::QueueShow { queue: "unknown" },
    ];
    for request in requests {
        let outputs = node.request(alice(3), request);
        assert_eq!(refused(&outputs), Some(ErrorCode::Damaged), "{request:?}");
        assert_eq!(outputs.len(), 1);
    }
    let session = bob(1).session;
    assert_eq!(node.step(Input::SessionLost { session }), []);
    assert_eq!(node.deadline_after(Duration::from_hours(1)), []);
    assert_eq!(node.turn_end(), []);
    assert_eq!(node.engine.next_deadline(), None);
}
