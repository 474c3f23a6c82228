//! What subscriptions promise their consumers, and how much they give out.

use std::time::Duration;

use corelane_wire::{
    Contract, Lane, LeaseId, OnSubscription, Request, ReturnTo, SettleOutcome, SubscriptionConfig,
    SubscriptionVerb,
};

use super::node::*;
use crate::ids::ConnectionId;
use crate::record::Record;
use crate::{Delivery, Input, Output, Reply};

fn configured(count: u32, config: SubscriptionConfig) -> Node {
    let mut node = filled(count);
    configure(&mut node, config);
    node
}

fn configure(node: &mut Node, config: SubscriptionConfig) {
    let on = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        verb: SubscriptionVerb::Configure { config },
    };
    node.request(bob(99), Request::Subscription(on));
    node.durable();
}

fn of(contract: Contract) -> SubscriptionConfig {
    SubscriptionConfig {
        contract,
        ..SubscriptionConfig::PLAIN
    }
}

/// The offsets of a delivery.
fn offsets(delivery: &Delivery) -> Vec<u64> {
    let runs = delivery.runs.iter();
    let offsets = runs.flat_map(|run| run.first.0..run.first.0 + u64::from(run.count));
    offsets.collect()
}

fn given(outputs: &[Output]) -> Vec<Vec<u64>> {
    deliveries(outputs).iter().map(offsets).collect()
}

#[test]
fn at_most_once_is_done_and_committed_before_it_is_given_out() {
    let mut node = configured(3, of(Contract::AtMostOnce));
    node.request(alice(1), dequeue("q", 2, 0));
    let outputs = node.turn_end();
    assert_eq!(given(&outputs), [[0_u64; 0]; 0], "not yet: {outputs:?}");
    let stats = node.engine.stats();
    assert_eq!((stats.acked, stats.leased), (2, 0));
    let outputs = node.durable();
    assert_eq!(given(&outputs), [[0, 1]]);
    let delivery = &deliveries(&outputs)[0];
    assert_eq!((delivery.lease, delivery.lease_ms), (LeaseId::default(), 0));

    // An ack changes nothing and does no harm.
    let bytes = entries(&[(LeaseId::default(), 0, 2)]);
    node.request(alice(2), Request::Ack(settle("q", &bytes)));
    let outputs = node.turn_end();
    let judged = settled(&[(0, 2, SettleOutcome::AlreadyDone)]);
    assert!(outputs.contains(&reply(alice(2), judged)), "{outputs:?}");
}

#[test]
fn at_most_once_gives_nothing_twice_over_a_crash() {
    let mut node = configured(4, of(Contract::AtMostOnce));
    node.request(alice(1), dequeue("q", 2, 0));
    node.turn_end();
    node.durable();
    node.request(alice(2), dequeue("q", 1, 0));
    node.turn_end();
    // The crash takes the second Take, which nobody was given.
    let committed = node.engine.positions().committed;
    node.restart(committed, node.now, 2);
    node.durable();
    node.request(alice(3), dequeue("q", 9, 0));
    node.turn_end();
    assert_eq!(given(&node.durable()), [[2, 3]]);
}

#[test]
fn consumers_of_at_most_once_take_turns_and_hold_nothing() {
    let mut node = configured(9, of(Contract::AtMostOnce));
    node.request(alice(1), subscribe("q", 1, 2));
    node.request(bob(2), subscribe("q", 2, 2));
    let mut all = Vec::new();
    for _ in 0..9 {
        node.turn_end();
        all.extend(given(&node.durable()));
    }
    let mut offsets: Vec<u64> = all.concat();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..9).collect::<Vec<_>>());
    assert!(
        all.iter().all(|each| each.len() <= 2),
        "credit bounds one delivery: {all:?}"
    );
}

#[test]
fn one_consumer_is_active_and_the_next_follows_when_nothing_is_held() {
    let mut node = configured(4, of(Contract::SingleActive));
    node.request(alice(1), subscribe("q", 1, 1));
    node.request(bob(2), subscribe("q", 2, 10));
    let turn = node.turn_end();
    assert_eq!(given(&turn), [[0_u64; 0]; 0], "the lease is not committed");
    let outputs = node.durable();
    assert_eq!(given(&outputs), [[0]], "by its credit");
    let lease = deliveries(&outputs)[0].lease;
    assert_eq!(given(&[node.turn_end(), node.durable()].concat()).len(), 0);

    // The active one goes, but its session still holds a message.
    node.step(Input::Disconnected {
        connection: ConnectionId(1),
    });
    assert_eq!(given(&[node.turn_end(), node.durable()].concat()).len(), 0);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(alice(3), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    assert_eq!(
        given(&node.durable()),
        [[1, 2, 3]],
        "then the one that stood by"
    );
}

#[test]
fn a_dequeue_is_served_by_single_active_if_nobody_else_holds_a_message() {
    let mut node = configured(2, of(Contract::SingleActive));
    let mut dequeued = |from| {
        node.request(from, dequeue("q", 1, 0));
        node.turn_end();
        given(&node.durable())
    };
    assert_eq!(dequeued(alice(1)), [[0]]);
    assert_eq!(dequeued(bob(2)), [[0_u64; 0]; 0]);
    assert_eq!(dequeued(alice(3)), [[1]]);
}

#[test]
fn a_dequeue_of_single_active_is_served_once_nobody_stands_before_it() {
    let mut node = configured(2, of(Contract::SingleActive));
    node.request(alice(1), dequeue("q", 1, 0));
    node.turn_end();
    assert_eq!(given(&node.durable()), [[0]]);
    node.request(bob(2), dequeue("q", 1, 0));
    node.request(alice(3), dequeue("q", 1, 1_000));
    assert!(node.turn_end().contains(&reply(bob(2), Reply::Empty)));
    assert_eq!(node.engine.next_deadline().map(|due| due.0), Some(0));
    node.turn_end();
    assert_eq!(given(&node.durable()), [[1]]);
}

#[test]
fn whoever_stood_behind_is_served_when_the_rate_allows_it() {
    let config = SubscriptionConfig {
        rate_max: 1,
        ..of(Contract::SingleActive)
    };
    let mut node = configured(2, config);
    let due = node.now.add(Duration::from_secs(1));
    node.request(alice(1), dequeue("q", 1, 0));
    node.turn_end();
    assert_eq!(given(&node.durable()), [[0]]);
    node.request(bob(2), dequeue("q", 1, 0));
    node.request(alice(3), dequeue("q", 1, 60_000));
    assert!(node.turn_end().contains(&reply(bob(2), Reply::Empty)));
    let next = node.engine.next_deadline();
    assert!(next.is_some_and(|next| next <= due), "{next:?}");
    node.turn_end();
    assert_eq!(node.engine.next_deadline(), Some(due));
    node.deadline_after(Duration::from_secs(1));
    node.turn_end();
    assert_eq!(given(&node.durable()), [[1]]);
}

#[test]
fn no_more_is_in_flight_than_the_bound() {
    let config = SubscriptionConfig {
        in_flight_max: 3,
        ..SubscriptionConfig::PLAIN
    };
    let mut node = configured(9, config);
    node.request(alice(1), subscribe("q", 1, 2));
    node.request(bob(2), subscribe("q", 2, 100));
    let outputs = node.turn_end();
    assert_eq!(given(&outputs), [vec![0, 1], vec![2]]);
    let lease = deliveries(&outputs)[1].lease;
    assert_eq!(
        node.engine.next_deadline(),
        node.engine.next_deadline().filter(|it| it.0 > 0)
    );
    let bytes = entries(&[(lease, 2, 1)]);
    node.request(bob(3), nack("q", &bytes, 60_000));
    let outputs = node.turn_end();
    assert_eq!(given(&outputs), [[3]], "the delayed one is not in flight");
}

#[test]
fn a_rate_spreads_deliveries_over_time() {
    let config = SubscriptionConfig {
        rate_max: 2,
        ..SubscriptionConfig::PLAIN
    };
    let mut node = configured(4, config);
    node.request(alice(1), subscribe("q", 1, 100));
    assert_eq!(given(&node.turn_end()), [[0]]);
    node.durable();
    let begin = node.now;
    for offset in 1..4 {
        let due = node.engine.next_deadline().unwrap();
        assert_eq!(due, begin.add(Duration::from_millis(500 * offset)));
        node.now = due;
        node.step(Input::Deadline);
        assert_eq!(given(&node.turn_end()), [[offset]]);
        node.durable();
    }
    let is_take = |record: &Record| matches!(record, Record::Take { .. });
    assert!(!node.log.iter().any(|(_, _, record)| is_take(record)));
}

#[test]
fn what_comes_back_to_the_back_has_its_turn_behind_what_was_there() {
    let back = SubscriptionConfig {
        returned: ReturnTo::Back,
        ..SubscriptionConfig::PLAIN
    };
    let mut node = configured(5, back);
    let lease = node.take(alice(1), "q", 3);
    let bytes = entries(&[(lease, 1, 1)]);
    node.request(alice(2), nack("q", &bytes, 0));
    node.turn_end();
    node.fill("q", 2);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(alice(3), nack("q", &bytes, 0));
    node.turn_end();
    node.fill("q", 1);
    let bytes = entries(&[(lease, 2, 1)]);
    node.request(alice(4), nack("q", &bytes, 1_000));
    node.turn_end();

    // The order holds over a start, and it is the order within a delivery.
    let end = node.engine.positions().end;
    node.durable();
    node.chunks.checkpoint(&node.engine.cut());
    node.restart_from_checkpoint(end, node.now, 2);
    node.durable();
    node.request(bob(5), dequeue("q", 4, 0));
    assert_eq!(given(&node.turn_end()), [[3, 4, 1, 5]]);
    node.deadline_after(Duration::from_secs(1));
    node.durable();
    node.request(bob(6), dequeue("q", 9, 0));
    assert_eq!(given(&node.turn_end()), [[6, 0, 7, 2]]);
}

/// A message came back behind one that is not committed.
fn behind_uncommitted() -> Node {
    let back = SubscriptionConfig {
        returned: ReturnTo::Back,
        ..SubscriptionConfig::PLAIN
    };
    let mut node = configured(1, back);
    let lease = node.take(alice(1), "q", 1);
    node.enqueue("q", &batch(1, corelane_wire::ProducerId::NONE, 0));
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(alice(2), nack("q", &bytes, 0));
    node
}

#[test]
fn what_came_back_before_it_is_committed_waits_for_what_was_there() {
    let mut node = behind_uncommitted();
    node.request(bob(3), dequeue("q", 9, 1_000));
    assert_eq!(given(&node.turn_end()), [[0_u64; 0]; 0]);
    node.durable();
    assert_eq!(given(&node.turn_end()), [[1, 0]]);
}

#[test]
fn what_waits_for_a_commit_keeps_no_dequeue_waiting() {
    let mut node = behind_uncommitted();
    node.step(Input::GiveOut { allowed: false });
    node.request(bob(3), dequeue("q", 9, 0));
    node.turn_end();
    let empty = reply(bob(3), Reply::Empty);
    assert!(node.durable().contains(&empty), "nothing is only withheld");
}
