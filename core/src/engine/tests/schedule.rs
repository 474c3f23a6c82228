//! Messages that are due later.

use std::time::Duration;

use corelane_wire::{
    BatchBuilder, ErrorCode, Lane, OnSubscription, OutgoingMessage, ProducerId, PurgeStates,
    Request, Sequence, Start, SubscriptionVerb, Timestamp,
};

use super::node::*;
use crate::record::Record;
use crate::{Input, Output, Reply};

/// A batch of messages, each due so many milliseconds after `now`.
fn due(now: Timestamp, delays: &[u64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for delay in delays {
        let message = OutgoingMessage {
            due_ms: Some(now.as_millis() + delay),
            body: b"body",
            ..OutgoingMessage::default()
        };
        builder.push(&message).unwrap();
    }
    builder.finish(ProducerId::NONE, Sequence(0))
}

fn schedule(node: &mut Node, delays: &[u64]) {
    let batch = due(node.now, delays);
    node.enqueue("q", &batch);
    node.durable();
}

/// Everything that a dequeue gets.
fn taken(node: &mut Node) -> Vec<u64> {
    let mut outputs = node.request(alice(50), dequeue("q", 100, 0));
    outputs.extend(node.turn_end());
    outputs.extend(node.durable());
    let given = deliveries(&outputs);
    let runs = given.iter().flat_map(|delivery| &delivery.runs);
    let offsets = runs.flat_map(|run| run.first.0..run.first.0 + u64::from(run.count));
    offsets.collect()
}

/// Time passes to the deadline that the engine names.
fn to_deadline(node: &mut Node) -> Duration {
    let before = node.now;
    node.now = node.engine.next_deadline().unwrap();
    node.step(Input::Deadline);
    node.now.since(before)
}

#[test]
fn messages_are_given_out_when_they_are_due_and_not_before() {
    let mut node = filled(1);
    schedule(&mut node, &[0, 1_000, 1_000, 3_000]);
    node.fill("q", 1);
    assert_eq!(
        taken(&mut node),
        [0, 1, 5],
        "a due time that is over is none"
    );
    assert_eq!(node.engine.stats().delayed, 3);
    node.deadline_after(Duration::from_millis(999));
    assert!(taken(&mut node).is_empty());
    assert_eq!(to_deadline(&mut node), Duration::from_millis(1));
    assert_eq!(taken(&mut node), [2, 3]);
    assert_eq!(to_deadline(&mut node), Duration::from_secs(2));
    assert_eq!(taken(&mut node), [4]);
}

#[test]
fn what_is_due_does_not_wait_behind_a_backlog() {
    let mut node = filled(5);
    schedule(&mut node, &[1_000]);
    node.fill("q", 2);
    node.deadline_after(Duration::from_secs(1));
    node.request(bob(1), dequeue("q", 2, 0));
    let given = deliveries(&node.turn_end());
    let runs = given[0].runs.iter();
    let firsts: Vec<_> = runs.map(|run| (run.first.0, run.attempt)).collect();
    assert_eq!(firsts, [(5, 1), (0, 1)]);
    let lease = given[0].lease;
    node.durable();
    let bytes = entries(&[(lease, 5, 1), (lease, 0, 1)]);
    node.request(bob(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    assert_eq!(taken(&mut node), [1, 2, 3, 4, 6, 7]);
}

#[test]
fn a_subscription_that_begins_later_is_not_given_them_early() {
    let mut node = Node::new();
    schedule(&mut node, &[1_000, 0, 2_000]);
    assert_eq!(taken(&mut node), [1], "it begins now");
    let seek = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        verb: SubscriptionVerb::Seek {
            start: Start::Earliest,
        },
    };
    node.deadline_after(Duration::from_secs(1));
    node.request(bob(1), Request::Subscription(seek));
    node.durable();
    assert_eq!(taken(&mut node), [0, 1]);
    let end = node.engine.positions().end;
    node.restart(end, node.now, 2);
    node.durable();
    assert!(taken(&mut node).is_empty());
    node.deadline_after(Duration::from_secs(1));
    assert!(taken(&mut node).contains(&2));
}

#[test]
fn what_is_due_before_it_is_committed_waits_for_that() {
    let mut node = filled(1);
    assert_eq!(taken(&mut node), [0]);
    let batch = due(node.now, &[1]);
    node.enqueue("q", &batch);
    node.deadline_after(Duration::from_millis(1));
    node.request(bob(1), dequeue("q", 1, 1_000));
    assert_eq!(deliveries(&node.turn_end()), []);
    node.durable();
    assert_eq!(deliveries(&node.turn_end()).len(), 1);
}

#[test]
fn only_what_is_scheduled_costs_a_record_of_another_kind() {
    let mut node = filled(1);
    schedule(&mut node, &[0]);
    schedule(&mut node, &[7, 7]);
    let mut groups = Vec::new();
    for (_, _, record) in &node.log {
        if let Record::Enqueue { schedule, .. } = record {
            groups.push(schedule.as_ref().map(|all| all.len()));
        }
    }
    assert_eq!(groups, [None, None, Some(1)]);
}

#[test]
fn a_due_time_in_more_than_a_year_is_refused() {
    let mut node = filled(1);
    let batch = due(node.now, &[366 * 86_400_000 + 1]);
    let outputs = node.enqueue("q", &batch);
    let is_refused = |output: &Output| {
        matches!(output, Output::Reply { reply: Reply::Refused { code, .. }, .. }
            if *code == ErrorCode::OutOfRange)
    };
    assert!(outputs.iter().any(is_refused), "{outputs:?}");
}

#[test]
fn what_is_purged_before_it_is_due_is_forgotten() {
    let mut node = filled(1);
    schedule(&mut node, &[60_000, 60_000]);
    let on = |verb| {
        Request::Subscription(OnSubscription {
            queue: "q",
            lane: Lane(0),
            subscription: "",
            verb,
        })
    };
    let scheduled = |node: &Node| {
        let state = &node.engine.state;
        let queue = state.queues.find("q").and_then(|id| state.queues.get(id));
        queue.map(|queue| queue.scheduled.len())
    };
    assert_eq!(scheduled(&node), Some(1));
    let states = PurgeStates::from_bits(1).unwrap();
    node.request(bob(1), on(SubscriptionVerb::Purge { states }));
    node.durable();
    assert_eq!(scheduled(&node), Some(0), "it makes room for others");
    schedule(&mut node, &[60_000]);
    node.request(bob(2), on(SubscriptionVerb::Delete));
    node.durable();
    assert_eq!(scheduled(&node), Some(0));
}
