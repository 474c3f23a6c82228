//! Messages that are due later.

use std::time::Duration;

use corelane_wire::{
    BatchBuilder, Contract, ErrorCode, Lane, Offset, OffsetRanges, OnSchedule, OnSubscription,
    OutgoingMessage, ProducerId, PurgeStates, Request, ScheduleAnswer, ScheduleVerb, ScheduledInfo,
    Sequence, Start, SubscriptionConfig, SubscriptionVerb, Timestamp,
};

use super::node::*;
use crate::record::Record;
use crate::{Input, Output, Reply};

/// A batch of messages, each due so many milliseconds after `now`.
pub(super) fn due(now: Timestamp, delays: &[u64]) -> Vec<u8> {
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
fn what_is_scheduled_and_not_committed_hides_nothing_that_is_ready() {
    let mut node = filled(1);
    let batch = due(node.now, &[1_000, 1_000]);
    node.enqueue("q", &batch);
    node.step(Input::GiveOut { allowed: false });
    node.request(bob(1), dequeue("q", 1, 0));
    node.turn_end();
    let empty = reply(bob(1), Reply::Empty);
    assert!(!node.durable().contains(&empty), "one message is ready");
    node.step(Input::GiveOut { allowed: true });
    assert_eq!(deliveries(&node.turn_end()).len(), 1);
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

/// The answer to a question about what is scheduled.
fn ask(node: &mut Node, verb: ScheduleVerb<'_>) -> ScheduleAnswer {
    let (queue, lane) = ("q", Lane(0));
    let request = Request::Schedule(OnSchedule { queue, lane, verb });
    let outputs = node.request(alice(60), request);
    let outputs = [outputs, node.durable()].concat();
    for output in outputs {
        if let Output::Reply { reply, .. } = output
            && let Reply::Schedule(answer) = reply
        {
            return *answer;
        }
    }
    panic!("no answer")
}

fn ranges(list: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(first, count) in list {
        OffsetRanges::put(range(first, count), &mut bytes);
    }
    bytes
}

fn cancel(node: &mut Node, list: &[(u64, u32)]) -> u32 {
    let bytes = ranges(list);
    let ranges = OffsetRanges::read(&bytes).unwrap();
    let ScheduleAnswer::Cancelled { count } = ask(node, ScheduleVerb::Cancel { ranges }) else {
        panic!("another answer");
    };
    count
}

fn move_by(node: &mut Node, millis: u64, list: &[(u64, u32)]) -> u32 {
    let bytes = ranges(list);
    let ranges = OffsetRanges::read(&bytes).unwrap();
    let due_ms = node.now.as_millis() + millis;
    let ScheduleAnswer::Moved { count } = ask(node, ScheduleVerb::Move { due_ms, ranges }) else {
        panic!("another answer");
    };
    count
}

fn listed(node: &mut Node, from: u64, limit: u32) -> (Vec<(u64, u32)>, bool) {
    let from = Offset(from);
    let ScheduleAnswer::List { rows, more } = ask(node, ScheduleVerb::List { from, limit }) else {
        panic!("another answer");
    };
    let of = |row: &ScheduledInfo| (row.range.first.0, row.range.count);
    (rows.iter().map(of).collect(), more)
}

#[test]
fn what_is_cancelled_is_purged_everywhere_and_what_was_given_out_is_skipped() {
    let mut node = filled(1);
    let on = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "late",
        verb: SubscriptionVerb::Create {
            start: Some(Start::At(Offset(1))),
            config: SubscriptionConfig::PLAIN,
        },
    };
    schedule(&mut node, &[1_000, 1_000, 1_000, 2_000]);
    node.request(alice(1), Request::Subscription(on));
    node.durable();
    assert_eq!(listed(&mut node, 0, 9), (vec![(1, 3), (4, 1)], false));
    assert_eq!(cancel(&mut node, &[(0, 1), (2, 1), (4, 9)]), 2);
    assert_eq!(listed(&mut node, 0, 1), (vec![(1, 1)], true));
    let stats = node.engine.stats();
    assert_eq!((stats.purged, stats.delayed, stats.unaccounted), (4, 4, 0));
    node.deadline_after(Duration::from_secs(1));
    node.durable();
    assert_eq!(taken(&mut node), [1, 3, 0]);
    assert_eq!(
        cancel(&mut node, &[(0, 20)]),
        0,
        "all are given out, or cancelled"
    );
}

#[test]
fn what_is_gone_waits_for_nothing() {
    let mut node = filled(1);
    schedule(&mut node, &[1_000, 1_000, 1_000]);
    let on = |subscription, verb| {
        let (queue, lane) = ("q", Lane(0));
        Request::Subscription(OnSubscription {
            queue,
            lane,
            subscription,
            verb,
        })
    };
    let start = Some(Start::At(Offset(2)));
    let config = SubscriptionConfig::PLAIN;
    node.request(
        alice(1),
        on("late", SubscriptionVerb::Create { start, config }),
    );
    node.request(alice(2), on("", SubscriptionVerb::Delete));
    node.durable();
    assert_eq!(listed(&mut node, 0, 9), (vec![(2, 2)], false));
    assert_eq!(cancel(&mut node, &[(0, 20)]), 2, "nobody has the first one");
}

#[test]
fn what_is_moved_is_due_then_over_a_start_and_for_later_subscriptions() {
    let mut node = filled(1);
    schedule(&mut node, &[1_000, 1_000, 5_000]);
    assert_eq!(move_by(&mut node, 3_000, &[(2, 2)]), 2);
    assert_eq!(move_by(&mut node, 0, &[(1, 1)]), 1, "at once");
    to_deadline(&mut node);
    node.durable();
    assert_eq!(taken(&mut node), [1, 0]);
    let end = node.engine.positions().end;
    node.chunks.checkpoint(&node.engine.cut());
    node.restart_from_checkpoint(end, node.now, 2);
    node.durable();
    let verb = SubscriptionVerb::Seek {
        start: Start::Earliest,
    };
    let on = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        verb,
    };
    node.request(alice(1), Request::Subscription(on));
    node.durable();
    assert_eq!(taken(&mut node), [0, 1]);
    node.deadline_after(Duration::from_millis(2_999));
    node.durable();
    assert!(taken(&mut node).is_empty());
    node.deadline_after(Duration::from_millis(1));
    node.durable();
    assert_eq!(taken(&mut node), [2, 3]);
}

#[test]
fn a_key_goes_on_when_the_message_that_held_it_up_is_cancelled() {
    let mut node = filled(1);
    let config = SubscriptionConfig {
        contract: Contract::KeyOrdered,
        ..SubscriptionConfig::PLAIN
    };
    let on = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        verb: SubscriptionVerb::Configure { config },
    };
    node.request(alice(1), Request::Subscription(on));
    let later = Some(node.now.as_millis() + 60_000);
    let mut builder = BatchBuilder::new();
    for due_ms in [later, None] {
        let message = OutgoingMessage {
            key: Some(b"key"),
            due_ms,
            body: b"body",
            ..OutgoingMessage::default()
        };
        builder.push(&message).unwrap();
    }
    node.enqueue("q", &builder.finish(ProducerId::NONE, Sequence(0)));
    node.durable();
    taken(&mut node);
    node.read_keys();
    assert_eq!(taken(&mut node), [0]);
    assert_eq!(cancel(&mut node, &[(1, 1)]), 1);
    assert_eq!(taken(&mut node), [2]);
}

#[test]
fn cancelling_needs_a_subscription_and_moving_a_year_at_most() {
    let mut node = Node::new();
    schedule(&mut node, &[1_000]);
    let bytes = ranges(&[(0, 1)]);
    let ranges = OffsetRanges::read(&bytes).unwrap();
    let refused = |node: &mut Node, queue, verb| {
        let lane = Lane(0);
        let request = Request::Schedule(OnSchedule { queue, lane, verb });
        let outputs = node.request(alice(1), request);
        refusals(&[outputs, node.durable()].concat())[0].1
    };
    let cancel = ScheduleVerb::Cancel { ranges };
    let code = refused(&mut node, "q", cancel);
    assert_eq!(code, ErrorCode::SubscriptionNotFound);
    assert_eq!(refused(&mut node, "none", cancel), ErrorCode::QueueNotFound);
    let due_ms = node.now.as_millis() + 367 * 86_400_000;
    let too_late = ScheduleVerb::Move { due_ms, ranges };
    assert_eq!(refused(&mut node, "q", too_late), ErrorCode::OutOfRange);
    assert_eq!(move_by(&mut node, 9_000, &[(0, 1)]), 1);
}
