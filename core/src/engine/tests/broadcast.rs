//! Broadcasts: every consumer gets everything that comes while it is there, and nothing is kept for it.

use corelane_wire::{
    Aside, Contract, ErrorCode, LeaseId, Offset, ProducerId, PurgeStates, Request, Start,
    SubscriptionAnswer, SubscriptionConfig, SubscriptionVerb,
};

use super::node::*;
use super::readers::{ask_of, shown_of};
use crate::ids::ConnectionId;
use crate::{DeliverTo, Input, Limits, Output};

const BROADCAST: SubscriptionConfig = SubscriptionConfig {
    contract: Contract::Broadcast,
    ..SubscriptionConfig::PLAIN
};

fn create(node: &mut Node) {
    let (start, config) = (None, BROADCAST);
    let created = ask_of(node, "live", SubscriptionVerb::Create { start, config });
    assert_eq!(created, Ok(SubscriptionAnswer::Created { created: true }));
}

fn listen(consumer: u32) -> Request<'static> {
    let Request::Subscribe(subscribe) = subscribe("q", consumer, 100) else {
        panic!("a subscribe");
    };
    Request::Subscribe(corelane_wire::Subscribe {
        subscription: "live",
        ..subscribe
    })
}

/// Whom a turn gives which offsets, as pairs of connection and offset.
fn heard(node: &mut Node) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    loop {
        let outputs = node.turn_end();
        let given = deliveries(&outputs);
        if given.is_empty() {
            return all;
        }
        for delivery in given {
            assert_eq!((delivery.lease, delivery.lease_ms), (LeaseId::default(), 0));
            let DeliverTo::Consumer { connection, .. } = delivery.to else {
                panic!("{delivery:?}");
            };
            for run in &delivery.runs {
                let offsets = run.first.0..run.first.0 + u64::from(run.count);
                all.extend(offsets.map(|offset| (connection.0, offset)));
            }
        }
    }
}

fn enqueue_one(node: &mut Node) {
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
}

const NOTHING: [(u64, u64); 0] = [];

#[test]
fn every_consumer_gets_what_is_committed_while_it_is_there() {
    let mut node = filled(2);
    create(&mut node);
    node.request(requester(1, 1, 1), listen(1));
    assert_eq!(
        heard(&mut node),
        NOTHING,
        "what was there before is not for it"
    );
    enqueue_one(&mut node);
    assert_eq!(heard(&mut node), NOTHING, "it is not committed");
    node.request(requester(2, 2, 2), listen(1));
    node.durable();
    let mut both = heard(&mut node);
    both.sort_unstable();
    assert_eq!(both, [(1, 2), (2, 2)]);
    let before = node.log.len();
    enqueue_one(&mut node);
    node.durable();
    let mut both = heard(&mut node);
    both.sort_unstable();
    assert_eq!(both, [(1, 3), (2, 3)]);
    assert_eq!(
        node.log.len(),
        before + 1,
        "nothing is written but the message"
    );
}

#[test]
fn nothing_is_kept_for_a_broadcast_and_nothing_goes_because_of_it() {
    let mut node = Node::new();
    node.fill("q", 3);
    create(&mut node);
    let start = |node: &Node| node.engine.state.queues.get(QUEUE).unwrap().start;
    assert_eq!((start(&node), node.engine.stats().messages), (Offset(0), 3));
    let detail = shown_of(&mut node, "live");
    assert_eq!((detail.enqueued, detail.accounted()), (0, 0));

    // The first one that messages are kept for begins with them; what it has done goes, whoever listens.
    node.request(requester(1, 1, 1), listen(1));
    let lease = node.take(alice(1), "q", 3);
    let bytes = entries(&[(lease, 0, 2)]);
    node.request(alice(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    node.durable();
    assert_eq!((start(&node), node.engine.stats().messages), (Offset(2), 1));
    let stats = node.engine.stats();
    assert_eq!(
        (stats.subscriptions, stats.enqueued, stats.unaccounted),
        (2, 3, 0)
    );

    let committed = node.engine.positions().committed;
    node.restart(committed, node.now, 2);
    node.durable();
    assert_eq!(shown_of(&mut node, "live").config, BROADCAST);
    ask_of(&mut node, "live", SubscriptionVerb::Delete).unwrap();
    assert_eq!(
        (start(&node), node.engine.stats().subscriptions),
        (Offset(2), 1)
    );
}

#[test]
fn what_is_gone_before_a_consumer_came_to_it_is_missed() {
    // Each record goes by itself.
    let limits = Limits {
        stretch_runs_max: 1,
        ..Limits::default()
    };
    let mut node = Node::with_limits(limits);
    let (start, config) = (None, SubscriptionConfig::PLAIN);
    ask_of(&mut node, "", SubscriptionVerb::Create { start, config }).unwrap();
    create(&mut node);
    node.request(requester(1, 1, 1), listen(1));
    node.request(requester(2, 2, 2), listen(1));
    let connection = ConnectionId(1);
    let writable = false;
    node.step(Input::Writable {
        connection,
        writable,
    });
    node.fill("q", 4);
    let all: Vec<_> = (0..4).map(|offset| (2, offset)).collect();
    assert_eq!(heard(&mut node), all, "the other one is not slowed");
    let lease = node.take(alice(1), "q", 4);
    let bytes = entries(&[(lease, 0, 4)]);
    node.request(alice(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    node.fill("q", 1);
    assert_eq!(heard(&mut node), [(2, 4)]);
    assert_eq!(shown_of(&mut node, "live").missed, 0);
    let writable = true;
    node.step(Input::Writable {
        connection,
        writable,
    });
    assert_eq!(heard(&mut node), [(1, 4)]);
    assert_eq!(shown_of(&mut node, "live").missed, 4);
    assert_eq!(node.engine.stats().missed, 4);
}

#[test]
fn many_consumers_take_turns_and_rest_when_they_have_everything() {
    let limits = Limits {
        turn_deliveries_max: 10,
        ..Limits::default()
    };
    let mut node = Node::with_limits(limits);
    create(&mut node);
    for connection in 1..=25 {
        let from = requester(connection, connection.into(), connection);
        node.request(from, listen(1));
    }
    node.durable();
    assert_eq!(heard(&mut node), NOTHING);
    assert_eq!(
        node.engine.next_deadline(),
        None,
        "nobody has anything to do"
    );
    node.fill("q", 2);
    let mut turns = Vec::new();
    while node.engine.next_deadline().is_some_and(|due| due.0 == 0) || turns.is_empty() {
        turns.push(deliveries(&node.turn_end()).len());
    }
    assert_eq!(turns, [10, 10, 5]);
    assert_eq!(heard(&mut node), NOTHING);
    node.step(Input::Disconnected {
        connection: ConnectionId(7),
    });
    node.fill("q", 1);
    let given = heard(&mut node);
    assert_eq!(given.len(), 24);
    assert!(given.iter().all(|(to, offset)| *to != 7 && *offset == 2));
}

#[test]
fn what_is_about_kept_messages_is_refused() {
    let mut node = filled(1);
    create(&mut node);
    let refused = Err(ErrorCode::NotSupported);
    let start = Start::Earliest;
    let states = PurgeStates {
        waiting: true,
        parked: false,
        dead: false,
    };
    let bounded = SubscriptionConfig {
        rate_max: 1,
        ..BROADCAST
    };
    let verbs = [
        SubscriptionVerb::Seek { start },
        SubscriptionVerb::Purge { states },
        SubscriptionVerb::Return {
            aside: Aside::Dead,
            first: Offset(0),
            end: Offset(1),
            max: 1,
        },
        SubscriptionVerb::Checkpoint { offset: Offset(0) },
        SubscriptionVerb::Configure {
            config: SubscriptionConfig::PLAIN,
        },
        SubscriptionVerb::Configure { config: bounded },
    ];
    for verb in verbs {
        assert_eq!(ask_of(&mut node, "live", verb), refused, "{verb:?}");
    }
    let config = BROADCAST;
    let become_one = SubscriptionVerb::Configure { config };
    assert_eq!(ask_of(&mut node, "", become_one), refused);
    let start = Some(Start::Earliest);
    let from_the_start = SubscriptionVerb::Create { start, config };
    assert_eq!(ask_of(&mut node, "other", from_the_start), refused);
    let outputs = node.request(alice(1), dequeue_from("q", "live", 1, 0));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::NotSupported)]);
    let bytes = entries(&[(LeaseId::default(), 0, 1)]);
    let mut of_live = settle("q", &bytes);
    of_live.subscription = "live";
    let outputs = node.request(alice(2), Request::Ack(of_live));
    assert_eq!(refusals(&outputs), [(alice(2), ErrorCode::NotSupported)]);

    // A pause holds, and what comes meanwhile is given out afterwards as far as it is kept.
    node.request(requester(5, 5, 5), listen(1));
    ask_of(&mut node, "live", SubscriptionVerb::Pause { reason: "" }).unwrap();
    node.fill("q", 1);
    assert_eq!(heard(&mut node), NOTHING);
    let outputs = node.durable();
    assert!(!outputs.iter().any(|it| matches!(it, Output::Deliver(_))));
    ask_of(&mut node, "live", SubscriptionVerb::Resume).unwrap();
    assert_eq!(heard(&mut node), [(5, 1)]);
}
