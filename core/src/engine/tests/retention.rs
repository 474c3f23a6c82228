//! What is kept although everybody is done with it, and how long.

use std::time::Duration;

use corelane_wire::{
    ErrorCode, Fate, Lane, Offset, OnSubscription, QueueConfig, Request, Start, SubscriptionAnswer,
    SubscriptionConfig, SubscriptionVerb,
};

use super::node::*;
use crate::record::Record;
use crate::{Limits, Output, Reply};

/// A queue of this configuration with the default subscription.
pub(super) fn keeping(config: QueueConfig) -> Node {
    keeping_in(Node::new(), config)
}

pub(super) fn keeping_in(mut node: Node, config: QueueConfig) -> Node {
    let config = Some(config);
    node.request(alice(1), Request::QueueConfigure { queue: "q", config });
    let config = SubscriptionConfig::PLAIN;
    let start = None;
    ask(&mut node, "", SubscriptionVerb::Create { start, config });
    node
}

fn count(retention_count: u64) -> QueueConfig {
    QueueConfig {
        retention_count,
        ..QueueConfig::PLAIN
    }
}

fn age(seconds: u64) -> QueueConfig {
    QueueConfig {
        retention_ms: seconds * 1_000,
        ..QueueConfig::PLAIN
    }
}

pub(super) fn ask(node: &mut Node, subscription: &str, verb: SubscriptionVerb<'_>) -> Reply {
    let on = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription,
        verb,
    };
    let mut outputs = node.request(alice(50), Request::Subscription(on));
    outputs.extend(node.turn_end());
    outputs.extend(node.durable());
    let reply = outputs.into_iter().find_map(|output| match output {
        Output::Reply { reply, .. } => Some(reply),
        Output::Append { .. }
        | Output::Flush { .. }
        | Output::Deliver(_)
        | Output::Load { .. }
        | Output::Letter(_)
        | Output::Fetch { .. }
        | Output::Abandon { .. } => None,
    });
    reply.expect("it is answered")
}

fn seek(node: &mut Node, start: Start) -> Reply {
    ask(node, "", SubscriptionVerb::Seek { start })
}

fn sought(at: u64) -> Reply {
    let at = Offset(at);
    Reply::Subscription(Box::new(SubscriptionAnswer::Sought { at }))
}

/// Where the messages go that were trimmed, by each record.
pub(super) fn trims(outputs: &[Output]) -> Vec<u64> {
    let trims = outputs.iter().filter_map(|output| match output {
        Output::Append {
            record: Record::Trim { end, .. },
            ..
        } => Some(end.0),
        Output::Append { .. }
        | Output::Reply { .. }
        | Output::Flush { .. }
        | Output::Deliver(_)
        | Output::Load { .. }
        | Output::Letter(_)
        | Output::Fetch { .. }
        | Output::Abandon { .. } => None,
    });
    trims.collect()
}

/// Enqueues `messages` in a batch, ends the turn and commits; what was trimmed.
pub(super) fn add(node: &mut Node, messages: u32) -> Vec<u64> {
    node.fill("q", messages);
    let outputs = node.turn_end();
    node.durable();
    trims(&outputs)
}

/// Takes everything that is ready and acks it; how many messages.
pub(super) fn consume(node: &mut Node) -> u64 {
    let mut count = 0;
    loop {
        node.request(alice(2), dequeue("q", 10, 0));
        let outputs = node.turn_end();
        node.durable();
        let Some(delivery) = deliveries(&outputs).pop() else {
            return count;
        };
        let runs = delivery.runs.iter();
        let list: Vec<_> = runs
            .map(|run| (delivery.lease, run.first.0, run.count))
            .collect();
        count += list
            .iter()
            .map(|(.., count)| u64::from(*count))
            .sum::<u64>();
        let bytes = entries(&list);
        node.request(alice(3), Request::Ack(settle("q", &bytes)));
        node.turn_end();
        node.durable();
    }
}

pub(super) fn kept(node: &Node) -> (u64, u64) {
    let queue = node.engine.state.queues.get(QUEUE).unwrap();
    (queue.start.0, queue.end.0)
}

#[test]
fn what_all_are_done_with_can_be_read_again_while_it_is_kept() {
    let mut node = keeping(count(100));
    add(&mut node, 5);
    assert_eq!(consume(&mut node), 5);
    assert_eq!(kept(&node), (0, 5));
    assert_eq!(seek(&mut node, Start::At(Offset(2))), sought(2));
    assert_eq!(consume(&mut node), 3);
    let config = SubscriptionConfig::PLAIN;
    let start = Some(Start::Earliest);
    ask(&mut node, "new", SubscriptionVerb::Create { start, config });
    let outputs = node.request(alice(9), dequeue_from("q", "new", 10, 0));
    assert_eq!(deliveries(&outputs), []);
    assert_eq!(deliveries(&node.turn_end())[0].runs[0].count, 5);
}

#[test]
fn segments_of_what_is_kept_are_needed_until_it_is_trimmed() {
    let mut node = keeping(age(10));
    add(&mut node, 5);
    consume(&mut node);
    let live = |node: &mut Node| -> Vec<_> {
        let cut = node.engine.cut();
        let stretches = cut.live();
        stretches.map(|of| (of.first, of.end, of.bytes)).collect()
    };
    assert_eq!(live(&mut node), [(Offset(0), Offset(5), 500 + 128)]);
    node.deadline_after(Duration::from_secs(10));
    node.turn_end();
    assert_eq!(live(&mut node), []);
}

#[test]
fn count_is_exact_to_one_message() {
    let mut node = keeping(count(7));
    assert_eq!(add(&mut node, 7), NONE);
    consume(&mut node);
    assert_eq!(add(&mut node, 1), [1]);
    assert_eq!(add(&mut node, 4), [5]);
    assert_eq!(kept(&node), (5, 12));
    let Reply::Refused { code, .. } = seek(&mut node, Start::At(Offset(4))) else {
        panic!("offset 4 is not kept any more");
    };
    assert_eq!(code, ErrorCode::OffsetNotKept);
    assert_eq!(seek(&mut node, Start::At(Offset(5))), sought(5));
    assert_eq!(consume(&mut node), 7);
}

#[test]
fn bytes_are_exact_to_one_batch() {
    // A batch of ten has 1,000 bytes of messages and 128 of its own.
    let config = QueueConfig {
        retention_bytes: 3 * 1_128,
        ..QueueConfig::PLAIN
    };
    let mut node = keeping(config);
    for _ in 0..3 {
        assert_eq!(add(&mut node, 10), NONE);
    }
    assert_eq!(add(&mut node, 10), [10]);
    assert_eq!(add(&mut node, 1), [20]);
    // However large it is, the newest batch stays.
    assert_eq!(add(&mut node, 200), [41]);
    assert_eq!(kept(&node), (41, 241));
}

#[test]
fn age_is_never_early_and_needs_nobody_to_enqueue() {
    let mut node = keeping(age(10));
    add(&mut node, 2);
    consume(&mut node);
    node.pass(Duration::from_secs(4));
    add(&mut node, 3);
    assert_eq!(
        node.engine.next_deadline(),
        Some(T0.add(Duration::from_secs(10)))
    );
    node.deadline_after(Duration::from_millis(5_999));
    assert_eq!(trims(&node.turn_end()), NONE);
    node.deadline_after(Duration::from_millis(1));
    assert_eq!(trims(&node.turn_end()), [2]);
    node.durable();
    assert_eq!(
        node.engine.next_deadline(),
        Some(T0.add(Duration::from_secs(14)))
    );
    // Nobody has taken these.
    node.deadline_after(Duration::from_secs(4));
    assert_eq!(trims(&node.turn_end()), [5]);
    let stats = node.engine.stats();
    assert_eq!((stats.ready, stats.acked, stats.expired), (0, 2, 3));
    assert_eq!((stats.messages, stats.unaccounted), (0, 0));
    node.durable();
    assert_eq!(node.engine.next_deadline(), None);
}

#[test]
fn every_state_but_a_lease_ends_at_once_and_a_lease_when_it_does() {
    let mut node = keeping(count(4));
    add(&mut node, 4);
    // One is dead, one delayed, one leased, one never given out.
    for correlation in 1..=3 {
        let lease = node.take(alice(correlation), "q", 1);
        let bytes = entries(&[(lease, correlation - 1, 1)]);
        let (settle, fate, text) = (settle("q", &bytes), Fate::Dead, "");
        match correlation {
            1 => node.request(
                alice(9),
                Request::Reject(corelane_wire::Reject { settle, fate, text }),
            ),
            2 => node.request(alice(9), nack("q", &bytes, 60_000)),
            _ => Vec::new(),
        };
        node.turn_end();
    }
    assert_eq!(add(&mut node, 4), [4]);
    let stats = node.engine.stats();
    assert_eq!((stats.expired, stats.leased, stats.ready), (3, 1, 4));
    assert_eq!((stats.dead, stats.delayed), (0, 0));
    assert_eq!(kept(&node), (2, 8), "what is leased keeps its place");
    // It comes back, and goes before anybody gets it.
    node.request(alice(8), dequeue("q", 10, 1_000));
    node.deadline_after(Duration::from_secs(30));
    let outputs = node.turn_end();
    assert_eq!(trims(&outputs), [4]);
    let first = deliveries(&outputs)[0].runs[0].first;
    assert_eq!(first, Offset(4));
    assert_eq!(node.engine.stats().expired, 4);
    assert_eq!(kept(&node), (4, 8));
}

#[test]
fn what_comes_back_with_a_delay_goes_too() {
    let mut node = keeping(count(1));
    add(&mut node, 1);
    let lease = node.take(alice(1), "q", 1);
    assert_eq!(add(&mut node, 1), [1]);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(alice(2), nack("q", &bytes, 60_000));
    assert_eq!(trims(&node.turn_end()), [1]);
    assert_eq!(node.engine.stats().delayed, 0);
}

#[test]
fn retention_begins_when_it_is_configured_and_ends_so() {
    let mut node = keeping(QueueConfig::PLAIN);
    add(&mut node, 3);
    consume(&mut node);
    let mut configure = |config| {
        let config = Some(config);
        node.request(alice(1), Request::QueueConfigure { queue: "q", config });
        node.turn_end();
        node.durable();
        add(&mut node, 2);
        consume(&mut node);
        kept(&node)
    };
    assert_eq!(configure(count(100)), (3, 5));
    assert_eq!(configure(count(3)), (4, 7));
    assert_eq!(configure(QueueConfig::PLAIN), (9, 9));
}

#[test]
fn restart_goes_on_where_it_was() {
    let mut node = keeping(age(10));
    add(&mut node, 2);
    consume(&mut node);
    node.pass(Duration::from_secs(5));
    add(&mut node, 1);
    let end = node.engine.positions().end;
    let hash = node.engine.state_hash();
    assert_eq!(replayed(&node.log).unwrap().state_hash(), hash);
    node.restart(end, node.now, 2);
    node.durable();
    assert_eq!(trims(&node.turn_end()), NONE);
    node.deadline_after(Duration::from_secs(5));
    assert_eq!(trims(&node.turn_end()), [2]);
}

#[test]
fn places_that_are_not_in_memory_are_read_to_know_their_age() {
    let limits = Limits {
        stretch_runs_max: 4,
        runs_loaded_max: 0,
        ..Limits::default()
    };
    let mut node = keeping_in(Node::with_limits(limits), age(10));
    for _ in 0..12 {
        add(&mut node, 1);
        node.pass(Duration::from_millis(500));
    }
    consume(&mut node);
    let cut = node.engine.cut();
    node.chunks.checkpoint(&cut);
    drop(cut);
    node.turn_end();
    // What is due is known still.
    assert_eq!(node.loads.len(), 0);
    node.deadline_after(Duration::from_secs(6));
    assert_eq!(trims(&node.turn_end()), NONE);
    let mut trimmed = Vec::new();
    while node.read_one().is_some() {
        let due = node.engine.next_deadline();
        assert!(
            due.is_none_or(|due| due > node.now),
            "nothing to be done before it is read"
        );
        trimmed.extend(trims(&node.turn_end()));
    }
    assert_eq!(trimmed.last(), Some(&5), "{trimmed:?}");
    node.durable();
    assert_eq!(
        node.engine.next_deadline(),
        Some(T0.add(Duration::from_millis(12_500)))
    );
}

#[test]
fn queue_without_a_subscription_keeps_no_more_than_that() {
    let mut node = Node::new();
    let config = Some(count(3));
    node.request(alice(1), Request::QueueConfigure { queue: "q", config });
    assert_eq!(add(&mut node, 5), [2]);
    assert_eq!(kept(&node), (2, 5));
    assert_eq!(consume(&mut node), 3);
}

pub(super) const NONE: [u64; 0] = [];
