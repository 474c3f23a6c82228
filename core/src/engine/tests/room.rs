//! Queues that hold only so much.

use corelane_wire::{
    AsideCause, Contract, ErrorCode, Offset, Overflow, ProducerId, QueueConfig, Receipt,
    SubscriptionConfig, SubscriptionVerb,
};

use super::node::*;
use super::retention::{NONE, add, ask, consume, keeping, kept, trims};
use crate::state::Subscription;
use crate::{Output, Reply};

fn bounded(messages_max: u64, overflow: Overflow) -> QueueConfig {
    QueueConfig {
        messages_max,
        overflow,
        ..QueueConfig::PLAIN
    }
}

/// The receipt among the outputs.
fn receipt_in(outputs: &[Output]) -> Option<Receipt> {
    outputs.iter().find_map(|output| match output {
        Output::Reply {
            reply: Reply::Receipt(receipt),
            ..
        } => Some(*receipt),
        Output::Reply { .. }
        | Output::Append { .. }
        | Output::Flush { .. }
        | Output::Deliver(_)
        | Output::Load { .. }
        | Output::Letter(_)
        | Output::Fetch { .. }
        | Output::Abandon { .. } => None,
    })
}

/// Enqueues a batch of a producer; what was refused, and the first offset of the receipt.
fn send(node: &mut Node, messages: u32, sequence: u64) -> (Vec<ErrorCode>, Option<u64>) {
    let mut outputs = node.enqueue("q", &batch(messages, ProducerId(7), sequence));
    outputs.extend(node.durable());
    let refused = refusals(&outputs).into_iter().map(|(_, code)| code);
    let first = receipt_in(&outputs).map(|receipt| receipt.range.first.0);
    (refused.collect(), first)
}

fn taken(first: u64) -> (Vec<ErrorCode>, Option<u64>) {
    (Vec::new(), Some(first))
}

fn refused(code: ErrorCode) -> (Vec<ErrorCode>, Option<u64>) {
    (vec![code], None)
}

fn default(node: &Node) -> &Subscription {
    node.engine.state.subscription((QUEUE, DEFAULT)).unwrap()
}

/// What is ready, leased, dead and expired.
fn counts(node: &Node) -> [u64; 4] {
    let stats = node.engine.stats();
    assert_eq!(stats.unaccounted, 0);
    [stats.ready, stats.leased, stats.dead, stats.expired]
}

#[test]
fn full_queue_takes_no_part_of_a_batch_and_no_number_of_its_producer() {
    let mut node = keeping(bounded(10, Overflow::Refuse));
    assert_eq!(send(&mut node, 8, 0), taken(0));
    assert_eq!(send(&mut node, 3, 1), refused(ErrorCode::QueueFull));
    assert_eq!(send(&mut node, 2, 1), taken(8));
    assert_eq!(send(&mut node, 1, 2), refused(ErrorCode::QueueFull));
    // What was taken is confirmed again, however full the queue is.
    assert_eq!(send(&mut node, 2, 1), taken(8));
    assert_eq!(consume(&mut node), 10);
    assert_eq!(send(&mut node, 1, 2), taken(10));
    assert_eq!(send(&mut node, 11, 3), refused(ErrorCode::LimitExceeded));
}

#[test]
fn what_is_leased_counts_and_what_comes_back_is_never_refused() {
    let mut node = keeping(bounded(3, Overflow::Refuse));
    send(&mut node, 3, 0);
    let lease = node.take(alice(2), "q", 2);
    assert_eq!(send(&mut node, 1, 1), refused(ErrorCode::QueueFull));
    let bytes = entries(&[(lease, 0, 2)]);
    assert_eq!(
        refusals(&node.request(alice(3), nack("q", &bytes, 60_000))),
        []
    );
    node.turn_end();
    assert_eq!(node.engine.stats().delayed, 2);
    assert_eq!(send(&mut node, 1, 1), refused(ErrorCode::QueueFull));
}

#[test]
fn the_fullest_subscription_counts() {
    let mut node = keeping(bounded(4, Overflow::Refuse));
    let config = SubscriptionConfig::PLAIN;
    let start = None;
    ask(
        &mut node,
        "slow",
        SubscriptionVerb::Create { start, config },
    );
    send(&mut node, 4, 0);
    consume(&mut node);
    assert_eq!(send(&mut node, 1, 1), refused(ErrorCode::QueueFull));
    ask(&mut node, "slow", SubscriptionVerb::Delete);
    assert_eq!(send(&mut node, 1, 1), taken(4));
}

#[test]
fn oldest_make_way_in_the_same_turn_but_not_those_that_are_leased() {
    let mut node = keeping(bounded(5, Overflow::DropOldest));
    send(&mut node, 5, 0);
    node.take(alice(2), "q", 2);
    assert_eq!(send(&mut node, 2, 1), taken(5));
    assert_eq!(counts(&node), [3, 2, 0, 2]);
    assert_eq!(
        default(&node).cursor,
        Offset(4),
        "0 and 1 are leased, 2 and 3 dropped"
    );
    assert_eq!(kept(&node), (0, 7));
    // Everything that waits makes way for a batch, which itself is taken whole.
    assert_eq!(send(&mut node, 5, 2), taken(7));
    assert_eq!(counts(&node), [5, 2, 0, 5]);
    assert_eq!(send(&mut node, 6, 3), refused(ErrorCode::LimitExceeded));
}

#[test]
fn oldest_that_are_ready_are_dead_with_their_cause() {
    let mut node = keeping(bounded(5, Overflow::Dead));
    send(&mut node, 5, 0);
    let lease = node.take(alice(2), "q", 2);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(alice(3), nack("q", &bytes, 0));
    node.turn_end();
    assert_eq!(send(&mut node, 2, 1), taken(5));
    assert_eq!(counts(&node), [4, 1, 2, 0]);
    let rows = default(&node).dead.rows().iter();
    let rows: Vec<_> = rows
        .map(|(first, row)| (first.0, row.count, row.attempts, row.cause))
        .collect();
    let cause = AsideCause::Overflow;
    assert_eq!(rows, [(0, 1, 1, cause), (2, 1, 0, cause)]);
    // Dead messages do not count, and stay until somebody says what becomes of them.
    assert_eq!(send(&mut node, 1, 2), taken(7));
    assert_eq!(counts(&node), [4, 1, 3, 0]);
    assert_eq!(kept(&node), (0, 8));
}

#[test]
fn reader_has_no_dead_messages_and_loses_them() {
    let mut node = keeping(bounded(3, Overflow::Dead));
    let config = SubscriptionConfig {
        contract: Contract::Reader,
        ..SubscriptionConfig::PLAIN
    };
    ask(&mut node, "", SubscriptionVerb::Configure { config });
    send(&mut node, 3, 0);
    assert_eq!(send(&mut node, 2, 1), taken(3));
    assert_eq!(counts(&node), [3, 0, 0, 2]);
    assert_eq!(kept(&node), (2, 5));
}

#[test]
fn bytes_count_by_their_mean() {
    // A batch of ten has 1,000 bytes of messages and 128 of its own.
    let mut config = bounded(0, Overflow::Refuse);
    config.bytes_max = 3 * 1_128;
    let mut node = keeping(config);
    for sequence in 0..3 {
        assert_eq!(send(&mut node, 10, sequence), taken(10 * sequence));
    }
    assert_eq!(send(&mut node, 1, 3), refused(ErrorCode::QueueFull));
    assert_eq!(send(&mut node, 40, 3), refused(ErrorCode::LimitExceeded));
    consume(&mut node);
    assert_eq!(send(&mut node, 10, 3), taken(30));
}

#[test]
fn queue_without_a_subscription_holds_no_more_either() {
    for (overflow, expected) in [
        (Overflow::Refuse, refused(ErrorCode::QueueFull)),
        (Overflow::DropOldest, taken(3)),
        (Overflow::Dead, refused(ErrorCode::QueueFull)),
    ] {
        let mut node = Node::new();
        let config = Some(bounded(3, overflow));
        let configure = corelane_wire::Request::QueueConfigure { queue: "q", config };
        node.request(alice(1), configure);
        assert_eq!(send(&mut node, 3, 0), taken(0));
        assert_eq!(send(&mut node, 1, 1), expected, "{overflow:?}");
    }
}

#[test]
fn receipts_ask_to_slow_down_while_so_many_wait() {
    let mut config = QueueConfig::PLAIN;
    config.slow_down_at = 3;
    let mut node = keeping(config);
    let asks = |node: &mut Node, messages, sequence| {
        let mut outputs = node.enqueue("q", &batch(messages, ProducerId(7), sequence));
        outputs.extend(node.durable());
        receipt_in(&outputs).map(|receipt| receipt.slow_down)
    };
    assert_eq!(asks(&mut node, 2, 0), Some(false));
    assert_eq!(asks(&mut node, 1, 1), Some(true));
    assert_eq!(asks(&mut node, 1, 1), Some(true), "a repeated one");
    node.take(alice(2), "q", 3);
    assert_eq!(asks(&mut node, 1, 2), Some(true), "leased ones count");
    ask(
        &mut node,
        "",
        SubscriptionVerb::Seek {
            start: corelane_wire::Start::Latest,
        },
    );
    assert_eq!(asks(&mut node, 1, 3), Some(false));
}

#[test]
fn queue_that_keeps_and_drops_is_trimmed_once() {
    let mut config = bounded(3, Overflow::DropOldest);
    config.retention_count = 3;
    let mut node = keeping(config);
    assert_eq!(add(&mut node, 3), NONE);
    let mut outputs = node.enqueue("q", &batch(2, ProducerId::NONE, 0));
    outputs.extend(node.durable());
    outputs.extend(node.turn_end());
    assert_eq!(trims(&outputs), [2]);
    assert_eq!(kept(&node), (2, 5));
}
