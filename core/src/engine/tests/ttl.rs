//! Messages whose time to live ends.

use std::time::Duration;

use corelane_wire::{
    Aside, BatchBuilder, Contract, ErrorCode, Fate, LeaseId, Offset, OffsetRanges, OnSchedule,
    OutgoingMessage, ProducerId, QueueConfig, Reject, Request, ScheduleVerb, Sequence, Start,
    SubscriptionAnswer, SubscriptionConfig, SubscriptionDetail, SubscriptionVerb,
};

use super::node::*;
use super::readers::{ask_of, shown_of};
use crate::record::Record;
use crate::{Input, Limits, Output};

const NOTHING: [u64; 0] = [];

/// A batch of messages with bodies of their own: when each is due, in milliseconds from `T0` on, and how long it lives.
fn mortal(messages: &[(Option<u64>, Option<u64>)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (delay_ms, ttl_ms) in messages {
        let message = OutgoingMessage {
            due_ms: delay_ms.map(|delay| T0.as_millis() + delay),
            ttl_ms: *ttl_ms,
            key: Some(b"key"),
            body: b"body",
            ..OutgoingMessage::default()
        };
        builder.push(&message).unwrap();
    }
    builder.finish(ProducerId::NONE, Sequence(0))
}

/// Enqueues messages that live so many milliseconds; 0 stands for ever.
fn enqueue_living(node: &mut Node, ttls: &[u64]) {
    let ttl = |ttl: &u64| (None, Some(*ttl).filter(|ttl| *ttl > 0));
    let messages: Vec<_> = ttls.iter().map(ttl).collect();
    node.enqueue("q", &mortal(&messages));
    node.durable();
}

/// A queue with the default subscription and messages that live so many milliseconds.
fn living(ttls: &[u64]) -> Node {
    let mut node = Node::new();
    node.request(alice(99), dequeue("q", 1, 0));
    node.turn_end();
    if !ttls.is_empty() {
        enqueue_living(&mut node, ttls);
    }
    node
}

/// Everything that a dequeue gets, and its lease.
fn taken_from(node: &mut Node, subscription: &str) -> (LeaseId, Vec<u64>) {
    let mut outputs = node.request(alice(50), dequeue_from("q", subscription, 100, 0));
    outputs.extend(node.turn_end());
    outputs.extend(node.durable());
    let given = deliveries(&outputs);
    let lease = given.first().map(|delivery| delivery.lease);
    let runs = given.iter().flat_map(|delivery| &delivery.runs);
    let offsets = runs.flat_map(|run| run.first.0..run.first.0 + u64::from(run.count));
    (lease.unwrap_or_default(), offsets.collect())
}

fn taken(node: &mut Node) -> Vec<u64> {
    taken_from(node, "").1
}

/// Time passes, and the deadline comes.
fn pass(node: &mut Node, millis: u64) {
    node.deadline_after(Duration::from_millis(millis));
    node.turn_end();
    node.durable();
}

fn expired(node: &mut Node) -> u64 {
    shown_of(node, "").expired
}

fn settle_as(node: &mut Node, (lease, first, count): (LeaseId, u64, u32), delay_ms: u64) {
    let bytes = entries(&[(lease, first, count)]);
    node.request(alice(7), nack("q", &bytes, delay_ms));
    node.turn_end();
    node.durable();
}

fn reject(node: &mut Node, (lease, first): (LeaseId, u64), fate: Fate) {
    let bytes = entries(&[(lease, first, 1)]);
    let (settle, text) = (settle("q", &bytes), "why");
    node.request(alice(7), Request::Reject(Reject { settle, fate, text }));
    node.turn_end();
    node.durable();
}

fn configure(node: &mut Node, ttl_ms: u64) {
    let config = Some(QueueConfig {
        ttl_ms,
        ..QueueConfig::PLAIN
    });
    let request = Request::QueueConfigure { queue: "q", config };
    assert_eq!(refusals(&node.request(alice(8), request)), []);
    node.durable();
}

fn create(node: &mut Node, name: &str, contract: Contract) {
    let config = SubscriptionConfig {
        contract,
        ..SubscriptionConfig::PLAIN
    };
    let start = Some(Start::Earliest).filter(|_| contract != Contract::Broadcast);
    let created = ask_of(node, name, SubscriptionVerb::Create { start, config });
    assert_eq!(created, Ok(SubscriptionAnswer::Created { created: true }));
}

#[test]
fn messages_expire_anywhere_in_the_queue_at_their_time_and_not_before() {
    let mut node = living(&[0, 1_000, 0, 2_000, 1_000, 0]);
    node.deadline_after(Duration::from_millis(999));
    assert_eq!(expired(&mut node), 0);
    assert_eq!(
        node.engine.next_deadline(),
        Some(T0.add(Duration::from_secs(1)))
    );
    pass(&mut node, 1);
    let shown = shown_of(&mut node, "");
    assert_eq!((shown.expired, shown.ready, shown.enqueued), (2, 4, 6));
    let (lease, offsets) = taken_from(&mut node, "");
    assert_eq!(offsets, [0, 2, 3, 5]);
    settle_as(&mut node, (lease, 2, 2), 0);
    pass(&mut node, 1_000);
    assert_eq!(taken(&mut node), [2], "one had come back and expired");
    assert_eq!(node.engine.stats().expired, 3);
}

#[test]
fn nothing_whose_time_is_over_is_given_out_before_a_tick_has_come() {
    let mut node = living(&[1_000, 0]);
    node.pass(Duration::from_secs(1));
    assert_eq!(taken(&mut node), NOTHING);
    assert!(node.engine.next_deadline().unwrap() <= node.now);
    node.step(Input::Deadline);
    let given = deliveries(&node.turn_end());
    assert_eq!(given[0].runs.len(), 1);
    assert_eq!(given[0].runs[0].first, Offset(1), "the dequeue has waited");
}

#[test]
fn more_than_one_tick_ends_are_given_out_by_none() {
    let mut node = living(&[]);
    node.is_checked = false;
    let ttls: Vec<_> = (0..9_000).map(|at| 1 + at % 2 * 4).collect();
    enqueue_living(&mut node, &ttls);
    node.pass(Duration::from_millis(8));
    node.request(alice(1), dequeue("q", 1, 10_000));
    let mut ticks = 0;
    while node.engine.stats().ready > 0 {
        node.step(Input::Deadline);
        assert_eq!(served(&node.turn_end()), []);
        ticks += 1;
    }
    assert!(ticks > 1 && node.engine.stats().expired == 9_000, "{ticks}");
    node.engine.state.assert_consistent();
}

#[test]
fn a_time_to_live_begins_when_a_message_is_due_and_moves_with_that() {
    let mut node = living(&[]);
    let both = (Some(1_000), Some(1_000));
    node.enqueue("q", &mortal(&[both, both, both]));
    node.durable();
    let mut ranges = Vec::new();
    OffsetRanges::put(range(1, 1), &mut ranges);
    move_to(&mut node, &ranges, T0.as_millis() + 3_000);
    pass(&mut node, 1_999);
    assert_eq!(shown_of(&mut node, "").ready, 2);
    pass(&mut node, 1);
    assert_eq!(expired(&mut node), 2);
    pass(&mut node, 1_999);
    assert_eq!(taken(&mut node), [1]);
    node.enqueue("q", &mortal(&[(Some(9_000), Some(1_000))]));
    ranges.clear();
    OffsetRanges::put(range(3, 1), &mut ranges);
    move_to(&mut node, &ranges, 0);
    pass(&mut node, 1_001);
    assert_eq!(expired(&mut node), 3, "it was due at once");
}

fn move_to(node: &mut Node, ranges: &[u8], due_ms: u64) {
    let ranges = OffsetRanges::read(ranges).unwrap();
    let (queue, lane) = ("q", corelane_wire::Lane(0));
    let verb = ScheduleVerb::Move { due_ms, ranges };
    let request = Request::Schedule(OnSchedule { queue, lane, verb });
    assert_eq!(refusals(&node.request(alice(3), request)), []);
    node.durable();
}

#[test]
fn what_failed_expires_while_it_is_delayed_also_after_a_restart() {
    for from_checkpoint in [false, true] {
        let mut node = living(&[0, 1_000, 0]);
        let (lease, _) = taken_from(&mut node, "");
        settle_as(&mut node, (lease, 0, 3), 60_000);
        let end = node.engine.positions().end;
        if from_checkpoint {
            let cut = node.engine.cut();
            node.chunks.checkpoint(&cut);
            node.restart_from_checkpoint(end, node.now, 2);
        } else {
            node.restart(end, node.now, 2);
        }
        node.durable();
        pass(&mut node, 999);
        assert_eq!(shown_of(&mut node, "").delayed, 3);
        pass(&mut node, 1);
        let shown = shown_of(&mut node, "");
        assert_eq!((shown.delayed, shown.expired), (2, 1));
        pass(&mut node, 59_000);
        assert_eq!(taken(&mut node), [0, 2]);
    }
}

#[test]
fn what_is_under_lease_is_done_by_an_ack_and_expires_otherwise() {
    let mut node = living(&[1_000; 6]);
    let (lease, offsets) = taken_from(&mut node, "");
    assert_eq!(offsets.len(), 6);
    pass(&mut node, 2_000);
    let shown = shown_of(&mut node, "");
    assert_eq!((shown.leased, shown.expired), (6, 0));
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(alice(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    settle_as(&mut node, (lease, 1, 1), 0);
    settle_as(&mut node, (lease, 2, 1), 5_000);
    reject(&mut node, (lease, 3), Fate::Retry);
    reject(&mut node, (lease, 4), Fate::Dead);
    let shown = shown_of(&mut node, "");
    assert_eq!((shown.done, shown.expired, shown.leased), (1, 4, 1));
    pass(&mut node, 30_000);
    assert_eq!(expired(&mut node), 5, "its lease has ended");
    assert_eq!(node.engine.stats().messages, 0);
}

#[test]
fn what_an_operator_put_aside_stays_and_expires_when_it_is_brought_back() {
    let mut node = living(&[1_000, 0, 1_000]);
    let (lease, _) = taken_from(&mut node, "");
    reject(&mut node, (lease, 0), Fate::Dead);
    reject(&mut node, (lease, 1), Fate::Dead);
    reject(&mut node, (lease, 2), Fate::Park);
    pass(&mut node, 2_000);
    let shown = shown_of(&mut node, "");
    assert_eq!((shown.dead, shown.parked, shown.expired), (2, 1, 0));
    for aside in [Aside::Dead, Aside::Parked] {
        let (first, end, max) = (Offset(0), Offset(3), 10);
        let verb = SubscriptionVerb::Return {
            aside,
            first,
            end,
            max,
        };
        ask_of(&mut node, "", verb).unwrap();
    }
    assert_eq!(taken(&mut node), [1]);
    assert_eq!(expired(&mut node), 2);
}

#[test]
fn what_has_lapsed_is_gone_for_whoever_begins_later_or_anew() {
    let mut node = living(&[0, 1_000, 0]);
    let (lease, _) = taken_from(&mut node, "");
    pass(&mut node, 1_000);
    create(&mut node, "other", Contract::Competing);
    let shown = shown_of(&mut node, "other");
    assert_eq!((shown.enqueued, shown.expired), (2, 0));
    assert_eq!(taken_from(&mut node, "other").1, [0, 2]);
    let start = Start::Earliest;
    ask_of(&mut node, "", SubscriptionVerb::Seek { start }).unwrap();
    assert_eq!(taken(&mut node), [0, 2]);
    settle_as(&mut node, (lease, 1, 1), 0);
    assert_eq!(expired(&mut node), 0, "that lease had ended");
}

#[test]
fn a_queue_says_how_long_messages_live_that_do_not_say_so() {
    let mut node = living(&[]);
    configure(&mut node, 2_000);
    enqueue_living(&mut node, &[0, 1_000]);
    configure(&mut node, 0);
    enqueue_living(&mut node, &[0]);
    node.fill("q", 1);
    configure(&mut node, 3_000);
    node.fill("q", 1);
    pass(&mut node, 1_000);
    assert_eq!(expired(&mut node), 1, "its own time counts");
    pass(&mut node, 1_000);
    assert_eq!(expired(&mut node), 2);
    pass(&mut node, 1_000);
    assert_eq!(taken(&mut node), [2, 3]);
}

#[test]
fn only_messages_that_expire_cost_a_record_of_another_kind() {
    let mut node = living(&[1_000, 1_000, 0]);
    node.fill("q", 1);
    let mut enqueues = Vec::new();
    for (_, _, record) in &node.log {
        if let Record::Enqueue { schedule, .. } = record {
            enqueues.push((record.kind(), schedule.as_ref().map(|groups| groups.len())));
        }
    }
    assert_eq!(enqueues, [(22, Some(1)), (3, None)]);
}

#[test]
fn what_expired_lets_the_next_of_its_key_go() {
    let mut node = Node::new();
    create(&mut node, "", Contract::KeyOrdered);
    enqueue_living(&mut node, &[1_000, 1_000, 0, 0]);
    node.request(alice(1), dequeue("q", 10, 0));
    let first = deliveries(&node.turn_end());
    node.durable();
    assert_eq!(first.len(), 0, "keys are read first");
    node.read_keys();
    let (lease, offsets) = taken_from(&mut node, "");
    assert_eq!(offsets, [0]);
    pass(&mut node, 1_000);
    assert_eq!(taken(&mut node), NOTHING, "its key is held");
    settle_as(&mut node, (lease, 0, 1), 0);
    assert_eq!(taken(&mut node), [2]);
    assert_eq!(expired(&mut node), 2);
}

#[test]
fn readers_and_broadcasts_skip_what_has_expired() {
    let mut node = living(&[]);
    create(&mut node, "log", Contract::Reader);
    create(&mut node, "live", Contract::Broadcast);
    enqueue_living(&mut node, &[0, 1_000, 0]);
    taken(&mut node);
    let listen = |name: &'static str, consumer| {
        let Request::Subscribe(subscribe) = subscribe("q", consumer, 100) else {
            panic!("a subscribe");
        };
        Request::Subscribe(corelane_wire::Subscribe {
            subscription: name,
            ..subscribe
        })
    };
    node.request(bob(1), listen("live", 1));
    node.step(Input::GiveOut { allowed: false });
    enqueue_living(&mut node, &[0, 1_000, 0]);
    pass(&mut node, 1_000);
    node.step(Input::GiveOut { allowed: true });
    node.request(bob(2), listen("log", 2));
    let mut outputs = node.turn_end();
    outputs.extend(node.turn_end());
    let given = deliveries(&outputs);
    let offsets = |of: usize| -> Vec<u64> {
        let runs = given[of].runs.iter();
        runs.flat_map(|run| run.first.0..run.first.0 + u64::from(run.count))
            .collect()
    };
    let mut both = [offsets(0), offsets(1)];
    both.sort();
    assert_eq!(both, [vec![0, 2, 3, 5], vec![3, 5]]);
    assert_eq!(shown_of(&mut node, "log").expired, 2);
    assert_eq!(shown_of(&mut node, "live").missed, 1);
}

#[test]
fn without_a_subscription_what_expires_makes_room() {
    let mut node = Node::new();
    enqueue_living(&mut node, &[1_000, 1_000, 0, 1_000]);
    pass(&mut node, 1_000);
    assert_eq!(node.engine.stats().messages, 2, "the third holds one back");
    create(&mut node, "", Contract::Competing);
    assert_eq!(taken(&mut node), [2]);
    let shown: SubscriptionDetail = shown_of(&mut node, "");
    assert_eq!((shown.enqueued, shown.expired), (1, 0));
}

#[test]
fn too_many_groups_that_expire_are_refused() {
    let mut node = Node::with_limits(Limits {
        ranges_max: 3,
        ..Limits::default()
    });
    enqueue_living(&mut node, &[1_000, 2_000]);
    let bytes = mortal(&[(None, Some(3_000)), (None, Some(4_000))]);
    let outputs = node.enqueue("q", &bytes);
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::Busy)]);
    enqueue_living(&mut node, &[3_000, 3_000]);
    let told = |output: &Output| matches!(output, Output::Append { .. });
    node.fill("q", 1);
    assert!(node.turn_end().iter().all(|output| !told(output)));
    assert_eq!(node.engine.state.queues.get(QUEUE).unwrap().end, Offset(5));
}

#[test]
fn messages_expire_in_ephemeral_subscriptions_too() {
    let mut node = living(&[]);
    assert_eq!(taken_from(&mut node, "early#ephemeral").1, NOTHING);
    enqueue_living(&mut node, &[0, 1_000, 0]);
    create(&mut node, "late#ephemeral", Contract::Competing);
    let held = taken(&mut node);
    assert_eq!(held, [0, 1, 2], "what is under lease is kept");
    pass(&mut node, 1_000);
    for name in ["early#ephemeral", "late#ephemeral"] {
        let shown = shown_of(&mut node, name);
        assert_eq!((shown.expired, shown.ready), (1, 2), "{name}");
        assert_eq!(taken_from(&mut node, name).1, [0, 2], "{name}");
    }
}

#[test]
fn what_is_moved_expires_later_in_ephemeral_subscriptions_too() {
    let mut node = living(&[]);
    assert_eq!(taken_from(&mut node, "tap#ephemeral").1, NOTHING);
    node.enqueue("q", &mortal(&[(Some(1_000), Some(1_000))]));
    node.durable();
    let mut ranges = Vec::new();
    OffsetRanges::put(range(0, 1), &mut ranges);
    move_to(&mut node, &ranges, T0.as_millis() + 3_000);
    pass(&mut node, 3_500);
    assert_eq!(shown_of(&mut node, "tap#ephemeral").expired, 0);
    pass(&mut node, 600);
    assert_eq!(shown_of(&mut node, "tap#ephemeral").expired, 1);
}
