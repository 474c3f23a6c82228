//! Messages of one key go out one at a time and in order.

use std::time::Duration;

use corelane_wire::{
    Aside, BatchBuilder, Contract, Fate, Lane, LeaseId, Lsn, Offset, OnSubscription,
    OutgoingMessage, ProducerId, Reject, Request, Sequence, Start, SubscriptionConfig,
    SubscriptionVerb,
};

use super::node::*;
use crate::limits::Limits;
use crate::{FetchFor, Input, Output, Reply, Requester};

const CONFIG: SubscriptionConfig = SubscriptionConfig {
    contract: Contract::KeyOrdered,
    ..SubscriptionConfig::PLAIN
};

fn ask(node: &mut Node, verb: SubscriptionVerb<'_>) -> Vec<Output> {
    let on = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        verb,
    };
    let outputs = node.request(bob(99), Request::Subscription(on));
    [outputs, node.durable()].concat()
}

const NOTHING: [u64; 0] = [];

/// A batch of messages, each with its letter as a key; `-` has none, and `!` is due in an hour and has the key `a`.
fn keyed(text: &str) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let later = T0.add(Duration::from_hours(1)).as_millis();
    for letter in text.chars() {
        let key = letter.to_string().replace('!', "a");
        builder
            .push(&OutgoingMessage {
                key: (letter != '-').then_some(key.as_bytes()),
                due_ms: (letter == '!').then_some(later),
                body: b"body",
                ..OutgoingMessage::default()
            })
            .unwrap();
    }
    builder.finish(ProducerId::NONE, Sequence(0))
}

/// A queue with a subscription by key, and then messages.
fn ordered(text: &str) -> Node {
    let mut node = Node::new();
    let start = Some(Start::Earliest);
    ask(
        &mut node,
        SubscriptionVerb::Create {
            start,
            config: CONFIG,
        },
    );
    // So that somebody has wanted messages before.
    assert_eq!(given(&dequeued(&mut node, bob(98), 1)), NOTHING);
    node.enqueue("q", &keyed(text));
    node.durable();
    node
}

fn dequeued(node: &mut Node, from: Requester, count: u32) -> Vec<Output> {
    let mut outputs = node.request(from, dequeue("q", count, 0));
    outputs.extend(node.turn_end());
    while !node.key_reads.is_empty() || !node.loads.is_empty() {
        outputs.extend(node.read_keys());
        outputs.extend(node.read_one().into_iter().flatten());
        outputs.extend(node.turn_end());
    }
    outputs.extend(node.durable());
    outputs
}

/// The offsets of the deliveries.
fn given(outputs: &[Output]) -> Vec<u64> {
    let given = deliveries(outputs);
    let runs = given.iter().flat_map(|delivery| &delivery.runs);
    let offsets = runs.flat_map(|run| run.first.0..run.first.0 + u64::from(run.count));
    offsets.collect()
}

fn lease_of(outputs: &[Output]) -> LeaseId {
    deliveries(outputs)[0].lease
}

fn ack(node: &mut Node, lease: LeaseId, offset: u64) {
    let bytes = entries(&[(lease, offset, 1)]);
    node.request(bob(97), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    node.durable();
}

fn reject(node: &mut Node, fate: Fate, lease: LeaseId, offset: u64) {
    let bytes = entries(&[(lease, offset, 1)]);
    let settle = settle("q", &bytes);
    let text = "why";
    node.request(bob(97), Request::Reject(Reject { settle, fate, text }));
    node.turn_end();
    node.durable();
}

#[test]
fn one_of_a_key_goes_out_and_the_next_when_it_is_done() {
    let mut node = ordered("aab-ba");
    node.request(alice(1), dequeue("q", 10, 0));
    assert_eq!(
        given(&node.turn_end()),
        NOTHING,
        "its Lease record comes first"
    );
    let outputs = node.durable();
    assert_eq!(given(&outputs), [0, 2, 3]);
    let lease = lease_of(&outputs);
    assert_eq!(given(&dequeued(&mut node, bob(2), 10)), NOTHING);
    ack(&mut node, lease, 0);
    assert_eq!(given(&dequeued(&mut node, bob(3), 10)), [1]);
    ack(&mut node, lease, 2);
    assert_eq!(given(&dequeued(&mut node, bob(4), 10)), [4]);
}

#[test]
fn a_failing_key_is_tried_again_in_its_order_while_others_flow() {
    let mut node = ordered("ababab");
    let first = dequeued(&mut node, alice(1), 10);
    assert_eq!(given(&first), [0, 1]);
    let lease = lease_of(&first);
    let failed = entries(&[(lease, 0, 1)]);
    node.request(alice(2), nack("q", &failed, 60_000));
    node.turn_end();
    for offset in [1, 3, 5] {
        let held = node.engine.state.leases.iter().last().unwrap().0;
        ack(&mut node, held, offset);
        let next = given(&dequeued(&mut node, alice(3), 10));
        assert_eq!(
            next,
            if offset == 5 {
                vec![]
            } else {
                vec![offset + 2]
            }
        );
    }
    node.deadline_after(Duration::from_secs(61));
    node.durable();
    let again = dequeued(&mut node, alice(4), 10);
    assert_eq!(given(&again), [0]);
    assert_eq!(deliveries(&again)[0].runs[0].attempt, 2);
}

#[test]
fn a_message_for_later_holds_up_its_key_and_no_other() {
    let mut node = ordered("!ab");
    assert_eq!(given(&dequeued(&mut node, alice(1), 10)), [2]);
    node.deadline_after(Duration::from_hours(1));
    node.durable();
    assert_eq!(
        given(&dequeued(&mut node, alice(2), 10)),
        [0, 2],
        "and 2 again"
    );
}

#[test]
fn dead_and_parked_ones_let_the_next_go_and_wait_for_it_when_they_come_back() {
    let mut node = ordered("aaab");
    let first = dequeued(&mut node, alice(1), 1);
    reject(&mut node, Fate::Dead, lease_of(&first), 0);
    let second = dequeued(&mut node, alice(2), 1);
    assert_eq!(given(&second), [1]);
    let verb = SubscriptionVerb::Return {
        aside: Aside::Dead,
        first: Offset(0),
        end: Offset(9),
        max: 9,
    };
    ask(&mut node, verb);
    let others = dequeued(&mut node, alice(3), 9);
    assert_eq!(given(&others), [3], "another key");
    ack(&mut node, lease_of(&second), 1);
    let again = dequeued(&mut node, alice(4), 9);
    assert_eq!(given(&again), [0], "it is the first of its key again");
    ack(&mut node, lease_of(&again), 0);
    assert_eq!(given(&dequeued(&mut node, alice(5), 9)), [2]);
}

#[test]
fn after_a_restart_what_is_leased_or_delayed_holds_up_its_key() {
    let mut node = ordered("abcabc");
    let first = dequeued(&mut node, alice(1), 10);
    assert_eq!(given(&first), [0, 1, 2]);
    let lease = lease_of(&first);
    let failed = entries(&[(lease, 1, 1)]);
    node.request(alice(2), nack("q", &failed, 3_600_000));
    node.turn_end();
    ack(&mut node, lease, 2);
    let end = node.engine.positions().end;
    node.chunks.checkpoint(&node.engine.cut());
    for from_checkpoint in [false, true] {
        if from_checkpoint {
            node.restart_from_checkpoint(end, node.now, 2);
        } else {
            node.restart(end, node.now, 2);
        }
        node.durable();
        node.request(bob(3), dequeue("q", 10, 0));
        let asked = node.turn_end();
        assert_eq!(given(&asked), NOTHING, "nothing is read yet");
        assert!(
            !asked.contains(&reply(bob(3), Reply::Empty)),
            "nor is it empty"
        );
        let mut outputs = node.read_keys();
        outputs.extend(node.turn_end());
        outputs.extend(node.durable());
        assert_eq!(given(&outputs), [5]);
    }
}

#[test]
fn a_purge_while_keys_are_read_keeps_nobody_waiting() {
    let mut node = ordered("aab");
    let end = node.engine.positions().end;
    node.restart(end, node.now, 2);
    node.durable();
    node.request(bob(1), dequeue("q", 10, 1_000));
    node.turn_end();
    let states = corelane_wire::PurgeStates {
        waiting: false,
        parked: false,
        dead: true,
    };
    ask(&mut node, SubscriptionVerb::Purge { states });
    node.turn_end();
    let mut outputs = node.read_keys();
    outputs.extend(node.turn_end());
    outputs.extend(node.durable());
    assert_eq!(given(&outputs), [0, 2]);
}

#[test]
fn what_cannot_be_read_goes_out_as_if_it_had_no_key() {
    let mut node = Node::new();
    for _ in 0..2 {
        node.enqueue("q", &keyed("aa"));
    }
    let start = Some(Start::Earliest);
    ask(
        &mut node,
        SubscriptionVerb::Create {
            start,
            config: CONFIG,
        },
    );
    node.request(alice(1), dequeue("q", 10, 1_000));
    node.turn_end();
    assert_eq!(node.key_reads.len(), 2);
    let whose = FetchFor::Keys;
    node.step(Input::Fetched { whose, batch: None });
    node.read_keys();
    node.turn_end();
    assert_eq!(given(&node.durable()), [0, 1, 2]);
}

#[test]
fn a_view_is_as_long_as_it_may_be() {
    let mut node = Node::with_limits(Limits {
        keys_max: 4,
        ..Limits::default()
    });
    for _ in 0..4 {
        node.enqueue("q", &keyed("ab"));
    }
    let start = Some(Start::Earliest);
    ask(
        &mut node,
        SubscriptionVerb::Create {
            start,
            config: CONFIG,
        },
    );
    let mut all = Vec::new();
    for round in 0..4 {
        let outputs = dequeued(&mut node, alice(round), 10);
        all.push(given(&outputs));
        for (lease, offset) in held(&outputs) {
            ack(&mut node, lease, offset);
        }
    }
    assert_eq!(all, [[0, 1], [2, 3], [4, 5], [6, 7]]);

    // Where one key has filled it, the others wait for that key.
    node.enqueue("q", &keyed("aaaab"));
    node.durable();
    let outputs = dequeued(&mut node, alice(5), 10);
    assert_eq!(given(&outputs), [8]);
    assert_eq!(given(&dequeued(&mut node, bob(6), 10)), NOTHING);
    ack(&mut node, lease_of(&outputs), 8);
    assert_eq!(given(&dequeued(&mut node, bob(7), 10)), [9]);
    assert_eq!(given(&dequeued(&mut node, bob(8), 10)), [12]);
}

#[test]
fn another_contract_and_a_seek_begin_anew() {
    let mut node = ordered("aab");
    let first = dequeued(&mut node, alice(1), 1);
    assert_eq!(given(&first), [0]);
    let plain = SubscriptionConfig::PLAIN;
    ask(&mut node, SubscriptionVerb::Configure { config: plain });
    assert_eq!(given(&dequeued(&mut node, alice(2), 1)), [1]);
    ask(&mut node, SubscriptionVerb::Configure { config: CONFIG });
    assert_eq!(given(&dequeued(&mut node, alice(3), 9)), [2]);
    let start = Start::Earliest;
    ask(&mut node, SubscriptionVerb::Seek { start });
    assert_eq!(given(&dequeued(&mut node, alice(4), 9)), [0, 2]);
}

/// 50,000 messages of a key whose first one always fails, and others between them.
#[test]
fn thousands_that_wait_behind_a_failing_key_hold_up_nobody() {
    let mut node = Node::new();
    node.is_checked = false;
    let start = Some(Start::Earliest);
    ask(
        &mut node,
        SubscriptionVerb::Create {
            start,
            config: CONFIG,
        },
    );
    dequeued(&mut node, bob(98), 1);
    let blocked = if cfg!(miri) { 50 } else { 5_000 };
    let batch = keyed(&("a".repeat(blocked) + "bcd"));
    let per_batch = blocked as u64 + 3;
    for _ in 0..10 {
        node.enqueue("q", &batch);
    }
    node.durable();
    let mut flowed = Vec::new();
    for round in 0..12 {
        let outputs = dequeued(&mut node, alice(round), 100);
        for (lease, offset) in held(&outputs) {
            if offset == 0 {
                let failed = entries(&[(lease, 0, 1)]);
                node.request(alice(90), nack("q", &failed, 0));
                node.turn_end();
            } else {
                flowed.push(offset);
                ack(&mut node, lease, offset);
            }
        }
    }
    let others = (0..10).flat_map(|at| (per_batch * at + blocked as u64)..per_batch * (at + 1));
    assert_eq!(flowed, others.collect::<Vec<_>>());
    node.is_checked = true;
    assert_eq!(given(&dequeued(&mut node, alice(99), 9)), [0]);
}

fn held(outputs: &[Output]) -> Vec<(LeaseId, u64)> {
    let mut held = Vec::new();
    for delivery in deliveries(outputs) {
        held.extend(delivery.runs.iter().flat_map(|run| {
            let offsets = run.first.0..run.first.0 + u64::from(run.count);
            offsets.map(|offset| (delivery.lease, offset))
        }));
    }
    held
}

#[test]
fn keys_are_read_from_where_messages_are_durable() {
    let mut node = ordered("a");
    node.enqueue("q", &keyed("ab"));
    let end = node.engine.positions().end;
    assert_eq!(given(&dequeued_uncommitted(&mut node)), [0]);
    assert_eq!(end, Lsn(node.log.len() as u64 - 1));
    node.durable();
    assert_eq!(given(&dequeued(&mut node, alice(2), 9)), [2]);
}

/// What a dequeue gets while the last Enqueue is not committed.
fn dequeued_uncommitted(node: &mut Node) -> Vec<Output> {
    node.request(alice(1), dequeue("q", 9, 0));
    node.turn_end();
    let committed = node.engine.positions().end;
    node.step(Input::Durable { end: committed })
}
